"""How long the work that is left will take, from the speed of what was done."""

import time
from collections.abc import Callable

from pliant.experiment.run import OnProgress, Work

_ENOUGH = 60.0  # seconds of work from which a speed is known
_SHORT = 300.0  # seconds of work about which nothing is said


class Estimate:
    """Watches runs, and says after a minute of each, or at its end, how long all that is left will take.

    Args:
        work: that of all runs together.
        say: shows a line.
    """

    def __init__(self, work: Work, say: Callable[[str], None]):
        self._left = work.amount  # of the runs that have not begun
        self._unit = work.unit
        self._say = say
        self._done, self._seconds = 0, 0.0  # watched so far

    def render(self, amount: int, on_progress: OnProgress) -> OnProgress:
        """Takes note of what the next run tells.

        Args:
            amount: of the run.
            on_progress: what it would tell otherwise, and goes on telling.
        """
        self._left -= amount
        times: list[float] = []
        before, has_said = 0, False

        def watched(done: int, total: int) -> None:
            nonlocal before, has_said
            on_progress(done, total)
            times.append(time.monotonic())
            if len(times) > 2:  # up to the second time it compiled
                self._done += done - before
                self._seconds += times[-1] - times[-2]
                if not has_said and (times[-1] - times[1] > _ENOUGH or done == total):
                    has_said = True
                    self._tell_left(self._left + total - done)
            before = done

        return watched

    def _tell_left(self, amount: int) -> None:
        rate = self._done / max(self._seconds, 1e-9)
        if amount > _SHORT * rate:
            self._say(f"at {speed(rate, self._unit)}, what is left takes about {_duration(amount / rate)}")


def _duration(seconds: float) -> str:
    for size, name in ((86400.0, "days"), (3600.0, "hours")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds / 60:.0f} minutes"


def speed(per_second: float, unit: str) -> str:
    """A rate for people: `5.8M examples/s`."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if per_second >= size:
            return f"{per_second / size:.1f}{letter} {unit}/s"
    return f"{per_second:.0f} {unit}/s"
