"""Ranks the checkpoints of a shard by the returns of evaluations."""

import math
from collections.abc import Iterable

import numpy as np

_LATEST = 20  # evaluations


class Ranking:
    """Ranks the evaluated steps of a run by the mean of the latest 20 evaluations, or of all if there are fewer.

    An evaluation is the mean over the members that have not diverged.

    Args:
        steps: `(rows,)`, of the evaluations so far, in order.
        returns: `(rows,)`: the mean return of a member at its step; NaN if the member has diverged.
    """

    def __init__(self, steps: np.ndarray, returns: np.ndarray):
        self._means: dict[int, float] = {}
        for step in np.unique(steps):
            self.add(int(step), returns[steps == step])

    def add(self, step: int, returns: np.ndarray) -> None:
        """Adds an evaluation later than all before; without a finite return it is left out."""
        finite = returns[np.isfinite(returns)]
        if len(finite):
            self._means[step] = float(finite.mean())

    def best(self, steps: Iterable[int]) -> int | None:
        """The best of these steps, the first of equal ones; `None` if no evaluation was at one of them."""
        evaluated = [step for step in steps if step in self._means]
        return max(evaluated, key=lambda step: (self._score(step), -step), default=None)

    def _score(self, step: int) -> float:
        means = [mean for at, mean in self._means.items() if at <= step][-_LATEST:]
        return math.fsum(means) / len(means)
