"""Friction that changes over the life of a member."""

from collections.abc import Iterable, Mapping

import numpy as np


class FrictionSchedule:
    r"""Which friction is in force for each member of a population, and when it gives way to the next.

    Value $k$ of a member is a function of the member's entropy and $k$ alone, log-uniform from `low` to `high`:
    $\text{low} \, (\text{high} / \text{low})^u$ with $u$ uniform on $[0, 1)$. A member goes to its next value where an
    episode of its ends more than `change_time` steps after the previous change (or the start).

    Args:
        seed: `(members, 2)` uint32.
        low: the least friction coefficient, positive.
        high: the largest.
        change_time: steps, those of all of a member's environments counted together.

    Attributes:
        name: what `info` calls the values.
        values: `(members,)`, the friction coefficients now in force.
    """

    name = "friction"

    def __init__(self, seed: np.ndarray, low: float, high: float, change_time: int):
        self._seed, self._low, self._high, self._change_time = seed, low, high, change_time
        self._number = np.zeros(len(seed), np.int64)
        self._changed = np.zeros(len(seed), np.int64)  # the step of the previous change
        self.values = np.zeros(len(seed))
        self._look_up(range(len(seed)))

    def episodes_ended(self, count: np.ndarray, steps: np.ndarray) -> None:
        """See `Schedule`."""
        (due,) = np.nonzero((count > 0) & (steps - self._changed > self._change_time))
        self._number[due] += 1
        self._changed[due] = steps[due]
        self._look_up(due)

    def save(self) -> dict[str, np.ndarray]:
        """See `Schedule`."""
        return {
            "friction": self.values.copy(),
            "friction_number": self._number.copy(),
            "friction_changed": self._changed.copy(),
        }

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Brings back the values in force, also those of members with other entropy, and the steps of the changes."""
        self._number[:], self._changed[:] = saved["friction_number"], saved["friction_changed"]
        self.values[:] = saved["friction"]

    def _look_up(self, members: Iterable[int]) -> None:
        for member in members:
            sequence = np.random.SeedSequence(self._seed[member].tolist(), spawn_key=(int(self._number[member]),))
            u = np.random.default_rng(sequence).random()
            self.values[member] = self._low * (self._high / self._low) ** u
