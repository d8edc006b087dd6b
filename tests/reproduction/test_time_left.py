"""How long the remaining work takes: shown after 20 seconds of work, without compilation, and not of short work."""

import pytest

from pliant.experiment.progress import Work
from pliant.reproduction import time_left as times
from pliant.reproduction.time_left import TimeLeft


@pytest.fixture
def clock(monkeypatch):
    """`clock.now`, in seconds, is the time."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(times.time, "monotonic", lambda: Clock.now)
    return Clock


def run(clock, on_progress, amount, *seconds, before=0):
    """A run in chunks of equal size; `seconds` is the time of each."""
    for chunk, took in enumerate((0.0, *seconds)):
        clock.now += took
        on_progress(before + (amount - before) * chunk // len(seconds), amount)


def test_after_twenty_seconds(clock):
    extras, reports = [], []
    time_left = TimeLeft(Work(100_000_000, "steps"), extras.append)
    on_progress = time_left.watch(10_000_000, lambda done, total: reports.append((done, total)))
    # The first chunk compiles, and is not counted; a thousandth of the run takes 20 s, 500 steps/s, from then on.
    run(clock, on_progress, 10_000_000, 90.0, *[20.0] * 999)
    # After 20 and 40 s: it takes more than 20 s. 99,970,000 steps are left: 199,940 s, 55.5 hours.
    assert extras == ["at 500 steps/s, the remaining work takes about 2 days"]
    assert reports[:2] == [(0, 10_000_000), (10_000, 10_000_000)]
    assert len(reports) == 1001


def test_at_the_end_of_a_short_run_and_of_the_next(clock):
    extras = []
    time_left = TimeLeft(Work(1_000, "examples"), extras.append)
    # 100 in 5 chunks, of which four, 80, take 32 s: 2.5 examples/s; 900 are left: 360 s.
    run(clock, time_left.watch(100, lambda done, total: None), 100, 9.0, 8.0, 8.0, 8.0, 8.0)
    assert extras == ["at 2 examples/s, the remaining work takes about 6 minutes"]
    # Four slower ones more, 160 in all in 88 s; 800 are left: 440 s.
    run(clock, time_left.watch(100, lambda done, total: None), 100, 9.0, *[14.0] * 4)
    assert extras[1:] == ["at 2 examples/s, the remaining work takes about 7 minutes"]


def test_steps_of_before_are_not_work(clock):
    extras = []
    time_left = TimeLeft(Work(10_000, "steps"), extras.append)
    time_left.watch(2_000, lambda done, total: None)  # finished before: it tells nothing
    # Gone on with from 2,000 of 4,000: of 1,000 steps a chunk the second takes 100 s. 4,000 more are left: 400 s.
    run(clock, time_left.watch(4_000, lambda done, total: None), 4_000, 5.0, 100.0, before=2_000)
    assert extras == ["at 10 steps/s, the remaining work takes about 7 minutes"]


def test_short_work_needs_no_line(clock):
    extras = []
    time_left = TimeLeft(Work(1_000, "steps"), extras.append)
    run(clock, time_left.watch(500, lambda done, total: None), 500, 9.0, 60.0, 60.0)  # 500 left: 180 s
    run(clock, time_left.watch(500, lambda done, total: None), 500, 9.0)  # all of it compiled
    assert extras == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(61, "61 seconds"), (301, "5 minutes"), (7_100, "118 minutes"), (7_300, "2 hours"), (1.8e6, "21 days")],
)
def test_duration(seconds, words):
    assert times.duration(seconds) == words
