"""What holds for programs of agents wherever their environments are, and for runs of them."""

import contextlib

import jax
import numpy as np
import pandas as pd
import pytest
import toys
from shards import shard_of

from pliant import report
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError
from pliant.experiment.loops.planning import plan, plans
from pliant.experiment.loops.saving import agents_in
from pliant.experiment.run import run
from pliant.experiment.storage.checkpoints import checkpoints, read_checkpoint
from pliant.experiment.storage.store import Store

pytestmark = pytest.mark.usefixtures("toy_parts")

FORMS = pytest.mark.parametrize("form", ["device", "host"])
SMALL_PPO = {"horizon": 8, "epochs": 2, "minibatches": 2, "hidden_units": 8, "learning_rate": 0.01}


def example():
    """The script of three seeds; rounds are of 3 times and 2 environments, so that there are 4 of 6 steps each.

    The first environment is rewarded by 1 each time and ends at the times 1 and 6, the other by 10, at the times 4 and
    5. With seed 1 rewards are double, with seed 2 nothing ends.
    """
    script = toys.uneventful(seeds=3, times=12, num_envs=2)
    script.reward[:] = [1, 10]
    script.reward[1] *= 2
    for which, time, environment in [
        (script.terminated, 1, 0),
        (script.truncated, 4, 1),
        (script.terminated, 5, 1),
        (script.truncated, 6, 0),
    ]:
        which[:2, time, environment] = True
        script.observation[:2, time, environment] = 100 + time
    return script


def scripted(monkeypatch, form, script, **fields):
    toys.add_script(monkeypatch, script, form)
    return from_mapping({"problem": "scripted", "diagnostics": [], "seeds": str(len(script.reward)), **fields})


def states(config, programs):
    """The agents' states, `(members, ...)`."""
    structure = jax.tree.structure(jax.eval_shape(toys.components_of(config).agent.init, jax.random.key(0)))
    return structure.unflatten(agents_in(programs.save()).states)


@pytest.fixture
def opened():
    """`opened(config)`: programs before the first step; they are closed when the test is over."""
    made = []

    def open(config):
        made.append(toys.programs_of(config))
        made[-1].begin()
        return made[-1]

    yield open
    for programs in made:
        programs.close()


@FORMS
@pytest.mark.compilations(10)  # keys of JAX by which a script knows its seeds, too
def test_episodes_by_hand(form, monkeypatch, opened):
    # A step is counted for each environment, those of a time one after the other: time t of environment e is step
    # 2 t + e + 1. The first environment ends at the steps 3 and 13, the other at 10 and 12.
    programs = opened(scripted(monkeypatch, form, example()))
    found = []
    for step, length in [(0, 6), (6, 6), (12, 12)]:
        chunk = programs.advance(step, length)
        found.append((chunk.metrics, list(chunk.diverged)))
        ended = chunk.ended
        values = zip(ended.values["return"], ended.values["length"], ended.values["time"]) if len(ended.step) else ()
        now = sorted(zip(ended.member, ended.step, values))
        assert (
            now
            == {
                0: [(0, 3, (2, 2, 1)), (1, 3, (4, 2, 1))],
                6: [
                    *[(0, 10, (50, 5, 4)), (0, 12, (10, 1, 5))],
                    *[(1, 10, (100, 5, 4)), (1, 12, (20, 1, 5))],
                ],
                12: [(0, 13, (5, 5, 6)), (1, 13, (10, 5, 6))],
            }[step]
        )

    # The mean reward is 11 / 2. After 1, 2, 3, 4 rounds the rewards came to 33, 66, 99, 132; the last two rounds are
    # one chunk, with the mean of 99 and 132, and of the calls 2 and 3.
    for (metrics, diverged), rewards, calls in zip(found, (33, 66, 115.5), (0, 1, 2.5), strict=True):
        assert set(metrics) == {("reward", ""), ("rewards", ""), ("calls", "")}
        np.testing.assert_array_equal(metrics["reward", ""], [5.5, 11, 5.5])
        np.testing.assert_array_equal(metrics["rewards", ""], [rewards, 2 * rewards, rewards])
        np.testing.assert_array_equal(metrics["calls", ""], [calls] * 3)
        assert diverged == [-1] * 3


@FORMS
@pytest.mark.compilations(14)  # the noise of the numbers by hand, too
def test_what_an_agent_sees_by_hand(form, monkeypatch, opened):
    # Of two members of a seed, the second acts against what it sees with a strength of 5.
    config = scripted(monkeypatch, form, example(), agent="watcher", seeds="1", sweep={"pull": [0.0, 5.0]})
    programs = opened(config)
    key = toys.acting_key(0)
    noise = jax.jit(jax.vmap(lambda time: jax.random.normal(jax.random.fold_in(key, time), (2, 1))))(np.arange(12))

    def check(round, observation, next_observation, terminated, truncated, is_first, carry):
        """Holds seed 0's last round against lists `(num_envs, times)`."""
        of_both = states(config, programs)
        rewards, last, _ = jax.tree.map(lambda x: x[0], of_both)
        assert rewards == 33 * (round + 1)
        for found, expected in [
            (last.observation[..., 0], observation),
            (last.next_observation[..., 0], next_observation),
            (last.terminated, terminated),
            (last.truncated, truncated),
            (last.extras["is_first"], is_first),
            (last.extras["carry"], carry),
        ]:
            np.testing.assert_array_equal(found.T, expected)
        np.testing.assert_array_equal(last.reward, [[1, 10]] * 3)
        np.testing.assert_array_equal(last.extras["rewards"], np.full((3, 2), 33 * round))  # from the round before
        plain = noise[3 * round : 3 * round + 3] + 0.1 * np.sin(33 * round)
        actions = [plain, plain - 5 * last.observation]
        np.testing.assert_allclose(of_both.last.action, actions, rtol=1e-5, atol=1e-5)

    no = [False] * 3
    programs.advance(0, 6)
    check(
        0,
        observation=[[0, 1, 101], [0, 1, 2]],  # of a new episode at time 2
        next_observation=[[1, 2, 3], [1, 2, 3]],  # of the old
        terminated=[[False, True, False], no],
        truncated=[no, no],
        is_first=[[True, False, True], [True, False, False]],
        carry=[[0, 1, 0], [0, 1, 2]],
    )
    programs.advance(6, 6)
    check(
        1,
        observation=[[3, 4, 5], [3, 4, 104]],
        next_observation=[[4, 5, 6], [4, 5, 6]],
        terminated=[no, [False, False, True]],
        truncated=[no, [False, True, False]],
        is_first=[no, [False, False, True]],
        carry=[[1, 2, 3], [3, 4, 0]],
    )
    programs.advance(12, 12)
    check(
        3,
        observation=[[9, 10, 11], [9, 10, 11]],
        next_observation=[[10, 11, 12], [10, 11, 12]],
        terminated=[no, no],
        truncated=[no, no],
        is_first=[no, no],
        carry=[[2, 3, 4], [3, 4, 5]],
    )


@FORMS
@pytest.mark.compilations(10)  # keys of JAX by which a script knows its seeds, too
def test_a_number_that_is_none_marks_its_member_and_no_other(form, monkeypatch, opened):
    # Time t of environment e is step 2 t + e + 1; an observation is seen one time later, and the last of all never.
    cases = [
        *[("reward", 0, 0, 1), ("reward", 4, 0, 9), ("reward", 4, 1, 10), ("reward", 11, 1, 24)],
        *[("final_observation", 0, 1, 2), ("final_observation", 5, 0, 11), ("final_observation", 6, 0, 13)],
        *[("observation", 0, 1, 4), ("observation", 5, 0, 13), ("observation", 10, 0, 23), ("observation", 11, 0, -1)],
    ]
    script = toys.uneventful(1 + len(cases), 12, 2)
    script.terminated[:, 4] = True
    script.reward[:] = 1
    for seed, (what, time, environment, _) in enumerate(cases, 1):
        getattr(script, what)[seed, time, environment] = [np.nan, np.inf, -np.inf][seed % 3]
    steps = np.array([-1, *(step for *_, step in cases)])

    programs = opened(scripted(monkeypatch, form, script))
    for at, rewards in [(0, (6 + 12) / 2), (12, (18 + 24) / 2)]:
        chunk = programs.advance(at, 12)
        np.testing.assert_array_equal(chunk.diverged, np.where(steps <= at + 12, steps, -1))
        assert chunk.metrics["rewards", ""][0] == rewards and chunk.metrics["reward", ""][0] == 1
        assert sum(chunk.ended.member == 0) == (2 if at == 0 else 0)


@FORMS
@pytest.mark.compilations(12)  # the environments of a host, too
def test_learning_that_is_no_number_marks_the_end_of_its_round(form, monkeypatch, opened):
    # All that was seen is finite, but the sum of rewards of the second round, 3.3e38 x 2, is not.
    script = example()
    script.reward[1, 3:5, 0] = 3.3e38
    programs = opened(scripted(monkeypatch, form, script))
    assert list(programs.advance(0, 24).diverged) == [-1, 12, -1]


def metrics(path, metric=None):
    rows = report.load(path).metrics
    return rows if metric is None else rows[rows["metric"] == metric]


def table(rows):
    """`[(seed, step, value)]`, in order."""
    return sorted(zip(rows["seed"], rows["step"], rows["value"]))


@FORMS
@pytest.mark.compilations(10)  # a whole run, and the environments of a host
def test_rows_of_a_run(form, monkeypatch, tmp_path):
    # Rows are written every 10 steps, which are rounded up to two rounds of 6; 20 steps are filled up to 24. Reward and
    # end of environment 0 at time 6 come together for seed 1, as step 13: it is the return that is no number. The other
    # environment ends at that time, too, as step 14: too late for seed 1.
    script = example()
    script.reward[1, 6, 0] = np.nan
    script.truncated[:2, 6, 1] = True
    config = scripted(monkeypatch, form, script, problem={"name": "scripted", "steps": 20}, record_every=10)
    progress = []
    path = run(plan(config), tmp_path, on_progress=lambda *amount: progress.append(amount))

    status = report.load(path).status
    assert (status["state"], status["step"], status["steps"]) == ("finished", 24, 24)
    assert plan(config).work == (60, "steps")
    assert progress == [(0, 60), (30, 60), (60, 60)]

    assert set(metrics(path)["metric"]) == {"reward", "rewards", "calls", "return", "length", "time", "diverged"}
    assert set(metrics(path)["group"]) == {""}
    assert table(metrics(path, "return")) == [
        *[(0, 3, 2), (0, 10, 50), (0, 12, 10), (0, 13, 5), (0, 14, 10)],
        *[(1, 3, 4), (1, 10, 100), (1, 12, 20)],
    ]
    assert table(metrics(path, "length")) == [
        *[(0, 3, 2), (0, 10, 5), (0, 12, 1), (0, 13, 5), (0, 14, 1)],
        *[(1, 3, 2), (1, 10, 5), (1, 12, 1)],
    ]
    assert table(metrics(path, "diverged")) == [(1, 24, 13)]
    np.testing.assert_array_equal(
        table(metrics(path, "reward")),
        [(0, 12, 5.5), (0, 24, 5.5), (1, 12, 11), (1, 24, np.nan), (2, 12, 5.5), (2, 24, 5.5)],
    )


class Stop(Exception):
    pass


def stop_after(chunks):
    """Ends a run after some chunks, the last of them not being saved: as a kill does."""
    left = iter(range(chunks))

    def on_progress(done, total):
        if next(left, None) is None:
            raise Stop

    return on_progress


@FORMS
@pytest.mark.compilations(16)  # two runs, and the environments of a host
def test_no_episode_is_there_twice_after_a_stop(form, monkeypatch, tmp_path, caplog):
    # Rows of 6 steps; those of the third chunk are lost, and computed again. On the device episodes go on where they
    # were. Outside they restart, with time 0 of the script at step 12: what ended there at the steps 3, 10 and 12
    # ends now at 15, 22 and 24.
    script = example()
    for name in ("terminated", "truncated"):
        getattr(script, name)[2] = getattr(script, name)[0]
    config = scripted(monkeypatch, form, script, seeds="0-0", record_every=6)
    with pytest.raises(Stop):
        run(plan(config), tmp_path, checkpoint_every=0.0, on_progress=stop_after(3))
    caplog.set_level("INFO")
    path = run(plan(config), tmp_path)
    assert "going on from step 12 of 24" in caplog.text
    assert ("the episodes that were in flight at step 12 restart" in caplog.text) == (form == "host")
    later = [(0, 13, 5)] if form == "device" else [(0, 15, 2), (0, 22, 50), (0, 24, 10)]
    assert table(metrics(path, "return")) == [(0, 3, 2), (0, 10, 50), (0, 12, 10), *later]
    assert table(metrics(path, "rewards")) == [(0, 6, 33), (0, 12, 66), (0, 18, 99), (0, 24, 132)]
    assert table(metrics(path, "calls")) == [(0, 6, 0), (0, 12, 1), (0, 18, 2), (0, 24, 3)]


@FORMS
@pytest.mark.compilations(16)  # two runs, and the environments of a host
def test_a_divergence_is_remembered_over_a_stop(form, monkeypatch, tmp_path):
    script = example()
    script.reward[0, 1, 1] = np.nan
    config = scripted(monkeypatch, form, script, seeds="0-0", record_every=6)
    with pytest.raises(Stop):
        run(plan(config), tmp_path, checkpoint_every=0.0, on_progress=stop_after(2))
    path = run(plan(config), tmp_path)
    assert table(metrics(path, "diverged")) == [(0, 6, 4)]
    assert table(metrics(path, "return")) == [(0, 3, 2)]
    assert metrics(path, "rewards")["value"].isna().all()


def drift(form, **fields):
    name = {"device": "drift", "host": "drift_host"}[form]
    config = {"problem": {"name": name, "num_envs": 3}, "agent": {"name": "ppo", **SMALL_PPO}, "diagnostics": []}
    return from_mapping({**config, **fields})


def trained(form):
    """PPO with a method that reinitializes units at random: four members, rounds of 24 steps."""
    method = {"name": "continual_backprop", "replacement_rate": 0.2, "maturity": 2, "max_per_step": 2}
    diagnostics = ["weight_change", "stable_rank", "unit_age"]
    return drift(form, methods=[method], diagnostics=diagnostics, seeds="2", sweep={"learning_rate": [0.003, 0.01]})


@pytest.fixture(scope="module")
def programs():
    """The programs of `trained` in both forms."""
    both = {form: toys.programs_of(trained(form)) for form in ("device", "host")}
    yield both
    for one in both.values():
        one.close()


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.compilations(10)  # the programs of both forms, which three more tests use
def test_learners_cannot_tell_where_their_environments_are(programs):
    device, host = programs["device"], programs["host"]
    for form in (device, host):
        form.begin()
    ended = 0
    for step in (0, 48):
        a, b = device.advance(step, 48), host.advance(step, 48)
        assert a.metrics.keys() == b.metrics.keys()
        for key, values in a.metrics.items():
            np.testing.assert_allclose(values, b.metrics[key], rtol=2e-3, atol=1e-5, err_msg=str(key))
        orders = [np.lexsort((x.ended.step, x.ended.member)) for x in (a, b)]
        assert a.ended.values.keys() == b.ended.values.keys() == {"return", "length", "wind"}
        for x, y in zip(jax.tree.leaves(a.ended), jax.tree.leaves(b.ended), strict=True):
            np.testing.assert_allclose(x[orders[0]], y[orders[1]], rtol=1e-4, atol=1e-5)
        ended += len(a.ended.step)
    assert ended > 16
    learned = [jax.tree.leaves(states(trained(form), programs[form])) for form in ("device", "host")]
    for a, b in zip(*learned, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@FORMS
@pytest.mark.compilations(8)  # where no test before it has made some of its programs
def test_what_is_restored_goes_on_as_what_was_saved(form, programs):
    # All that goes on from the first time on is gone, or else the second time is another.
    one = programs[form]
    one.begin()
    one.advance(0, 48)
    saved = one.save()
    assert {name: (x.shape, x.dtype) for name, x in saved.items()} == {
        name: (x.shape, x.dtype) for name, x in one.shapes().items()
    }
    results = []
    for _ in range(2):
        one.restore(saved, 48)
        restored = one.save()
        if form == "host":  # episodes restart
            restored["host.resets"] = restored["host.resets"] - 1
        assert_same(restored, saved)
        results.append((one.advance(48, 48), one.save()))
    assert_same(*results)
    changed = [not np.array_equal(x, results[0][1][name]) for name, x in saved.items()]
    assert sum(changed) > len(changed) / 2


def test_weights_change_from_before_the_last_update_to_after_it(programs):
    host = programs["host"]  # for the loop on the device see `test_device.py`
    host.begin()
    host.advance(0, 24)
    before = states(trained("host"), host).params
    measured = host.advance(24, 24).metrics["weight_change", ""]
    after = states(trained("host"), host).params
    kernels = [(a, b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True) if a.ndim > 2]
    changes = sum(np.abs(a - b).sum((1, 2)) for a, b in kernels)
    np.testing.assert_allclose(measured, changes, rtol=1e-4)


def shapes_of(config):
    """What a checkpoint of a run holds."""
    with contextlib.closing(toys.programs_of(config)) as programs:
        programs.begin()
        return programs.shapes()


def staged(form, **fields):
    """Rounds of 9 steps, ten of them; the first task ends after 40, which are filled up to 45. Rows of 18 steps."""
    name = {"device": "drift", "host": "drift_host"}[form]
    problem = {"name": name, "num_envs": 3, "steps": 90, "calm": 40}
    return drift(form, problem=problem, **{"agent": "watcher", "record_every": 18, "seeds": "2", **fields})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """In both forms, a run in tasks that nobody stopped, with a checkpoint of each chunk."""
    folder = tmp_path_factory.mktemp("runs")
    return {form: run(plan(staged(form)), folder, checkpoint_every=0.0) for form in ("device", "host")}


@FORMS
@pytest.mark.parametrize("often", [True, False])
@pytest.mark.compilations(10)  # a whole run, and the environments of a host
def test_a_task_ends_with_a_row_and_a_checkpoint_that_stays(form, often, whole, tmp_path):
    path = whole[form] if often else run(plan(staged(form)), tmp_path, checkpoint_every=1e9)
    rewards = metrics(path, "rewards")
    assert sorted(set(rewards["step"])) == [18, 36, 45, 63, 81, 90]
    assert checkpoints(shard_of(path)) == ([45, 81, 90] if often else [45, 90])
    loaded = report.load(path)
    assert loaded.status["tasks"] == [{"name": "calm", "until": 45}, {"name": "windy", "until": 90}]
    assert loaded.tasks == {0: "calm", 45: "windy"}
    # What was learned by the end of the first task can still be read.
    step, arrays = read_checkpoint(shard_of(path), shapes_of(staged(form)), 45)
    assert step == 45
    np.testing.assert_array_equal(arrays["agent.0000"], rewards.loc[rewards["step"] == 45, "value"])


@pytest.mark.parametrize(("chunks", "last"), [(3, 36), (4, 45)])
@pytest.mark.compilations(8)  # two runs
def test_a_run_is_resumed_to_the_bit(chunks, last, whole, tmp_path, caplog):
    config = staged("device")
    with pytest.raises(Stop):
        run(plan(config), tmp_path, checkpoint_every=0.0, on_progress=stop_after(chunks))
    caplog.set_level("INFO")
    path = run(plan(config), tmp_path, checkpoint_every=0.0)
    assert f"going on from step {last} of 90" in caplog.text
    pd.testing.assert_frame_equal(metrics(path), metrics(whole["device"]), check_exact=True)
    assert checkpoints(shard_of(path)) == [45, 81, 90]
    assert report.load(path).tasks == report.load(whole["device"]).tasks
    saved = [Store(shard_of(folder), 90).resume(shapes_of(config)) for folder in (path, whole["device"])]
    assert saved[0] is not None and saved[0][0] == 90
    assert_same(*saved)


def test_ages_restart_with_a_task(opened):
    # Rounds of 12 steps with one update each; the first task ends after 20, which are filled up to 24.
    method = {"name": "continual_backprop", "maturity": 9, "groups": "policy/Dense_0", "on_new_task": "reset"}
    agent = {"name": "ppo", "horizon": 4, "epochs": 1, "minibatches": 1, "hidden_units": 4, "hidden_layers": 1}
    problem = {"name": "drift", "num_envs": 3, "steps": 48, "calm": 20}
    programs = opened(drift("device", problem=problem, agent=agent, methods=[method], diagnostics=["unit_age"]))
    rounds = [programs.advance(12 * number, 12).metrics for number in range(4)]
    assert [metrics["unit_age", "policy/Dense_0"].tolist() for metrics in rounds] == [[1], [2], [1], [2]]
    assert ("unit_age", "value/Dense_0") not in rounds[0]


@FORMS
@pytest.mark.parametrize(
    ("sweep", "runs"),
    [
        ({"agent.learning_rate": [0.01, 0.003]}, {"device": 1, "host": 1}),
        ({"agent.horizon": [8, 16]}, {"device": 2, "host": 2}),
        ({"problem.scale": [1, 2]}, {"device": 1, "host": 2}),
        ({"problem.num_envs": [1, 2]}, {"device": 2, "host": 2}),
    ],
)
def test_what_is_swept_in_one_program(form, sweep, runs):
    runs_of_it = plans(drift(form, sweep=sweep))
    assert len(runs_of_it) == runs[form]
    assert sum(len(each.members) for each in runs_of_it) == np.prod([len(values) for values in sweep.values()])


@pytest.mark.parametrize(
    ("problem", "agent", "message"),
    [
        (
            "drift",
            "sgd",
            "learns from a problem of another kind: drift is an environment; write agent a2c or ppo or sac or td3 or",
        ),
        ("drift_host", "sgd", "drift_host is an environment; write agent a2c or ppo or sac or td3 or watcher"),
        ("slowly_changing_regression", "ppo", "slowly_changing_regression is a stream; write agent sgd"),
    ],
)
def test_an_agent_of_another_kind_is_refused_in_one_line(problem, agent, message):
    with pytest.raises(ConfigError) as error:
        plans(from_mapping({"problem": problem, "agent": agent}))
    assert message in str(error.value) and "\n" not in str(error.value)
