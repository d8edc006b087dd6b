"""The recipe of continual reinforcement learning: its runs at every scale, and a tiny scenario to its page."""

import importlib.util
import json
import re

import pandas as pd
import pytest

from pliant import reproduction
from pliant.cli import main
from pliant.cli._recipe_options import in_turn
from pliant.core import registry
from pliant.core.registry import UnknownNameError
from pliant.experiment.configuration.reading import from_mapping
from pliant.presets import crl_halfcheetah
from pliant.problems.scenarios._tasks import Scenario
from pliant.recipes import continual_rl
from pliant.report import Run, Shard
from pliant.report.recipe import Scale
from pliant.reproduction import book, run_of

METHODS = registry.names("continual")


def panels(**given):
    """The panels of the only figure."""
    (of_figure,) = continual_rl.make(**given).panels.values()
    return of_figure


def config(**given):
    """The run of fine-tuning, as plain data."""
    return from_mapping(panels(**given)[0].lines[0].config).to_mapping()


@pytest.mark.parametrize("scenario", continual_rl.CHOICES["scenario"])
@pytest.mark.parametrize("full", [False, True])
def test_every_scenario_has_its_runs(scenario, full):
    recipe = continual_rl.make(full=full, scenario=scenario)
    domain, name = scenario.split("/")
    ((figure, of_figure),) = recipe.panels.items()
    assert figure == f"continual_rl_{domain}_{name}" and [*recipe.sequences] == [figure]
    for panel in of_figure:
        configs = [from_mapping(line.config) for line in panel.lines]
        assert sorted(one.continual.name for one in configs) == METHODS
        for one in configs:
            problem = one.problem.settings
            world = domain == "continual_world"
            assert (one.problem.name, problem["scenario"]) == (domain if world else f"crl_{domain}", name)
            assert (one.seeds, one.evaluate_tasks) == (("10", 10 if world else 5120) if full else ("3", 8))
            assert problem["task_steps"] % panel.measure.bin == 0
            assert one.record_every <= panel.measure.bin
    sequence = recipe.sequences[figure]
    assert sequence.reference.config["continual"] == {"name": "from_scratch"}
    assert {run_of(line) for line in sequence.lines} == {run_of(line) for line in of_figure[0].lines}


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3, 0.29, 0.05, 0.03, 0.0137, 1e-9])
def test_runs_at_every_scale(scale):
    of_run = config(scale=scale)
    problem, agent = of_run["problem"], of_run["agent"]
    task, num_envs = problem["task_steps"], problem["num_envs"]
    assert abs(task - 999_936 * scale) <= 4 * num_envs and task % (4 * num_envs) == 0
    assert agent["update_to_data"] * num_envs == int(agent["update_to_data"] * num_envs)
    assert agent["learning_starts"] == round(task / 20) and agent["buffer_size"] == min(task, 1_280_000)
    assert of_run["evaluate_tasks"] == {0.0137: 4, 1e-9: 2}.get(scale, 8)
    short = scale < 0.3
    assert agent["hidden_units"] == (64 if short else 256)
    assert (agent["critic_learning_rate"], agent["target_delay"]) == ((1e-3, 1) if short else (3e-4, 2))
    if scale > 0.03:
        # As published, an environment has about 7,800 steps and so seven episodes in a task.
        assert 6_000 < task / num_envs < 9_500
    recipe = continual_rl.make(scale=scale)
    assert recipe.scale == Scale(8 * task, 8 * 999_936, 3, None)
    assert ("hidden_units 64 (256)" in " ".join(recipe.falls_short)) == short


def test_the_full_recipe_is_published():
    preset = crl_halfcheetah.PRESETS["forgetting/published"]
    of_run = config(full=True)
    assert {key: of_run["agent"][key] for key in preset["agent"]} == preset["agent"]
    assert (of_run["problem"]["engine"], of_run["problem"]["task_steps"], of_run["problem"]["num_envs"]) == (
        "v1",
        999_936,
        128,
    )
    settings, numbers = continual_rl.make(full=True).falls_short
    assert settings.endswith("which stand in parentheses: rewire.episodes 128 (1,280).")
    assert "earlier program" in numbers
    (without_rewire,) = continual_rl.make(full=True, methods="ewc,packnet,subspace,progressive").falls_short
    assert without_rewire == numbers


def test_what_differs_from_the_published_settings_is_said():
    (settings, engine, numbers) = continual_rl.make(scale=0.03, scenario="ant/transfer").falls_short
    assert "task_steps 30,000 (999,936), num_envs 4 (128), learning_starts 1,500 (12,800)" in settings
    assert "critic_learning_rate 0.001" not in settings and "initial_temperature 0.1 (2.0)" in settings
    assert "evaluate_tasks 8 (5,120)" in settings and "reward_scale" not in settings
    assert settings.endswith(
        "packnet.finetune 3,000 (100,000), progressive.width 24 (96), rewire.episodes 4 (1,280), "
        "subspace.estimations 64 (1,024)."
    )
    assert "MuJoCo" in engine
    assert numbers == "No numbers of the authors are known for this scenario."


def test_published_performance():
    published = (
        continual_rl.make(scenario="halfcheetah/robustness").sequences["continual_rl_halfcheetah_robustness"].published
    )
    assert published == {
        "fine tuning (FT-1)": 0.36,
        "L2 anchor (FT-L2)": 0.61,
        "EWC": 0.66,
        "progressive (PNN)": 0.97,
        "from scratch (SAC-N)": 1.0,
        "subspace (CSP)": 1.27,
        "copies (FT-N)": 0.84,
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scenario": "humanoid/hrad"}, "unknown scenario 'humanoid/hrad'; did you mean humanoid/hard"),
        ({"scenario": ""}, "unknown scenario ''; there are: "),
        ({"methods": "ewc,packnett"}, "unknown method 'packnett'; did you mean packnet"),
        ({"methods": "ewc,"}, "unknown method ''; there are: "),
    ],
)
def test_unknown_names(given, message):
    with pytest.raises(UnknownNameError, match=re.escape(message)):
        continual_rl.make(**given)


def test_scenarios_whose_tasks_are_not_installed_are_refused_before_a_run(monkeypatch, tmp_path, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "metaworld" else found(name))
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "continual_rl", "--scenario", "humanoid/hard,continual_world/t1"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "pliant: problem continual_world needs metaworld: pip install -e '.[metaworld]'\n")
    assert not list(tmp_path.iterdir())


def test_successes_and_defaults_of_continual_world():
    success = panels(scenario="continual_world/cw20")[1]
    assert (success.title, success.measure.metric) == ("Success in training", "success")
    recipe = continual_rl.make(scenario="continual_world/cw20", methods="ewc,packnet")
    settings, version, numbers = recipe.falls_short
    assert "num_envs 4 (1)" in settings and "version 3" in version and "0.803 (PackNet)" in numbers
    ((_, sequence),) = recipe.sequences.items()
    assert sequence.notes[1] == (
        "Published for all scenarios: the prune of PackNet. With their defaults, since the published program lacks "
        "them: EWC."
    )


def test_chosen_methods():
    recipe = continual_rl.make(methods="replay, rewire,ewc")
    (sequence,) = recipe.sequences.values()
    assert [line.label for line in sequence.lines] == ["from scratch (SAC-N)", "EWC", "Rewire", "replay"]
    assert sequence.copies == {}  # they are those of fine-tuning
    assert recipe.title == "Continual reinforcement learning: halfcheetah/forgetting, 4 of 13 methods"
    _, settings, trials, aggregates = sequence.notes
    assert settings == (
        "Published for this scenario: the strength of EWC; temperature, noise, cycle, divergence and strength of "
        "Rewire. With their defaults, since the published program lacks them: replay."
    )
    assert trials.startswith("Steps in trials: ") and "(CSP)" in aggregates
    (all_methods,) = continual_rl.make().sequences.values()
    chosen = {run_of(line) for line in sequence.lines}
    assert chosen < {run_of(line) for line in all_methods.lines}  # the same runs


@pytest.mark.parametrize(("task", "num_envs", "width"), [(999_936, 128, 249_984), (2_000_000, 128, 500_000)])
def test_bins(task, num_envs, width):
    assert continual_rl._bin(task, num_envs * 1000) == width
    assert continual_rl._bin(16, 4000) == 16  # no episode ends but with the task
    assert continual_rl._bin(12_000, 4000) == 4000  # three episodes


def test_presets_are_left_as_they_are():
    before = json.dumps(crl_halfcheetah.PRESETS, sort_keys=True)
    continual_rl.make(scale=0.01, seeds="2")
    assert json.dumps(crl_halfcheetah.PRESETS, sort_keys=True) == before


def a_run(line):
    """A finished run on two tasks, as its files would tell it."""
    rows = [(100 * stage, "task_return", f"{task}/moon", 2.0 * stage) for task in (0, 1) for stage in (0, 1, 2)]
    rows += [(0, "task_random_return", f"{task}/moon", 0.0) for task in (0, 1)]
    rows += [(step, metric, "", 10.0) for step in (100, 200) for metric in ("parameters", "parameters_and_buffers")]
    rows += [(200, "trial_steps", "", 32.0)] if line.config["continual"]["name"] == "rewire" else []
    metrics = pd.DataFrame([(0, *row) for row in rows], columns=["seed", "step", "metric", "group", "value"])
    shard = Shard("0", {"started": "2026-11-29T12:00:00+0000"}, {"step": 200, "steps": 200, "state": "finished"})
    return Run({"problem": {"name": "toy"}}, (shard,), metrics, line.label)


def test_scenarios_in_turn(tmp_path, monkeypatch, capsys):
    """Two pages and one that sums them up, of runs that are not computed."""
    done = []

    def run(recipe, folder, **given):
        done.append(recipe.title)
        lines = next(iter(recipe.panels.values()))[0].lines
        return {run_of(line): a_run(line) for line in lines}

    monkeypatch.setattr(reproduction, "run", run)
    monkeypatch.setattr(reproduction, "write_figure", lambda *given: None)
    monkeypatch.setattr(book, "_pictures", lambda figure: [])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    scenarios = "halfcheetah/transfer,ant/transfer"
    words = f"reproduce continual_rl --scenario {scenarios} --methods rewire --book book"
    assert main(words.split()) == 0
    title = "Continual reinforcement learning"
    assert done == [f"{title}: {name}, 2 of 13 methods" for name in scenarios.split(",")]
    names = {f"continual_rl_{name}_rewire" for name in ("halfcheetah_transfer", "ant_transfer")}
    together = "continual_rl_halfcheetah_transfer_ant_transfer_rewire"
    assert {page.stem for page in (tmp_path / "book").glob("*.md")} == {*names, together, "index"}
    page = (tmp_path / "book" / "continual_rl_ant_transfer_rewire.md").read_text()
    assert "`pliant reproduce continual_rl --scenario ant/transfer --methods rewire`" in page
    assert "### Normalized return, 2 tasks" in page
    overview = (tmp_path / "book" / f"{together}.md").read_text()
    assert f"`pliant {words.removesuffix(' --book book')}`" in overview
    assert "### Steps in trials" in overview and "[ant/transfer](continual_rl_ant_transfer_rewire.md)" in overview
    written = tmp_path / "runs" / "figures" / "continual_rl" / f"{together}-steps-in-trials.csv"
    assert written.read_text() == "method,halfcheetah/transfer,ant/transfer\nRewire,32,32\n"
    assert f"page: book/{together}.md" in capsys.readouterr().out


def test_all_scenarios():
    given = {"scenario": "all", "methods": "ewc"}
    assert in_turn(given) == {name: {**given, "scenario": name} for name in continual_rl.CHOICES["scenario"]}
    assert in_turn({"methods": "ewc,replay"}) == {"": {"methods": "ewc,replay"}}  # one recipe of two methods


@pytest.mark.slow
@pytest.mark.compilations(36)  # two whole runs, with agents, borders of tasks and evaluations
def test_reproduce(tmp_path, monkeypatch, capsys):
    """Two tasks of 16 steps for fine-tuning and from scratch; a humanoid falls soon, so evaluations are short."""
    monkeypatch.setitem(continual_rl.SCENARIOS["humanoid"], "hard", Scenario(("normal", "carrystuff")))
    for name, value in {"_NARROW": 8, "_EPISODES": 1}.items():
        monkeypatch.setattr(continual_rl, name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    words = "reproduce continual_rl --scenario humanoid/hard --methods fine_tuning --scale 1e-9 --seeds 1 --book book"
    assert main(words.split()) == 0
    out, _ = capsys.readouterr()
    title = "Continual reinforcement learning: humanoid/hard, 2 of 13 methods"
    assert out.startswith(f"{title}: 2 runs, 64 steps in all\n")
    name = "continual_rl_humanoid_hard_fine_tuning"
    figures = {file.name for file in (tmp_path / "runs" / "figures" / "continual_rl").iterdir()}
    assert figures >= {f"{name}{ending}" for ending in (".png", "-returns.pdf", "-return.md", "-wall-time.csv")}
    page = (tmp_path / "book" / f"{name}.md").read_text()
    for part in (
        "### Return, 2 tasks",
        "### Normalized return, 2 tasks",
        "| copies (FT-N) ",
        "--scenario humanoid/hard",
    ):
        assert part in page
    assert (tmp_path / "book" / f"{name}_returns.png").stat().st_size < 150_000
