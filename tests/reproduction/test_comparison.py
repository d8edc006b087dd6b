"""Figures and tables of a recipe, from runs that were written down by hand."""

import numpy as np
import pandas as pd
import pytest

from pliant.report import Run, Shard
from pliant.report.recipe import Line, Measure, Panel, Recipe
from pliant.reproduction.comparison import Comparison, run_of

CONFIG = {"problem": "toy"}


def a_run(rows):
    metrics = pd.DataFrame(rows, columns=["seed", "step", "metric", "group", "value"])
    shard = Shard("0-0", {}, {"step": 12, "steps": 12, "state": "finished"})
    return Run({}, (shard,), metrics.astype({"value": float}))


# Two seeds of 12 steps; episodes that end when they end, and two groups of units every third step.
RUN = a_run(
    [(0, step, "return", "", value) for step, value in {1: 10, 3: 20, 9: 70, 12: 90}.items()]
    + [(1, step, "return", "", value) for step, value in {4: 40, 11: 100}.items()]
    + [(seed, 3 * i, "fraction", group, 0.1 * i) for seed in (0, 1) for group in ("a", "b") for i in (1, 2, 3, 4)]
)

RETURN = Measure("return", "return", 4, decimals=0)
FRACTION = Measure("fraction", "fraction (%)", 6, ("a", "b"), factor=100, decimals=1)


def compare(*panels, **of_recipe):
    recipe = Recipe("Toy", "steps", {"toy": panels}, ("a note",), **of_recipe)
    return Comparison(recipe, panels, {run_of(line): RUN for panel in panels for line in panel.lines})


def panels():
    # Numbers for 4 and 12 stand at right edges; 6 is none of `RETURN`.
    returns = Line("ours", CONFIG, published={4: 25, 6: 0, 12: 100})
    return Panel("Return", RETURN, (returns,), (0, 200)), Panel("Fraction", FRACTION, (Line("ours", CONFIG),))


def test_panels_differ_in_what_they_show():
    returns, fraction = compare(*panels(), edge="right").drawn()
    (curve,) = returns.curves
    np.testing.assert_array_equal(curve.x, [4, 8, 12])
    # Seed 0: 15, none, 80; seed 1: 40, none, 100.
    np.testing.assert_array_equal(curve.estimate, [(15 + 40) / 2, np.nan, 90])
    (reference,) = returns.references
    assert (reference.x, reference.y, reference.of) == ([4, 6, 12], [25, 0, 100], "ours")
    assert (returns.y_label, returns.x_label, returns.title, returns.y_limits) == (
        "return",
        "steps",
        "Return",
        (0, 200),
    )
    (curve,) = fraction.curves
    np.testing.assert_array_equal(curve.x, [6, 12])
    np.testing.assert_allclose(curve.estimate, [15, 35])
    assert fraction.references == []


def test_left_edges_by_default():
    (curve,) = compare(*panels()).drawn()[0].curves
    np.testing.assert_array_equal(curve.x, [0, 4, 8])


def test_maxima():
    measure = Measure("fraction", "largest sum", 6, ("a", "b"), within="max", factor=2)
    (curve,) = compare(Panel("Fraction", measure, (Line("ours", CONFIG),))).drawn()[0].curves
    # Of 2 x 0.1 and 2 x 0.2, and of 2 x 0.3 and 2 x 0.4; both seeds are alike.
    np.testing.assert_allclose([curve.estimate, curve.low, curve.high], [[0.4, 0.8]] * 3)


def test_table():
    table = compare(*panels(), edge="right").table()
    assert table.columns == ["panel", "method", "first bin [95 %]", "mean", "paper", "last bin [95 %]", "mean", "paper"]
    returns, fraction = table.rows
    assert returns[:2] == ["Return", "ours"]
    assert (returns[2].value, returns[2].members) == (27.5, 2)
    assert (returns[3], returns[4], returns[6], returns[7]) == (28.0, "25", 90.0, "100")
    assert (fraction[3], fraction[4], fraction[6], fraction[7]) == (15.0, None, 35.0, None)
    # (27.5 - 25 + 90 - 100) / 2; there is no bin at 6.
    assert table.notes[1:] == (
        "Ours minus the paper's, averaged over its points: Return: ours -4 (2 points).",
        "a note",
    )


def test_table_step_by_step():
    assert compare(*panels(), edge="right").step_by_step() is None
    table = compare(*panels(), edge="right", step_by_step=True).step_by_step()
    assert table.title == "Toy, step by step"
    assert table.columns == ["panel", "method", "steps", "ours [95 %]", "mean", "paper"]
    assert [(*row[:3], row[3].value, *row[4:]) for row in table.rows] == [
        ("Return", "ours", 4, 27.5, 28.0, "25"),
        ("Return", "ours", 12, 90.0, 90.0, "100"),
    ]
    without = compare(panels()[1], edge="right", step_by_step=True)
    assert without.step_by_step() is None


@pytest.mark.parametrize(("panel", "note"), [(0, "interval; markers: published."), (1, "interval")])
def test_note_of_the_figure(panel, note):
    assert compare(panels()[panel]).note == f"Mean over seeds with its 95 % bootstrap {note}"


def test_a_line_in_panels_of_two_measures_has_two_rows():
    line = Line("ours", CONFIG)
    table = compare(Panel("Return", RETURN, (line,)), Panel("Fraction", FRACTION, (line,))).table()
    assert [row[0] for row in table.rows] == ["Return", "Fraction"]
    table = compare(Panel("Return", RETURN, (line,)), Panel("Again", RETURN, (line,))).table()
    assert [row[0] for row in table.rows] == ["ours"]
