"""Runs from beginning to end, and however they are stopped in between."""

import dataclasses
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest

from pliant import report
from pliant.experiment import run as runs
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError, Interrupted, StoreError
from pliant.experiment.loops.planning import plan, plans
from pliant.experiment.loops.population import population
from pliant.experiment.run import run

PROBLEM = {"name": "slowly_changing_regression", "examples": 1000, "flip_every": 100}


def small(**fields):
    """A run of 1,000 examples, told of every 100."""
    return from_mapping({"problem": PROBLEM, "seeds": "3", "record_every": 100, **fields})


def metrics(path):
    return report.load(path).metrics


def same(path, other):
    """Asserts that two runs have the same metrics, to the bit."""
    pd.testing.assert_frame_equal(metrics(path), metrics(other), check_exact=True)


def losses(path, **where):
    """`(seeds, steps)`, of those members that have these swept values."""
    rows = metrics(path)
    rows = rows[rows["metric"] == "loss"]
    for name, value in where.items():
        rows = rows[rows[name.replace("__", ".")] == value]
    return rows.pivot(index="seed", columns="step", values="value").to_numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where runs lie that several tests compare with."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def whole(folder):
    """The small run with continual backprop, which nobody stopped."""
    return run(plan(stoppable()), folder)


def stoppable():
    method = {"name": "continual_backprop", "replacement_rate": 0.01, "maturity": 20, "budget": "bernoulli"}
    return small(methods=[method])


def test_a_run(folder):
    config = small(sweep={"learning_rate": [0.01, 0.001]})
    told = []
    path = run(plan(config), folder, on_progress=lambda done, total: told.append((done, total)))
    assert path == folder / config.name
    assert told == [(done, 6000) for done in range(0, 6001, 600)]  # 3 seeds x 2 step sizes x 1000 examples
    assert plan(config).work == (6000, "examples")

    loaded = report.load(path)
    assert loaded.config == {name: value for name, value in config.to_mapping().items() if name != "seeds"}
    assert loaded.status["state"] == "finished"
    assert (loaded.status["step"], loaded.status["steps"], loaded.status["members"]) == (1000, 1000, 6)
    assert loaded.status["seconds"] > 0
    assert {"command", "started", "python", "versions", "git", "machine", "cpu", "cores", "devices"} == set(
        loaded.environment
    )
    assert {"pliant", "jax", "optax"} <= set(loaded.environment["versions"])

    rows = loaded.metrics
    assert list(rows.columns) == ["seed", "agent.learning_rate", "step", "metric", "group", "value"]
    assert set(rows["metric"]) == {"loss", "dormant_fraction", "weight_magnitude"}
    loss = rows[rows["metric"] == "loss"]
    members = itertools.product([0, 1, 2], [0.01, 0.001], range(100, 1001, 100))
    assert set(zip(loss["seed"], loss["agent.learning_rate"], loss["step"])) == set(members)
    assert len(loss) == 60
    assert np.isfinite(rows["value"]).all()


def test_a_hundredth_of_the_run_is_the_default_stretch(tmp_path):
    told = []
    run(plan(small(record_every=0, diagnostics=[])), tmp_path, on_progress=lambda done, total: told.append(done))
    assert told == list(range(0, 3001, 30))


def test_a_last_stretch_may_be_shorter(tmp_path):
    path = run(plan(small(record_every=300)), tmp_path)
    assert sorted(set(metrics(path)["step"])) == [300, 600, 900, 1000]
    path = run(plan(small(record_every=5000)), tmp_path)
    assert sorted(set(metrics(path)["step"])) == [1000]


def test_a_finished_run_is_not_run_again(whole, folder, monkeypatch, caplog):
    def fail(*args):
        raise AssertionError("it was run")

    monkeypatch.setattr(runs, "_advance", fail)
    caplog.set_level("INFO")
    assert run(plan(stoppable()), folder) == whole
    assert f"{whole} is finished already (run it again with --force)" in caplog.text


def test_force_runs_again(tmp_path, whole):
    run(plan(stoppable()), tmp_path)
    told = []
    path = run(plan(stoppable()), tmp_path, force=True, on_progress=lambda done, total: told.append(done))
    assert told[0] == 0
    same(path, whole)


def test_seeds_are_added_to_a_run(tmp_path, whole, caplog):
    """Two commands for some of the seeds each come to what one command for all of them does, and no seed is twice."""
    caplog.set_level("INFO")
    first = run(plan(dataclasses.replace(stoppable(), seeds="1")), tmp_path)
    told, saved = [], []
    path = run(plan(stoppable()), tmp_path, on_progress=lambda *amount: told.append(amount), on_save=saved.append)
    assert path == first == tmp_path / whole.name
    assert sorted(shard.name for shard in (path / "shards").iterdir()) == ["0-0", "1-2"]
    assert f"{path} has seeds 0-0 already; computing seeds 1-2" in caplog.text
    assert told == [(done, 3000) for done in range(1000, 3001, 200)]  # of 3 x 1000 examples a third was there
    assert set(saved) == {path}
    np.testing.assert_allclose(losses(path), losses(whole), rtol=1e-4)
    np.testing.assert_array_equal(report.load(path, seeds=[0]).metrics, report.load(first, seeds=[0]).metrics)


def test_fewer_seeds_than_there_are_need_nothing(whole, folder, monkeypatch, caplog):
    monkeypatch.setattr(runs, "_advance", None)
    caplog.set_level("INFO")
    saved = []
    assert run(plan(dataclasses.replace(stoppable(), seeds="1-2")), folder, on_save=saved.append) == whole
    assert saved == [whole]
    assert f"{whole} is finished already" in caplog.text


class Stop(Exception):
    pass


@pytest.mark.parametrize("checkpoint_every", [0.0, 1e9])
def test_goes_on_after_a_failure_anywhere(tmp_path, whole, checkpoint_every):
    at = random.randrange(1, 10) * 300

    def stop(done, total):
        if done == at:
            raise Stop

    with pytest.raises(Stop):
        run(plan(stoppable()), tmp_path, checkpoint_every=checkpoint_every, on_progress=stop)
    told = []
    path = run(plan(stoppable()), tmp_path, on_progress=lambda done, total: told.append(done))
    assert told[0] == (at - 300 if checkpoint_every == 0 else 0), f"stopped at {at}"
    same(path, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops(tmp_path, whole, number):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def stop(done, total):
        if done == 900:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted, match="stopped at step 300; the same command goes on from there"):
        run(plan(stoppable()), tmp_path, on_progress=stop)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    path = tmp_path / stoppable().name
    assert report.load(path).status["state"] == "running"
    assert sorted(set(metrics(path)["step"])) == [100, 200, 300]
    told = []
    run(plan(stoppable()), tmp_path, on_progress=lambda done, total: told.append(done))
    assert told[0] == 900
    same(path, whole)


def test_a_second_signal_stops_at_once(tmp_path):
    def stop(done, total):
        if done == 900:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(plan(stoppable()), tmp_path, on_progress=stop)


def test_a_signal_in_the_last_stretch_changes_nothing(tmp_path, whole):
    path = run(
        plan(stoppable()),
        tmp_path,
        on_progress=lambda done, total: done == total and os.kill(os.getpid(), signal.SIGINT),
    )
    same(path, whole)


def test_runs_in_a_thread(tmp_path, whole):
    # Only the main thread may handle signals.
    results = []
    thread = threading.Thread(target=lambda: results.append(run(plan(stoppable()), tmp_path)))
    thread.start()
    thread.join()
    same(*results, whole)


def test_two_at_once(tmp_path):
    messages = []

    def another(done, total):
        with pytest.raises(StoreError) as error:
            run(plan(stoppable()), tmp_path)
        messages.append(str(error.value))

    path = run(plan(stoppable()), tmp_path, on_progress=another)
    assert set(messages) == {f"another process (pid {os.getpid()}) is working on {path / 'shards' / '0-2'}"}


def test_killed_at_three_random_moments(tmp_path, folder):
    """`kill -9` of a process that saves all the time; what is resumed ends as if nothing had happened."""
    fields = dict(sweep={"replacement_rate": [0.01, 0.1]}, methods=stoppable().to_mapping()["methods"], record_every=5)
    config = small(**fields)
    untouched = run(plan(config), folder)
    code = f"""
from pathlib import Path
from pliant.experiment.configuration.reading import from_yaml
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run
run(plan(from_yaml({config.to_yaml()!r})), Path({str(tmp_path)!r}), checkpoint_every=0.0)
"""
    path, killed_at = tmp_path / config.name, []

    def saved():
        status = path / "shards" / "0-2" / "status.json"  # which is there whole or not at all
        return json.loads(status.read_text())["step"] if status.exists() else 0

    for _ in range(3):
        before = saved()
        child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "JAX_NUM_CPU_DEVICES": "2"})
        while child.poll() is None and saved() <= before:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 1))
        child.kill()
        assert child.wait() == -signal.SIGKILL, "it ended before it was killed: make it longer"
        killed_at.append(report.load(path).status["step"])
    assert 0 < killed_at[0] < killed_at[1] < killed_at[2] < 1000
    run(plan(config), tmp_path)
    same(path, untouched)


def test_a_member_that_diverges_does_not_stop_the_others(tmp_path, folder):
    config = small(sweep={"learning_rate": [0.01, 1e4]}, diagnostics=["weight_magnitude"])
    path = run(plan(config), tmp_path)
    rows = metrics(path)
    marks = rows[rows["metric"] == "diverged"]
    assert sorted(zip(marks["seed"], marks["agent.learning_rate"])) == [(0, 1e4), (1, 1e4), (2, 1e4)]  # each told once
    for _, mark in marks.iterrows():
        assert mark["step"] - 100 < mark["value"] <= mark["step"]
        member = rows[
            (rows["seed"] == mark["seed"]) & (rows["agent.learning_rate"] == 1e4) & (rows["metric"] != "diverged")
        ]
        # From the stretch in which it happened there are no values.
        np.testing.assert_array_equal(member["value"].isna(), member["step"] >= mark["step"])

    alone = run(plan(small(diagnostics=["weight_magnitude"])), folder)
    np.testing.assert_allclose(losses(path, agent__learning_rate=0.01), losses(alone), rtol=1e-4)
    assert np.isfinite(losses(alone)).all()


def test_a_divergence_is_remembered_over_a_stop(tmp_path):
    config = small(agent={"name": "sgd", "learning_rate": 1e4}, diagnostics=[])

    def stop(done, total):
        if done == 1500:
            raise Stop

    with pytest.raises(Stop):
        run(plan(config), tmp_path, checkpoint_every=0.0, on_progress=stop)
    rows = metrics(run(plan(config), tmp_path))
    assert (rows["metric"] == "diverged").sum() == 3
    assert rows[rows["step"] > 200]["value"].isna().all()


@pytest.mark.parametrize("seed_axis", ["vmap", "map"])
def test_a_seed_alone_is_the_seed_in_a_population(tmp_path, seed_axis):
    fields = {"methods": stoppable().to_mapping()["methods"], "seed_axis": seed_axis}
    sweep = {"sweep": {"learning_rate": [0.01, 0.003]}}
    many = run(plan(small(seeds="5", **sweep, **fields)), tmp_path / "many")
    one = run(plan(small(seeds="3,", **sweep, **fields)), tmp_path / "one")
    assert losses(one, agent__learning_rate=0.003).shape == (1, 10)
    for learning_rate in (0.01, 0.003):
        among, alone = (
            losses(many, agent__learning_rate=learning_rate)[3:4],
            losses(one, agent__learning_rate=learning_rate),
        )
        if seed_axis == "map":
            np.testing.assert_array_equal(among, alone)
        else:
            np.testing.assert_allclose(among, alone, rtol=1e-4)


def test_seeds_and_values_differ(folder):
    path = run(plan(small(sweep={"learning_rate": [0.01, 0.001]})), folder)
    rows = metrics(path)
    last = rows[(rows["metric"] == "loss") & (rows["step"] == 1000)]["value"]
    assert len(set(last)) == 6


def test_a_swept_value_is_what_the_setting_alone_is(folder):
    method = {"name": "redo", "period": 50}
    swept = run(plan(small(methods=[method], sweep={"period": [50, 200], "threshold": [0.5, 0.0]})), folder)
    alone = run(plan(small(methods=[{**method, "threshold": 0.5}])), folder)
    np.testing.assert_allclose(losses(swept, method__period=50, method__threshold=0.5), losses(alone), rtol=1e-4)
    rows = metrics(swept)
    replaced = rows[(rows["metric"] == "replacements") & (rows["group"] == "") & (rows["step"] == 1000)]
    most = replaced.groupby(["method.period", "method.threshold"])["value"].mean()
    assert most[50, 0.5] > most[200, 0.5] > 0


@pytest.mark.parametrize(
    ("sweep", "together"),
    [
        ({"learning_rate": [0.1, 0.2]}, 1),
        ({"momentum": [0.0, 0.9]}, 1),
        ({"beta": [0.5, 0.7]}, 1),
        ({"maturity": [10, 100]}, 1),
        ({"maturity": [10, 100], "replacement_rate": [0.1, 0.2], "decay_rate": [0.0, 0.9]}, 1),
        ({"activation": ["relu", "tanh", "elu"]}, 3),
        ({"hidden_units": [0, 5]}, 2),
        ({"examples": [1000, 2000]}, 2),
        ({"optimizer": ["sgd", "adam"], "flip": ["one", "resample_all"], "learning_rate": [0.1, 0.2]}, 4),
        ({"compensate": [True, False]}, 2),
    ],
)
def test_what_can_be_swept_in_one_program(sweep, together):
    config = small(methods=["continual_backprop"], sweep=sweep)
    runs_of_it = plans(config)
    assert len(runs_of_it) == together
    assert len({each.config.name for each in runs_of_it}) == together
    members = 3 * np.prod([len(values) for values in sweep.values()])
    assert sum(len(each.members) for each in runs_of_it) == members


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"methods": ["continual_backprop"], "sweep": {"replacement_rate": [0.1, 2]}}, "replacement_rate=2.0"),
        ({"methods": ["continual_backprop"], "sweep": {"maturity": [10, -1]}}, "maturity=-1"),
        ({"methods": ["redo"], "sweep": {"period": [10, 0]}}, "period=0"),
        ({"methods": [{"name": "redo", "threshold": -1}]}, "threshold=-1"),
        ({"problem": {**PROBLEM, "flipping_bits": 25}}, "flipping_bits=25"),
        ({"sweep": {"flipping_bits": [15, 3]}}, "flipping_bits=3"),
        ({"diagnostics": [{"name": "dormant_fraction", "threshold": -1}]}, "threshold=-1"),
    ],
)
def test_an_impossible_value_is_found_before_anything_starts(fields, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        plans(small(**fields))
    assert "\n" not in str(error.value)


def test_swept_whole_numbers_stay_whole(folder):
    members = population(small(methods=["redo"], sweep={"period": [10, 100], "threshold": [0.1]}))
    assert members.swept["method.period"].dtype.kind == "i"
    np.testing.assert_array_equal(members.swept["method.period"], [10, 10, 10, 100, 100, 100])
    np.testing.assert_array_equal(members.seeds, [0, 1, 2, 0, 1, 2])
