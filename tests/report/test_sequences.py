import numpy as np
import pandas as pd
import pytest

from pliant import report
from pliant.report.sequences import areas_of_curves, memory_of, with_copies

NAN = np.nan


def test_the_matrix_of_returns(sequence_rows):
    # Two seeds, and a task that returns; the order of rows does not matter.
    returns = {0: [[0, 3, 1, 2], [0, 0, 5, 4], [0, 3, 1, 2]], 7: [[9, 8, 7, 6], [9, 8, 7, 6], [5, 4, 3, 2]]}
    rows = [*sequence_rows(("moon", "ice", "moon"), returns, every=50)]
    matrix = report.return_matrix(pd.DataFrame(rows[::-1]).astype({"metric": "category", "group": "category"}))
    assert (matrix.names, matrix.ends) == (("moon", "ice", "moon"), (50, 100, 150))
    assert matrix.numbered == ("1 moon", "2 ice", "3 moon")
    np.testing.assert_array_equal(matrix.seeds, [0, 7])
    np.testing.assert_array_equal(matrix.returns, [np.array(returns[seed])[:, 1:] for seed in (0, 7)])
    np.testing.assert_array_equal(matrix.initial, [[0, 0, 0], [9, 9, 5]])


def test_tasks_are_in_the_order_of_their_numbers(sequence_rows):
    names = [f"t{index}" for index in range(12)]
    matrix = report.return_matrix(pd.DataFrame(sequence_rows(names, {0: [[i, i] for i in range(12)]}, every=5)))
    assert matrix.names == tuple(names)
    np.testing.assert_array_equal(matrix.returns[0, :, 0], range(12))


def test_what_an_unfinished_seed_has_not_learned_is_missing(sequence_rows):
    rows = [*sequence_rows(("a", "b", "c"), {0: [[0, 1, 2]] * 3, 1: [[0, 1]] * 3}, every=50)]
    matrix = report.return_matrix(pd.DataFrame(rows))
    assert matrix.ends == (50, 100)
    np.testing.assert_array_equal(matrix.returns[:, 0], [[1, 2, NAN], [1, NAN, NAN]])
    before = report.return_matrix(pd.DataFrame(row for row in rows if row["step"] == 0))
    assert before.ends == () and before.returns.shape == (2, 3, 3) and np.isnan(before.returns).all()


def test_another_run_has_no_matrix(sweep):
    run = report.load(sweep)
    assert not report.learns_sequence(run)
    with pytest.raises(ValueError, match="there are no rows of 'task_return'; they come from a run with --eval"):
        report.return_matrix(run.metrics)


def test_areas_are_means_over_blocks_of_steps(write_sequence):
    # Of 50 steps each is a block. The first task has 2 episodes in one block, and 1 in another: (2 + 8) / 2.
    episodes = {0: {10: 8, 60: 7}, 1: {51: 4, 100: 2}}
    run = write_sequence("areas", {seed: [[0, 1, 1]] * 2 for seed in (0, 1)}, episodes=episodes)
    rows = pd.concat([run.metrics, pd.DataFrame({"seed": [0, 0], "step": [9, 9], "metric": "return", "value": [1, 3]})])
    matrix = report.return_matrix(run.metrics)
    np.testing.assert_array_equal(areas_of_curves(rows, matrix), [[5, 7], [NAN, 3]])
    half = matrix._replace(ends=(50,))
    np.testing.assert_array_equal(areas_of_curves(rows, half), [[5, NAN], [NAN, NAN]])


def test_a_curve_ends_with_the_divergence_of_its_seed(write_sequence):
    run = write_sequence("areas", {seed: [[0, 1, 1]] * 2 for seed in (0, 1)}, diverged={1: 75})
    areas = areas_of_curves(run.metrics, report.return_matrix(run.metrics))
    np.testing.assert_array_equal(areas, [[1, 1], [1, NAN]])


def test_memory_is_that_after_the_last_task(write_sequence, sweep):
    memory = memory_of(write_sequence("grows", {0: [[0, 1, 1]] * 2}, stored=((10, 15), (20, 45))).metrics)
    assert [float(values[0]) for values in memory] == [20, 45, 10]
    assert all(np.isnan(values).all() for values in memory_of(report.load(sweep).metrics))


def test_copies_keep_the_returns_at_the_ends_of_tasks(write_sequence):
    returns = {0: [[-1, 6, 2], [-3, 0, 10]], 1: [[-1, 8, NAN], [-3, 1, NAN]]}
    run = write_sequence("tuned", returns, stored=((10, 10), (10, 10)), diverged={1: 75})
    copies = with_copies(run)
    matrix = report.return_matrix(copies.metrics)
    np.testing.assert_array_equal(matrix.returns, [[[6, 6], [0, 10]], [[8, NAN], [1, NAN]]])
    np.testing.assert_array_equal(matrix.initial, [[-1, -3]] * 2)
    memory = memory_of(copies.metrics)
    assert [values[0] for values in memory] == [20, 20, 10]
    others = ~run.metrics["metric"].isin(["task_return", "parameters", "parameters_and_buffers"])
    pd.testing.assert_frame_equal(copies.metrics[others], run.metrics[others])


def test_copies_of_an_unfinished_run(write_sequence):
    run = write_sequence("tuned", {0: [[0, 6], [0, 1]]}, stored=((10, 10),))
    np.testing.assert_array_equal(report.return_matrix(with_copies(run).metrics).returns[0], [[6, NAN], [1, NAN]])
