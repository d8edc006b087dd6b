import importlib

import numpy as np
import pandas as pd
import pytest

from pliant import report
from pliant.cli import main

TUNED = {0: [[-2, 6, 2], [0, 0, 10]], 1: [[-2, 10, 6], [0, 0, 6]]}
SCRATCH = {0: [[-2, 6, 6], [0, 0, 4]]}


@pytest.fixture
def drawn(monkeypatch):
    """What would be drawn, which takes longer than the rest: panels and heat maps."""
    panels = []
    for module, plot in (("write", "plot"), ("sequence_report", "plot_heat_maps")):
        module = importlib.import_module(f"pliant.report.{module}")
        monkeypatch.setattr(module, plot, lambda some, *_, **__: panels.extend(some))
    return panels


def test_the_report_has_matrices_curves_and_tables(write_sequence, tmp_path, drawn):
    tuned, scratch = write_sequence("tuned", TUNED), write_sequence("scratch", SCRATCH)
    text = report.write(tuned, tmp_path, scratch).read_text()
    raw, normalized = drawn[:2]
    assert (raw.rows, raw.columns) == (("1 moon", "2 ice"), ["0", "1", "2"])
    np.testing.assert_array_equal(raw.values, [[-2, 8, 4], [0, 0, 8]])  # means of both seeds
    np.testing.assert_array_equal(normalized.values, [[0, 10 / 8, 6 / 8], [0, 0, 2]])
    assert raw.framed == [(0, 1), (1, 2)]
    panels = drawn[2:]
    curves = {panel.title: panel for panel in panels}
    assert curves["task return, 0/moon"].marks == {0: "moon", 50: "ice"}
    np.testing.assert_array_equal(curves["task return, 1/ice"].curves[0].estimate, [0, 0, 8])
    assert not any("random" in title for title in curves)  # one number has no curve
    assert "![return matrix](return_matrix.png)" in text and "### normalized return, 2 tasks" in text


def test_the_matrix_as_numbers(write_sequence, tmp_path, drawn):
    report.write(write_sequence("tuned", TUNED), tmp_path)
    matrix = pd.read_csv(tmp_path / "return_matrix.csv")
    assert list(matrix.columns[1:6]) == ["number", "task", "tasks learned", "step", "return"]
    np.testing.assert_array_equal(matrix["return"], [-2, 8, 4, 0, 0, 8])
    np.testing.assert_array_equal(matrix["step"], [0, 50, 100, 0, 50, 100])
    assert (tmp_path / "continual_return.csv").is_file()


def test_another_run_needs_no_reference(sweep, tmp_path):
    run = report.load(sweep)
    with pytest.raises(ValueError, match="toy-0123abcd has no task_return; leave the reference out"):
        report.write(run, tmp_path / "out", run)
    assert not (tmp_path / "out").exists()


def test_a_reference_that_does_not_fit_leaves_no_files(sweep, write_sequence, tmp_path):
    with pytest.raises(ValueError, match="toy-0123abcd has no task_return; leave it out"):
        report.write(write_sequence("tuned", TUNED), tmp_path / "out", report.load(sweep))
    assert not (tmp_path / "out").exists()


def test_runs_are_compared_by_their_return_on_all_tasks(write_sequence, tmp_path):
    tuned = write_sequence("tuned", TUNED, config={"continual": {"name": "fine_tuning"}})
    scratch = write_sequence(
        "scratch", SCRATCH, stored=((10, 10), (20, 20)), config={"continual": {"name": "from_scratch"}}
    )
    comparison = report.compare([tuned, scratch], reference=scratch)
    assert comparison.metric == "task_return"
    # (2 + 10) / 2 and (6 + 6) / 2 against (6 + 4) / 2, of the shared seed 5 - 6.
    assert [row[2].value for row in comparison.table.rows] == [6, 5]
    assert (comparison.table.rows[1][3].value, comparison.table.rows[1][4]) == (-1, 1)
    assert [table.title for table in comparison.continual] == ["return, 2 tasks", "normalized return, 2 tasks"]
    returns, trade_off = comparison.panels
    np.testing.assert_array_equal(returns.curves[0].estimate, [-1, 4, 6])  # over both tasks
    points = {curve.label: (curve.x[0], curve.estimate[0]) for curve in trade_off.curves}
    assert points == {"fine tuning": (3, (6 / 8 + 8 / 4) / 2), "from scratch": (2, 1)}
    comparison.write(tmp_path)
    assert {"task_return.png", "task_return.csv", "continual_normalized_return.csv"} <= {
        file.name for file in tmp_path.iterdir()
    }


def test_the_commands_take_a_reference(write_sequence, tmp_path, capsys, drawn):
    runs = {name: tmp_path / "runs" / name for name in ("tuned", "scratch")}
    write_sequence("tuned", TUNED, config={"continual": {"name": "fine_tuning"}})
    write_sequence("scratch", SCRATCH, config={"continual": {"name": "from_scratch"}})
    assert main(["report", str(runs["tuned"]), "--reference", str(runs["scratch"])]) == 0
    assert "normalized return, 2 tasks" in capsys.readouterr().out
    assert (runs["tuned"] / "report" / "continual_normalized_return.csv").is_file()
    words = ["compare", *map(str, runs.values()), "--reference", str(runs["scratch"]), "--out", str(tmp_path / "both")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "task_return of 2 settings" in out and "normalized return, 2 tasks" in out
    assert main(["report", str(runs["tuned"]), "--reference", str(tmp_path / "nowhere")]) != 0
    assert "there is no directory" in capsys.readouterr().err


def test_a_wide_range_of_memory_has_a_logarithmic_axis(write_sequence):
    small = write_sequence("small", TUNED, stored=((10, 10), (10, 10)))
    large = write_sequence("large", TUNED, stored=((10, 10), (10, 1000)), config={"continual": {"name": "replay"}})
    (_, trade_off) = report.compare([small, large]).panels
    assert trade_off.x_scale == "log" and trade_off.x_limits == (1 / 1.5, 150)


def test_another_metric_has_no_reference(write_sequence):
    runs = [write_sequence("tuned", TUNED), write_sequence("scratch", SCRATCH)]
    runs[1].config["continual"] = {"name": "from_scratch"}
    assert len(report.compare(runs, "return").panels) == 1
    with pytest.raises(ValueError, match="scratch is a reference of task_return, not of return"):
        report.compare(runs, "return", runs[1])


def test_the_summary_has_first_and_last_values_of_tasks(write_sequence):
    table = report.summary(write_sequence("tuned", TUNED, trials={seed: {51: 8, 100: 24} for seed in TUNED}))
    found = {tuple(row[:2]): (row[-2].value, row[-1].value) for row in table.rows}
    assert found["task_return", "0/moon"] == (-2, 4)
    assert found["trial_steps", ""] == (8, 24)
    assert "What is measured at the ends of tasks: the first and the last value." in table.notes
