"""Progress on long work: a bar with speed and time left on a terminal, a line from time to time in a log."""

import contextlib
import itertools
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from pliant.experiment.progress import OnProgress
from pliant.reproduction.time_left import duration, speed

_SECONDS_BETWEEN_LINES = 15.0
_UNTIL_COMPILED = 2  # calls: the first is before the first step, the second after the first slice, which compiles


class _Speed(ProgressColumn):
    def __init__(self, unit: str):
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(speed(task.speed, self._unit) if task.speed else "compiling…", style="cyan")


@contextlib.contextmanager
def progress(title: str, unit: str) -> Iterator[OnProgress]:
    """Shows how far a run is, in `unit`s (`examples`, `steps`); yields the function that the run calls."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _lines(console, title, unit)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), _Speed(unit), TimeRemainingColumn())
    with Progress(*columns, console=console, speed_estimate_period=10.0) as bar:
        task = bar.add_task(title, total=None, visible=False)  # a finished run reports no progress
        calls = itertools.count()

        def on_progress(done: int, total: int) -> None:
            if next(calls) < _UNTIL_COMPILED:  # speeds are measured from the last reset on
                bar.reset(task, completed=done, total=total, visible=True)
            else:
                bar.update(task, completed=done)

        yield on_progress


def _lines(console: Console, title: str, unit: str) -> OnProgress:
    calls: list[tuple[float, int]] = []
    reported = time.monotonic()

    def on_progress(done: int, total: int) -> None:
        nonlocal reported
        now = time.monotonic()
        if not calls:
            console.print(f"{title}: compiling…", markup=False)
        if len(calls) < _UNTIL_COMPILED:
            calls.append((now, done))
        if done == total or now - reported > _SECONDS_BETWEEN_LINES:
            reported = now
            since, before = calls[-1]
            rate = (done - before) / max(now - since, 1e-9)
            words = [f"{done / total:.0%}", *([speed(rate, unit)] if rate else [])]
            if rate and done < total:
                words.append(f"{duration((total - done) / rate)} left")
            console.print(f"{title}: {', '.join(words)}", markup=False)

    return on_progress
