"""The recipe of continual ImageNet: its runs, the published numbers, and a reproduction of a few tiny tasks."""

import csv
import itertools
import json

import pytest

from pliant.cli import main
from pliant.experiment.configuration.reading import from_mapping
from pliant.recipes import continual_imagenet
from pliant.report.recipe import Scale


def lines(recipe):
    """`(panel, line)` of all figures."""
    panels = itertools.chain.from_iterable(recipe.panels.values())
    return [(panel, line) for panel in panels for line in panel.lines]


@pytest.mark.parametrize(("full", "seeds", "data"), [(False, "3", "synthetic"), (True, "30", "imagenet32")])
def test_every_line_has_its_run(full, seeds, data):
    for panel, line in lines(continual_imagenet.make(full=full)):
        config = from_mapping(line.config)
        settings = config.problem.settings
        assert (config.problem.name, config.seeds, settings["data"]) == ("continual_imagenet", seeds, data)
        for name, value in line.where.items():
            assert value in config.sweep[name]
        assert set(config.sweep) == set(line.where), f"{line.label} does not say which"
        # A row at the end of each task, of the last epoch alone.
        images, batch = (1200, 100) if full else (120, 20)
        assert config.record_every == settings.get("epochs", 250) * images // batch
        assert panel.measure.unit == "tasks" and panel.measure.bin <= settings["tasks"]


def test_the_full_recipe_has_the_published_panels():
    recipe = continual_imagenet.make(full=True)
    first, rates, methods = recipe.panels["continual_imagenet"]
    assert (first.measure.bin, rates.measure.bin, methods.measure.bin) == (1, 50, 50)
    assert [line.config["problem"]["tasks"] for line in methods.lines] == [2000, 5000, 5000, 5000]
    assert [line.published[1950] for line in rates.lines] == [74.0, 78.7, 78.3]
    assert [line.published[4950] for line in methods.lines[1:]] == [89.15, 89.2, 90.45]
    assert min(rates.lines[2].published) == 200  # before, the curve lies below the axis
    assert (first.lines[0].published[9], first.x_limits) == (84.1, (0, 9))
    assert rates.across == {"linear classifier (published)": 77.1}
    assert methods.lines[0] is rates.lines[0]  # one run, one row
    assert recipe.scale == Scale(5000, 5000, 30, 30)


@pytest.mark.parametrize("scale", [1.0, 0.1, 0.01])
def test_published_numbers_lie_in_bins_of_the_run(scale):
    for panel, line in lines(continual_imagenet.make(full=True, scale=scale)):
        for task in line.published:
            assert task % panel.measure.bin == 0
            assert task < line.config["problem"]["tasks"]


def test_scale_and_seeds():
    recipe = continual_imagenet.make(scale=0.01, seeds="0-1,7")
    for _, line in lines(recipe):
        assert (line.config["problem"]["tasks"], line.config["seeds"]) == (50, "0-1,7")
    assert recipe.scale == Scale(50, 5000, 3, 30)
    for panel, line in lines(continual_imagenet.make(full=True, scale=1e-9)):
        assert (line.config["problem"]["tasks"], panel.measure.bin <= 2) == (2, True)


def test_of_other_images_the_paper_has_no_numbers():
    recipe = continual_imagenet.make(full=True, data="cifar100")
    assert recipe.falls_short == ("The images are not those of ImageNet: cifar100.",)
    for panel, line in lines(recipe):
        assert (line.config["problem"]["data"], line.published, panel.across) == ("cifar100", {}, {})
    # The made-up data and the digits have fewer.
    test_images = [
        lines(continual_imagenet.make(data=data))[0][1].config["problem"]["test_images"]
        for data in ("cifar100", "digits", "synthetic")
    ]
    assert test_images == [100, 27, 10]


def test_presets_are_left_as_they_are():
    before = json.dumps(continual_imagenet.PRESETS, sort_keys=True)
    continual_imagenet.make(scale=0.01)
    assert json.dumps(continual_imagenet.PRESETS, sort_keys=True) == before


@pytest.mark.slow
@pytest.mark.compilations(16)  # whole runs, with methods and diagnostics
def test_reproduce(tmp_path, monkeypatch, capsys):
    """Tasks of two epochs with a network of two channels; all lines have the run of backpropagation."""
    monkeypatch.setattr(continual_imagenet, "_SHORT_EPOCHS", 2)
    monkeypatch.setattr(continual_imagenet, "_SHORT_BIN", 2)
    small = {**continual_imagenet._SHORT, "epochs": 2, "channels": 2, "hidden_units": 4}
    monkeypatch.setattr(continual_imagenet, "_SHORT", small)
    backprop = {**continual_imagenet.PRESETS["bp"], "diagnostics": []}
    one_rate = {**backprop, "sweep": {}}
    presets = {**dict.fromkeys(continual_imagenet.PRESETS, one_rate), "bp": backprop}
    monkeypatch.setattr(continual_imagenet, "PRESETS", presets)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["reproduce", "continual_imagenet", "--scale", "0.0008", "--seeds", "2"]) == 0
    out, _ = capsys.readouterr()
    # Four tasks of 2 x 120 examples: of two seeds at three rates, and of two seeds.
    assert out.startswith("Continual pairs of classes (synthetic): 2 runs, 7,680 examples in all\n")
    assert "Scaled down: 4 of the published 5,000 tasks; 2 seeds, published 30." in out
    figures = tmp_path / "runs" / "figures" / "continual_imagenet"
    assert "made-up images of 20 classes" in (figures / "continual_imagenet.md").read_text()
    _, *rows = csv.reader((figures / "continual_imagenet.csv").read_text().splitlines())
    assert [row[0] for row in rows] == [
        "backprop, rate 0.01", "backprop, rate 0.001", "backprop, rate 0.0001", "L2", "shrink and perturb",
        "continual backprop",
    ]  # fmt: skip
    # Means of two seeds, two tasks and twenty test images: multiples of 1/80, of which the table has two digits.
    means = [float(row[i]) for row in rows for i in (4, -2)]
    assert all(abs(mean - round(mean / 1.25) * 1.25) < 0.011 and 0 <= mean <= 100 for mean in means)
