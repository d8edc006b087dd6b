"""The recipe of Neuroplastic Expansion: what it runs at every scale, and from the command line to its tables."""

import itertools
import json

import pytest

from pliant.cli import main
from pliant.experiment.configuration.reading import from_mapping
from pliant.recipes import neuroplastic

LABELS = [
    "TD3",
    "static, 80 % sparse",
    "Neuroplastic Expansion (code)",
    "Neuroplastic Expansion (paper)",
    "ReDo",
    "continual backprop",
    "layer reset",
]
SPARSE, GROWING = LABELS[1:4], LABELS[2:4]
ENVS = {"neuroplastic_halfcheetah": "HalfCheetah-v4", "neuroplastic_walker2d": "Walker2d-v4"}


def configs(**given):
    """The runs on HalfCheetah, by label, as plain data."""
    panel = neuroplastic.make(**given).panels["neuroplastic_halfcheetah"][0]
    return {line.label: from_mapping(line.config).to_mapping() for line in panel.lines}


def method_of(config):
    (method,) = config["methods"]
    return method


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("scale", [None, 1.0, 0.1, 0.0137, 0.001, 1e-9])
def test_runs_at_every_scale(full, scale):
    recipe = neuroplastic.make(full=full, scale=scale)
    steps = max(1000, round(1_000_000 * (scale or (1.0 if full else 0.05))))
    assert {name: panels[0].title for name, panels in recipe.panels.items()} == {
        name: f"Return, {env}" for name, env in ENVS.items()
    }
    parsed = {}  # of the same mapping, once
    for name, panel in [(name, panel) for name, panels in recipe.panels.items() for panel in panels]:
        only = {"Sparsity": SPARSE, "Overlap with the first mask": GROWING}.get(panel.title, LABELS)
        assert [line.label for line in panel.lines] == only
        bin = panel.measure.bin
        assert bin <= steps / 10 and bin <= 20_000
        for line in panel.lines:
            config = parsed.get(id(line.config)) or from_mapping(line.config)
            parsed[id(line.config)] = config
            assert (config.problem.settings["env"], config.problem.settings["steps"]) == (ENVS[name], steps)
            assert config.seeds == ("7" if full else "3")
            # Each bin has its rows, and its evaluations.
            for often in (config.record_every, config.evaluate_every):
                assert often <= 5000 and bin % often == 0
            agent = config.agent.settings
            assert 100 <= agent["learning_starts"] <= steps / 10
            assert agent["hidden_units"] == (64 if steps < 100_000 else 256)
            assert 3 <= config.evaluate_episodes <= 10
            assert agent["buffer_size"] == 1_000_000 or agent["buffer_size"] >= steps + steps / 1000
            measured = {part.name for part in config.diagnostics} | {"evaluation_return"}
            assert panel.measure.metric in measured
    assert (recipe.scale.steps, recipe.scale.published_steps) == (steps, 1_000_000)
    assert ("64 units instead of 256" in " ".join(recipe.falls_short)) == (steps < 100_000)
    # Seven runs on each robot: those of all panels are the same.
    lines = (line for panels in recipe.panels.values() for panel in panels for line in panel.lines)
    assert len({json.dumps(line.config, sort_keys=True) for line in lines}) == 14


def test_a_million_steps():
    dense, static, code, paper, redo, renewed, reset = configs(full=True).values()
    assert dense["agent"]["learning_starts"] == 25_000
    assert dense["agent"]["buffer_size"] == 1_000_000
    assert (dense["evaluate_every"], dense["evaluate_episodes"]) == (5000, 10)
    # All updates of the run: 1,000,000 steps less 25,000 of exploration.
    assert {method_of(config)["end"] for config in (code, paper)} == {0}
    assert method_of(static)["sparsity"] == 0.8
    assert method_of(code)["period"] == 100
    # 10,000 of 5,975,000 updates are 1,632 of 975,000.
    assert method_of(paper)["period"] == 1632
    assert (method_of(redo)["period"], method_of(renewed)["maturity"]) == (1000, 10_000)
    assert method_of(reset)["period"] == 200_000


def test_shorter_runs():
    # 20,000 steps: an episode of exploration, and 19,000 updates.
    dense, _, code, paper, redo, renewed, reset = configs(scale=0.02).values()
    assert dense["agent"]["learning_starts"] == 1000
    assert dense["evaluate_every"] == dense["record_every"] == 2000
    assert dense["evaluate_episodes"] == 4  # 10 in 5,000 steps are 4 in 2,000
    # An actor that grows in 190 topology steps, each of which takes two updates of the critics, within 9,500 of them.
    assert method_of(code)["period"] == 25
    assert method_of(paper)["period"] == 32  # 10,000 x 19,000 / 5,975,000
    assert method_of(redo)["period"] == 950  # 20 renewals
    assert (method_of(renewed)["maturity"], method_of(reset)["period"]) == (200, 4000)


def test_the_published_number_stands_at_the_program_alone():
    def published(**given):
        lines = (
            (panel.title, line)
            for panel in itertools.chain.from_iterable(neuroplastic.make(**given).panels.values())
            for line in panel.lines
        )
        return {(title, line.label): dict(line.published) for title, line in lines if line.published}

    assert published(full=True) == {("Return, HalfCheetah-v4", GROWING[0]): {1_000_000: 7800}}
    assert published(scale=0.999) == {}


@pytest.mark.parametrize(
    ("steps", "width"),
    [(1_000_000, 20_000), (200_000, 20_000), (199_999, 10_000), (15_000, 1000), (1999, 100), (1000, 100)],
)
def test_bin_width(steps, width):
    assert neuroplastic._bin_width(steps) == width


def test_seeds():
    assert {config["seeds"] for config in configs(seeds="0-1,7").values()} == {"0-1,7"}
    assert neuroplastic.make(seeds="0-1,7").scale.seeds == 3


def test_presets_are_left_as_they_are():
    before = json.dumps(neuroplastic.PRESETS, sort_keys=True)
    neuroplastic.make(scale=0.01, seeds="2")
    assert json.dumps(neuroplastic.PRESETS, sort_keys=True) == before


@pytest.mark.slow
@pytest.mark.compilations(22)  # whole runs, with agents, diagnostics and evaluations
def test_reproduce(tmp_path, monkeypatch, capsys):
    """One run of 200 steps for all lines of a robot, with networks of eight units and an evaluation every 100 steps."""
    small = dict(neuroplastic.PRESETS["code"])
    small["agent"] = {**small["agent"], "hidden_units": 8, "batch_size": 8}
    small["methods"] = [{**small["methods"][0], "final_sparsity": 0.7}]  # so few steps are not enough for more growth
    small["evaluate_episodes"] = 1
    monkeypatch.setattr(neuroplastic, "PRESETS", dict.fromkeys(neuroplastic.PRESETS, small))
    for name, value in {"_SHORTEST": 200, "_FEWEST_BINS": 2, "_ENVS": {"hopper": "Hopper-v4"}}.items():
        monkeypatch.setattr(neuroplastic, name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["reproduce", "neuroplastic", "--scale", "1e-9", "--seeds", "2"]) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("TD3 with Neuroplastic Expansion: 1 run, 400 steps in all\n")
    assert "Scaled down: 200 of the published 1,000,000 steps; 2 seeds, published 7." in out
    figures = tmp_path / "runs" / "figures" / "neuroplastic"
    names = sorted(file.name for file in figures.iterdir())
    assert names == [f"neuroplastic_hopper.{ending}" for ending in ("csv", "md", "pdf", "png")]
    rows = [row.split(",") for row in (figures / "neuroplastic_hopper.csv").read_text().splitlines()[1:]]
    assert len(rows) == 4 * 7 + 3 + 2  # four panels of seven lines, one of three and one of two
