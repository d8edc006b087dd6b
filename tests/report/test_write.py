import importlib
import json

import numpy as np
import pandas as pd
import pytest

from pliant.report import load, write


@pytest.fixture
def drawn(monkeypatch):
    """The panels that would be drawn, which takes longer than the rest."""
    panels = []
    module = importlib.import_module("pliant.report.write")
    monkeypatch.setattr(module, "plot", lambda some, *_, **__: panels.extend(some))
    return panels


def test_default_report(sweep, tmp_path):
    before = sorted(sweep.rglob("*"))
    report = write(load(sweep), tmp_path / "out")
    assert report == tmp_path / "out" / "report.md"
    assert sorted(file.name for file in report.parent.iterdir()) == [
        "curves.csv",
        "dormant.pdf",
        "dormant.png",
        "error.pdf",
        "error.png",
        "report.md",
        "summary.csv",
    ]
    assert all(file.stat().st_size > 0 for file in report.parent.iterdir())
    text = report.read_text()
    for words in (
        "# toy-0123abcd",
        "pliant run toy",
        "![error](error.png)",
        "| dormant | Dense_1",
        "1 of learning rate",
    ):
        assert words in text
    assert sorted(sweep.rglob("*")) == before


def test_curves_as_numbers(sweep, tmp_path, drawn):
    write(load(sweep), tmp_path)
    curves = pd.read_csv(tmp_path / "curves.csv")
    error = curves[(curves["metric"] == "error") & (curves["curve"] == "learning rate 0.1")]
    np.testing.assert_array_equal(error["step"], [1, 2, 3, 4])
    np.testing.assert_array_equal(error["estimate"], [15.0, 15.0, 10.0, 10.0])
    np.testing.assert_array_equal(error["seeds"], [4, 4, 3, 3])


def test_tasks_are_marked_in_every_panel(sweep, shard_of, tmp_path, drawn):
    tasks = [{"name": "5x5", "until": 2}, {"name": "6x6", "until": 4}]
    file = shard_of(sweep) / "status.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tasks": tasks}))
    write(load(sweep), tmp_path)
    assert len(drawn) == 3 and all(panel.marks == {0: "5x5", 2: "6x6"} for panel in drawn)


def test_many_steps_are_binned(write_run, rows_of, tmp_path):
    # 450 steps: a hundredth is 4.5, so the blocks are 5 wide; the first holds the steps 1 to 5.
    write(load(write_run([*rows_of("loss", {0: range(1, 451)})], ends=(450,))), tmp_path)
    curves = pd.read_csv(tmp_path / "curves.csv")
    assert len(curves) == 90
    assert (curves["step"][1], curves["estimate"][0]) == (5, 3.0)


def test_episodes_are_binned_though_they_are_few(episodes, tmp_path, drawn):
    # The longest episode has 11 steps, but a curve should have 20 points: of 20 steps, that is one each.
    write(load(episodes), tmp_path)
    curves = pd.read_csv(tmp_path / "curves.csv")
    returns = curves[curves["metric"] == "return"]
    np.testing.assert_array_equal(returns["step"], range(20))
    assert returns["seeds"].sum() == 10
    assert list(curves["metric"].unique()) == ["return", "length", "loss"]
    assert list(curves.loc[curves["metric"] == "loss", "step"]) == [10, 20]


def test_blocks_of_episodes_hold_one_of_each_seed(write_run, tmp_path, drawn):
    # Episodes of 30 steps, of seed 1 later by 10: a twentieth of the run has 50 steps, a hundredth 10.
    ends = {seed: range(30 + 10 * seed, 1001, 30) for seed in range(2)}
    rows = [
        {"seed": seed, "step": step, "metric": "return", "group": "", "value": 1.0}
        for seed, steps in ends.items()
        for step in steps
    ]
    write(load(write_run(rows, ends=(1000,))), tmp_path)
    curves = pd.read_csv(tmp_path / "curves.csv")
    np.testing.assert_array_equal(curves["step"], range(0, 1000, 50))  # the next of 1, 2, 5 x 10^k after 30
    assert (curves["seeds"] == 2).all()


def test_a_metric_may_have_any_name(write_run, rows_of, tmp_path):
    write(load(write_run([*rows_of("eval/return of task 1", {0: [1, 2]})], ends=(2,))), tmp_path)
    assert (tmp_path / "eval_return_of_task_1.png").is_file()
    assert "![eval/return of task 1](eval_return_of_task_1.png)" in (tmp_path / "report.md").read_text()


def test_a_second_report_replaces_the_first(write_run, rows_of, tmp_path):
    run = load(write_run([*rows_of("loss", {0: [1, 2]})], ends=(2,)))
    first = {file: file.read_bytes() for file in write(run, tmp_path / "out").parent.iterdir()}
    assert {file: file.read_bytes() for file in write(run, tmp_path / "out").parent.iterdir()} == first
