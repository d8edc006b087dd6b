import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pliant import report
from pliant.report import bootstrap_interval, curves_of, load, values_of

NAN = float("nan")


def test_a_curve_for_each_value_of_a_setting(sweep):
    small, large = curves_of(load(sweep), "error")
    assert (small.label, large.label) == ("learning rate 0.01", "learning rate 0.1")
    np.testing.assert_array_equal(small.x, [1, 2, 3, 4])
    # Seeds 0..3 begin at their number and climb by one: the mean begins at 1.5.
    np.testing.assert_array_equal(small.estimate, [1.5, 2.5, 3.5, 4.5])
    # Of 0, 10, 20, 30, the last is left out from step 3 on.
    np.testing.assert_array_equal(large.estimate, [15.0, 15.0, 10.0, 10.0])
    np.testing.assert_array_equal(large.members, [4, 4, 3, 3])
    assert (small.diverged, small.total) == (0, 4)
    assert (large.diverged, large.total) == (1, 4)
    interval = bootstrap_interval([0.0, 10.0, 20.0])
    np.testing.assert_array_equal([large.low[3], large.high[3]], [interval.low, interval.high])


def test_bins_are_taken_member_by_member(sweep):
    small, large = curves_of(load(sweep), "error", bin=2)
    np.testing.assert_array_equal(small.x, [0, 2])
    np.testing.assert_array_equal(small.estimate, [2.0, 4.0])
    np.testing.assert_array_equal(large.estimate, [15.0, 10.0])
    (small, _) = curves_of(load(sweep), "error", bin=3)  # step 4 is a remainder
    np.testing.assert_array_equal(small.estimate, [2.5])


def test_returns_in_bins_that_end_where_they_stand(episodes):
    (curve,) = curves_of(load(episodes), "return", bin=5, edge="right")
    np.testing.assert_array_equal(curve.x, [5, 10, 15, 20])
    # Seed 0: (1 + 3) / 2, none, 5, (7 + 9) / 2. Seed 1: none, 10, none, 30. Seed 2: (4 + 6) / 2, none, 8, none.
    np.testing.assert_array_equal(curve.estimate, [(2 + 5) / 2, 10, (5 + 8) / 2, (8 + 30) / 2])
    np.testing.assert_array_equal(curve.members, [2, 1, 2, 2])
    assert (curve.diverged, curve.total) == (1, 3)
    (curve,) = curves_of(load(episodes), "return", bin=5)
    np.testing.assert_array_equal(curve.x, [0, 5, 10, 15])


def test_values_are_those_of_the_members(episodes):
    members, x, values = values_of(load(episodes), "return", bin=5, edge="right")
    assert members["seed"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(x, [5, 10, 15, 20])
    # The means of each seed's returns, as above.
    np.testing.assert_array_equal(values, [[2, NAN, 5, 8], [NAN, 10, NAN, 30], [5, NAN, 8, NAN]])


def test_members_of_a_sweep_are_a_seed_and_a_value(sweep):
    members, _, values = values_of(load(sweep), "error", bin=2)
    assert list(members) == ["seed", "agent.learning_rate"]
    assert members.to_numpy().tolist() == [[seed, rate] for seed in range(4) for rate in (0.01, 0.1)]
    # Seed s with 0.01 has s, s + 1, s + 2, s + 3; with 0.1 it stays at 10 s, and the last is lost after step 2.
    np.testing.assert_array_equal(values[0::2], [[s + 0.5, s + 2.5] for s in range(4)])
    np.testing.assert_array_equal(values[1::2], [[0, 0], [10, 10], [20, 20], [30, NAN]])


def test_a_member_without_any_row_is_counted(write_run, rows_of):
    rows = [*rows_of("loss", {0: [1], 1: [2]}), *rows_of("return", {0: [5]})]
    (curve,) = curves_of(load(write_run(rows, ends=(1,))), "return")
    assert (curve.members[0], curve.total) == (1, 2)


def test_the_largest_of_a_block(sweep):
    small, _ = curves_of(load(sweep), "error", bin=2, within="max")
    # Seeds s of 0 to 3 have s, s + 1, s + 2, s + 3: the largest of two are s + 1 and s + 3.
    np.testing.assert_array_equal(small.estimate, [2.5, 4.5])


@pytest.mark.parametrize("bin", [None, 2])
def test_several_groups_of_units(sweep, bin):
    small, _ = curves_of(load(sweep), "dormant", group=("Dense_0", "Dense_1"), bin=bin)
    np.testing.assert_array_equal(small.estimate, [(0 + 0.25) / 2, (0.5 + 0.75) / 2])


def test_the_largest_mean_of_groups_and_a_group_that_is_nan(write_run, rows_of):
    first, second = {0: [9, 1, 1, NAN], 1: [0, 0, 0, 0]}, {0: [1, 2, 3, 4], 1: [0, 8, 0, 2]}
    rows = [*rows_of("change", first, "a"), *rows_of("change", second, "b"), *rows_of("change", first, "c")]
    # Seed 0: means 5, 1.5, 2, NaN, so the largest are 5 and NaN; seed 1: 0, 4, 0, 1.
    (curve,) = curves_of(load(write_run(rows, ends=(4,))), "change", group=["a", "b"], bin=2, within="max")
    np.testing.assert_array_equal(curve.estimate, [(5 + 4) / 2, 1])
    np.testing.assert_array_equal(curve.members, [2, 1])


def test_interquartile_mean_and_standard_error(sweep):
    run = load(sweep)
    # Of 0, 10, 20, 30 the outer two go; of three, none.
    np.testing.assert_array_equal(curves_of(run, "error", statistic="iqm")[1].estimate, [15.0, 15.0, 10.0, 10.0])
    large = curves_of(run, "error", band="standard_error")[1]
    # Deviations of 0, 10, 20, 30: variance 125, error sqrt(125 / 4).
    np.testing.assert_allclose(large.high[:2] - large.estimate[:2], np.sqrt(125 / 4))
    np.testing.assert_allclose(large.estimate[:2] - large.low[:2], np.sqrt(125 / 4))


def test_settings_left_out_join_the_seeds(sweep):
    (joined,) = curves_of(load(sweep), "error", by=(), label="both")
    assert joined.label == "both"
    assert joined.total == 8
    assert joined.estimate[0] == (0 + 1 + 2 + 3 + 0 + 10 + 20 + 30) / 8


def test_a_group_of_units(sweep):
    (curve, _) = curves_of(load(sweep), "dormant", group="Dense_1", label="ReDo")
    assert curve.label == "ReDo learning rate 0.01"
    np.testing.assert_array_equal(curve.x, [2, 4])
    np.testing.assert_array_equal(curve.estimate, [0.25, 0.75])


def test_a_run_without_a_sweep_and_with_one_seed(write_run, rows_of):
    (curve,) = curves_of(load(write_run([*rows_of("error", {0: [1, 2]})], ends=(2,))), "error")
    assert curve.label == "toy-0123abcd"
    np.testing.assert_array_equal(curve.estimate, [1.0, 2.0])
    assert np.isnan(curve.low).all()


def test_settings_of_the_same_ending_keep_their_whole_names(write_run):
    rows = [
        {"seed": 0, "actor.width": 1.0, "critic.width": w, "step": 1, "metric": "m", "group": "", "value": w}
        for w in (2.0, 3.0)
    ]
    labels = [curve.label for curve in curves_of(load(write_run(rows, ends=(1,))), "m")]
    assert labels == ["actor.width 1, critic.width 2", "actor.width 1, critic.width 3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "loss"}, "no metric 'loss'; it recorded: diverged, dormant, error"),
        ({"metric": "dormant"}, "'dormant' of the group ''; write group= one of: 'Dense_0', 'Dense_1'"),
        ({"metric": "error", "by": ["width"]}, "'width' was not swept in this run; it swept: agent.learning_rate"),
        ({"metric": "error", "bin": 5}, "bin=5 does not fit a run of 4 steps"),
        ({"metric": "error", "statistic": "median"}, "statistic='median' is not known; write one of: mean, iqm"),
        ({"metric": "error", "band": "range"}, "band='range' is not known; write one of: bootstrap, standard_error"),
        ({"metric": "error", "edge": "middle"}, "edge='middle' is not known; write one of: left, right"),
        ({"metric": "error", "within": "min"}, "within='min' is not known; write one of: mean, max"),
        (
            {"metric": "dormant", "group": ("Dense_0", "x")},
            "'dormant' of the group 'x'; write group= one of: 'Dense_0'",
        ),
        ({"metric": "error", "band": "standard_error", "statistic": "iqm"}, "not of 'iqm'"),
    ],
)
def test_refuses(sweep, arguments, message):
    with pytest.raises(ValueError, match=message):
        curves_of(load(sweep), **arguments)


@pytest.mark.parametrize("module", ["curves", "load", "recipe", "shards", "statistics", "tables"])
def test_plain_data_are_free_of_matplotlib(module):
    assert "matplotlib" not in Path(report.__file__).with_name(f"{module}.py").read_text()


@pytest.fixture
def of_tasks(write_run, rows_of):
    """Tasks that end at steps 2, 5, 6 and 10, the last of them at work; a row of the accuracy at each step."""
    tasks = [{"name": str(number), "until": until} for number, until in enumerate((2, 5, 6, 10))]
    values = {0: [1, 2, 9, 4, 5, 7, 8, 3], 1: [2, 4, 3, 3, 3, 0, 1, 1]}
    return write_run(list(rows_of("accuracy", values)), (8,), state="running", tasks=tasks)


def test_bins_of_tasks_whatever_their_lengths(of_tasks):
    run = load(of_tasks)
    assert run.ends_of_tasks == (2, 5, 6, 10)
    _, x, values = values_of(run, "accuracy", bin=1, unit="tasks", edge="right")
    np.testing.assert_array_equal(x, [1, 2, 3])  # the fourth is not over
    # Steps 1 and 2; 3, 4 and 5; 6.
    np.testing.assert_array_equal(values, [[1.5, 6, 7], [3, 3, 0]])
    _, _, values = values_of(run, "accuracy", bin=1, unit="tasks", within="max")
    np.testing.assert_array_equal(values, [[2, 9, 7], [4, 3, 0]])
    (curve,) = curves_of(run, "accuracy", bin=2, unit="tasks")
    np.testing.assert_array_equal(curve.x, [0])  # a block of two tasks, and the third is a remainder
    np.testing.assert_array_equal(curve.estimate, [(21 / 5 + 15 / 5) / 2])


def test_a_row_before_training_counts_in_the_first_task(of_tasks, rows_of):
    before = pd.DataFrame(rows_of("rank", {0: [6.0], 1: [8.0]})).assign(step=0)
    run = dataclasses.replace(load(of_tasks), metrics=before)
    (curve,) = curves_of(run, "rank", bin=1, unit="tasks", edge="right")
    np.testing.assert_array_equal(curve.estimate, [7, NAN, NAN])


@pytest.mark.parametrize("bin", [None, 0, 4])
def test_bins_of_tasks_that_do_not_fit(of_tasks, bin):
    with pytest.raises(ValueError, match=rf"bin={bin} does not fit a run of 3 whole tasks; write a number of tasks"):
        curves_of(load(of_tasks), "accuracy", bin=bin, unit="tasks")
