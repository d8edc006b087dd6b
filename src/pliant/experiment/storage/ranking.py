"""Ranks the checkpoints of a shard by the returns of evaluations."""

import math
from collections.abc import Iterable

import numpy as np

_LATEST = 20  # evaluations


class Ranking:
    """Ranks the steps at which a run was evaluated: by the mean of the latest 20 evaluations, or of all if fewer.

    An evaluation is the mean over members, without those that have diverged.

    Args:
        steps: `(rows,)`, those of evaluations so far, in order.
        returns: `(rows,)`: the mean return of a member there; NaN if it has diverged.
    """

    def __init__(self, steps: np.ndarray, returns: np.ndarray):
        self._means: dict[int, float] = {}
        for step in np.unique(steps):
            self.add(int(step), returns[steps == step])

    def add(self, step: int, returns: np.ndarray) -> None:
        """Adds an evaluation later than all before; one without any finite return is left out."""
        finite = returns[np.isfinite(returns)]
        if len(finite):
            self._means[step] = float(finite.mean())

    def best(self, steps: Iterable[int]) -> int | None:
        """The best of these steps, of equal ones the first; `None` if there was no evaluation at any of them."""
        evaluated = [step for step in steps if step in self._means]
        return max(evaluated, key=lambda step: (self._score(step), -step), default=None)

    def _score(self, step: int) -> float:
        means = [mean for at, mean in self._means.items() if at <= step][-_LATEST:]
        return math.fsum(means) / len(means)
