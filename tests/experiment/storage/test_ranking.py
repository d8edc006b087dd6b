"""Which checkpoint is the best."""

import numpy as np

from pliant.experiment.storage.ranking import Ranking


def test_the_mean_of_all_evaluations_so_far():
    # Means over the two members 2, 6, 1 and 3; of all so far 2, 4, 3 and 3.
    ranking = Ranking(np.repeat([0, 10, 20, 30], 2), np.array([1, 3, 5, 7, 0, 2, 3, 3.0]))
    assert ranking.best([10, 20, 30]) == 10
    assert ranking.best([0, 20, 30]) == 20  # of equal ones the first
    assert ranking.best([5, 15]) is None  # nothing was evaluated there
    ranking.add(40, np.array([13.0, 13.0]))  # (2 + 6 + 1 + 3 + 13) / 5 = 5
    assert ranking.best([10, 40, 45]) == 40


def test_no_more_than_the_latest_twenty():
    # After 19 evaluations, one of which came to 100, the mean is 100 / 19; after 20 it is 5; after 21, the first being
    # forgotten, 1 / 20.
    ranking = Ranking(np.arange(20), np.array([100.0] + [0] * 19))
    ranking.add(20, np.ones(1))
    assert ranking.best([18, 19, 20]) == 18
    assert ranking.best([19, 20]) == 19
    ranking.add(21, np.full(1, 99.0))  # (1 + 99) / 20 = 5, as at 19
    assert ranking.best([19, 20, 21]) == 19
    ranking.add(22, np.ones(1))
    assert ranking.best([20, 21, 22]) == 22


def test_members_that_have_diverged_are_left_out():
    ranking = Ranking(np.array([0, 0, 10, 10]), np.array([1.0, 9.0, 6.0, np.nan]))  # means 5 and 6; of both 5.5
    ranking.add(20, np.full(2, np.nan))
    assert ranking.best([0, 10, 20]) == 10
    assert ranking.best([20]) is None


def test_nothing_yet():
    assert Ranking(np.array([]), np.array([])).best([1]) is None
