"""The recipe of slowly-changing regression asks for runs that there are, and for values that they have."""

import itertools

import pytest

from pliant.experiment.configuration.reading import from_mapping
from pliant.recipes import regression
from pliant.report.recipe import Scale


@pytest.mark.parametrize("full", [False, True])
def test_every_line_has_its_run(full):
    recipe = regression.make(full=full)
    configs = {}
    for line in itertools.chain.from_iterable(panel.lines for panels in recipe.panels.values() for panel in panels):
        config = configs.setdefault(id(line.config), from_mapping(line.config))
        assert config.seeds == ("100" if full else "30")
        for name, value in line.where.items():
            assert value in config.sweep[name], f"{line.label}: {name}={value} of {config.sweep}"
        left = set(config.sweep) - set(line.where)
        assert not left, f"{line.label} does not say which {left}"


def test_the_full_recipe_has_the_published_figures():
    panels = regression.make(full=True).panels
    assert list(panels) == [
        *(f"{optimizer}_{kind}" for optimizer in ("sgd", "adam") for kind in ("bp", "wd", "snp", "cbp", "5m")),
        "flip_one",
    ]
    assert len(panels["flip_one"]) == 7


def test_scale_and_seeds():
    recipe = regression.make(scale=0.1, seeds="3")
    for panel in recipe.panels["regression"]:
        for line in panel.lines:
            assert line.config["problem"]["examples"] == 100_000
            assert line.config["seeds"] == "3"
            assert set(line.published) <= {0}  # of the paper's numbers, those that the run reaches
    assert recipe.scale == Scale(100_000, 1_000_000, 3, 100)
    (panel, _) = regression.make(scale=1e-6).panels["regression"]
    assert panel.lines[0].config["problem"]["examples"] == panel.measure.bin  # a bin at least


def test_presets_are_left_as_they_are():
    before = regression.PRESETS["sgd/bp/relu"]["problem"]["examples"]
    regression.make(scale=0.1)
    assert regression.PRESETS["sgd/bp/relu"]["problem"]["examples"] == before == 1_000_000


def test_published_numbers_lie_in_bins():
    recipe = regression.make(full=True)
    for panel in itertools.chain.from_iterable(recipe.panels.values()):
        for line in panel.lines:
            for step in {**line.published, **line.simulated}:
                assert step % panel.measure.bin == 0
                assert step < line.config["problem"]["examples"]
