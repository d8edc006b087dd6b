"""Friction that changes in the course of training."""

from collections.abc import Iterable, Mapping

import numpy as np
from typing_extensions import override

from ._schedule import Schedule


class FrictionSchedule(Schedule):
    r"""The current friction coefficient for each member of a population.

    Value $k$ of a member is a function of the member's seed and $k$ alone, log-uniform from `low` to `high`:
    $\text{low} \, (\text{high} / \text{low})^u$ with $u$ uniform on $[0, 1)$. A member gets its next value when one of
    its episodes ends more than `change_time` steps after the previous change (or the start).

    Args:
        seed: `(members, 2)` uint32.
        low: the least friction coefficient, positive.
        high: the largest.
        change_time: steps, over all environments of a member.
    """

    name = "friction"

    def __init__(self, seed: np.ndarray, low: float, high: float, change_time: int):
        self._seed, self._low, self._high, self._change_time = seed, low, high, change_time
        self._number = np.zeros(len(seed), np.int64)
        self._changed = np.zeros(len(seed), np.int64)  # the step of the previous change
        self._values = np.zeros(len(seed))
        self._look_up(range(len(seed)))

    @property
    @override
    def values(self) -> np.ndarray:
        return self._values

    @override
    def episodes_ended(self, count: np.ndarray, steps: np.ndarray) -> None:
        (due,) = np.nonzero((count > 0) & (steps - self._changed > self._change_time))
        self._number[due] += 1
        self._changed[due] = steps[due]
        self._look_up(due)

    @override
    def save(self) -> dict[str, np.ndarray]:
        return {
            "friction": self._values.copy(),
            "friction_number": self._number.copy(),
            "friction_changed": self._changed.copy(),
        }

    @override
    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Restores the current values, also with another seed, and the steps of the changes."""
        self._number[:], self._changed[:] = saved["friction_number"], saved["friction_changed"]
        self._values[:] = saved["friction"]

    def _look_up(self, members: Iterable[int]) -> None:
        for member in members:
            sequence = np.random.SeedSequence(self._seed[member].tolist(), spawn_key=(int(self._number[member]),))
            u = np.random.default_rng(sequence).random()
            self._values[member] = self._low * (self._high / self._low) ** u
