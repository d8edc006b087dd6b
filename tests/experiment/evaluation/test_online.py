"""Evaluations of agents while they learn: what they tell, that they change nothing, and what they cost."""

import time
from unittest import mock

import jax
import numpy as np
import pandas as pd
import pytest
import staged
import uneven
from shards import shard_of

from pliant import report
from pliant.core import registry
from pliant.experiment import saver
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.evaluation.evaluate import evaluate
from pliant.experiment.evaluation.restore import load
from pliant.experiment.loops.host import play as host_play
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run
from pliant.experiment.storage.checkpoints import checkpoints

FORMS = pytest.mark.parametrize("form", ["uneven", "uneven_host"])


@pytest.fixture(autouse=True)
def toy_problems(monkeypatch):
    staged.add(monkeypatch)


def config_of(form, **fields):
    """Two seeds of 64 steps in rounds of 16, evaluated every 30 of them, which are filled up to 32: at 0, 32 and 64."""
    given = {"seeds": "2", "diagnostics": [], "record_every": 16, "evaluate_every": 30, "evaluate_episodes": 3}
    return from_mapping({"problem": form, **given, **fields})


def rows_of(path):
    return report.load(path).metrics


def of_evaluations(rows):
    return rows["metric"].str.startswith("evaluation_")


def told(path, metric):
    """`{(seed, step): value}`."""
    rows = rows_of(path)
    rows = rows[rows["metric"] == f"evaluation_{metric}"]
    return dict(zip(zip(rows["seed"], rows["step"]), rows["value"]))


def greedy(seed, rounds):
    """Mean return of three episodes, of 5, 1 and 5 steps, with a mean of m: 15 + 5 m, 1 + m, and 15 + 5 m again."""
    mean = uneven.initial_mean(seed) + 0.5 * rounds
    return (31 + 11 * mean) / 3


@FORMS
def test_means_of_greedy_episodes(form, tmp_path):
    path = run(plan(config_of(form)), tmp_path)
    expected = {(seed, 16 * rounds): greedy(seed, rounds) for seed in (0, 1) for rounds in (0, 2, 4)}
    returns = told(path, "return")
    assert returns.keys() == expected.keys()
    np.testing.assert_allclose([returns[key] for key in expected], list(expected.values()), rtol=1e-6)
    assert told(path, "length") == dict.fromkeys(expected, 11 / 3)
    # The first episode of each environment, and the second of the first.
    assert told(path, "number") == dict.fromkeys(expected, 1 / 3)
    # The start states are the same each time, and others for each seed: of the evaluation alone, not of `evaluate`.
    draws = told(path, "draw")
    assert draws[0, 0] == draws[0, 32] == draws[0, 64] != draws[1, 0] == draws[1, 32] == draws[1, 64]
    later = evaluate(load(path), episodes=3, modes=["greedy"])
    assert not set(later.groupby("seed")["draw"].mean()) & set(draws.values())
    assert not any("terminated" in metric or "truncated" in metric for metric in set(rows_of(path)["metric"]))


@FORMS
def test_the_run_is_the_same_to_the_bit(form, tmp_path):
    with_them, without = (run(plan(config_of(form, evaluate_every=every)), tmp_path) for every in (32, 0))
    rows = rows_of(with_them)
    rows = rows[~of_evaluations(rows)].reset_index(drop=True)
    others = rows_of(without)
    for column in ("metric", "group"):
        rows[column], others[column] = rows[column].astype(str), others[column].astype(str)
    pd.testing.assert_frame_equal(rows, others, check_exact=True)
    last = [load(path) for path in (with_them, without)]
    jax.tree.map(np.testing.assert_array_equal, *[(trained.agents, trained.host) for trained in last])


def test_more_often_than_there_are_rows(tmp_path):
    path = run(plan(config_of("uneven", record_every=48, evaluate_every=16)), tmp_path)
    assert sorted({step for _, step in told(path, "return")}) == [0, 16, 32, 48, 64]
    rows = rows_of(path)
    assert sorted(set(rows[rows["metric"] == "mean"]["step"])) == [16, 32, 48, 64]


@FORMS
def test_compiled_and_opened_once(form, tmp_path, monkeypatch):
    traced, opened = [], []

    def counted(config, environment, methods_for):
        agent = uneven.riser(config, environment, methods_for)

        def act(*args, greedy=False):
            traced.append(greedy)
            return agent.act(*args, greedy=greedy)

        return agent._replace(act=act)

    monkeypatch.setattr(registry.find("agents", "riser"), "make", counted)
    opens = host_play.HostPlay._open

    def counted_open(play):
        opened.append(play._host is None)
        return opens(play)

    monkeypatch.setattr(host_play.HostPlay, "_open", counted_open)
    times = []
    for every in (64, 16):  # two evaluations, or five
        traced.clear()
        opened.clear()
        run(plan(config_of(form, evaluate_every=every)), tmp_path)
        times.append(sum(traced))
        assert sum(opened) == (form == "uneven_host")
    assert times[0] == times[1] > 0


def test_a_member_that_diverged_does_not_play(tmp_path):
    # Twice 3e38 is more than a float32 can be: at step 32.
    fields = {"agent": "riser", "sweep": {"learning_rate": [3e38, 0.5]}, "seeds": "1"}
    for form in ("uneven", "uneven_host"):
        rows = rows_of(run(plan(config_of(form, **fields)), tmp_path))
        rows = rows[rows["metric"] == "evaluation_return"]
        values = rows.set_index(["agent.learning_rate", "step"])["value"]
        assert values[3e38].isna().tolist() == [False, True, True]
        np.testing.assert_allclose(values[0.5], [greedy(0, rounds) for rounds in (0, 2, 4)], rtol=1e-6)


def test_nobody_is_left_to_play(tmp_path):
    path = run(plan(config_of("uneven", agent={"name": "riser", "learning_rate": 3e38})), tmp_path)
    assert {step for _, step in told(path, "return")} == {0}
    assert "best" not in report.load(path).status


@pytest.mark.parametrize("backend", ["device", "host"])
def test_in_the_stage_in_which_they_learn(backend, tmp_path, monkeypatch):
    # Episodes of 2 steps up to step 32, then of 4. The problem is to be evaluated with sampled actions.
    fields = {"agent": "riser", "evaluate_every": 16}
    path = run(plan(config_of({"name": "staged", "backend": backend}, **fields)), tmp_path)
    assert told(path, "length") == {(s, t): 2 if t <= 32 else 4 for s in (0, 1) for t in (0, 16, 32, 48, 64)}
    assert set(told(path, "success").values()) == {2 / 3}  # every other one of an environment's, from the first on

    def expected(length, rounds):
        return length * (1 + uneven.initial_mean(0) + 0.5 * rounds) + sum(range(length))

    returns = told(path, "return")
    assert 0 < abs(returns[0, 16] - expected(2, 1)) < 5
    monkeypatch.setattr(registry.find("problems", "staged"), "EVALUATE", ("greedy", "sampled"))
    path = run(plan(config_of({"name": "staged", "backend": backend}, **fields)), tmp_path, force=True)
    for step, length in [(16, 2), (32, 2), (48, 4), (64, 4)]:
        np.testing.assert_allclose(told(path, "return")[0, step], expected(length, step / 16), rtol=1e-6)


class Stop(Exception):
    pass


def stop_at(step):
    """Of two members."""

    def on_progress(done, total):
        if done == 2 * step:
            raise Stop

    return on_progress


@pytest.mark.parametrize("step", [16, 48])
def test_none_is_lost_or_told_twice_after_a_stop(step, tmp_path, caplog):
    whole = run(plan(config_of("uneven")), tmp_path / "whole")
    with pytest.raises(Stop):
        run(plan(config_of("uneven")), tmp_path / "stopped", checkpoint_every=0.0, on_progress=stop_at(step))
    caplog.set_level("INFO")
    path = run(plan(config_of("uneven")), tmp_path / "stopped", checkpoint_every=0.0)
    assert (f"going on from step {step - 16} of 64" in caplog.text) == (step > 16)
    pd.testing.assert_frame_equal(rows_of(path), rows_of(whole), check_exact=True)
    assert report.load(path).status["best"] == 64


def descending():
    """The mean falls by 1 a round, so that each evaluation is worse than the one before."""
    return config_of({"name": "uneven", "steps": 160}, agent={"name": "riser", "learning_rate": -1.0})


def test_the_best_checkpoint_stays(tmp_path):
    path = run(plan(descending()), tmp_path, checkpoint_every=0.0)
    assert checkpoints(shard_of(path)) == [32, 144, 160]
    assert report.load(path).status["best"] == 32
    assert load(path, "best").step == 32
    np.testing.assert_array_equal(load(path, "best").agents[-1], load(path, 32).agents[-1])


def test_the_best_is_found_again_after_a_stop(tmp_path):
    with pytest.raises(Stop):
        run(plan(descending()), tmp_path, checkpoint_every=0.0, on_progress=stop_at(112))
    path = run(plan(descending()), tmp_path, checkpoint_every=0.0)
    assert (checkpoints(shard_of(path)), report.load(path).status["best"]) == ([32, 144, 160], 32)


def test_the_best_is_saved_before_its_time(tmp_path):
    # A checkpoint is not due for years, but the first evaluation is the best so far; and so is each one that is better.
    path = run(plan(descending()), tmp_path, checkpoint_every=1e9)
    assert checkpoints(shard_of(path)) == [32, 160]


def test_a_checkpoint_that_takes_long_is_followed_by_none_for_long(tmp_path, monkeypatch):
    # By this clock a round takes 3 s, and so does what comes before the first; a checkpoint takes 1 s. The first is due
    # after 10 s, which are 3 rounds; then after 20 s, which are 7; the last in any case.
    now, saved = [0.0], []
    clock = mock.Mock(wraps=time)
    clock.monotonic = lambda: now[0]
    monkeypatch.setattr(saver, "time", clock)

    def on_progress(done, total):
        now[0] += 3

    def note(path):
        now[0] += 1
        saved.append(checkpoints(shard_of(path))[-1] // 16)

    long = plan(config_of({"name": "uneven", "steps": 320}, evaluate_every=0))
    run(long, tmp_path, on_progress=on_progress, on_save=note)
    assert saved == [3, 10, 17, 20]
