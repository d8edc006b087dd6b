"""Estimates the time of the remaining work from the speed so far."""

import time
from collections.abc import Callable

from pliant.experiment.progress import OnProgress, Work

_ENOUGH = 20.0  # seconds of work, after which the speed is known
_SHORT = 300.0  # seconds of remaining work, below which there is no line


class TimeLeft:
    """Watches runs. After 20 seconds of each run, or at its end, a line gives the remaining time of all runs.

    Args:
        work: of all runs together.
        say: shows a line.
    """

    def __init__(self, work: Work, say: Callable[[str], None]):
        self._left = work.amount  # of the runs that have not begun
        self._unit = work.unit
        self._say = say
        self._done, self._seconds = 0, 0.0  # watched so far

    def watch(self, amount: int, on_progress: OnProgress) -> OnProgress:
        """Wraps the progress function of the next run.

        Args:
            amount: of the run.
            on_progress: is called, too.
        """
        self._left -= amount
        times: list[float] = []
        before, has_said = 0, False

        def watched(done: int, total: int) -> None:
            nonlocal before, has_said
            on_progress(done, total)
            times.append(time.monotonic())
            if len(times) > 2:  # the first chunk compiles
                self._done += done - before
                self._seconds += times[-1] - times[-2]
                if not has_said and (times[-1] - times[1] > _ENOUGH or done == total):
                    has_said = True
                    self._say_left(self._left + total - done)
            before = done

        return watched

    def _say_left(self, amount: int) -> None:
        rate = self._done / max(self._seconds, 1e-9)
        if amount > _SHORT * rate:
            self._say(f"at {speed(rate, self._unit)}, the remaining work takes about {duration(amount / rate)}")


def duration(seconds: float) -> str:
    """A duration in words: `55 seconds`, `12 minutes`, `3 hours`, `2 days`."""
    for size, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"


def speed(per_second: float, unit: str) -> str:
    """A rate in words: `5.8M examples/s`."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if per_second >= size:
            return f"{per_second / size:.1f}{letter} {unit}/s"
    return f"{per_second:.0f} {unit}/s"
