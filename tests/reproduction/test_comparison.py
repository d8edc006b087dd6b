"""Figures and tables of a recipe, from runs that were written down by hand."""

import dataclasses

import numpy as np
import pytest
from toy_recipe import CONFIG, RETURN, a_run, panels, recipe_of

from pliant.report.recipe import Line, Measure, PanelSpec, Scale
from pliant.reproduction import compare, plans_of, run_of


def figure_of(*panels, **of_recipe):
    """The only figure of a recipe."""
    (figure,) = compare(*recipe_of(*panels, **of_recipe)).values()
    return figure


def test_panels_differ_in_their_measures():
    returns, fraction = figure_of(*panels()).panels
    (curve,) = returns.curves
    np.testing.assert_array_equal(curve.x, [4, 8, 12])
    # Seed 0: 15, none, 80; seed 1: 40, none, 100.
    np.testing.assert_array_equal(curve.estimate, [(15 + 40) / 2, np.nan, 90])
    assert (curve.diverged, curve.total) == (0, 2)
    (reference,) = returns.references
    assert (reference.x, reference.y, reference.of) == ([4, 6, 12], [25, 0, 200], "ours")
    assert (returns.y_label, returns.x_label, returns.title, returns.y_limits) == (
        "return",
        "steps",
        "Return",
        (0, 200),
    )
    (curve,) = fraction.curves
    np.testing.assert_array_equal(curve.x, [6, 12])
    np.testing.assert_allclose(curve.estimate, [15, 35], rtol=1e-6)  # float32
    assert fraction.references == []


def test_left_edges():
    (curve,) = figure_of(*panels(), edge="left").panels[0].curves
    np.testing.assert_array_equal(curve.x, [0, 4, 8])


def test_maxima():
    measure = Measure("fraction", "largest sum", 6, ("a", "b"), within="max", factor=2)
    (curve,) = figure_of(PanelSpec("Fraction", measure, (Line("ours", CONFIG),))).panels[0].curves
    # Of 2 x 0.1 and 2 x 0.2, and of 2 x 0.3 and 2 x 0.4; both seeds are alike.
    np.testing.assert_allclose(curve.estimate, [0.4, 0.8], rtol=1e-6)
    np.testing.assert_allclose(curve.each, [[0.4, 0.8]] * 2, rtol=1e-6)


def test_the_table_has_the_first_and_the_last_bin():
    table = figure_of(*panels()).table
    assert table.columns == ["panel", "method", "first bin [95 %]", "mean", "paper", "last bin [95 %]", "mean", "paper"]
    returns, fraction = table.rows
    assert returns[:2] == ["Return", "ours"]
    assert (returns[2].value, returns[2].members) == (27.5, 2)
    assert (returns[3], returns[4], returns[6], returns[7]) == (28.0, "25", 90.0, "200")
    assert (fraction[3], fraction[4], fraction[6], fraction[7]) == (15.0, None, 35.0, None)
    # (27.5 - 25 + 90 - 200) / 2; there is no bin at 6.
    assert table.notes[1:3] == (
        "Ours minus the paper's, averaged over its points: Return: ours -54 (2 points).",
        "A note.",
    )


def test_a_number_of_a_simulation_is_marked():
    line = Line("ours", CONFIG, simulated={4: 30})
    (row,) = figure_of(PanelSpec("Return", RETURN, (line,))).table.rows
    assert (row[3], row[-1]) == ("~30", None)


def test_the_table_step_by_step_has_the_steps_of_the_papers_numbers():
    assert figure_of(*panels()).step_by_step is None
    table = figure_of(*panels(), step_by_step=True).step_by_step
    assert table.title == "Toy, step by step"
    assert table.columns == ["panel", "method", "steps", "ours [95 %]", "mean", "paper"]
    assert [(*row[:3], row[3].value, *row[4:]) for row in table.rows] == [
        ("Return", "ours", 4, 27.5, 28.0, "25"),
        ("Return", "ours", 12, 90.0, 90.0, "200"),
    ]
    assert figure_of(panels()[1], step_by_step=True).step_by_step is None


def test_rows_are_the_numbers_of_the_table():
    figure = figure_of(*panels())
    assert list(figure.rows) == ["panel", "method", "measure", "seed", "step", "value"]
    returns = figure.rows[figure.rows["panel"] == "Return"]
    assert [tuple(row) for row in returns[["method", "measure", "seed", "step"]].to_numpy()] == [
        ("ours", "return", seed, step) for seed in (0, 1) for step in (4, 8, 12)
    ]
    np.testing.assert_array_equal(returns["value"], [15, np.nan, 80, 40, np.nan, 100])
    assert returns["value"].dtype == np.float32
    # Every number of the table, digit by digit, from the rows alone.
    for row in figure.table.rows:
        of_panel = figure.rows[figure.rows["panel"] == row[0]]
        means = of_panel.astype({"value": float}).groupby("step")["value"].mean()
        assert (row[2].value, row[5].value) == (means.iloc[0], means.iloc[-1])  # of two seeds, as the mean


@pytest.mark.parametrize(
    ("scale", "sentence"),
    [
        (Scale(12, 100, 2, 30), "Scaled down: 12 of the published 100 steps; 2 seeds, published 30. This is a check"),
        (Scale(12, 12, 2, 30), "2 seeds, published 30."),
    ],
)
def test_a_smaller_scale_falls_short(scale, sentence):
    figure = figure_of(panels()[1], scale=scale, falls_short=("Something else.",))
    assert figure.falls_short[0].startswith(sentence)
    assert figure.falls_short[1:] == ("Something else.",)
    assert figure.table.notes[-2:] == figure.falls_short


def test_at_the_published_scale_numbers_of_the_paper_outside_the_interval_fall_short():
    # Five seeds that are all alike: 90 at the end, which 200 is not. Two seeds have no interval to be outside of.
    assert figure_of(*panels()).falls_short == ()
    five = a_run([(seed, step, "return", "", value) for seed in range(5) for step, value in {4: 25, 12: 90}.items()])
    recipe, runs = recipe_of(panels()[0])
    (sentence,) = compare(recipe, dict.fromkeys(runs, five))["toy"].falls_short
    assert sentence == (
        "Numbers of the paper outside the 95 % interval of our mean, 1 of 2: ours at 12 (paper 200, ours 90 [90, 90])."
    )


@pytest.mark.parametrize(("panel", "markers"), [(0, "; markers: published."), (1, "")])
def test_note_of_the_figure(panel, markers):
    assert figure_of(panels()[panel]).note == f"Mean over seeds, and each seed thin{markers}"


def test_a_line_in_panels_of_two_measures_has_two_rows():
    line = Line("ours", CONFIG)
    fraction = panels()[1].measure
    table = figure_of(PanelSpec("Return", RETURN, (line,)), PanelSpec("Fraction", fraction, (line,))).table
    assert [row[0] for row in table.rows] == ["Return", "Fraction"]
    table = figure_of(PanelSpec("Return", RETURN, (line,)), PanelSpec("Again", RETURN, (line,))).table
    assert [row[0] for row in table.rows] == ["ours"]


def test_a_metric_that_a_short_run_has_not_recorded_is_unknown():
    measure = dataclasses.replace(RETURN, metric="success")
    figure = figure_of(PanelSpec("Success", measure, (Line("ours", CONFIG),)))
    (row,) = figure.table.rows
    assert np.isnan(row[1].value) and np.isnan(row[2])
    assert figure.rows["value"].isna().all()


def test_a_line_shows_the_members_of_its_settings():
    recipe, runs = recipe_of(PanelSpec("Return", RETURN, (Line("ours", CONFIG, {"agent.learning_rate": 0.1}),)))
    run = a_run()
    rates = np.where(run.metrics["seed"] == 0, 0.1, 0.2)
    swept = dataclasses.replace(run, metrics=run.metrics.assign(**{"agent.learning_rate": rates}))
    (curve,) = compare(recipe, dict.fromkeys(runs, swept))["toy"].panels[0].curves
    np.testing.assert_array_equal(curve.estimate, [15, np.nan, 80])  # seed 0 alone


def tasks_and_runs(*panels):
    """A recipe of panels in tasks, which end at steps 4, 6 and 12, and its runs: `other` has other numbers."""
    recipe, runs = recipe_of(*panels, x_label="tasks")
    for key in {*runs, *(run_of(panel.relative_to) for panel in panels if panel.relative_to)}:
        rows = [
            (seed, step, "accuracy", "", 0.01 * (step + 10 * seed) * (1 + seed * ("other" in key)))
            for seed in ((1, 2) if "other" in key else (0, 1, 2))
            for step in (2, 4, 6, 9, 12)
        ]
        run = a_run(rows)
        tasks = [{"name": str(until), "until": until} for until in (4, 6, 12)]
        (shard,) = run.shards
        status = {**shard.status, "tasks": tasks}
        runs[key] = dataclasses.replace(run, shards=(shard._replace(status=status),))
    return recipe, runs


ACCURACY = Measure("accuracy", "accuracy (%)", 1, within="max", factor=100, unit="tasks")


def test_bins_of_tasks():
    panel = PanelSpec("Accuracy", ACCURACY, (Line("ours", CONFIG),), x_limits=(1, 3), across={"chance": 20})
    (drawn,) = compare(*tasks_and_runs(panel))["toy"].panels
    (curve,) = drawn.curves
    np.testing.assert_array_equal(curve.x, [1, 2, 3])
    # The last step of a task has its largest accuracy, and the mean of the seeds has ten points more than seed 0.
    np.testing.assert_allclose(curve.estimate, [14, 16, 22], rtol=1e-6)
    assert (drawn.marks, drawn.x_limits) == ({}, (1, 3))  # marks are steps
    (reference,) = drawn.references
    assert (reference.label, reference.y, reference.x) == ("chance", 20, None)


def test_a_panel_relative_to_a_line_has_the_differences_of_the_same_seeds():
    other = Line("other", {"problem": "other"})
    panel = PanelSpec("Relative", ACCURACY, (Line("ours", CONFIG, published={3: -40.0}),), relative_to=other)
    figure = compare(*tasks_and_runs(panel))["toy"]
    (curve,) = figure.panels[0].curves
    # Seed 0 has no other; seeds 1 and 2 have once and twice their own numbers less: 14 and 2 x 24 after task 1.
    np.testing.assert_allclose(curve.each, [[-14, -16, -22], [-48, -52, -64]], rtol=1e-6)
    assert sorted(set(figure.rows["seed"])) == [1, 2]
    assert figure.table.rows[0][-1] == "-40.00"


def test_the_run_of_a_line_to_which_others_are_relative_is_computed_too():
    config = {"problem": {"name": "slowly_changing_regression", "examples": 100}, "record_every": 50}
    ours, other = Line("ours", config), Line("other", {**config, "seeds": "2"})
    recipe, _ = recipe_of(PanelSpec("Relative", ACCURACY, (ours,), relative_to=other))
    assert set(plans_of(recipe)) == {run_of(ours), run_of(other)}
