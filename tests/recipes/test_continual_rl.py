"""The recipe of continual reinforcement learning: its runs at every scale, and a tiny scenario to its page."""

import itertools
import json

import pytest

from pliant.cli import main
from pliant.core.registry import UnknownNameError
from pliant.experiment.configuration.reading import from_mapping
from pliant.presets import crl_halfcheetah
from pliant.problems.scenarios._tasks import Scenario
from pliant.recipes import continual_rl
from pliant.report.recipe import Scale
from pliant.reproduction import run_of

METHODS = ["fine_tuning", "from_scratch", "l2_anchor", "ewc", "replay"]


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
        assert [one.continual.name for one in configs] == METHODS
        for one in configs:
            problem = one.problem.settings
            assert (one.problem.name, problem["scenario"]) == (f"crl_{domain}", name)
            assert (one.seeds, one.evaluate_tasks) == (("10", 5120) if full else ("3", 8))
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
    falls_short = " ".join(continual_rl.make(full=True).falls_short)
    assert "differ" not in falls_short and "earlier program" in falls_short


def test_what_differs_from_the_published_settings_is_said():
    (settings, engine, numbers) = continual_rl.make(scale=0.03, scenario="ant/transfer").falls_short
    assert "task_steps 30,000 (999,936), num_envs 4 (128), learning_starts 1,500 (12,800)" in settings
    assert "critic_learning_rate 0.001" not in settings and "initial_temperature 0.1 (2.0)" in settings
    assert "evaluate_tasks 8 (5,120)" in settings and "reward_scale" not in settings
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
        "from scratch (SAC-N)": 1.0,
        "copies (FT-N)": 0.84,
    }


def test_an_unknown_scenario():
    with pytest.raises(UnknownNameError, match="unknown scenario 'humanoid/hrad'; did you mean humanoid/hard"):
        continual_rl.make(scenario="humanoid/hrad")


@pytest.mark.parametrize(("task", "num_envs", "width"), [(999_936, 128, 249_984), (2_000_000, 128, 500_000)])
def test_bins(task, num_envs, width):
    assert continual_rl._bin(task, num_envs) == width
    assert continual_rl._bin(16, 4) == 16  # no episode ends but with the task
    assert continual_rl._bin(12_000, 4) == 4000  # three episodes


def test_presets_are_left_as_they_are():
    before = json.dumps(crl_halfcheetah.PRESETS, sort_keys=True)
    continual_rl.make(scale=0.01, seeds="2")
    assert json.dumps(crl_halfcheetah.PRESETS, sort_keys=True) == before


@pytest.mark.slow
@pytest.mark.compilations(36)  # two whole runs, with agents, borders of tasks and evaluations
def test_reproduce(tmp_path, monkeypatch, capsys):
    """Two tasks of 16 steps for fine-tuning and from scratch; a humanoid falls soon, so evaluations are short."""
    monkeypatch.setitem(continual_rl.SCENARIOS["humanoid"], "hard", Scenario(("normal", "carrystuff")))
    monkeypatch.setattr(continual_rl, "_LABELS", dict(itertools.islice(continual_rl._LABELS.items(), 2)))
    for name, value in {"_NARROW": 8, "_EPISODES": 1}.items():
        monkeypatch.setattr(continual_rl, name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    words = "reproduce continual_rl --scenario humanoid/hard --scale 1e-9 --seeds 1 --book book"
    assert main(words.split()) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("Continual reinforcement learning: humanoid/hard: 2 runs, 64 steps in all\n")
    name = "continual_rl_humanoid_hard"
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
