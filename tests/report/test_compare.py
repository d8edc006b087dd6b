"""Runs side by side, and what lies in a folder of runs."""

import os
import re
import time

import numpy as np
import pytest
import yaml

from pliant import report
from pliant.report.labels import differing, labels_of

SETTING = "agent.learning_rate"


def configure(path, **fields):
    (path / "config.yaml").write_text(yaml.safe_dump({"problem": {"name": "toy"}, **fields}))
    return path


@pytest.fixture
def two(write_run, rows_of):
    """`backprop` with seeds 0 to 4, and `redo` with seeds 1 to 6, whose last losses are half of theirs and less."""
    last = {0: 2, 1: 4, 2: 6, 3: 8, 4: 10}
    plain = write_run(rows_of("loss", {seed: [9, end] for seed, end in last.items()}, every=50), name="a")
    redo = write_run(rows_of("loss", {seed: [9, seed + 1] for seed in range(1, 7)}, every=50), name="b")
    configure(plain, methods=[], agent={"name": "sgd"})
    configure(redo, methods=[{"name": "redo"}], agent={"name": "sgd"})
    return [report.load(plain), report.load(redo)]


def test_a_row_for_each_run_with_its_difference_to_the_first(two):
    table = report.compare(two).table
    first, second = table.rows
    assert table.columns == ["run", "seeds", "loss", "difference", "pairs", "P(better)"]
    assert (first[0], first[1], first[2].value, first[3]) == ("sgd", 5, 6.0, None)
    # Of seeds 1 to 4: 2, 3, 4, 5 against 4, 6, 8, 10. Their mean difference is 3.5 - 7; four pairs have no interval.
    assert (second[0], second[1], second[2].value, second[4]) == ("redo", 6, 4.5, 4)
    assert second[3].value == -3.5 and np.isnan(second[3].low)
    # A loss is better if it is smaller. Pairs of 2 ... 7 with 2, 4, 6, 8, 10 that are smaller, ties half:
    # 4.5 + 4 + 3.5 + 3 + 2.5 + 2 of 30.
    assert second[5].value == 19.5 / 30
    assert any("smaller value than a seed of sgd" in note for note in table.notes)


def test_one_figure_has_a_curve_for_each_run(two, tmp_path):
    comparison = report.compare(two)
    assert [curve.label for panel in comparison.panels for curve in panel.curves] == ["sgd", "redo"]
    assert comparison.write(tmp_path / "new") == tmp_path / "new" / "loss.png"
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["loss.csv", "loss.md", "loss.pdf", "loss.png"]


def test_swept_values_are_compared_with_the_first(write_run, rows_of):
    values = {(seed, rate): [seed + 10 * rate] for seed in range(2) for rate in (0.1, 0.2)}
    run = report.load(write_run(rows_of("loss", values)))
    rows = report.compare([run]).table.rows
    # 0 + 1 and 1 + 1 against 0 + 2 and 1 + 2: a difference of one for both seeds.
    assert [row[0].endswith(f"learning rate {rate}") for row, rate in zip(rows, (0.1, 0.2))] == [True, True]
    assert (rows[1][3].value, rows[1][4]) == (1, 2)


def test_runs_of_one_configuration_are_one_run(two, write_run, rows_of):
    more = write_run(rows_of("loss", {7: [9, 12]}, every=50), name="c")
    configure(more, methods=[], agent={"name": "sgd"})
    rows = report.compare([two[0], report.load(more), two[1]]).table.rows
    assert [(row[0], row[1]) for row in rows] == [("sgd", 6), ("redo", 6)]
    assert rows[0][2].value == (2 + 4 + 6 + 8 + 10 + 12) / 6
    with pytest.raises(
        ValueError, match=r"run 2 of those given has the .* an earlier one, a, and both hold seed 0; leave"
    ):
        report.compare([two[0], two[0]])


def test_what_cannot_be_compared_is_refused(two, write_run, rows_of):
    with pytest.raises(ValueError, match=r"a alone is nothing to compare; write two runs, or one with swept settings"):
        report.compare([two[0]])
    with pytest.raises(ValueError, match=r"a has no metric 'return' of the whole network; it recorded: loss$"):
        report.compare(two, "return")
    other = report.load(write_run(rows_of("rank", {0: [1]}), name="d"))
    with pytest.raises(ValueError, match=r"the runs share neither a return nor a loss; write a metric: none$"):
        report.compare([two[0], other])


def test_labels_say_what_differs(write_run, rows_of):
    runs = []
    for name, rate in (("a", 0.1), ("b", 0.2)):
        path = write_run(rows_of("loss", {0: [1]}), name=name)
        runs.append(report.load(configure(path, agent={"name": "sgd", "learning_rate": rate, "momentum": 0})))
    assert labels_of(runs) == ["sgd learning_rate=0.1", "sgd learning_rate=0.2"]
    assert labels_of([runs[0], runs[0]]) == ["a", "a"]


def test_a_continual_method_is_in_the_label(write_run, rows_of):
    runs = []
    for name, continual in (("a", {"name": "ewc", "strength": 1}), ("b", {"name": "ewc", "strength": 9}), ("c", None)):
        path = write_run(rows_of("loss", {0: [1]}), name=name)
        settings = {"agent": {"name": "sac"}, **({"continual": continual} if continual else {})}
        runs.append(report.load(configure(path, methods=[{"name": "redo"}], **settings)))
    assert labels_of(runs) == ["ewc + redo strength=1", "ewc + redo strength=9", "redo"]


def test_a_setting_differs_only_among_those_that_have_it():
    one = {"problem": {"name": "p", "size": 1}, "methods": [{"name": "l2", "decay": 1}], "seeds": "3"}
    two = {"problem": {"name": "p", "size": 2}, "methods": [{"name": "redo", "period": 5}], "seeds": "4"}
    assert differing([one, two]) == [{"problem.size": 1}, {"problem.size": 2}]


def test_what_lies_in_a_folder(write_run, rows_of, tmp_path):
    for age, (name, rate, state) in enumerate(
        [("new", 0.1, "finished"), ("old", 0.2, "running"), ("on", 0.2, "running")]
    ):
        path = write_run(rows_of("loss", {0: [9, 2 + age], 1: [9, 4]}, every=50), name=name, state=state)
        configure(path, agent={"name": "sgd", "learning_rate": rate})
        os.utime(path, (1000 - age, 1000 - age))
    begun, damaged = tmp_path / "runs" / "begun", write_run(rows_of("loss", {0: [1]}), name="damaged")
    begun.mkdir()
    (begun / "config.yaml").write_text("problem: {name: toy}\n")
    (damaged / "shards" / "0-0" / "status.json").write_text("{")
    owner = tmp_path / "runs" / "on" / "shards" / "0-1" / "owner.json"
    owner.write_text("{}")
    table = report.overview(tmp_path / "runs")
    facts = {row[0]: row[1:] for row in table.rows}
    assert facts["new"] == ["learning_rate=0.1", "0-1", "finished", 100, "loss", 3.0]
    assert facts["old"] == ["learning_rate=0.2", "0-1", "stopped", 100, "loss", 3.5]
    assert facts["on"][2] == "running" and facts["begun"][2] == "begun" and facts["damaged"][2] == "damaged"
    assert [row[0] for row in table.rows][:3] == ["on", "old", "new"]
    os.utime(owner, (time.time() - 200,) * 2)  # its process was killed three minutes ago
    assert {row[0]: row[3] for row in report.overview(tmp_path / "runs").rows}["on"] == "stopped"


@pytest.mark.parametrize(("make", "message"), [(False, "there is no folder"), (True, "has no runs; a run makes one")])
def test_a_folder_without_runs_is_refused(tmp_path, make, message):
    if make:
        (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError, match=re.escape(message)):
        report.overview(tmp_path / "runs")
