"""Numbers over seeds: means of blocks, interquartile means, standard errors and bootstrap intervals.

Members (seeds) lie along the first axis. A member that diverged has NaN: it is left out, and the number of the other
members is given beside the result, because a method that often diverges looks too good without its diverged members.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

Statistic: TypeAlias = Callable[..., np.ndarray]  # (values, axis=...) -> values without that axis
IntervalMethod: TypeAlias = Literal["percentile", "basic", "BCa"]

FEWEST_FOR_INTERVAL = 5  # members: the bootstrap interval of two is their minimum and maximum, whatever its level
HOW_INTERVALS = (
    "[95 % percentile bootstrap interval over seeds]; of fewer than five seeds no interval, but (each seed's value)"
)

_LARGEST_BATCH = 2**23  # numbers resampled at a time: 64 MB


class Estimate(NamedTuple):
    """A statistic over members, and an interval around it; each a number or an array `(...)`.

    Args:
        value: the statistic.
        low, high: the interval; NaN where there are too few members for one.
        members: the number of finite members.
        points: `(members, ...)`, the values of the members; `None`: not kept.
    """

    value: np.ndarray | float
    low: np.ndarray | float = np.nan
    high: np.ndarray | float = np.nan
    members: np.ndarray | int = 0
    points: np.ndarray | None = None


def bin_means(
    steps: ArrayLike, values: ArrayLike, width: int, last: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""Means of consecutive blocks of steps that do not overlap.

    Block $i$ of width $m$ holds the steps $i m < t \le (i + 1) m$, as steps are counted from 1. Steps after the last
    whole block are dropped.

    Args:
        steps: `(rows,)`, the step of each value, in any order.
        values: `(..., rows)`.
        width: $m$, in steps, at least 1.
        last: the last step of the run. By default the largest of `steps`.

    Returns:
        `(blocks,)`, the left edge $i m$ of each block; and `(..., blocks)`, its mean: NaN if the block is empty or
        holds a NaN.

    Raises:
        ValueError: if the width is below 1, a step is below 1, or the lengths differ.

    Example:
        >>> bin_means([1, 2, 3, 4, 5], [5.0, 7.0, 1.0, 0.0, 9.0], width=2)
        (array([0, 2]), array([6. , 0.5]))
    """
    edges, block_of, rows = _blocks("bin_means", steps, values, width, last)
    count = np.bincount(block_of, minlength=edges.size)  # (blocks,)
    flat = rows.reshape(math.prod(rows.shape[:-1]), block_of.size)
    sums = np.array([np.bincount(block_of, row, minlength=edges.size) for row in flat])
    with np.errstate(invalid="ignore"):  # 0 / 0 in an empty block gives the desired NaN
        return edges, sums.reshape(*rows.shape[:-1], edges.size) / count


def bin_maxima(
    steps: ArrayLike, values: ArrayLike, width: int, last: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Maxima of the same blocks as in `bin_means`, for metrics whose rare large values matter.

    Args:
        steps, values, width, last: as in `bin_means`.

    Returns:
        `(blocks,)`, the left edge of each block; and `(..., blocks)`, its maximum: NaN if the block is empty or holds a
        NaN.

    Raises:
        ValueError: as in `bin_means`.

    Example:
        >>> bin_maxima([1, 2, 3, 4], [5.0, 7.0, 1.0, 0.0], width=2)
        (array([0, 2]), array([7., 1.]))
    """
    edges, block_of, rows = _blocks("bin_maxima", steps, values, width, last)
    maxima = np.full((*rows.shape[:-1], edges.size), -np.inf)
    with np.errstate(invalid="ignore"):  # NaN wins
        np.maximum.at(maxima, (..., block_of), rows)
    maxima[..., np.bincount(block_of, minlength=edges.size) == 0] = np.nan
    return edges, maxima


def _blocks(
    caller: str, steps: ArrayLike, values: ArrayLike, width: int, last: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left edges `(blocks,)`; and for the rows in whole blocks the index of the block `(kept,)` and `(..., kept)`."""
    steps, values = np.asarray(steps, np.int64), np.asarray(values, float)
    if width < 1:
        raise ValueError(f"{caller} got width={width}; a block is at least 1 step wide")
    if steps.ndim != 1 or values.shape[-1:] != steps.shape:
        raise ValueError(f"{caller} got steps {steps.shape} and values {values.shape}; write (rows,) and (..., rows)")
    if steps.size and steps.min() < 1:
        raise ValueError(f"{caller} got step {steps.min()}; steps are counted from 1")
    if last is None:
        last = int(steps.max(initial=0))
    blocks = last // width
    block_of = (steps - 1) // width
    whole = block_of < blocks
    return np.arange(blocks) * width, block_of[whole], values[..., whole]


def interquartile_mean(values: ArrayLike, axis: int = 0) -> np.ndarray:
    r"""Mean of the middle half: the lowest and the highest $\lfloor n / 4 \rfloor$ of $n$ members are left out.

    It depends less on single seeds than the mean, and is less noisy than the median. NaN is not left out.

    Args:
        values: the members lie along `axis`.
        axis: the axis of the members.

    Returns:
        The values without that axis.

    Example:
        >>> float(interquartile_mean([0.0, 1.0, 3.0, 100.0]))
        2.0

    References:
        Agarwal et al., `Deep reinforcement learning at the edge of the statistical precipice
        <https://arxiv.org/abs/2108.13264>`_, NeurIPS 2021.
    """
    from scipy import stats  # here, because scipy adds filters of warnings when it is imported

    return stats.trim_mean(values, 0.25, axis=axis)


def standard_error(values: ArrayLike) -> np.ndarray:
    r"""Standard error of the mean over members, $\sqrt{\sum_i (x_i - \bar x)^2 / n} \, / \sqrt n$.

    The variance is divided by $n$, not by $n - 1$, as in the published figures.

    Args:
        values: `(members, ...)`; values that are not finite are left out.

    Returns:
        `(...)`; NaN for fewer than two members.

    Example:
        >>> float(standard_error([1.0, 3.0, 1.0, 3.0]))
        0.5
    """
    return _mean_and_error(values)[1]


def standard_error_interval(values: ArrayLike) -> Estimate:
    """The mean over members, and one standard error to either side.

    Args:
        values: `(members, ...)`; values that are not finite are left out and not counted in `members`.

    Returns:
        Each `(...)`. With one member the interval is NaN; without members all values are NaN.
    """
    mean, error, members = _mean_and_error(values)
    return Estimate(mean, mean - error, mean + error, members, np.asarray(values, float))


def _mean_and_error(values: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = np.asarray(values, float)
    finite = np.isfinite(values)
    members = finite.sum(0)
    with np.errstate(invalid="ignore"):  # 0 / 0 without members gives the desired NaN
        mean = np.where(finite, values, 0.0).sum(0) / members
        deviation = np.where(finite, values, mean) - mean
        error = np.sqrt((deviation**2).sum(0)) / members
    return mean, np.where(members < 2, np.nan, error), members


def bootstrap_interval(
    values: ArrayLike,
    statistic: Statistic = np.mean,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    method: IntervalMethod = "percentile",
    seed: int = 0,
) -> Estimate:
    """A statistic over members with its bootstrap interval, which estimates its variation over seeds.

    Args:
        values: `(members, ...)`; values that are not finite are left out and not counted in `members`.
        statistic: `(values, axis=...) -> values`, such as `numpy.mean` or `interquartile_mean`.
        level: the confidence, in (0, 1).
        resamples: number of bootstrap samples.
        method: as in `scipy.stats.bootstrap`. Percentiles exist for all data; `"BCa"` corrects their bias, but is NaN
            for members that are all alike.
        seed: of the resampling; the same values and seed give the same interval.

    Returns:
        The statistic and its interval, each `(...)`. With fewer than five members the interval is NaN; without members
        all values are NaN.

    Raises:
        ValueError: if the level is not in (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"bootstrap_interval got level={level}; write a number between 0 and 1, such as 0.95")
    values = np.asarray(values, float)
    shape = values.shape[1:]
    columns = values.reshape(values.shape[0], -1)  # (members, columns)
    finite = np.isfinite(columns)
    value, low, high = np.full((3, columns.shape[1]), np.nan)

    # Columns without the same members are resampled together; there are few such sets of columns.
    patterns, pattern_of = np.unique(finite, axis=1, return_inverse=True)
    for index, present in enumerate(patterns.T):
        mine = pattern_of.reshape(-1) == index
        sample = columns[np.ix_(present, mine)]
        members = sample.shape[0]
        if members:
            value[mine] = statistic(sample, axis=0)
        if members < FEWEST_FOR_INTERVAL:
            continue
        alike = (sample == sample[0]).all(0)  # resampling does not change these, and scipy warns about them
        constant, varied = np.flatnonzero(mine)[alike], np.flatnonzero(mine)[~alike]
        low[constant] = high[constant] = np.nan if method == "BCa" else sample[0, alike]
        if not varied.size:
            continue
        sample = sample[:, ~alike]
        low[varied], high[varied] = resampled((sample,), statistic, level, resamples, method, seed)
    return Estimate(value.reshape(shape), low.reshape(shape), high.reshape(shape), finite.sum(0).reshape(shape), values)


def resampled(
    samples: Sequence[np.ndarray],
    statistic: Statistic,
    level: float = 0.95,
    resamples: int = 2000,
    method: IntervalMethod = "percentile",
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The bootstrap interval of a statistic of one or several samples, whose members vary along the first axis.

    Args:
        samples: of finite numbers, which are not all equal; each is resampled for itself.
        statistic: of all samples.
        level, resamples, method, seed: as in `bootstrap_interval`.
    """
    from scipy import stats  # as above

    interval = stats.bootstrap(
        samples,
        statistic,
        axis=0,
        vectorized=True,
        confidence_level=level,
        n_resamples=resamples,
        batch=max(1, _LARGEST_BATCH // math.prod(sample.size for sample in samples)),
        method=method,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return interval.low, interval.high
