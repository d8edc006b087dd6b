"""Groups, and what only happens outside of the device; `test_programs.py` has what holds for both loops."""

import contextlib

import environments
import jax
import numpy as np
import pytest
import toys

from pliant.core.problem import Continuous, HostEnvironment, Spec, Timestep
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.loops.host import loop as host_loop
from pliant.experiment.loops.planning import plan
from pliant.experiment.loops.saving import agents_in
from pliant.experiment.run import run

pytestmark = pytest.mark.usefixtures("toy_parts", "two_groups")


@pytest.fixture
def two_groups(monkeypatch):
    """Two members are enough for two groups."""
    monkeypatch.setattr(host_loop, "_TWO_GROUPS_FROM", 2)
    monkeypatch.setattr(host_loop, "_TWO_GROUPS_OF_EACH_STEP_FROM", 2)


class ScriptHost:
    """Environments in NumPy that follow the scripts of some of the members, the last script if there are too few."""

    def __init__(self, script, first, members):
        self._script = toys.Script(*(array.take(range(first, first + members), 0, mode="clip") for array in script))
        self._resets = np.zeros(members, np.int32)

    def reset(self):
        self._resets = self._resets + 1
        self._time = 0
        return np.zeros((*self._script.reward[:, 0].shape, 1), np.float32)

    def send(self, action):
        pass

    def receive(self):
        now = toys.Script(*(array[:, self._time] for array in self._script))
        self._time += 1
        seen = {name: getattr(now, name)[..., None] for name in ("observation", "final_observation")}
        return Timestep(reward=now.reward, terminated=now.terminated, truncated=now.truncated, info={}, **seen)

    def save(self):
        return {"resets": self._resets}

    def restore(self, saved):
        self._resets = np.asarray(saved["resets"])

    def close(self):
        pass


class Noted:
    """A host that notes what is done with it: `(group, method, *arguments)`."""

    def __init__(self, host, group, notes):
        self._host, self._group, self._notes = host, group, notes

    def __getattr__(self, method):
        def noted(*arguments):
            self._notes.append((self._group, method, *arguments))
            return getattr(self._host, method)(*arguments)

        return noted


@pytest.fixture
def note(monkeypatch):
    """`note(script)` lets the registry find `noted`, a scripted problem; returns the notes."""

    def add(script, host=ScriptHost):
        notes = []

        def open(seed):
            before = called(notes, "open")
            notes.append((len(before), "open", seed))
            first = sum(len(seed) for *_, seed in before)
            return Noted(host(script, first, len(seed)), len(before), notes)

        def make(config):
            spec = Spec(environments.NUMBER, Continuous(1))
            return HostEnvironment(spec, script.reward.shape[2], config.steps, open)

        toys.add(monkeypatch, "problems", "noted", AGENTS={"watcher": {}}, Config=toys.Scripted, make=make)
        return notes

    return add


def called(notes, *methods):
    return [note for note in notes if note[1] in methods]


@contextlib.contextmanager
def begun(problem, seeds, **fields):
    """Programs of watchers before the first step."""
    config = from_mapping({"problem": problem, "agent": "watcher", "diagnostics": [], "seeds": seeds, **fields})
    with contextlib.closing(toys.programs_of(config)) as programs:
        programs.begin()
        yield programs


def after_four_rounds(problem, members):
    """What came out of two stretches: episodes in order, metrics, and the agents' states; `(members, ...)` each."""
    with begun(problem, str(members), agent={"name": "watcher", "pull": 0.5}) as programs:
        length = 6 * problem["num_envs"]
        stretches = [programs.advance(step, length) for step in (0, length)]
        leaves = agents_in(programs.save()).states
    ended = [
        sorted(
            zip(
                s.ended.member.tolist(),
                s.ended.step.tolist(),
                zip(*(s.ended.values[n] for n in sorted(s.ended.values))),
            )
        )
        for s in stretches
    ]
    return ended, [s.metrics for s in stretches], leaves


@pytest.fixture(scope="module")
def on_the_device(toy_parts):
    """Five members, by how many environments they have."""
    return {
        num_envs: after_four_rounds({"name": "drift", "num_envs": num_envs, "time_limit": 4}, 5) for num_envs in (1, 3)
    }


@pytest.mark.compilations(16)  # two groups of different sizes, each with its programs and its environments
@pytest.mark.parametrize(
    ("members", "num_envs"),
    [
        (1, 1), (2, 3), (5, 3),
        *[pytest.param(*sizes, marks=pytest.mark.exhaustive) for sizes in [(3, 1), (3, 3), (5, 1)]],
    ],
)  # fmt: skip
def test_members_of_any_group_meet_what_they_meet_on_the_device(members, num_envs, on_the_device):
    problem = {"name": "drift_host", "num_envs": num_envs, "time_limit": 4}
    ended, metrics, leaves = after_four_rounds(problem, members)
    ended_there, metrics_there, leaves_there = on_the_device[num_envs]
    for now, there in zip(ended, ended_there, strict=True):
        there = [episode for episode in there if episode[0] < members]
        assert len(now) >= members * num_envs
        assert [episode[:2] for episode in now] == [episode[:2] for episode in there]
        np.testing.assert_allclose([e[2] for e in now], [e[2] for e in there], rtol=1e-4, atol=1e-5)
    for now, there in zip(metrics, metrics_there, strict=True):
        assert now.keys() == there.keys()
        for key, values in now.items():
            np.testing.assert_allclose(values, there[key][:members], rtol=1e-4, atol=1e-5)
    for now, there in zip(leaves, leaves_there, strict=True):
        np.testing.assert_allclose(now, there[:members], rtol=1e-4, atol=1e-5)


def test_environments_get_the_entropy_of_their_seeds(note):
    notes = note(toys.uneventful(1, 3, 1))
    with begun("noted", "3,7-10"):
        pass
    opened = [seed for _, _, seed in called(notes, "open")]
    assert [seed.dtype for seed in opened] == [np.uint32] * 2
    for seed, seeds in zip(opened, [[3, 7, 8], [9, 10]], strict=True):
        np.testing.assert_array_equal(seed, [jax.random.key_data(toys.problem_key(seed)) for seed in seeds])


@pytest.mark.parametrize(("members", "groups"), [(3, [3]), (4, [2, 2]), (5, [3, 2])])
def test_many_members_are_two_groups(members, groups, note, monkeypatch):
    monkeypatch.setattr(host_loop, "_TWO_GROUPS_FROM", 4)
    notes = note(toys.uneventful(1, 3, 1))
    with begun("noted", str(members)):
        assert [len(seed) for _, _, seed in called(notes, "open")] == groups


def test_while_environments_of_one_group_work_the_other_acts(note):
    # Both send before either is waited for; then each waits and sends in turn, until the horizon of 3 is full.
    notes = note(toys.uneventful(4, 3, 1))
    with begun("noted", "4") as programs:
        programs.advance(0, 3)
    first, then, last = (
        [(0, "send"), (1, "send")],
        [(0, "receive"), (0, "send"), (1, "receive"), (1, "send")],
        "receive",
    )
    assert [note[:2] for note in called(notes, "send", "receive")] == [*first, *then, *then, (0, last), (1, last)]
    assert sorted(note[:2] for note in called(notes, "reset", "close")) == [
        (0, "close"), (0, "reset"), (1, "close"), (1, "reset")
    ]  # fmt: skip


def test_acting_is_compiled_once_for_all_steps_and_groups(note):
    # Two groups of one member, whose carry is the initial one, that of a step before, and that of a round before.
    note(toys.uneventful(2, 6, 1))
    with begun("noted", "2", acting="compiled") as programs:
        programs.advance(0, 6)
        first, second = (group._programs.act for group in programs._groups)
    assert first is second and first._cache_size() == 1


@pytest.mark.compilations(8)  # the noise by hand, too
def test_actions_that_are_no_numbers_do_not_reach_the_environments(note):
    # Member 1 of four sees no number after time 1, in one of its two environments. Rounds are of 3 times: that it has
    # diverged is known after time 2.
    script = toys.uneventful(4, 6, 2)
    script.observation[1, 1, 0] = np.nan
    notes = note(script)
    with begun("noted", "4", agent={"name": "watcher", "pull": 1.0}) as programs:
        assert list(programs.advance(0, 12).diverged) == [-1, 5, -1, -1]
    by_group = [[action for name, _, action in called(notes, "send") if name == group] for group in (0, 1)]
    actions = np.concatenate([np.stack(actions) for actions in by_group], axis=1)
    assert actions.shape == (6, 4, 2, 1) and actions.dtype == np.float32

    # An action is the noise of its time, less what is seen: the number of times before it.
    @jax.jit
    def noise(seed, time):
        return jax.random.normal(jax.random.fold_in(toys.acting_key(seed), time), (2, 1))

    expected = np.array([[noise(seed, time) - time for seed in range(4)] for time in range(6)])
    expected[2, 1, 0] = 0
    np.testing.assert_allclose(actions, expected, rtol=1e-6)


class TwoCounters(ScriptHost):
    """A host that keeps two numbers for each member."""

    def save(self):
        return {"resets": self._resets, "before": self._resets - 1}


def test_hosts_get_back_what_they_saved_before_episodes_begin(note):
    notes = note(toys.uneventful(1, 3, 1), TwoCounters)
    with begun("noted", "5") as programs:
        saved = programs.save()
        np.testing.assert_array_equal([saved["host.before"], saved["host.resets"]], [[0] * 5, [1] * 5])
        saved |= {"host.before": np.array([10, 20, 30, 40, 50]), "host.resets": np.array([1, 2, 3, 4, 5])}
        notes.clear()
        programs.restore(saved, 3)
    notes = called(notes, "restore", "reset")
    assert [note[:2] for note in notes] == [(0, "restore"), (0, "reset"), (1, "restore"), (1, "reset")]
    for (*_, given), members in zip(called(notes, "restore"), [slice(0, 3), slice(3, 5)], strict=True):
        assert given.keys() == {"resets", "before"}
        np.testing.assert_array_equal(given["before"], [10, 20, 30, 40, 50][members])
        np.testing.assert_array_equal(given["resets"], [1, 2, 3, 4, 5][members])


class Broken(ScriptHost):
    """A host whose physics fails the fifth time."""

    times = 0

    def receive(self):
        self.times += 1
        if self.times == 5:
            raise RuntimeError("the physics broke")
        return super().receive()


def test_a_failure_stops_the_run_and_closes_all_hosts(note, tmp_path):
    notes = note(toys.uneventful(4, 8, 1), Broken)
    config = from_mapping({"problem": "noted", "diagnostics": [], "seeds": "4"})
    with pytest.raises(RuntimeError, match="the physics broke"):
        run(plan(config), tmp_path)
    assert sorted(note[:2] for note in called(notes, "open", "close")) == [
        (0, "close"), (0, "open"), (1, "close"), (1, "open")
    ]  # fmt: skip
