"""Chunks are cut into slices by the clock; whatever the clock says, the numbers are the same."""

import contextlib
import itertools
import os
import signal

import counting
import numpy as np
import pandas as pd
import pytest
import toys

from pliant import report
from pliant.core.clock import Task
from pliant.experiment import run as runs
from pliant.experiment import saver
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import Interrupted
from pliant.experiment.loops import stream as stream_loop
from pliant.experiment.pace import Pace
from pliant.experiment.run import run
from pliant.experiment.schedule import Schedule

P = "slowly_changing_regression"
OFTEN = 1e-9  # seconds between two checkpoints, which are not bound to the ends of chunks


class Stop(Exception):
    pass


class OneUnit(Pace):
    """The pace of a machine on which each unit takes long."""

    def took(self, steps, seconds):
        pass


@pytest.fixture
def slow(monkeypatch):
    """`slow()`: from then on each slice has one unit, takes long enough to be told of, and is saved."""

    def make():
        monkeypatch.setattr(runs, "Pace", OneUnit)
        monkeypatch.setattr(runs, "_REPORT_EVERY", -1.0)
        monkeypatch.setattr(saver, "_PAUSE", 0)

    return make


def stop_after(slices):
    """Ends a run as a kill does, before the last of these slices is saved."""
    left = iter(range(slices))

    def on_progress(done, total):
        if next(left, None) is None:
            raise Stop

    return on_progress


def same(path, other):
    """Asserts that two runs have the same metrics, to the bit and in the same order."""
    one, two = report.load(path).metrics, report.load(other).metrics
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def counted(**fields):
    """20 steps of 2 members, with metrics of every 8; a task ends after 10."""
    config = from_mapping({"problem": P, "record_every": 8, "seeds": "2", **fields})
    return counting.counting(config, 20, (Task("a", 10), Task("b", 20)))


def test_a_chunk_that_takes_long_is_told_of_and_saved_before_its_end(tmp_path, slow):
    whole = run(counted(), tmp_path / "whole")
    slow()
    told, saved = [], []
    path = run(
        counted(),
        tmp_path / "cut",
        on_progress=lambda done, total: told.append((done, total)),
        on_save=lambda path: saved.append(report.load(path).last_step),
        checkpoint_every=OFTEN,
    )
    # A slice is one step of both members.
    assert told == [(done, told[0][1]) for done in range(0, told[0][1] + 1, told[0][1] // 20)]
    assert saved == list(range(1, 21))
    assert sorted(set(report.load(path).metrics["step"])) == [8, 10, 18, 20]
    same(path, whole)


def test_a_run_goes_on_in_the_middle_of_a_chunk(tmp_path, slow, caplog):
    whole = run(counted(), tmp_path / "whole")
    slow()
    with pytest.raises(Stop):
        run(counted(), tmp_path / "cut", on_progress=stop_after(13), checkpoint_every=OFTEN)
    caplog.set_level("INFO")
    path = run(counted(), tmp_path / "cut")
    assert "going on from step 12 of 20" in caplog.text  # in the chunk of the steps 11 to 18
    same(path, whole)


def test_a_divergence_has_its_row_at_the_end_of_the_chunk_however_that_is_cut(tmp_path, slow):
    config = from_mapping({"problem": P, "record_every": 100, "seeds": "2", "sweep": {"learning_rate": [0.1, 2.0]}})
    whole = run(counting.counting(config, 200), tmp_path / "whole")
    slow()
    path = run(counting.counting(config, 200), tmp_path / "cut", checkpoint_every=1e9)
    rows = report.load(path).metrics
    diverged = rows[rows["metric"] == "diverged"]
    assert list(zip(diverged["seed"], diverged["step"], diverged["value"])) == [(0, 200, 150), (1, 200, 151)]
    same(path, whole)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_is_answered_in_the_middle_of_a_chunk(name, tmp_path, slow, caplog):
    whole = run(counted(), tmp_path / "whole")
    slow()
    caplog.set_level("INFO")

    def ask(done, total):
        if done == total * 12 // 20:
            os.kill(os.getpid(), getattr(signal, name))

    with pytest.raises(Interrupted, match=r"^stopped at step 12; the same command goes on from there$"):
        run(counted(), tmp_path / "cut", on_progress=ask, checkpoint_every=1e9)
    assert caplog.messages.count("stopping after this round; once more to stop at once") == 1
    path = run(counted(), tmp_path / "cut")
    assert "going on from step 12 of 20" in caplog.text
    same(path, whole)


def test_a_signal_before_anything_was_computed_stops_at_once(tmp_path):
    def ask(done, total):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        run(counted(), tmp_path, on_progress=ask)


def test_a_run_that_outlives_its_terminal_takes_no_notice_of_its_end(tmp_path):
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        path = run(counted(), tmp_path, on_progress=lambda done, total: os.kill(os.getpid(), signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, handler)
    assert report.load(path).status["state"] == "finished"


def assert_same_however_cut(config, *cuts, restored):
    """Asserts that a chunk of a population comes to the same numbers, cut at any of these steps.

    Args:
        config: of the population.
        cuts: the steps at which slices end, the last of them the chunk's.
        restored: whether the state is saved and restored after each slice.
    """
    outcomes = []
    with contextlib.closing(toys.programs_of(config)) as programs:
        for ends in cuts:
            programs.begin()
            results = []
            for step, end in itertools.pairwise([0, *ends]):
                results.append(programs.advance(step, end - step, (0, ends[-1])))
                if restored:
                    programs.restore(programs.save(), end)
            assert all(not part.metrics for part in results[:-1])
            ended = [(*row, *values) for part in results for *row, values in episodes(part.ended)]
            outcomes.append((results[-1].metrics, results[-1].diverged, sorted(ended), programs.save()))
    assert outcomes[0][0]
    for other in outcomes[1:]:
        np.testing.assert_equal(other, outcomes[0])


def episodes(ended):
    """`(member, step, values)` of each episode."""
    values = zip(*(ended.values[name].tolist() for name in sorted(ended.values))) if ended.values else ()
    return list(zip(ended.member.tolist(), ended.step.tolist(), values))


def test_a_learner_with_a_random_method_learns_the_same_however_its_chunks_are_cut(monkeypatch):
    # Blocks of 10 steps: a chunk of 25 has two, and 5 steps more that belong to the second.
    monkeypatch.setattr(stream_loop, "_BLOCK_STEPS", 10)
    method = {"name": "continual_backprop", "replacement_rate": 0.1, "maturity": 5, "budget": "bernoulli"}
    problem = {"name": P, "examples": 25, "flip_every": 20}
    config = from_mapping({"problem": problem, "methods": [method], "diagnostics": ["weight_change"], "seeds": "2"})
    assert_same_however_cut(config, [25], [10, 25], restored=True)


@pytest.mark.parametrize(("form", "restored"), [("drift", True), ("drift_host", False)])
@pytest.mark.compilations(14)  # outside of the device a population has several programs
def test_an_agent_learns_the_same_however_its_chunks_are_cut(form, restored, toy_parts):
    # Rounds of 6 steps. Outside of the device episodes restart when they are restored.
    problem = {"name": form, "num_envs": 2, "steps": 18, "time_limit": 5}
    config = from_mapping({"problem": problem, "agent": "watcher", "diagnostics": [], "seeds": "1"})
    assert_same_however_cut(config, [18], [6, 18], [6, 12, 18], restored=restored)


def test_ends_of_tasks_and_evaluations_cut_chunks_short():
    # Metrics of every 8 of 40 steps; a task ends after 10; evaluations every 15.
    config = from_mapping({"problem": "hopper", "record_every": 8, "evaluate_every": 15})
    schedule = Schedule(counting.counting(config, 40, (Task("a", 10), Task("b", 40))))
    spans = [schedule.chunk(0)]
    while spans[-1].last < 40:
        spans.append(schedule.chunk(spans[-1].last))
    assert spans == [(0, 8), (8, 10), (10, 15), (15, 23), (23, 30), (30, 38), (38, 40)]
    for span in spans:  # each step of a chunk knows it
        assert {schedule.chunk(step) for step in range(*span)} == {span}
    assert [step for step in range(41) if schedule.evaluates(step)] == [0, 15, 30]


def test_the_pace_follows_the_time_that_a_slice_took():
    pace = Pace()
    assert pace.length(left=1000, unit=10) == 10
    pace.took(10, 0.001)  # at most ten times as many
    assert pace.length(1000, 10) == 100
    pace.took(100, 6.0)  # 3 s: half as many
    assert pace.length(1000, 10) == 50
    pace.took(50, 3.5)  # 42.9 steps: whole units
    assert pace.length(1000, 10) == 40
    pace.took(40, 1000.0)  # one unit at least
    assert pace.length(1000, 10) == 10
    # Less than a unit is not left over.
    pace.took(10, 1.0)
    assert pace.length(39, 10) == 39
    assert pace.length(40, 10) == 30
    assert pace.length(7, 10) == 7


def test_a_checkpoint_that_takes_long_is_followed_by_another_within_five_minutes(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(saver.time, "monotonic", lambda: now)

    class Store:
        def __init__(self):
            self.status = {}

        def save(self, *args, **facts):
            nonlocal now
            now += 60.0  # a checkpoint of gigabytes

    one = saver.Saver(counted(), Store(), 0, 10.0, lambda: None)
    programs = counting.CountingPrograms(counted())
    programs.begin()
    one.save(1, runs.Rows(counted().members), programs, None)
    saved_at = now
    while not one.is_due(2, is_best=False, ends_chunk=True):
        now += 10.0
    assert now - saved_at == 310.0  # 20 times as long would be 1200 s
