"""Episodes count where they began, for of those that end within a block too many are short."""

import types

import numpy as np
import pytest

from pliant.report import curves_of, load, summary

# Two environments: one has the odd steps, the other the even. (return, length) of episodes by the step of their end.
FIRST = {3: (1.0, 2), 19: (0.0, 8)}  # steps 1 and 3; steps 5, 7, ..., 19
SECOND = {20: (0.0, 10)}  # steps 2, 4, ..., 20


@pytest.fixture
def run_of(write_run):
    """`run_of(episodes)`: 20 steps of one seed in two environments."""

    def write(episodes, facts=types.MappingProxyType({"num_envs": 2})):
        rows = [
            {"seed": 0, "step": step, "metric": metric, "group": "", "value": float(value)}
            for metric, at in (("return", 0), ("length", 1))
            for step, value in sorted((step, values[at]) for step, values in episodes.items())
        ]
        return load(write_run(rows, ends=(20,), **facts))

    return write


def returns(run, **how):
    (curve,) = curves_of(run, "return", bin=4, **how)
    return curve.x.tolist(), curve.estimate


def test_an_early_short_success_does_not_stand_alone(run_of):
    run = run_of(FIRST | SECOND)
    x, ended = returns(run, episodes="ended")
    assert x == [0, 4, 8, 12, 16]
    np.testing.assert_array_equal(ended, [1, np.nan, np.nan, np.nan, 0])
    # At steps 1 to 4 began the success and a failure, at steps 5 to 8 a failure.
    x, begun = returns(run)
    assert x == [0, 4, 8, 12, 16]
    np.testing.assert_array_equal(begun, [0.5, 0, np.nan, np.nan, np.nan])


def test_the_last_block_is_the_last_whose_episodes_are_all_over(run_of):
    # The second environment's episode of steps 2, 4, 6 is over, its next begins at step 8 and is not.
    x, begun = returns(run_of(FIRST | {6: (2.0, 3)}))
    assert x == [0]
    np.testing.assert_array_equal(begun, [1.5])


def test_an_environment_without_any_end_leaves_no_block(run_of):
    assert returns(run_of(FIRST))[0] == []


def test_without_the_number_of_environments_episodes_count_where_they_ended(run_of):
    np.testing.assert_array_equal(returns(run_of(FIRST | SECOND, {}))[1], [1, np.nan, np.nan, np.nan, 0])


def test_the_tenths_of_a_table_are_those_of_beginnings(run_of):
    # Steps 1 and 2 are the first tenth: a success and a failure. The last episode to begin failed.
    row = summary(run_of(FIRST | SECOND)).rows[0]
    assert (row[0], float(row[1].value), float(row[2].value)) == ("return", 0.5, 0.0)
