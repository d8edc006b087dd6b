"""The recipe of incremental CIFAR-100: its runs, the published numbers, and a reproduction of a few tiny tasks."""

import csv
import io
import json

import pandas as pd
import pytest

from pliant import reproduction
from pliant.cli import main
from pliant.experiment.configuration.reading import from_mapping
from pliant.recipes import incremental_cifar
from pliant.report.recipe import Scale
from pliant.reproduction import run_of

LABELS = ["retrained network", "base system", "continual backprop", "shrink and perturb", "head reset"]


def panels_of(**given):
    return incremental_cifar.make(**given).panels["incremental_cifar"]


@pytest.mark.parametrize(("full", "seeds", "data"), [(False, "2", "synthetic"), (True, "30", "cifar100")])
def test_every_line_has_its_run(full, seeds, data):
    accuracy, relative, *_ = panels_of(full=full)
    assert [line.label for line in accuracy.lines] == LABELS
    assert [line.label for line in relative.lines] == LABELS[1:]
    assert relative.relative_to is accuracy.lines[0]
    # The relative accuracies are those of the same runs.
    assert [run_of(line) for line in relative.lines] == [run_of(line) for line in accuracy.lines[1:]]
    for line in accuracy.lines:
        config = from_mapping(line.config)
        settings = config.problem.settings
        assert (config.problem.name, config.seeds, settings["data"]) == ("incremental_cifar", seeds, data)
        assert settings["augment_test"] is True
        # The first task has five classes; a later epoch is a multiple of its updates, so that each has a row.
        assert config.record_every == 5 * settings.get("train_images", 450) // settings.get("batch_size", 90)
    resets = [[method.name for method in from_mapping(line.config).methods] for line in accuracy.lines]
    assert ["full_reset" in names for names in resets] == [True, False, False, False, False]


def test_the_full_recipe_has_the_published_numbers():
    accuracy, relative, *_ = panels_of(full=True)
    assert (accuracy.measure.within, accuracy.measure.bin, accuracy.measure.unit) == ("max", 1, "tasks")
    # After 5, 15 and 100 classes.
    assert [(line.published[1], line.published[3], line.published[20]) for line in accuracy.lines[:3]] == [
        (89.6, 85.3, 76.05),
        (89.4, 87.7, 71.1),
        (89.1, 87.6, 76.1),
    ]
    assert [line.published[20] for line in relative.lines] == [-5.0, 0.07, -1.5, -2.4]
    for line in (*accuracy.lines, *relative.lines[:2]):
        assert list(line.published) == list(range(1, 21))
    # The differences that the authors plot are those of their accuracies, as far as one can read them off.
    reset = accuracy.lines[0].published
    for line, ours in zip(accuracy.lines[1:], relative.lines):
        for task, difference in ours.published.items():
            assert abs(line.published[task] - reset[task] - difference) < 0.2
    # Before any training all units are at work; the numbers are percentages of the features of the last layer.
    *_, dormant, rank = panels_of(full=True)
    assert [line.label for line in dormant.lines] == [line.label for line in rank.lines] == LABELS[1:]
    assert [(line.published.get(1), line.published[20]) for line in dormant.lines] == [
        (0.0, 55.6), (None, 1.4), (None, 7.6), (None, 40.9),
    ]  # fmt: skip
    assert [line.published[20] for line in rank.lines] == [75.4, 92.65, 89.4, 89.7]
    assert (rank.measure.factor, panels_of()[-1].measure.factor) == (100 / 512, 100 / 32)
    recipe = incremental_cifar.make(full=True)
    assert (recipe.scale, recipe.edge) == (Scale(20, 20, 30, 30), "right")


def test_scale_and_seeds():
    accuracy, relative, *_ = panels_of(full=True, scale=0.25, seeds="0-1,7")
    for line in (*accuracy.lines, *relative.lines):
        assert (line.config["problem"]["tasks"], line.config["seeds"]) == (5, "0-1,7")
        assert set(line.published) <= {1, 2, 3, 4, 5}
    assert incremental_cifar.make(scale=0.25, seeds="0-1,7").scale == Scale(5, 20, 3, 30)
    assert panels_of(scale=1e-9)[0].lines[0].config["problem"]["tasks"] == 1


def test_of_other_images_the_paper_has_no_numbers():
    for line in panels_of(full=True, data="imagenet32")[0].lines:
        assert (line.config["problem"]["data"], line.published) == ("imagenet32", {})
    # The made-up data have few images; other data those of the paper.
    held_out = [panels_of(data=data)[0].lines[0].config["problem"] for data in ("synthetic", "cifar100")]
    assert [problem.get("test_images", 100) for problem in held_out] == [10, 100]


def test_presets_are_left_as_they_are():
    before = json.dumps(incremental_cifar.PRESETS, sort_keys=True)
    incremental_cifar.make(scale=0.01)
    assert json.dumps(incremental_cifar.PRESETS, sort_keys=True) == before


@pytest.mark.slow
@pytest.mark.compilations(16)  # whole runs
def test_reproduce(tmp_path, monkeypatch, capsys):
    """Two tasks of two epochs; all lines but the retrained network share a run.

    Pairs of classes and a network of few units, as a residual network takes a minute to be compiled.
    """
    pairs = {"train_images": 10, "batch_size": 10, "channels": 1, "hidden_units": 2}
    for name, value in {"_SHORT": {"epochs": 2, **pairs}, "_SHORT_DECAY": "1", "_CLASSES": 2}.items():
        monkeypatch.setattr(incremental_cifar, name, value)
    monkeypatch.setattr(incremental_cifar, "_SHORT_HELD_OUT", {"synthetic": {"test_images": 10}})
    monkeypatch.setattr(incremental_cifar, "_TRAIN_MODE", False)  # such a network has no running statistics
    base = incremental_cifar.PRESETS["base_deep_learning_system"]
    plain = {**base, "problem": {"name": "continual_imagenet"}, "agent": {"name": "sgd", "learning_rate": 0.1}}
    reset = {**plain, "methods": incremental_cifar.PRESETS["retrained_network"]["methods"]}
    presets = {**dict.fromkeys(incremental_cifar.PRESETS, plain), "retrained_network": reset}
    monkeypatch.setattr(incremental_cifar, "PRESETS", presets)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["reproduce", "incremental_cifar", "--scale", "0.1", "--seeds", "2"]) == 0
    out, _ = capsys.readouterr()
    # Two tasks of two epochs of 2 x 10 images, of two seeds and two runs.
    assert out.startswith("Incremental classes (synthetic): 2 runs, 320 examples in all\n")
    figures = tmp_path / "runs" / "figures" / "incremental_cifar"
    _, *rows = csv.reader((figures / "incremental_cifar.csv").read_text().splitlines())
    accuracy, relative, dormant, rank = (
        {row[1]: (float(row[5]), float(row[-2])) for row in rows if row[0] == title}
        for title in ("Accuracy", "Relative to the retrained network", "Dormant units", "Stable rank")
    )
    assert (list(accuracy), list(relative)) == (LABELS, LABELS[1:])
    # The mean of the differences of two seeds is the difference of their means.
    for label, differences in relative.items():
        expected = [here - there for here, there in zip(accuracy[label], accuracy[LABELS[0]])]
        assert differences == pytest.approx(expected, abs=0.02)
    # Before the first task and before the second, of the same networks, in percent.
    assert list(dormant) == list(rank) == LABELS[1:]
    assert all(0 <= value <= 100 for values in dormant.values() for value in values)
    assert len(set(rank.values())) == 1 and all(value > 0 for value in rank["base system"])
    (analysed,) = (tmp_path / "runs").glob("*/analysis.parquet")
    table = pd.read_parquet(analysed).query("examples == 'next_task' and metric == 'inactive_fraction' and group == ''")
    first, second, *_ = table.groupby("task")["value"].mean()
    assert dormant["base system"] == pytest.approx((100 * first, 100 * second), abs=0.01)

    # A finished analysis is only read. The figures are those above.
    monkeypatch.setattr(reproduction, "write_figure", lambda *given: None)
    written = analysed.stat().st_mtime_ns
    assert main(["reproduce", "incremental_cifar", "--scale", "0.1", "--seeds", "2"]) == 0
    assert analysed.stat().st_mtime_ns == written

    # A damaged one is made again, with the same numbers.
    content = analysed.read_bytes()
    analysed.write_bytes(content[:100])
    assert main(["reproduce", "incremental_cifar", "--scale", "0.1", "--seeds", "2"]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(analysed), pd.read_parquet(io.BytesIO(content)))
