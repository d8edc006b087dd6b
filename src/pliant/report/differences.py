"""Two groups of members compared: the difference of their means, and the probability of improvement."""

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .statistics import FEWEST_FOR_INTERVAL, Estimate, Statistic, bootstrap_interval, resampled


def difference(values: pd.Series, baseline: pd.Series) -> tuple[Estimate, int]:
    r"""The mean difference to a baseline with its 95 % bootstrap interval.

    If the two share seeds, the differences $x_s - y_s$ of the shared seeds $s$ are resampled, because members with the
    same seed meet the same data and environments. Otherwise the members of both are resampled independently.

    Args:
        values: by seed; values that are not finite are left out.
        baseline: by seed.

    Returns:
        The difference, without an interval below five pairs, or below five members of one of the two; and the number of
        pairs, 0 without shared seeds.
    """
    x, y = _finite(values), _finite(baseline)
    shared = x.index.intersection(y.index)
    if len(shared):
        return bootstrap_interval((x[shared] - y[shared]).to_numpy()), len(shared)
    return _of_two(x.to_numpy(), y.to_numpy(), lambda x, y, axis=-1: x.mean(axis) - y.mean(axis)), 0


def probability_of_improvement(values: ArrayLike, baseline: ArrayLike, lower_is_better: bool = False) -> Estimate:
    r"""The probability that a member is better than a member of a baseline, with its 95 % bootstrap interval.

    $P = \frac 1 {n m} \sum_{i, j} \left([x_i > y_j] + \tfrac12 [x_i = y_j]\right)$: the fraction of all pairs of
    members, whatever their seeds. The members of both are resampled independently.

    Args:
        values: `(n,)`; values that are not finite are left out.
        baseline: `(m,)`.
        lower_is_better: whether smaller values are better, as of a loss.

    Returns:
        The probability, without an interval below five members of one of the two.

    Example:
        >>> probability_of_improvement([2.0, 4.0], [1.0, 3.0]).value
        0.75

    References:
        Agarwal et al., `Deep reinforcement learning at the edge of the statistical precipice
        <https://arxiv.org/abs/2108.13264>`_, NeurIPS 2021.
    """
    x, y = (_finite(pd.Series(np.asarray(each, float))).to_numpy() for each in (values, baseline))
    if lower_is_better:
        x, y = -x, -y

    def probability(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
        del axis
        pairs = x[..., :, None], y[..., None, :]
        return (np.greater(*pairs) + np.equal(*pairs) / 2).mean((-2, -1))

    return _of_two(x, y, probability)


def _finite(values: pd.Series) -> pd.Series:
    return values[np.isfinite(values)]


def _of_two(x: np.ndarray, y: np.ndarray, statistic: Statistic) -> Estimate:
    """A statistic of two independent groups; NaN if one of them is empty."""
    fewest = min(x.size, y.size)
    if not fewest:
        return Estimate(math.nan)
    value = float(statistic(x, y))
    if fewest < FEWEST_FOR_INTERVAL:
        return Estimate(value, members=fewest)
    if np.ptp(x) == np.ptp(y) == 0:  # resampling changes nothing, and scipy warns about that
        return Estimate(value, value, value, fewest)
    low, high = resampled((x, y), statistic)
    return Estimate(value, float(low), float(high), fewest)
