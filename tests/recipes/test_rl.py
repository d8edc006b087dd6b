"""The recipes of PPO: what they run at every scale, and one of them from the command line to its tables."""

import itertools
import json

import pytest

from pliant.cli import main
from pliant.core import registry
from pliant.experiment.configuration.reading import from_mapping
from pliant.recipes import _ppo, ant, hopper, slippery_ant, walker
from pliant.report.recipe import Scale

RECIPES = {"ant": ant, "hopper": hopper, "slippery_ant": slippery_ant, "walker": walker}
PUBLISHED = {"ant": 50_000_000, "hopper": 100_000_000, "slippery_ant": 20_000_000, "walker": 50_000_000}


def lines(recipe):
    """`(panel, line)` of all figures."""
    panels = itertools.chain.from_iterable(recipe.panels.values())
    return [(panel, line) for panel in panels for line in panel.lines]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("scale", [None, 1.0, 0.1, 0.01, 0.0037, 1e-9])
def test_runs_at_every_scale(name, full, scale):
    recipe = RECIPES[name].make(full=full, scale=scale)
    steps = max(2048, round(PUBLISHED[name] * (scale or 1.0))) if scale or full else 300_000
    seeds = {"slippery_ant": "100"}.get(name, "30") if full else "4"
    for panel, line in lines(recipe):
        config = from_mapping(line.config)
        if panel.measure.metric == "weight_change":
            continue
        assert config.problem.name == name
        assert (config.problem.settings["steps"], config.seeds, config.sweep) == (steps, seeds, {})
        bin = panel.measure.bin
        # At least a round and, in a shorter run than the published, about twenty of them; each with a row of metrics.
        assert 2048 <= bin <= max(2048, steps / 20)
        assert bin >= min(steps / 60, 100_000)
        assert -(-config.record_every // 2048) * 2048 <= bin
        assert set(line.published) <= set(range(bin, steps + 1, bin))
    assert recipe.scale == Scale(steps, PUBLISHED[name], int(seeds), 100 if name == "slippery_ant" else 30)
    assert recipe.edge == "right"


@pytest.mark.parametrize(
    ("steps", "published", "width"),
    [
        (50_000_000, 250_000, 250_000),  # as published
        (100_000_000, 500_000, 500_000),
        (5_000_000, 250_000, 250_000),  # a twentieth
        (4_900_000, 250_000, 100_000),  # a twentieth is 245,000
        (1_000_000, 100_000, 50_000),
        (100_000, 100_000, 5_000),
        (50_000, 100_000, 2_500),
        (49_000, 100_000, 2048),  # a twentieth is 2,450: a round
        (2048, 100_000, 2048),
    ],
)
def test_bin_width(steps, published, width):
    assert _ppo.bin_width(steps, published) == width


def test_ant_as_published():
    recipe = ant.make(full=True)
    assert list(recipe.panels) == ["ant", "ant_methods", "ant_weight_change"]
    returns, dormant, rank, weights = recipe.panels["ant"]
    assert [panel.measure.bin for panel in (returns, dormant, rank, weights)] == [250_000, 100_000, 100_000, 100_000]
    assert [line.label for line in returns.lines] == ["Adam", "proper Adam", "L2", "continual backprop"]
    assert returns.lines[3].published[7_500_000] == 4200
    assert weights.lines[3].published[500_000] == 0.033
    (change,) = recipe.panels["ant_weight_change"]
    assert (change.measure.bin, change.measure.within) == (1_024_000, "max")
    for line in change.lines:
        assert (line.config["problem"]["steps"], line.config["record_every"]) == (20_480_000, 2048)
    # Four runs for four panels; ReDo, instantaneous utility; two in which every change of the weights is measured.
    configs = {json.dumps(line.config, sort_keys=True) for _, line in lines(recipe)}
    assert len(configs) == 8
    assert {line.config["record_every"] for panel, line in lines(recipe) if panel is not change} == {10_000}


def test_ant_says_when_there_is_no_window_of_weight_changes():
    recipe = ant.make(full=True, scale=0.02)  # 1,000,000 steps, and 500 rounds have 1,024,000
    assert list(recipe.panels) == ["ant", "ant_methods"]
    assert recipe.falls_short == (ant._NO_WINDOW,)
    recipe = ant.make(full=True, scale=0.021)
    (change,) = recipe.panels["ant_weight_change"]
    assert change.lines[0].config["problem"]["steps"] == 1_050_000
    assert recipe.falls_short == ()


def test_numbers_beyond_a_shorter_run_are_left_out():
    returns, dormant, rank, weights = ant.make(scale=0.02).panels["ant"]
    assert [line.published for line in (*returns.lines, *dormant.lines)] == [{}] * 8
    assert rank.lines[3].published == {1_000_000: 91}
    assert [line.published for line in weights.lines] == [{}, {}, {1_000_000: 0.018}, {500_000: 0.033}]
    returns = ant.make(scale=0.1).panels["ant"][0]
    assert list(returns.lines[0].published) == [2_000_000, 3_000_000, 5_000_000]
    assert returns.y_limits is None


def test_friction_changes_as_often_in_a_shorter_run():
    (_, line), *_ = lines(slippery_ant.make(scale=0.01))
    assert (line.config["problem"]["steps"], line.config["problem"]["change_time"]) == (200_000, 20_000)
    assert "every 20,000 steps" in slippery_ant.make(scale=0.01).notes[-1]


def test_seeds():
    for _, line in lines(hopper.make(seeds="0-1,7")):
        assert line.config["seeds"] == "0-1,7"
    assert hopper.make(seeds="0-1,7").scale == Scale(300_000, 100_000_000, 3, 30)


def test_presets_are_left_as_they_are():
    before = json.dumps(slippery_ant.PRESETS, sort_keys=True)
    slippery_ant.make(scale=0.01)
    assert json.dumps(slippery_ant.PRESETS, sort_keys=True) == before


@pytest.mark.slow
@pytest.mark.compilations(16)  # whole runs, with agents, diagnostics and evaluations
def test_reproduce_hopper(tmp_path, monkeypatch, capsys):
    """One run of two rounds for all lines, with networks of eight units and two optimizer steps a round."""
    small = dict(hopper.PRESETS["cbp"])
    small["agent"] = {**small["agent"], "hidden_units": 8, "epochs": 1, "minibatches": 2}
    monkeypatch.setattr(hopper, "PRESETS", dict.fromkeys(hopper.PRESETS, small))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["reproduce", "hopper", "--scale", "0.00004", "--seeds", "2"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("PPO on Hopper: 1 run, 8,000 steps in all\n")
    assert " steps/s" in err
    assert "Scaled down: 4,000 of the published 100,000,000 steps; 2 seeds, published 30." in out
    figures = tmp_path / "runs" / "figures" / "hopper"
    assert sorted(file.name for file in figures.iterdir()) == [f"hopper.{e}" for e in ("csv", "md", "pdf", "png")]
    rows = [row.split(",") for row in (figures / "hopper.csv").read_text().splitlines()[1:]]
    panels = ("Return", "Dormant units", "Stable rank", "Weight magnitude")
    methods = ("Adam", "proper Adam", "L2", "continual backprop")
    assert [tuple(row[:2]) for row in rows] == list(itertools.product(panels, methods))
    # The weights of an untrained network have a mean magnitude of half their bound, sqrt(3 / 8) / 2 = 0.306.
    means = [float(row[5]) for row in rows if row[0] == "Weight magnitude"]
    assert all(0.2 < mean < 0.4 for mean in means)
    assert all(0 < float(row[5]) < 100 for row in rows if row[0] == "Stable rank")


def test_recipes_are_found():
    assert set(RECIPES) < set(registry.names("recipes"))
