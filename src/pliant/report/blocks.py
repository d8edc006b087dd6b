"""The blocks of steps over which the curves of a report are means, and the line below them that says so."""

import math
from collections.abc import Sequence

import numpy as np

from .load import Run
from .statistics import FEWEST_FOR_INTERVAL

_POINTS = 100  # of a curve; at most about twice as many, more than a column of a paper can show
_FEWEST_POINTS = 20  # of a curve of episodes


def bin_of(run: Run, metric: str) -> int | None:
    """The width of blocks of steps; `None`: each recorded step is a point, if there are not too many.

    Episodes end at different steps for each seed, so they are always in blocks. A block has at least one episode of
    each seed, if enough points are left.
    """
    rows = run.metrics.loc[run.metrics["metric"] == metric]
    if metric in run.of_episodes:
        longest = rows.sort_values("step").groupby(["seed", *run.settings])["step"].diff().max()
        width = max(run.last_step / _POINTS, min(np.nan_to_num(longest), run.last_step / _FEWEST_POINTS))
        return min(_nice(width), run.last_step)
    return _nice(run.last_step / _POINTS) if rows["step"].nunique() > 2 * _POINTS else None


def note_of(statistic: str, runs: Sequence[Run], bin: int | None) -> str:
    """The note below curves: what they show, of how many seeds, in which blocks."""
    seeds = [len(set(run.metrics["seed"])) for run in runs]
    most = max(seeds)
    many = f"{statistic} and 95 % interval" if most >= FEWEST_FOR_INTERVAL else "mean, and each seed thin"
    counts = " to ".join(map(str, dict.fromkeys((min(seeds), most))))
    note = f"{many}, {counts} seeds" if most > 1 else "1 seed"
    return note if bin is None else f"{note}\nof the means of blocks of {bin:,} steps"


def _nice(width: float) -> int:
    """The next number of the form 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(width))
    return max(1, round(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= width)))
