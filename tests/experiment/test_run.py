"""Runs from beginning to end, and however they are stopped in between.

What the numbers of a run are is not asked where a run is stopped and resumed: these runs count (`counting`).
"""

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

import counting
import jax
import numpy as np
import pandas as pd
import pytest

from pliant import report
from pliant.core.clock import Task
from pliant.experiment import run as runs
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError, Interrupted, StoreError
from pliant.experiment.loops.planning import plan, plans
from pliant.experiment.loops.population import population
from pliant.experiment.run import run
from pliant.experiment.storage.checkpoints import checkpoints, load_checkpoint

PROBLEM = {"name": "slowly_changing_regression", "examples": 1000, "flip_every": 100}


def small(**fields):
    """A run of 1,000 examples, with metrics of every 100."""
    return from_mapping({"problem": PROBLEM, "seeds": "3", "record_every": 100, **fields})


def counted(**fields):
    """A run of 1,000 steps that counts."""
    return counting.counting(small(**fields))


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


class Progress(list):
    """Notes how much of a run is done."""

    def __call__(self, done, total):
        self.append(done)


class Stop(Exception):
    pass


def stop_at(amount):
    """Ends a run as a kill does, before anything is saved."""

    def on_progress(done, total):
        if done == amount:
            raise Stop

    return on_progress


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where runs lie that several tests compare with."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def whole(folder):
    """A run that counts, which nobody stopped."""
    return run(counted(), folder)


# Runs of agents.


REDO = {"name": "redo", "period": 50}


def redone(seed_axis):
    """Two periods and two thresholds of a method that draws at random."""
    sweep = {"period": [50, 200], "threshold": [0.5, 0.0]}
    return small(methods=[REDO], diagnostics=["replacements"], sweep=sweep, seed_axis=seed_axis)


def test_a_run(folder):
    config = small(sweep={"learning_rate": [0.01, 0.001]})
    progress = []
    path = run(plan(config), folder, on_progress=lambda *amount: progress.append(amount))
    assert path == folder / config.name
    assert progress == [(done, 6000) for done in range(0, 6001, 600)]  # 3 seeds x 2 learning rates x 1000 examples
    assert plan(config).work == (6000, "examples")

    loaded = report.load(path)
    assert loaded.config == {name: value for name, value in config.to_mapping().items() if name != "seeds"}
    assert loaded.status["state"] == "finished"
    assert (loaded.status["step"], loaded.status["steps"], loaded.status["members"]) == (1000, 1000, 6)
    assert loaded.status["seconds"] > 0
    assert set(loaded.environment) == {
        *("command", "started", "python", "versions", "git", "machine", "cpu", "cores", "devices"),
        *("platform", "xla_flags", "numerics"),
    }
    assert {"pliant", "jax", "optax"} <= set(loaded.environment["versions"])

    rows = loaded.metrics
    assert list(rows.columns) == ["seed", "agent.learning_rate", "step", "metric", "group", "value"]
    assert set(rows["metric"]) == {"loss", "dormant_fraction", "weight_magnitude"}
    loss = rows[rows["metric"] == "loss"]
    members = itertools.product([0, 1, 2], [0.01, 0.001], range(100, 1001, 100))
    assert set(zip(loss["seed"], loss["agent.learning_rate"], loss["step"])) == set(members)
    assert len(loss) == 60
    assert np.isfinite(rows["value"]).all()
    assert len(set(loss[loss["step"] == 1000]["value"])) == 6  # seeds and values differ


def test_agents_with_a_random_method_go_on_after_a_failure_to_the_bit(tmp_path, folder):
    config = redone("vmap")
    untouched = run(plan(config), folder)
    at = random.randrange(1, 10) * 1200  # of 3 seeds x 4 combinations x 1000 examples
    with pytest.raises(Stop):
        run(plan(config), tmp_path, checkpoint_every=0.0, on_progress=stop_at(at))
    progress = Progress()
    path = run(plan(config), tmp_path, on_progress=progress)
    assert progress[0] == at - 1200, f"stopped at {at}"
    same(path, untouched)


@pytest.mark.parametrize("seed_axis", ["vmap", "map"])
def test_a_seed_with_a_swept_value_is_the_seed_alone_with_the_setting(seed_axis, folder):
    many = run(plan(redone(seed_axis)), folder)
    alone = small(methods=[{**REDO, "threshold": 0.5}], diagnostics=["replacements"], seeds="2,", seed_axis=seed_axis)
    one = losses(run(plan(alone), folder))
    among = losses(many, method__period=50, method__threshold=0.5)[2:]
    assert one.shape == (1, 10)
    if seed_axis == "map":
        np.testing.assert_array_equal(among, one)
    else:
        np.testing.assert_allclose(among, one, rtol=1e-4)
    rows = metrics(many)
    replaced = rows[(rows["metric"] == "replacements") & (rows["group"] == "") & (rows["step"] == 1000)]
    most = replaced.groupby(["method.period", "method.threshold"])["value"].mean()
    assert most[50, 0.5] > most[200, 0.5] > 0


# Runs that count.


def test_a_hundredth_of_the_run_is_the_default_chunk(tmp_path):
    progress = Progress()
    run(counted(record_every=0), tmp_path, on_progress=progress)
    assert progress == list(range(0, 3001, 30))


def test_a_last_chunk_may_be_shorter(tmp_path):
    path = run(counted(record_every=300), tmp_path)
    assert sorted(set(metrics(path)["step"])) == [300, 600, 900, 1000]
    path = run(counted(record_every=5000), tmp_path)
    assert sorted(set(metrics(path)["step"])) == [1000]


def test_a_finished_run_is_not_run_again(whole, folder, monkeypatch, caplog):
    def fail(*args):
        raise AssertionError("it was run")

    monkeypatch.setattr(runs, "_advance", fail)
    caplog.set_level("INFO")
    assert run(counted(), folder) == whole
    assert f"{whole} is finished already (run it again with --force)" in caplog.text


def test_force_runs_again(tmp_path, whole):
    run(counted(), tmp_path)
    progress = Progress()
    path = run(counted(), tmp_path, force=True, on_progress=progress)
    assert progress[0] == 0
    same(path, whole)


def test_seeds_are_added_to_a_run(tmp_path, whole, caplog):
    """Two commands for some of the seeds each come to what one command for all of them does, and no seed is twice."""
    caplog.set_level("INFO")
    first = run(counted(seeds="1"), tmp_path)
    progress, saved = [], []
    path = run(counted(), tmp_path, on_progress=lambda *amount: progress.append(amount), on_save=saved.append)
    assert path == first == tmp_path / whole.name
    assert sorted(shard.name for shard in (path / "shards").iterdir()) == ["0-0", "1-2"]
    assert f"{path} has seeds 0-0 already; computing seeds 1-2" in caplog.text
    assert progress == [(done, 3000) for done in range(1000, 3001, 200)]  # of 3 x 1000 steps a third was there
    assert set(saved) == {path}
    np.testing.assert_array_equal(losses(path), losses(whole))
    np.testing.assert_array_equal(report.load(path, seeds=[0]).metrics, report.load(first, seeds=[0]).metrics)


def test_fewer_seeds_than_there_are_need_nothing(whole, folder, monkeypatch, caplog):
    monkeypatch.setattr(runs, "_advance", None)
    caplog.set_level("INFO")
    saved = []
    assert run(counted(seeds="1-2"), folder, on_save=saved.append) == whole
    assert saved == [whole]
    assert f"{whole} is finished already" in caplog.text


@pytest.mark.parametrize("at", [300, 1500, 2700])
@pytest.mark.parametrize("checkpoint_every", [0.0, 1e9])
def test_goes_on_after_a_failure_anywhere(tmp_path, whole, checkpoint_every, at):
    with pytest.raises(Stop):
        run(counted(), tmp_path, checkpoint_every=checkpoint_every, on_progress=stop_at(at))
    progress = Progress()
    path = run(counted(), tmp_path, on_progress=progress)
    assert progress[0] == (at - 300 if checkpoint_every == 0 else 0)
    same(path, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops(tmp_path, whole, number):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def stop(done, total):
        if done == 900:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted, match="stopped at step 300; the same command goes on from there"):
        run(counted(), tmp_path, on_progress=stop)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    path = tmp_path / whole.name
    assert report.load(path).status["state"] == "running"
    assert sorted(set(metrics(path)["step"])) == [100, 200, 300]
    progress = Progress()
    run(counted(), tmp_path, on_progress=progress)
    assert progress[0] == 900
    same(path, whole)


def test_a_second_signal_stops_at_once(tmp_path):
    def stop(done, total):
        if done == 900:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(counted(), tmp_path, on_progress=stop)


def test_a_signal_in_the_last_chunk_changes_nothing(tmp_path, whole):
    path = run(
        counted(), tmp_path, on_progress=lambda done, total: done == total and os.kill(os.getpid(), signal.SIGINT)
    )
    same(path, whole)


def test_runs_in_a_thread(tmp_path, whole):
    # Only the main thread may handle signals.
    results = []
    thread = threading.Thread(target=lambda: results.append(run(counted(), tmp_path)))
    thread.start()
    thread.join()
    same(*results, whole)


def test_two_at_once(tmp_path):
    messages = []

    def another(done, total):
        with pytest.raises(StoreError) as error:
            run(counted(), tmp_path)
        messages.append(str(error.value))

    path = run(counted(), tmp_path, on_progress=another)
    assert set(messages) == {f"another process (pid {os.getpid()}) is working on {path / 'shards' / '0-2'}"}


# A process that has imported everything, and forks one that runs for each line that it reads.
STARTER = """
import os, sys
from pathlib import Path
from counting import counting
from pliant.experiment.configuration.reading import from_yaml
from pliant.experiment.run import run
plan = counting(from_yaml(sys.argv[1]))
for _ in sys.stdin:
    child = os.fork()
    if not child:
        run(plan, Path(sys.argv[2]), checkpoint_every=0.0)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_killed_at_three_random_moments(tmp_path, folder):
    """`kill -9` of a process that saves all the time; what is resumed ends as if nothing had happened."""
    config = small(record_every=1)
    untouched = run(counting.counting(config), folder)
    path, killed_at = tmp_path / config.name, []

    def saved():
        status = path / "shards" / "0-2" / "status.json"  # which is there whole or not at all
        return json.loads(status.read_text())["step"] if status.exists() else 0

    command = [sys.executable, "-c", STARTER, config.to_yaml(), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(command, env=environment, **pipes) as starter:
        for _ in range(3):
            before = saved()
            print(file=starter.stdin)
            child = int(starter.stdout.readline())
            while starter.poll() is None and saved() <= before:
                time.sleep(0.01)
            time.sleep(random.uniform(0, 0.3))
            os.kill(child, signal.SIGKILL)
            assert int(starter.stdout.readline()) == -signal.SIGKILL, "it ended before it was killed: make it longer"
            killed_at.append(report.load(path).status["step"])
    assert 0 < killed_at[0] < killed_at[1] < killed_at[2] < 1000
    run(counting.counting(config), tmp_path)
    same(path, untouched)


def test_a_member_that_diverges_does_not_stop_the_others(tmp_path, whole):
    # A member with a large learning rate diverges at step 150 more than its seed.
    path = run(counted(sweep={"learning_rate": [0.0, 1e4]}), tmp_path)
    rows = metrics(path)
    marks = rows[rows["metric"] == "diverged"]
    found = sorted(zip(marks["seed"], marks["agent.learning_rate"], marks["step"], marks["value"]))
    assert found == [(seed, 1e4, 200, 150 + seed) for seed in range(3)]  # one row each
    # From the chunk in which it happened there are no values.
    diverging = rows[(rows["agent.learning_rate"] == 1e4) & (rows["metric"] == "loss")]
    np.testing.assert_array_equal(diverging["value"].isna(), diverging["step"] >= 200)
    np.testing.assert_array_equal(losses(path, agent__learning_rate=0.0), losses(whole))
    assert np.isfinite(losses(whole)).all()


def test_a_divergence_is_remembered_over_a_stop(tmp_path):
    config = small(sweep={"learning_rate": [1e4]})
    with pytest.raises(Stop):
        run(counting.counting(config), tmp_path, checkpoint_every=0.0, on_progress=stop_at(1500))
    rows = metrics(run(counting.counting(config), tmp_path))
    assert (rows["metric"] == "diverged").sum() == 3
    assert rows[(rows["metric"] == "loss") & (rows["step"] >= 200)]["value"].isna().all()


# What is refused, and what is swept in one program.


@pytest.mark.parametrize(
    ("sweep", "together"),
    [
        ({"learning_rate": [0.1, 0.2]}, 1),
        ({"momentum": [0.0, 0.9]}, 1),
        ({"beta": [0.5, 0.7]}, 1),
        ({"maturity": [10, 100]}, 1),
        ({"maturity": [10, 100], "replacement_rate": [0.1, 0.2], "decay_rate": [0.0, 0.9]}, 1),
        ({"activation": ["relu", "tanh", "elu"]}, 3),
        ({"hidden_units": [4, 5]}, 2),
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


def test_swept_whole_numbers_stay_whole():
    members = population(small(methods=["redo"], sweep={"period": [10, 100], "threshold": [0.1]}))
    assert members.swept["method.period"].dtype.kind == "i"
    np.testing.assert_array_equal(members.swept["method.period"], [10, 10, 10, 100, 100, 100])
    np.testing.assert_array_equal(members.seeds, [0, 1, 2, 0, 1, 2])


# Runs with tasks.

TASKS = {
    "name": "permuted_mnist",
    "data": "digits",
    "tasks": 3,
    "change_every": 2000,
    "batch_size": 5,
    "hidden_units": 8,
}


def with_tasks(**fields):
    """Three tasks of 400 updates, with metrics of every 200."""
    given = {"problem": TASKS, "diagnostics": ["weight_magnitude", "effective_rank"], "seeds": "2", "record_every": 200}
    return plan(from_mapping({**given, **fields}))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Checkpoints of each task's end."""
    return run(with_tasks(), tmp_path_factory.mktemp("tasks"))


def test_diagnostics_are_measured_before_each_task(tasks):
    rows = metrics(tasks)
    for metric, steps in {"loss": range(200, 1201, 200), "effective_rank": range(0, 1201, 200)}.items():
        found = rows[rows["metric"] == metric]
        assert sorted(set(found["step"])) == list(steps) and set(found["seed"]) == {0, 1}
    # Those before the first task are of the network before its first update.
    first = rows[(rows["metric"] == "weight_magnitude") & (rows["group"] == "") & (rows["step"] == 0)]
    kernels = [
        [np.abs(leaf).sum() for leaf in member]
        for member in zip(*(x for name, x in checkpoint(tasks, 0).items() if name.startswith("agent.") and x.ndim == 3))
    ]
    weights = 64 * 8 + 8 * 8 + 8 * 8 + 8 * 10
    np.testing.assert_allclose(first["value"], np.sum(kernels, 1) / weights, rtol=1e-5)


def checkpoint(path, step):
    """The arrays of a checkpoint."""
    return load_checkpoint(path / "shards" / "0-1" / "checkpoints" / f"{step:012d}", {})


@pytest.mark.parametrize(
    ("keep", "steps"),
    [
        ("tasks", [0, 400, 800, 1000, 1200]), pytest.param("newest", [1000, 1200], marks=pytest.mark.exhaustive)
    ],
)  # fmt: skip
def test_checkpoints_of_the_borders_of_tasks_stay(tmp_path, keep, steps):
    ran = run(with_tasks(keep_checkpoints=keep), tmp_path, checkpoint_every=0.0)
    assert checkpoints(ran / "shards" / "0-1") == steps


def test_a_hundred_tasks_stay_without_being_asked_for_and_twenty_have_21_checkpoints():
    def kept(tasks, **fields):
        return with_tasks(problem={**TASKS, "tasks": tasks}, **fields).kept

    assert kept(20) == tuple(range(0, 8001, 400)) and len(kept(20)) == 21
    assert len(kept(100)) == 101 and kept(101) == ()
    assert len(kept(101, keep_checkpoints="tasks")) == 102
    # A problem without tasks has no borders, and environments are not analysed before they are learned from.
    assert plan(small(keep_checkpoints="tasks")).kept == ()
    assert counting.counting(small(), tasks=(Task("a", 400), Task("b", 1000))).kept == (400, 1000)


def test_killed_before_the_first_save_it_goes_on_from_the_beginning(tmp_path, tasks):
    with pytest.raises(Stop):
        run(with_tasks(), tmp_path, on_progress=stop_at(0))
    shard = tmp_path / tasks.name / "shards" / "0-1"
    assert checkpoints(shard) == [0] and not (shard / "status.json").exists()
    again = run(with_tasks(), tmp_path)
    same(again, tasks)
    assert not (again / "damaged").exists()


def test_the_images_are_in_memory_once_whatever_the_number_of_seeds(tmp_path):
    def most(seeds):
        """Bytes of all arrays in the middle of a run."""
        found = []

        def on_progress(done, total):
            found.append(sum(array.nbytes for array in jax.live_arrays()))

        problem = {**TASKS, "data": "synthetic", "tasks": 1, "change_every": 100, "hidden_layers": 1, "hidden_units": 2}
        config = from_mapping({"problem": problem, "diagnostics": [], "seeds": seeds, "record_every": 10})
        run(plan(config), tmp_path / seeds, on_progress=on_progress)
        return max(found)

    images = 2000 * 784
    of_ten, of_one = most("10"), most("1")
    # A seed has a network of 784 x 2 weights, and the order of 2,000 examples: less than a fiftieth of the images.
    assert of_one > images and of_ten - of_one < 9 * images / 20


IMAGENET = {
    "name": "continual_imagenet", "data": "synthetic", "tasks": 2, "epochs": 10, "train_images": 20, "test_images": 5,
    "batch_size": 10, "channels": 4, "hidden_units": 16,
}  # fmt: skip


@pytest.mark.compilations(10)  # a run, and the same run in two parts
def test_goes_on_in_the_middle_of_an_epoch_to_the_bit(tmp_path):
    # Four updates an epoch, forty a task; metrics, and checkpoints, after every ten.
    config = from_mapping(
        {
            "problem": IMAGENET,
            "agent": {"name": "sgd", "optimizer": "adam", "learning_rate": 0.01},
            "methods": [
                {"name": "head_reset", "on_new_task": "act"},
                {"name": "continual_backprop", "replacement_rate": 0.01, "maturity": 10},
            ],
            "diagnostics": [],
            "seeds": "2",
            "record_every": 10,
        }
    )
    untouched = run(plan(config), tmp_path / "whole")
    with pytest.raises(Stop):
        run(plan(config), tmp_path, checkpoint_every=0.0, on_progress=stop_at(2 * 60 * 10))
    progress = Progress()
    path = run(plan(config), tmp_path, on_progress=progress)
    assert progress[0] == 2 * 50 * 10
    same(path, untouched)
    # The network learns both tasks; each begins with a head of zeros.
    rows = metrics(path)
    tested = rows[(rows["metric"] == "test_accuracy") & rows["step"].isin([40, 80])]
    assert len(tested) == 4 and (tested["value"] >= 0.9).all()
