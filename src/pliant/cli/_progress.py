"""Progress on long work: a bar with speed and time left on a terminal, a line from time to time in a log."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from pliant.experiment.progress import OnProgress
from pliant.reproduction.time_left import speed

_SECONDS_BETWEEN_LINES = 15.0


class _Speed(ProgressColumn):
    def __init__(self, unit: str):
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(speed(task.speed, self._unit) if task.speed else "compiling", style="cyan")


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
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def _lines(console: Console, title: str, unit: str) -> OnProgress:
    started = told = time.monotonic()
    first: int | None = None

    def on_progress(done: int, total: int) -> None:
        nonlocal told, first
        now = time.monotonic()
        first = done if first is None else first
        if done == total or now - told > _SECONDS_BETWEEN_LINES:
            told = now
            rate = (done - first) / max(now - started, 1e-9)
            left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
            console.print(f"{title}: {done / total:.0%}, {speed(rate, unit)}{left}", markup=False)

    return on_progress
