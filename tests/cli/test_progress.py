"""Progress: a bar on a terminal, a line now and then in a log."""

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
        for done in range(200, 1001, 100):
            now += 10.0
            on_progress(done, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "a run: 30%, 10 steps/s, 70 s left",
        "a run: 50%, 10 steps/s, 50 s left",
        "a run: 70%, 10 steps/s, 30 s left",
        "a run: 90%, 10 steps/s, 10 s left",
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
