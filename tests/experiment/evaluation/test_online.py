"""Evaluations of agents while they learn: what they report, that they change nothing, and what they cost.

When they come, and which checkpoint is the best, is asked of runs that count (`counting`).
"""

import time
from typing import NamedTuple
from unittest import mock

import jax
import numpy as np
import pandas as pd
import pytest
import staged
import uneven
from counting import counting
from shards import shard_of

from pliant import report
from pliant.core import registry
from pliant.experiment import saver
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.evaluation.evaluate import evaluate
from pliant.experiment.evaluation.online import Evaluations
from pliant.experiment.evaluation.restore import load
from pliant.experiment.loops.host.play import HostPlay
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run
from pliant.experiment.storage.checkpoints import best_checkpoint, checkpoints

LARGE = 3e38  # a learning rate: twice it is more than a float32 can be


@pytest.fixture(autouse=True, scope="module")
def toy_problems():
    with pytest.MonkeyPatch.context() as patch:
        staged.add(patch)
        yield


def config_of(problem, **fields):
    """Two seeds, with rows of every 16 steps, evaluated every 30; rounds of 16 steps fill that up to 32."""
    given = {"seeds": "2", "diagnostics": [], "record_every": 16, "evaluate_every": 30, "evaluate_episodes": 3}
    return from_mapping({"problem": problem, "agent": "riser", **given, **fields})


def rows_of(path):
    return report.load(path).metrics


def values_of(path, metric):
    """`{(seed, step): value}`, the greater of the learning rates being left out."""
    rows = rows_of(path)
    rows = rows[(rows["metric"] == f"evaluation_{metric}") & (rows.get("agent.learning_rate", 0) != LARGE)]
    return dict(zip(zip(rows["seed"], rows["step"]), rows["value"]))


# Runs of agents.


class Evaluated(NamedTuple):
    form: str
    path: object  # of a run of 64 steps, evaluated at 0, 32 and 64
    traced: list  # whether an action was greedy, for each time that the agent was traced
    opened: list  # whether environments were opened, for each evaluation outside of the device


def falling(form, **fields):
    """The mean of a seed falls by 0.5 a round with one learning rate; with the other it diverges at step 32."""
    return config_of(form, sweep={"learning_rate": [LARGE, -0.5]}, **fields)


@pytest.fixture(scope="module", params=["uneven", "uneven_host"])
def evaluated(request, tmp_path_factory):
    traced, opened = [], []

    def noted(config, environment, methods_for):
        agent = uneven.riser(config, environment, methods_for)

        def act(*args, greedy=False):
            traced.append(greedy)
            return agent.act(*args, greedy=greedy)

        return agent._replace(act=act)

    opens = HostPlay._open

    def noted_open(play):
        opened.append(play._host is None)
        return opens(play)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry.find("agents", "riser"), "make", noted)
        patch.setattr(HostPlay, "_open", noted_open)
        path = run(plan(falling(request.param)), tmp_path_factory.mktemp("runs"), checkpoint_every=0.0)
    return Evaluated(request.param, path, traced, opened)


def greedy(seed, rounds):
    """Mean return of three episodes, of 5, 1 and 5 steps, with a mean of m: 15 + 5 m, 1 + m, and 15 + 5 m again."""
    mean = uneven.initial_mean(seed) - 0.5 * rounds
    return (31 + 11 * mean) / 3


def test_means_of_greedy_episodes(evaluated):
    expected = {(seed, 16 * rounds): greedy(seed, rounds) for seed in (0, 1) for rounds in (0, 2, 4)}
    returns = values_of(evaluated.path, "return")
    assert returns.keys() == expected.keys()
    np.testing.assert_allclose([returns[key] for key in expected], list(expected.values()), rtol=1e-6)
    assert values_of(evaluated.path, "length") == dict.fromkeys(expected, 11 / 3)
    # The first episode of each environment, and the second of the first.
    assert values_of(evaluated.path, "number") == dict.fromkeys(expected, 1 / 3)
    # The start states are the same each time, and others for each seed: of the evaluation alone, not of `evaluate`.
    draws = values_of(evaluated.path, "draw")
    assert draws[0, 0] == draws[0, 32] == draws[0, 64] != draws[1, 0] == draws[1, 32] == draws[1, 64]
    later = evaluate(load(evaluated.path), episodes=3, modes=["greedy"])
    assert not set(later.groupby("seed")["draw"].mean()) & set(draws.values())
    metrics = set(rows_of(evaluated.path)["metric"])
    assert not any("terminated" in metric or "truncated" in metric for metric in metrics)


@pytest.mark.compilations(8)  # a whole run, and the environments of a host
def test_the_run_is_the_same_to_the_bit(evaluated, tmp_path):
    without = run(plan(falling(evaluated.form, evaluate_every=0)), tmp_path)
    rows, others = rows_of(evaluated.path), rows_of(without)
    rows = rows[~rows["metric"].str.startswith("evaluation_")].reset_index(drop=True)
    for column in ("metric", "group"):
        rows[column], others[column] = rows[column].astype(str), others[column].astype(str)
    pd.testing.assert_frame_equal(rows, others, check_exact=True)
    last = [load(path) for path in (evaluated.path, without)]
    jax.tree.map(np.testing.assert_array_equal, *[(trained.agents, trained.host) for trained in last])


def test_compiled_and_opened_once(evaluated):
    assert evaluated.traced.count(True) == 1  # for three evaluations
    assert evaluated.opened == ([True, False, False] if evaluated.form == "uneven_host" else [])


def test_a_member_that_diverged_does_not_play(evaluated):
    rows = rows_of(evaluated.path)
    rows = rows[(rows["metric"] == "evaluation_return") & (rows["agent.learning_rate"] == LARGE)]
    assert rows.groupby("step")["value"].agg(lambda values: values.isna().sum()).to_dict() == {0: 0, 32: 2, 64: 2}


def test_agents_act_again_as_they_did_at_the_best_checkpoint(evaluated):
    # The returns fall: the first checkpoint that was evaluated is the best.
    best = load(evaluated.path, "best")
    assert best.step == report.load(evaluated.path).status["best"] == 32
    jax.tree.map(np.testing.assert_array_equal, best.agents, load(evaluated.path, 32).agents)


@pytest.mark.compilations(16)  # a whole run, and programs of evaluations for each task
@pytest.mark.parametrize("backend", ["device", "host"])
def test_in_the_task_in_which_they_learn(backend, tmp_path, monkeypatch):
    # Episodes of 2 steps up to step 32, then of 4; with a mean of m the return of L steps is L (1 + m) + 0 + 1 + ...
    monkeypatch.setattr(registry.find("problems", "staged"), "EVALUATE", ("greedy", "sampled"))
    path = run(plan(config_of({"name": "staged", "backend": backend}, evaluate_every=16)), tmp_path)
    assert values_of(path, "length") == {(s, t): 2 if t <= 32 else 4 for s in (0, 1) for t in (0, 16, 32, 48, 64)}
    assert set(values_of(path, "success").values()) == {2 / 3}  # every other one of an environment's, from the first on
    returns = values_of(path, "return")
    for step, length in [(16, 2), (32, 2), (48, 4), (64, 4)]:
        mean = uneven.initial_mean(0) + 0.5 * step / 16
        np.testing.assert_allclose(returns[0, step], length * (1 + mean) + sum(range(length)), rtol=1e-6)


# Runs that count: the return of a member is a fraction, and its learning rate times the steps so far.


def counted(learning_rate, steps=64, **fields):
    fields = {"evaluate_every": 32, "sweep": {"learning_rate": [learning_rate]}, **fields}
    return counting(config_of("uneven", **fields), steps)


@pytest.mark.parametrize(
    ("allowed", "mode"), [(("sampled",), "sampled"), (("greedy", "sampled"), "greedy"), (("greedy",), "greedy")]
)
def test_actions_are_greedy_unless_a_problem_is_to_be_evaluated_by_sampled_ones_alone(allowed, mode, monkeypatch):
    monkeypatch.setattr(registry.find("problems", "staged"), "EVALUATE", allowed)
    its_plan = counting(config_of("staged"))
    Evaluations(its_plan).means(0, np.zeros(2), np.zeros(2, bool))
    assert its_plan.loop.modes == [mode]


def test_more_often_than_there_are_rows(tmp_path):
    path = run(counted(0.0, record_every=48, evaluate_every=16), tmp_path)
    assert sorted({step for _, step in values_of(path, "return")}) == [0, 16, 32, 48, 64]
    rows = rows_of(path)
    assert sorted(set(rows[rows["metric"] == "loss"]["step"])) == [16, 32, 48, 64]


def test_nobody_is_left_to_play(tmp_path):
    # With a learning rate above 1 seed 0 diverges at step 150, and seed 1 one later.
    path = run(counted(2.0, steps=320, evaluate_every=160), tmp_path)
    assert {step for _, step in values_of(path, "return")} == {0}
    assert "best" not in report.load(path).status


class Stop(Exception):
    pass


def stop_at(step):
    """Of two members."""

    def on_progress(done, total):
        if done == 2 * step:
            raise Stop

    return on_progress


@pytest.mark.parametrize("step", [16, 48])
def test_none_is_lost_or_there_twice_after_a_stop(step, tmp_path, caplog):
    whole = run(counted(0.5), tmp_path / "whole")
    with pytest.raises(Stop):
        run(counted(0.5), tmp_path / "stopped", checkpoint_every=0.0, on_progress=stop_at(step))
    caplog.set_level("INFO")
    path = run(counted(0.5), tmp_path / "stopped", checkpoint_every=0.0)
    assert (f"going on from step {step - 16} of 64" in caplog.text) == (step > 16)
    pd.testing.assert_frame_equal(rows_of(path), rows_of(whole), check_exact=True)
    assert report.load(path).status["best"] == 64


def test_the_best_checkpoint_stays(tmp_path):
    path = run(counted(-1.0, steps=160), tmp_path, checkpoint_every=0.0)
    assert checkpoints(shard_of(path)) == [32, 144, 160]
    assert report.load(path).status["best"] == best_checkpoint(shard_of(path)) == 32


def test_the_best_is_found_again_after_a_stop(tmp_path):
    with pytest.raises(Stop):
        run(counted(-1.0, steps=160), tmp_path, checkpoint_every=0.0, on_progress=stop_at(112))
    path = run(counted(-1.0, steps=160), tmp_path, checkpoint_every=0.0)
    assert (checkpoints(shard_of(path)), report.load(path).status["best"]) == ([32, 144, 160], 32)


def test_the_best_is_saved_before_its_time(tmp_path):
    # A checkpoint is not due for years, but the first evaluation is the best so far; and so is each one that is better.
    path = run(counted(-1.0, steps=160), tmp_path, checkpoint_every=1e9)
    assert checkpoints(shard_of(path)) == [32, 160]


def test_a_checkpoint_that_takes_long_is_followed_by_none_for_long(tmp_path, monkeypatch):
    # By this clock 16 steps take 3 s, and so does what comes before the first; a checkpoint takes 1 s. The first is due
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

    run(counted(0.0, steps=320, evaluate_every=0), tmp_path, on_progress=on_progress, on_save=note)
    assert saved == [3, 10, 17, 20]
