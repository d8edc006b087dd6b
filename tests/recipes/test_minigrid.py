"""The recipe of MiniGrid: what it runs at every scale, and from the command line to its tables."""

import json

import pytest

from pliant.cli import main
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.loops.planning import unchecked_plan
from pliant.recipes import minigrid

LABELS = [
    "8x8 alone",
    "curriculum",
    "curriculum + continual backprop",
    "curriculum + continual backprop everywhere",
]


@pytest.mark.parametrize("scale", [None, 1.0, 0.1, 0.01, 1e-9])
def test_runs_at_every_scale(scale):
    recipe = minigrid.make(scale=scale)
    (evaluation,) = recipe.evaluations.values()
    assert [line.label for line in evaluation.lines] == LABELS
    panels = recipe.panels["minigrid"]
    for line in evaluation.lines:
        config = from_mapping(line.config)
        assert config.seeds == "10"
        tasks = config.problem.settings["tasks"].split(",")
        ends = [int(task.partition(":")[2]) for task in tasks]
        # Whole rounds of learning, at least one for each task; all are trained for as long.
        assert all(end % 2048 == 0 for end in ends) and ends == sorted(set(ends))
        if scale in (None, 1.0):
            assert ends in ([1_986_560], [491_520, 983_040, 1_986_560])
        for panel in panels:
            assert config.record_every <= panel.measure.bin and panel.measure.bin % config.record_every == 0
    assert (recipe.scale.steps, recipe.scale.published_steps) == (ends[-1], 1_986_560)


def test_seeds():
    def seeds(**given):
        (evaluation,) = minigrid.make(**given).evaluations.values()
        return {line.config["seeds"] for line in evaluation.lines}

    assert (seeds(), seeds(full=True), seeds(full=True, seeds="3")) == ({"10"}, {"30"}, {"3"})


def test_continual_backprop_as_published_and_everywhere():
    (evaluation,) = minigrid.make().evaluations.values()
    _, _, published, everywhere = (from_mapping(line.config).methods for line in evaluation.lines)
    settings = dict(published[0].settings)
    # 64 units of either head, a rate of 1e-4 and 100 rounds of 32 updates until a unit is mature.
    assert (settings["groups"], settings["on_new_task"]) == ("policy/Dense_0,value/Dense_0", "reset")
    assert (settings["replacement_rate"], settings["maturity"], settings["period"]) == (1e-4, 100, 32)
    settings = dict(everywhere[0].settings)
    assert (settings["groups"], settings["on_new_task"]) == ("", "keep")
    assert (settings["replacement_rate"], settings["maturity"], settings["period"]) == (1e-4, 3200, 1)


def test_presets_are_left_as_they_are():
    before = json.dumps(minigrid.PRESETS, sort_keys=True)
    minigrid.make(scale=0.01, seeds="2")
    assert json.dumps(minigrid.PRESETS, sort_keys=True) == before


def test_a_round_of_the_problem_is_what_the_recipe_takes_it_for():
    plan = unchecked_plan(from_mapping(minigrid.PRESETS["reference"]))
    assert plan.steps_at_once == minigrid._ROUND
    assert [task.until for task in plan.tasks] == [491_520, 983_040, 1_986_560]


@pytest.mark.slow
@pytest.mark.compilations(36)  # whole runs, with agents, diagnostics and evaluations
def test_reproduce(tmp_path, monkeypatch, capsys):
    """Rounds of 32 steps, two environments, two optimizer steps a round; all lines share one run."""
    small = dict(minigrid.PRESETS["reference"])
    small["problem"] = {**small["problem"], "num_envs": 2}
    small["agent"] = {**small["agent"], "horizon": 16, "epochs": 1, "minibatches": 2}
    small["diagnostics"] = ["dormant_fraction", "unit_age"]
    presets = dict.fromkeys(minigrid.PRESETS, small)
    monkeypatch.setattr(minigrid, "PRESETS", presets)
    for name, value in {"_ROUND": 32, "_BIN": 32, "_ENVS": ("5x5",), "_EPISODES": 2}.items():
        monkeypatch.setattr(minigrid, name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["reproduce", "minigrid", "--scale", "1e-9", "--seeds", "2"]) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("PPO on MiniGrid DoorKey: 1 run, 192 steps in all\n")
    figures = tmp_path / "runs" / "figures" / "minigrid"
    assert {file.name for file in figures.iterdir()} >= {
        "minigrid.png",
        "minigrid_transfer.md",
        "minigrid_transfer.csv",
    }
    rows = [row.split(",") for row in (figures / "minigrid_transfer.csv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == LABELS
    episodes = (figures / "minigrid_transfer-episodes.csv").read_text().splitlines()
    assert len(episodes) - 1 == 4 * 2 * 2  # of each line and seed two
    # So short a run has seen no episode end; there is nothing to draw of those, and it says so.
    assert " - " in (figures / "minigrid.md").read_text()
