"""The problem `mujoco`: tasks by their names, from any family."""

import importlib.util

import envpool
import gymnasium
import mujoco as physics
import numpy as np
import pytest

from pliant.core.problem import Continuous
from pliant.problems.mujoco import _control_suite, _envpool, _gymnasium, mujoco
from pliant.problems.mujoco._envpool import EnvpoolSimulator
from pliant.problems.mujoco._gymnasium import GymnasiumSimulator
from pliant.problems.mujoco._host import seed_of

SEED = np.array([[1, 2], [3, 4]], np.uint32)
ONE = np.zeros(1, np.int32)


@pytest.fixture(autouse=True)
def transfer(tmp_path, monkeypatch):
    """Where MuJoCo writes its log file: gymnasium, asked directly, makes it do so for HalfCheetah."""
    monkeypatch.chdir(tmp_path)


def arena_of(env, **settings):
    return mujoco.make(mujoco.Config(env=env, **settings))


@pytest.mark.parametrize(("env", "steps"), [("HalfCheetah-v5", 1100), ("Humanoid-v5", 250)])
def test_episodes_are_those_of_a_plain_loop_in_gymnasium(env, steps):
    environment = arena_of(env)
    host, plain = environment.open(SEED[:1]), gymnasium.make(env)
    rng = np.random.default_rng(0)
    observation, _ = plain.reset(seed=seed_of(SEED[0], 0, 0))
    np.testing.assert_array_equal(host.reset()[0, 0], np.float32(observation))
    ends = {"terminated": 0, "truncated": 0}
    for _ in range(steps):
        action = np.float32(environment.spec.action.bound * rng.uniform(-1, 1, environment.spec.action.size))
        observation, reward, terminated, truncated, _ = plain.step(action.astype(np.float64))
        host.send(action[None, None])
        answer = host.receive()
        np.testing.assert_array_equal(answer.final_observation[0, 0], np.float32(observation))
        assert answer.reward[0, 0] == np.float32(reward) and answer.info == {}
        assert (answer.terminated[0, 0], answer.truncated[0, 0]) == (terminated, truncated and not terminated)
        if terminated or truncated:
            ends["terminated" if terminated else "truncated"] += 1
            observation, _ = plain.reset()
        np.testing.assert_array_equal(answer.observation[0, 0], np.float32(observation))
    # HalfCheetah never falls: its time is up after 1,000 steps. Humanoid falls all the time.
    assert ends["truncated"] == (env == "HalfCheetah-v5") and (ends["terminated"] >= 5) == (env == "Humanoid-v5")


@pytest.mark.parametrize("env", ["HalfCheetah-v4", "Humanoid-v4", "Humanoid-v5"])
def test_both_packages_simulate_the_same(env):
    # As in test_simulators, for forty steps: rounding errors grow. Contact forces of Humanoid are of some hundreds.
    size = _gymnasium.describe(env).observation
    pool, one = EnvpoolSimulator(env, [5]), GymnasiumSimulator(env, 1, size, lambda number: 0)
    (environment,) = one.environments
    model = environment.model
    rng, largest = np.random.default_rng(1), 0
    for _ in range(4):
        first = pool.restart(ONE, None)[0]
        one.restart(ONE, None)
        physics.mj_resetData(model, environment.data)
        unseen = 1 if env.startswith("HalfCheetah") else 2  # positions on the plane
        known = np.concatenate([np.zeros(unseen), first])
        environment.set_state(known[: model.nq], known[model.nq : model.nq + model.nv])
        for _ in range(40):
            action = 0.5 * rng.standard_normal((1, model.nu))
            pool.send(action), one.send(action)
            theirs, ours = pool.receive(), one.receive()
            np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5, atol=1e-5)
            assert ours[2] == theirs[2]
            largest = max(largest, np.abs(theirs[0]).max())
            if ours[2][0]:
                break
    assert (largest > 100) == env.startswith("Humanoid")


@pytest.mark.parametrize(
    ("env", "observation", "action"),
    [
        ("HalfCheetah-v4", 17, Continuous(6)),
        ("Humanoid-v4", 376, Continuous(17, 0.4)),
        ("Ant-v3", 111, Continuous(8)),
        ("Pusher-v5", 23, Continuous(7, 2.0)),
        # The sizes that the suite itself has.
        ("DogRun-v1", 223, Continuous(38)),
        ("HumanoidWalk-v1", 67, Continuous(21)),
        ("QuadrupedWalk-v1", 78, Continuous(12)),
        ("CheetahRun-v1", 17, Continuous(6)),
        ("MetaWorld/CoffeePull-v3", 39, Continuous(4)),
    ],
)
def test_shapes_and_rewards_of_each_family(env, observation, action):
    environment = arena_of(env, num_envs=2)
    assert environment.spec.observation.shape == (observation,) and environment.spec.action == action
    host = environment.open(SEED)
    first = host.reset()
    assert first.shape == (2, 2, observation) and first.dtype == np.float32
    assert len(np.unique(first.reshape(4, -1), axis=0)) == 4
    rng = np.random.default_rng(0)
    for _ in range(3):
        host.send(np.float32(rng.uniform(-action.bound, action.bound, (2, 2, action.size))))
        answer = host.receive()
    assert answer.observation.shape == (2, 2, observation) and np.isfinite(answer.observation).all()
    assert answer.reward.shape == (2, 2) and answer.reward.dtype == np.float32
    if env.endswith("-v1"):
        assert (answer.reward >= 0).all() and (answer.reward <= 1).all()
    assert list(answer.info) == (["success", "success_last"] if env.startswith("MetaWorld/") else [])
    host.close()


def test_parts_of_an_observation_stand_in_the_order_of_the_suite():
    host = arena_of("HumanoidWalk-v1").open(SEED)
    first = host.reset()
    pool = envpool.make_gymnasium("HumanoidWalk-v1", num_envs=1, env_seed=[seed_of(SEED[0], 0, 0)])
    shown, _ = pool.reset()
    names = ("joint_angles", "head_height", "extremities", "torso_vertical", "com_velocity", "velocity")
    np.testing.assert_array_equal(first[0, 0], np.float32(np.concatenate([shown[name].ravel() for name in names])))


def test_what_is_left_out_of_an_observation_tells_nothing():
    left_out = 0
    for task in ("DogWalk-v1", "FingerSpin-v1", "FishUpright-v1", "QuadrupedEscape-v1", "HumanoidRunPureState-v1"):
        simulator = EnvpoolSimulator(task, [3])
        simulator.restart(ONE, None)
        pool = simulator._pool
        others = set(pool.observation_space) - set(_control_suite.observation_keys(task, pool.observation_space))
        for _ in range(3):
            observation = pool.step(np.ones((1, *pool.action_space.shape)))[0]
            assert all((observation[name] == 0).all() for name in others)
        left_out += len(others)
    assert left_out == 2 + 2 + 1 + 2 + 5


def test_numbers_from_minus_one_to_one_span_the_ranges_of_quadrupeds_actuators():
    # Of each leg, three actuators: -1 to 1, -1 to 1.1, and -0.8 to 0.8.
    simulator = EnvpoolSimulator("QuadrupedWalk-v1", [3])
    sent = []

    class Pool:
        send = staticmethod(sent.append)

    simulator._pool = Pool
    for level in (-1.0, 0.0, 1.0):
        simulator.send(np.full((1, 12), level))
    np.testing.assert_allclose(np.concatenate(sent)[:, :3], [[-1, -1, -0.8], [0, 0.05, 0], [1, 1.1, 0.8]], atol=1e-12)


def test_an_episode_of_the_suite_is_cut_short_but_never_ends():
    host = arena_of("CheetahRun-v1").open(SEED)
    host.reset()
    for number in range(1001):
        host.send(np.zeros((2, 1, 6), np.float32))
        answer = host.receive()
        assert not answer.terminated.any() and answer.truncated.all() == (number == 999)


def test_success_is_told_for_the_rest_of_an_episode():
    # The goal of Reach is somewhere in a box that the hand goes through, so that it is there at times.
    corners = [np.array([x, 0.85, z]) for z in (0.1, 0.2, 0.27) for x in (-0.06, 0, 0.06)]
    host = arena_of("MetaWorld/Reach-v3").open(SEED[:1])
    hand = host.reset()[0, 0, :3]
    receive, momentary, recorded, last, cut = host.simulator.receive, [], [], [], []

    def receive_and_record():
        answer = receive()
        momentary.append(float(answer[3]["success"][0]))
        return answer

    host.simulator.receive = receive_and_record
    for step in range(501):
        host.send(np.float32([[[*np.clip(10 * (corners[step // 30 % 9] - hand), -1, 1), 0]]]))
        answer = host.receive()
        hand = answer.observation[0, 0, :3]
        recorded.append(float(answer.info["success"][0, 0]))
        last.append(float(answer.info["success_last"][0, 0]))
        cut.append(bool(answer.truncated[0, 0]))
    begun = momentary.index(1.0)
    assert 0.0 in momentary[begun:500]  # the hand is not there any more
    assert recorded == [0.0] * begun + [1.0] * (500 - begun) + [0.0]  # the last is of the next episode
    assert last == momentary
    assert np.flatnonzero(cut).tolist() == [499] and answer.info["success"].dtype == np.float32


def test_the_packages_agree_about_the_tasks_that_both_have():
    both = set(_gymnasium.tasks()) & set(_envpool.tasks())
    assert len(both) == len(_gymnasium.tasks()) == 21
    for task in both:
        assert _gymnasium.describe(task) == _envpool.describe(task)
        (environment,) = _gymnasium._made(task, 1)
        low, high = environment.model.actuator_ctrlrange.T
        assert (low == -high).all() and (high == high[0]).all()


def test_nothing_is_written_beside_the_program(tmp_path, capfd):
    # MuJoCo would write that it will no longer read HalfCheetah's model some day.
    arena_of("HalfCheetah-v5").open(SEED[:1]).reset()
    assert not list(tmp_path.iterdir()) and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("env", "backend", "error"),
    [
        ("HalfCheeta-v4", "auto", "unknown env 'HalfCheeta-v4'; did you mean HalfCheetah-v4 or HalfCheetah-v5 or Half"),
        ("zzz", "auto", "unknown env 'zzz'; there are 132, such as HalfCheetah-v4"),
        ("DogRun-v1", "gymnasium", "env='DogRun-v1' is not a task of gymnasium: write backend='envpool'"),
        (
            "CartPole-v1",
            "auto",
            "env='CartPole-v1' has no continuous actions, or no limits of them, or is not MuJoCo's",
        ),
        ("LqrLqr21-v1", "auto", "env='LqrLqr21-v1' has no continuous actions, or no limits of them, or is not MuJoCo'"),
        ("HalfCheetah-v4", "mujoco", "backend='mujoco': write one of 'auto', 'envpool', 'gymnasium'"),
    ],
)
def test_refuses_what_does_not_exist(env, backend, error):
    with pytest.raises(ValueError) as raised:
        arena_of(env, backend=backend)
    assert str(raised.value).startswith(error) and "\n" not in str(raised.value)


def test_without_envpool_the_rest_is_said_to_be_there(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "envpool" else find_spec(name))
    assert arena_of("HalfCheetah-v4", num_envs=4).spec.action.size == 6
    with pytest.raises(ValueError) as raised:
        arena_of("DogRun-v1")
    assert str(raised.value).endswith("such as HalfCheetah-v4; envpool has more: pip install -e '.[envs]'")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs envpool, or gymnasium and mujoco: pip install -e '\.\[envs\]'$"):
        arena_of("DogRun-v1")


def test_only_gymnasiums_tasks_can_be_drawn():
    with pytest.raises(ValueError) as raised:
        arena_of("DogRun-v1").render(SEED[0])
    assert str(raised.value) == ("env='DogRun-v1' cannot be drawn: only gymnasium's tasks can, such as HalfCheetah-v4")
