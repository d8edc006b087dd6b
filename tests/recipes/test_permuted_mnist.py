"""The recipe of permuted MNIST: its runs, the published numbers, and a reproduction of a few tiny tasks."""

import csv
import dataclasses
import itertools
import json

import pytest

from pliant.cli import main
from pliant.experiment.configuration.reading import from_mapping
from pliant.recipes import permuted_mnist
from pliant.report.recipe import Scale

KEPT = ("backprop", "L2 init")


def lines(recipe):
    """`(panel, line)` of all figures."""
    panels = itertools.chain.from_iterable(recipe.panels.values())
    return [(panel, line) for panel in panels for line in panel.lines]


@pytest.mark.parametrize(("full", "seeds", "data"), [(False, "6", "fashion_mnist"), (True, "10", "mnist")])
def test_every_line_has_its_run(full, seeds, data):
    for panel, line in lines(permuted_mnist.make(full=full)):
        config = from_mapping(line.config)
        assert (config.problem.name, config.seeds) == ("permuted_mnist", seeds)
        assert config.problem.settings["data"] == data
        for name, value in line.where.items():
            assert value in config.sweep[name]
        assert set(config.sweep) == set(line.where), f"{line.label} does not say which"
        assert panel.measure.bin is None or panel.measure.bin % config.record_every == 0


def test_the_full_recipe_has_the_published_panels():
    recipe = permuted_mnist.make(full=True)
    assert {name: len(panels) for name, panels in recipe.panels.items()} == {
        "permuted_mnist": 3,
        "permuted_mnist_methods": 4,
    }
    rates, widths, lengths = recipe.panels["permuted_mnist"]
    # Task 799 of 60,000 images begins after 47,940,000.
    assert [line.published[47_940_000] for line in rates.lines] == [90.25, 93.70, 93.97]
    assert [line.published[149 * 60_000] for line in widths.lines[1:]] == [93.75, 95.79]
    assert [line.config["problem"]["hidden_units"] for line in widths.lines] == [100, 1000, 10_000]
    assert [line.config["problem"]["tasks"] for line in lengths.lines] == [4800, 480, 48]
    assert lengths.lines[2].published[47_000_000] == 98.83
    assert recipe.scale == Scale(48_000_000, 48_000_000, 10, 10)


@pytest.mark.parametrize("scale", [1.0, 0.1, 0.01])
def test_published_numbers_lie_in_bins_of_the_run(scale):
    for panel, line in lines(permuted_mnist.make(full=True, scale=scale)):
        for step in line.published:
            assert panel.measure.metric == "accuracy"  # of which these are the paper's numbers
            assert step % panel.measure.bin == 0
            assert step < 48_000_000 * scale


def test_of_other_images_the_paper_has_no_numbers():
    recipe = permuted_mnist.make(full=True, data="digits")
    assert recipe.title == "Permuted images (digits)"
    for _, line in lines(recipe):
        assert (line.config["problem"]["data"], line.published) == ("digits", {})


def test_scale_and_seeds():
    recipe = permuted_mnist.make(scale=0.00125, seeds="0-1,7")
    for _, line in lines(recipe):
        # 60,000 examples in tasks of 6,000.
        assert (line.config["problem"]["tasks"], line.config["seeds"]) == (10, "0-1,7")
    assert recipe.scale == Scale(60_000, 48_000_000, 3, 10)
    (_, line), *_ = lines(permuted_mnist.make(scale=1e-9))
    assert line.config["problem"]["tasks"] == 2


def test_presets_are_left_as_they_are():
    before = json.dumps(permuted_mnist.PRESETS, sort_keys=True)
    permuted_mnist.make(scale=0.01, data="digits")
    assert json.dumps(permuted_mnist.PRESETS, sort_keys=True) == before


@pytest.mark.slow
@pytest.mark.compilations(12)  # two whole runs, with diagnostics
def test_reproduce(tmp_path, monkeypatch, capsys):
    """Two tasks of 50 digits, and networks of eight units; of the methods L2 init alone, as each is a run more."""
    short = permuted_mnist._short

    def of_few(*given):
        return tuple(
            dataclasses.replace(panel, lines=tuple(line for line in panel.lines if line.label.startswith(KEPT)))
            for panel in short(*given)
        )

    small = {"_SHORT_TASK": 50, "_SHORT_WIDTH": 8, "_EXAMPLES": 8000, "_short": of_few}
    for name, value in small.items():
        monkeypatch.setattr(permuted_mnist, name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    words = "reproduce permuted_mnist --data digits --scale 0.0125 --seeds 2 --book book"
    assert main(words.split()) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("Permuted images (digits): ")
    figures = tmp_path / "runs" / "figures" / "permuted_mnist"
    _, *rows = csv.reader((figures / "permuted_mnist_digits.csv").read_text().splitlines())
    panels = {row[0] for row in rows}
    assert panels >= {"Backpropagation loses plasticity", "Dead units", "Effective rank", "Weights"}
    # Means of two seeds, of the accuracies of 50 predictions each: whole percents.
    means = [float(row[i]) for row in rows for i in (5, -2) if row[0] == "Backpropagation loses plasticity"]
    assert len(means) == 6 and all(mean == round(mean) and 0 <= mean <= 100 for mean in means)
    page = (tmp_path / "book" / "permuted_mnist_digits.md").read_text()
    assert "pliant reproduce permuted_mnist --scale 0.0125 --seeds 2 --data digits" in page
