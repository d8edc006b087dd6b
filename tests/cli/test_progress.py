"""Progress: a bar on a terminal, a line now and then in a log."""

import functools
import io

import pytest
from rich.console import Console

from pliant.cli import _progress
from pliant.cli._progress import progress, speed


@pytest.mark.parametrize(
    ("rate", "unit", "words"),
    [
        (7, "examples", "7 examples/s"),
        (9_540, "steps", "9.5k steps/s"),
        (12.34e6, "examples", "12.3M examples/s"),
    ],
)
def test_speed(rate, unit, words):
    assert speed(rate, unit) == words


def test_lines_in_a_log(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now)
    with progress("a run", "steps") as on_progress:
        on_progress(100, 1000)  # gone on with: 100 were there before
        now += 60.0  # that of the first slice, for it compiles, is no rate
        on_progress(200, 1000)
        for done in range(300, 1001, 100):
            now += 10.0
            on_progress(done, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "a run: compiling…",
        "a run: 20%",
        "a run: 40%, 10 steps/s, 60 seconds left",
        "a run: 60%, 10 steps/s, 40 seconds left",
        "a run: 80%, 10 steps/s, 20 seconds left",
        "a run: 100%, 10 steps/s",
    ]


@pytest.mark.parametrize("told", [True, False])
def test_a_bar_on_a_terminal(monkeypatch, told):
    shown = io.StringIO()
    monkeypatch.setattr(_progress, "Console", lambda **_: Console(file=shown, force_terminal=True, width=100))
    with progress("a run", "steps") as on_progress:
        if told:
            on_progress(0, 1000)
            on_progress(500, 1000)
    # A run that was finished before has nothing to tell, and no bar.
    assert ("50%" in shown.getvalue()) == ("a run" in shown.getvalue()) == told


def test_the_speed_on_a_bar_does_not_count_what_was_compiled(monkeypatch):
    now, shown = 0.0, io.StringIO()
    monkeypatch.setattr(_progress, "Console", lambda **_: Console(file=shown, force_terminal=True, width=100))
    monkeypatch.setattr(_progress, "Progress", functools.partial(_progress.Progress, get_time=lambda: now))
    with progress("a run", "steps") as on_progress:
        on_progress(100, 1000)
        for done, seconds in [(200, 60.0), (300, 1.0), (400, 1.0), (500, 1.0)]:
            now += seconds
            on_progress(done, 1000)
    # At the end: 100 steps a second, and 500 are left.
    *_, last = [line for line in shown.getvalue().splitlines() if "a run" in line]
    assert "100 steps/s" in last and "0:00:05" in last
