"""The tasks of the scenarios in MuJoCo: edits of the models, of sensors and of motors, and the borders of tasks.

Both packages load the same model files. That they then simulate the same is measured as for the plain robots, see
tests/problems/mujoco/test_simulators.py.
"""

import os
from pathlib import Path

import gymnasium.envs.mujoco
import mujoco as physics
import numpy as np
import pytest
from films import need_opengl

from pliant.core.clock import Calendar, Task
from pliant.core.problem import Continuous, Timestep
from pliant.problems.mujoco import _packages, mujoco
from pliant.problems.mujoco._envpool import EnvpoolSimulator
from pliant.problems.mujoco._gymnasium import GymnasiumSimulator
from pliant.problems.scenarios._mujoco import host_environment
from pliant.problems.scenarios._mujoco_host import TaskSequence
from pliant.problems.scenarios._mujoco_model import edited
from pliant.problems.scenarios._mujoco_robots import ROBOTS
from pliant.problems.scenarios._tasks import TASKS, Change

SEED = np.array([[1, 2], [3, 4]], np.uint32)
ONE = np.zeros(1, np.int32)
EDITED = [
    ("halfcheetah", "carry_stuff_hugegravity"),
    ("halfcheetah", "hugefoot_rainfall"),
    ("halfcheetah", "tinyfoot_moon"),
    ("ant", "hugefoot"),
    ("ant", "moon"),
    ("ant", "rainfall"),
    ("humanoid", "moon"),
    ("humanoid", "carrystuff"),
    ("humanoid", "tinyfeet"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where MuJoCo writes its log file: it does so when it compiles the plain HalfCheetah."""
    monkeypatch.chdir(tmp_path)


def environment_of(domain, names, task_steps=10**6, num_envs=1):
    tasks = tuple(Task(name, task_steps * number) for number, name in enumerate(names, 1))
    return host_environment(domain, [TASKS[domain][name] for name in names], tasks, num_envs)


def actions(steps, environment, members=1, seed=0):
    size, bound = environment.spec.action
    shape = (steps, members, environment.num_envs, size)
    return np.random.default_rng(seed).uniform(-bound, bound, shape).astype(np.float32)


def played(host, all_actions):
    """The first observation, and the steps of a host."""
    first, steps = host.reset(), []
    for action in all_actions:
        host.send(action)
        steps.append(host.receive())
    host.close()
    return first, steps


def trajectory(domain, task, factors=1.0, steps=40):
    """Observations and rewards of a task of gymnasium, from the first episode of a member."""
    environment = environment_of(domain, [task])
    first, answers = played(environment.open(SEED[:1]), np.float32(factors) * actions(steps, environment))
    return np.array([first, *(a.final_observation for a in answers)])[:, 0, 0], np.array([a.reward for a in answers])


def plain_model(domain):
    assets = Path(os.path.dirname(gymnasium.envs.mujoco.__file__), "assets")
    return physics.MjModel.from_xml_path(str(assets / ROBOTS[domain].file))


def model_of(domain, change):
    robot = ROBOTS[domain]
    return physics.MjModel.from_xml_string(edited(robot.file, robot.parts, change))


def numbers_of(model):
    found = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    return {name: array for name, array in found.items() if isinstance(array, np.ndarray) and array.dtype == float}


# -- the models


@pytest.mark.parametrize("domain", ROBOTS)
def test_without_a_change_the_model_is_the_plain_one(domain):
    ours, plain = numbers_of(model_of(domain, Change())), numbers_of(plain_model(domain))
    assert len(ours) > 100
    for name, numbers in plain.items():
        np.testing.assert_array_equal(ours[name], numbers, name)


@pytest.mark.parametrize(
    ("domain", "task", "masses", "sizes"),
    [
        # Radius and half length of the cylinder; half the length with a cap stays: .5 + .046 = .362 + .184.
        ("halfcheetah", "carry_stuff", {"torso": 4}, {"torso": (0.184, 0.362)}),
        ("halfcheetah", "carry_stuff_hugegravity", {"torso": 4}, {"torso": (0.184, 0.362)}),
        ("halfcheetah", "hugefoot", {"bfoot": 1.5, "ffoot": 1.5}, {"bfoot": (0.069, 0.071), "ffoot": (0.069, 0.047)}),
        ("halfcheetah", "tinyfoot", {"bfoot": 0.5, "ffoot": 0.5}, {"bfoot": (0.023, 0.117), "ffoot": (0.023, 0.093)}),
        (
            "ant",
            "hugefoot",
            dict.fromkeys((4, 7, 10, 13), 1.5),
            # From (0, 0) to (.4, .4): half of .4 sqrt(2), less what the radius of .08 grows by.
            {f"{leg}_ankle_geom": (0.12, 0.2 * 2**0.5 - 0.04) for leg in ("left", "right", "third", "fourth")},
        ),
        ("humanoid", "carrystuff", {"torso": 4, "lwaist": 4}, {}),
        (
            "humanoid",
            "tinyfeet",
            dict.fromkeys(("right_shin", "left_shin", "right_foot", "left_foot"), 0.5),
            {"right_foot": (0.0375, 0), "left_foot": (0.0375, 0)},
        ),
    ],
)
def test_masses_and_radii(domain, task, masses, sizes):
    model, plain = model_of(domain, TASKS[domain][task]), plain_model(domain)
    for body, factor in masses.items():
        plain.body(body).mass *= factor
    for shape, size in sizes.items():
        plain.geom(shape).size[:2] = size
        plain.geom(shape).rbound = sum(size)
    physics.mj_setConst(plain, physics.MjData(plain))
    kept = ("body_inertia", "body_ipos", "body_iquat", "geom_pos", "geom_quat", "geom_friction", "actuator_gear")
    derived = ("body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0", "geom_rbound")
    for name in ("body_mass", "geom_size", *kept, *derived):
        np.testing.assert_allclose(getattr(model, name), getattr(plain, name), rtol=1e-9, atol=1e-14, err_msg=name)


def test_masses_are_those_of_the_published_humanoid():
    # The specification of the task: torso and lower waist four times as heavy, shins with their feet half as heavy.
    heavy, tiny = (model_of("humanoid", TASKS["humanoid"][task]) for task in ("carrystuff", "tinyfeet"))
    np.testing.assert_allclose(heavy.body_mass[[1, 2]], [35.63, 9.048], rtol=1e-4)
    np.testing.assert_allclose(tiny.body_mass[[5, 6]].sum(), 2.261, rtol=1e-3)


@pytest.mark.parametrize(
    ("domain", "task", "gravity", "friction"),
    [
        ("halfcheetah", "moon", -1.4715, 0.4),
        ("halfcheetah", "carry_stuff_hugegravity", -14.715, 0.4),
        ("halfcheetah", "rainfall", -9.81, 0.064),  # .4 squared times .4
        ("halfcheetah", "hugefoot_rainfall", -9.81, 0.064),
        ("ant", "moon", -6.867, 1),
        ("ant", "rainfall", -9.81, 0.140625),  # .375 squared
        ("humanoid", "moon", -1.4715, 1),
    ],
)
def test_gravity_and_friction_of_contacts(domain, task, gravity, friction):
    model = model_of(domain, TASKS[domain][task])
    np.testing.assert_allclose(model.opt.gravity, [0, 0, gravity])
    data = physics.MjData(model)
    for _ in range(1000):
        physics.mj_step(model, data)
        if data.ncon:
            break
    np.testing.assert_allclose(data.contact.friction[:, :2], friction)


# -- the robots


@pytest.mark.parametrize("domain", ROBOTS)
@pytest.mark.parametrize(("num_envs", "tolerance"), [(1, 0), (2, 1e-6)])  # gymnasium, envpool
def test_the_normal_task_is_the_plain_robot(domain, num_envs, tolerance):
    # The MuJoCo inside of envpool is another version: it scales the masses of the plain HalfCheetah to a total of 14
    # with another rounding than the version that compiles the model here.
    plain = mujoco.make(mujoco.Config(env=ROBOTS[domain].name, num_envs=num_envs))
    normal = environment_of(domain, ["normal"], num_envs=num_envs)
    all_actions = actions(40, plain)
    first, steps = played(normal.open(SEED[:1]), all_actions)
    expected_first, expected_steps = played(plain.open(SEED[:1]), all_actions)
    np.testing.assert_array_equal(first, expected_first)
    for step, expected in zip(steps, expected_steps):
        for ours, theirs in zip(step[:5], expected[:5]):
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("domain", ROBOTS)
def test_each_task_is_another_one(domain):
    observations = {task: trajectory(domain, task)[0] for task in TASKS[domain]}
    names = list(observations)
    for number, name in enumerate(names):
        for other in names[:number]:
            assert np.abs(observations[name] - observations[other]).max() > 0.1, (name, other)


@pytest.mark.parametrize(("domain", "task"), EDITED)
def test_both_packages_simulate_the_same_task(domain, task):
    robot, size = ROBOTS[domain], environment_of(domain, [task]).spec.observation.shape[0]
    model = edited(robot.file, robot.parts, TASKS[domain][task])
    pool = EnvpoolSimulator(robot.name, [5], model=model)
    ours, plain = (GymnasiumSimulator(robot.name, 1, size, lambda number: 0, model=text) for text in (model, None))
    action = ours.environments[0].action_space
    rng = np.random.default_rng(1)
    rtol, atol = (1e-3, 1e-3) if domain == "humanoid" else (0, 1e-6)  # contact forces of Humanoid are of some hundreds
    apart = []
    for _ in range(2):
        first = pool.restart(ONE, None)[0]
        for simulator in (ours, plain):
            simulator.restart(ONE, None)
            put(simulator.environments[0], first)
        for _ in range(25):
            sent = rng.uniform(action.low, action.high)[None]
            for simulator in (pool, ours, plain):
                simulator.send(sent)
            expected, found, other = pool.receive(), ours.receive(), plain.receive()
            np.testing.assert_allclose(found[0], expected[0], rtol=rtol, atol=atol)
            np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-5)
            assert found[2] == expected[2]
            apart.append(np.abs(other[0] - expected[0]).max())
            if expected[2][0]:
                break
    pool.close()
    assert max(apart) > 0.1  # the measure sees the edit


def put(environment, observation):
    """Puts gymnasium's environment into the state of a first observation, which lacks positions on the plane."""
    model, data = environment.model, environment.data
    unseen = 2 if model.jnt_type[0] == physics.mjtJoint.mjJNT_FREE else 1
    known = np.concatenate([np.zeros(unseen), observation])
    physics.mj_resetData(model, data)
    environment.set_state(known[: model.nq], known[model.nq : model.nq + model.nv])


def test_a_defective_module_hides_eight_of_seventeen_numbers():
    # Two environments in envpool, and episodes of three steps: first, last and other observations.
    environments = [environment_of("halfcheetah", [task], num_envs=2) for task in ("normal", "defective_module")]
    plays = []
    for environment in environments:
        host = environment.open(SEED)
        host._environments._time_limit = 3
        plays.append(played(host, actions(7, environment, members=2)))
    (first, steps), (hidden_first, hidden_steps) = plays
    hidden = [0, 1, 4, 5, 9, 12, 13, 14]  # z, pitch, q_bfoot, q_fthigh, vz, dq_bshin, dq_bfoot, dq_fthigh
    seen = np.isin(np.arange(17), hidden, invert=True)
    np.testing.assert_array_equal(hidden_first, first * seen)
    for step, other in zip(hidden_steps, steps):
        np.testing.assert_array_equal(step.observation, other.observation * seen)
        np.testing.assert_array_equal(step.final_observation, other.final_observation * seen)
        np.testing.assert_array_equal(step.reward, other.reward)
    assert (first[..., hidden] != 0).all() and sum(step.truncated.any() for step in steps) == 2


@pytest.mark.parametrize(
    ("domain", "task", "disabled"),
    [
        # The order of Ant's actions: hip and ankle of legs 4, 1, 2, 3.
        ("ant", "disabled_hard1", [0, 1, 4, 5, 6, 7]),
        ("ant", "disabled_hard2", [0, 1, 2, 3, 6, 7]),
        ("ant", "disabled_forefeet", [2, 3, 4, 5]),
        ("ant", "disabled_backfeet", [0, 1, 6, 7]),
        ("ant", "disabled_first_diagonal", [2, 3, 6, 7]),
        ("ant", "disabled_second_diagonal", [0, 1, 4, 5]),
        ("ant", "inverted_actions", []),
        ("halfcheetah", "inverted_actions", []),
    ],
)
def test_motors_are_disabled_and_inverted_before_physics_and_costs(domain, task, disabled):
    size = {"ant": 8, "halfcheetah": 6}[domain]
    factors = -np.ones(size) if task == "inverted_actions" else np.isin(np.arange(size), disabled, invert=True)
    for ours, theirs in zip(trajectory(domain, task), trajectory(domain, "normal", factors)):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("domain", ["halfcheetah", "ant"])
def test_actions_are_of_the_motors_that_the_table_names(domain):
    model = plain_model(domain)
    joints = [model.joint(joint).name for joint in model.actuator_trnid[:, 0]]
    assert joints == list(ROBOTS[domain].motors)


@pytest.mark.parametrize(
    ("domain", "observation", "action"),
    [
        ("halfcheetah", 17, Continuous(6)),
        ("ant", 27, Continuous(8)),
        ("humanoid", 376, Continuous(17, 0.4)),
    ],
)
def test_specification(domain, observation, action):
    environment = environment_of(domain, ["normal", "moon"], task_steps=256, num_envs=128)
    assert environment.spec.observation.shape == (observation,) and environment.spec.action == action
    assert (environment.num_envs, environment.steps) == (128, 512)
    assert environment.tasks == (Task("normal", 256), Task("moon", 512))


# -- borders


def assert_same(steps, others):
    assert len(steps) == len(others) > 0
    for step, other in zip(steps, others):
        for ours, theirs in zip(step[:5], other[:5]):
            np.testing.assert_array_equal(ours, theirs)


def test_at_a_border_all_environments_restart_in_the_next_task():
    # Three environments of each of two members: a task of 15 steps is five calls.
    environment = environment_of("halfcheetah", ["carry_stuff", "moon"], task_steps=15, num_envs=3)
    all_actions = actions(8, environment, members=2)
    first, steps = played(environment.open(SEED), all_actions)
    heavy = environment_of("halfcheetah", ["carry_stuff"], num_envs=3)
    heavy_first, heavy_steps = played(heavy.open(SEED), all_actions[:5])
    moon = environment_of("halfcheetah", ["moon"], num_envs=3).open(SEED)
    moon.restore({"steps": np.array([15, 15])})
    moon_first, moon_steps = played(moon, all_actions[5:])
    np.testing.assert_array_equal(first, heavy_first)
    assert_same(steps[:4], heavy_steps[:4])
    border, last = steps[4], heavy_steps[4]
    assert border.truncated.all() and not border.terminated.any()
    np.testing.assert_array_equal(border.final_observation, last.observation)
    np.testing.assert_array_equal(border.reward, last.reward)
    np.testing.assert_array_equal(border.observation, moon_first)
    assert_same(steps[5:], moon_steps)
    assert not any(step.truncated.any() for step in steps[:4] + steps[5:])


def test_a_resumed_run_continues_in_its_task():
    names, settings = ["moon", "normal", "rainfall"], {"task_steps": 8, "num_envs": 2}
    environment = environment_of("ant", names, **settings)
    all_actions = actions(6, environment, members=2)
    before = environment.open(SEED)
    played(before, all_actions)  # 12 steps: in the middle of the second task
    np.testing.assert_array_equal(before.save()["steps"], [12, 12])
    resumed = environment_of("ant", names, **settings).open(SEED)
    resumed.restore(before.save())
    first, steps = played(resumed, all_actions)
    normal = environment_of("ant", ["normal"], num_envs=2).open(SEED)
    normal.restore({"steps": np.array([12, 12])})
    normal_first, normal_steps = played(normal, all_actions[:2])
    np.testing.assert_array_equal(first, normal_first)
    assert_same(steps[:1], normal_steps[:1])
    # The second task ends after 16 steps; the last goes on after 24.
    assert [step.truncated.all() for step in steps] == [False, True, False, False, False, False]
    np.testing.assert_array_equal(resumed.save()["steps"], [24, 24])


def test_a_member_does_not_depend_on_the_others():
    environment = environment_of("halfcheetah", ["moon", "rainfall"], task_steps=6, num_envs=2)
    all_actions = actions(6, environment, members=2)
    first, steps = played(environment.open(SEED), all_actions)
    alone_first, alone = played(environment.open(SEED[1:]), all_actions[:, 1:])
    np.testing.assert_array_equal(first[1:], alone_first)
    assert_same([Timestep(*(array[1:] for array in step[:5]), {}) for step in steps], alone)
    assert len(np.unique(np.concatenate([first, steps[2].observation]).reshape(8, 17), axis=0)) == 8


class Script:
    """Environments whose observation is the number of their task; the first of them terminates at each step."""

    def __init__(self, task, made):
        self.task, self.steps, self.closed = task, np.zeros(1, np.int64), False
        made.append(self)

    def reset(self):
        return np.full((1, 2, 1), self.task, np.float32)

    def send(self, action):
        self.action = action

    def receive(self):
        self.steps += 2
        first, neither = np.array([[True, False]]), np.zeros((1, 2), bool)
        return Timestep(self.reset(), np.zeros((1, 2)), first, neither, self.reset(), {})

    def save(self):
        return {"steps": self.steps.copy()}

    def restore(self, saved):
        self.steps[:] = saved["steps"]

    def close(self):
        self.closed = True


def test_an_episode_that_terminates_at_a_border_is_not_truncated():
    made = []
    tasks = (Task("a", 4), Task("b", 7), Task("c", 8))  # the second ends in the middle of a step
    host = TaskSequence(Calendar(tasks), 2, lambda task: Script(task, made))
    host.reset()
    seen = []
    for _ in range(5):
        host.send(np.zeros((1, 2, 1)))
        step = host.receive()
        np.testing.assert_array_equal(step.terminated, [[True, False]])
        seen.append((step.observation[0, 0, 0], step.final_observation[0, 0, 0], step.truncated.tolist()))
    goes_on, ends = [[False, False]], [[False, True]]
    assert seen == [(0, 0, goes_on), (1, 0, ends), (1, 1, goes_on), (2, 1, ends), (2, 2, goes_on)]
    assert [(one.task, one.closed) for one in made] == [(0, True), (1, True), (2, False)]


# -- the rest


def test_a_film_shows_the_edited_robot(monkeypatch):
    need_opengl(monkeypatch)
    frames = []
    for task in ("normal", "carry_stuff"):
        film = environment_of("halfcheetah", [task]).render(SEED[0])
        assert film.reset().shape == (1, 1, 17)
        frames.append(film.draw())
        for _ in range(5):
            film.send(np.ones((1, 1, 6), np.float32))
            film.receive()
        frames.append(film.draw())
        film.close()
    for frame in frames:
        assert frame.shape == (480, 480, 3) and frame.dtype == np.uint8 and frame.std() > 10
    assert all((frame != other).any() for frame in frames for other in frames if frame is not other)


def test_a_missing_package_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(_packages, "is_installed", lambda package: False)
    with pytest.raises(
        ValueError, match=r"^backend='gymnasium' needs gymnasium and mujoco: pip install -e '.\[envs\]'$"
    ):
        environment_of("ant", ["normal"])
