"""Environments of gymnasium as a problem, beside gymnasium itself, and those that it refuses."""

import re
import typing

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from pliant.core.problem import Continuous, Discrete
from pliant.problems.gymnasium import gymnasium as problem
from pliant.problems.mujoco._host import seed_of

SEED = np.array([[1, 2], [3, 4]], np.uint32)


class Echo(gymnasium.Env):
    """Its observation is the action; it ends both ways at once when the first number is above 4."""

    metadata: typing.ClassVar = {"render_modes": []}

    def __init__(self, action, observation=None, render_mode=None):
        self.action_space = action
        self.observation_space = spaces.Box(-9, 9, (2,)) if observation is None else observation

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        is_over = bool(np.ravel(action)[0] > 4)
        return np.resize(action, 2).astype(np.float32), 1.0, is_over, is_over, {}


@pytest.fixture
def echo(monkeypatch):
    """`echo(action, observation)` registers an environment and returns its name."""
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))

    def register(action, observation=None):
        gymnasium.register("Echo-v0", lambda **options: Echo(action, observation, **options), max_episode_steps=3)
        return "Echo-v0"

    return register


def opened(name, members=1, num_envs=1):
    made = problem.make(problem.Config(env=name, num_envs=num_envs))
    return made, made.open(SEED[:members])


def step(env, *actions):
    """The answer to one action for each environment of the first member."""
    env.send(np.array([actions]))
    return env.receive()


@pytest.mark.parametrize(
    ("name", "action"), [("CartPole-v1", Discrete(2)), ("Pendulum-v1", Continuous(1, 2.0)), ("Acrobot-v1", Discrete(3))]
)
def test_steps_are_those_of_gymnasium(name, action):
    made, env = opened(name, members=2, num_envs=2)
    assert made.spec.action == action
    plain, generator = gymnasium.make(name), np.random.default_rng(0)
    seen, _ = plain.reset(seed=seed_of(SEED[1], 0, 0))
    np.testing.assert_array_equal(env.reset()[1, 0], seen)
    for _ in range(40):
        shape = (2, 2, 1) if isinstance(action, Continuous) else (2, 2)
        actions = (
            (3 * generator.normal(size=shape)).astype(np.float32)
            if len(shape) > 2
            else generator.integers(2, size=shape)
        )
        env.send(actions)
        answer = env.receive()
        clipped = np.clip(actions[1, 0], -2, 2) if len(shape) > 2 else int(actions[1, 0])
        seen, reward, over, cut, _ = plain.step(clipped)
        np.testing.assert_array_equal(answer.final_observation[1, 0], seen.astype(np.float32))
        assert (answer.reward[1, 0], answer.terminated[1, 0], answer.truncated[1, 0]) == (np.float32(reward), over, cut)
        if over or cut:
            seen, _ = plain.reset()
        np.testing.assert_array_equal(answer.observation[1, 0], seen.astype(np.float32))
    env.close()


def test_numbers_from_minus_one_to_one_are_mapped_onto_limits_that_differ(echo):
    # Low (0, -1) and high (4, 3): the middle (2, 1) and the half widths (2, 2).
    made, env = opened(echo(spaces.Box(np.array([0, -1], np.float32), np.array([4, 3], np.float32))))
    assert made.spec.action == Continuous(2, 1.0)
    env.reset()
    np.testing.assert_allclose(step(env, [0.5, -1]).final_observation[0, 0], [3, -1])
    np.testing.assert_allclose(step(env, [-7, 0]).final_observation[0, 0], [0, 1])


def test_a_discrete_action_counts_from_the_first_of_its_space(echo):
    _, env = opened(echo(spaces.Discrete(3, start=2)))
    env.reset()
    assert step(env, 1).final_observation[0, 0, 0] == 3


def test_an_episode_that_ends_both_ways_is_terminated_and_the_time_limit_truncates(echo):
    _, env = opened(echo(spaces.Box(-5, 5, (1,))), num_envs=2)
    env.reset()
    answer = step(env, [5], [1])
    assert (answer.terminated.tolist(), answer.truncated.tolist()) == ([[True, False]], [[False, False]])
    assert (answer.observation[0, 0, 0], answer.final_observation[0, 0, 0]) == (0, 5)
    step(env, [1], [1])
    assert step(env, [1], [1]).truncated.tolist() == [[False, True]]  # the third step of the second environment


def test_a_nan_costs_only_its_own_environment(echo):
    _, env = opened(echo(spaces.Box(-5, 5, (1,))), num_envs=2)
    env.reset()
    answer = step(env, [np.nan], [1])
    np.testing.assert_array_equal(answer.reward, [[np.nan, 1]])
    np.testing.assert_array_equal(answer.final_observation[0, :, 0], [0, 1])


def test_an_environment_without_a_picture_cannot_be_drawn(echo):
    assert opened(echo(spaces.Discrete(2)))[0].render is None
    assert opened("CartPole-v1")[0].render is not None


def test_a_module_registers_its_environments(tmp_path, monkeypatch):
    (tmp_path / "my_module.py").write_text(
        "import gymnasium\ngymnasium.register('Mine-v0', 'gymnasium.envs.classic_control.cartpole:CartPoleEnv')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    assert opened("my_module:Mine-v0")[0].spec.action == Discrete(2)


@pytest.mark.parametrize(
    ("reset", "message"),
    [
        (
            lambda self, seed: (np.zeros(3), {}),
            "returns an observation of shape (3,), and its observation_space has",
        ),
        (lambda self: np.zeros(2), "reset(seed=...) does not return (observation, info): "),
        (
            lambda self, seed: np.zeros(3),
            "reset(seed=...) does not return (observation, info): too many values",
        ),
    ],
    ids=["shape", "no seed", "no pair"],
)
def test_another_interface_is_refused_before_a_run(echo, monkeypatch, reset, message):
    monkeypatch.setattr(
        Echo, "reset", lambda self, **options: reset(self, **{k: v for k, v in options.items() if v is not None})
    )
    monkeypatch.setattr(gymnasium.spec(echo(spaces.Discrete(2))), "order_enforce", False)
    with pytest.raises(ValueError, match=re.escape(message)):
        opened("Echo-v0")


@pytest.mark.parametrize("reward", [None, "much", [1.0, 2.0]])
def test_a_reward_that_is_no_number_is_named(echo, monkeypatch, reward):
    monkeypatch.setattr(Echo, "step", lambda self, action: (np.zeros(2, np.float32), reward, False, False, {}))
    _, env = opened(echo(spaces.Discrete(2)))
    env.reset()
    with pytest.raises(ValueError, match=re.escape(f"env='Echo-v0' returns the reward {reward}; a reward is a number")):
        step(env, 1)


def test_a_step_of_the_older_interface_is_refused(echo, monkeypatch):
    monkeypatch.setattr(Echo, "step", lambda self, action: (np.zeros(2, np.float32), 1.0, False, {}))
    _, env = opened(echo(spaces.Discrete(2)))
    env.reset()
    with pytest.raises(
        ValueError, match=r"^env='Echo-v0': step fails: .*expected 5, got 4.*; it takes an action of the"
    ):
        step(env, 1)


def test_the_code_of_an_environment_fails_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "failing.py").write_text("raise RuntimeError('no license')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"^env='failing:Mine-v0': RuntimeError: no license$"):
        opened("failing:Mine-v0")


BOX, IMAGE = spaces.Box(-1, 1, (2,)), spaces.Box(0, 255, (8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("action", "observation", "message"),
    [
        (
            BOX,
            IMAGE,
            "has observations of shape (8, 8, 3), images and not vectors; wrap it, or write a problem of your",
        ),
        (BOX, spaces.Dict(a=BOX), "observations of the kind Dict, not vectors; register it with gymnasium.wrappers.Fl"),
        (BOX, spaces.Discrete(4), "observations of the kind Discrete, not vectors"),
        (BOX, spaces.Box(0, 1, (0,)), "has observations without numbers; write one with at least one number"),
        (spaces.MultiDiscrete([2, 3]), BOX, "has actions MultiDiscrete([2 3]); write an env with actions Discrete(n)"),
        (spaces.Box(-np.inf, np.inf, (2,)), BOX, "has actions without limits; register it with gymnasium.wrappers.Tra"),
    ],
)
def test_other_observations_and_actions_are_refused(echo, action, observation, message):
    with pytest.raises(ValueError, match=re.escape(f"env='Echo-v0' {message}" if message[0] == "h" else message)):
        opened(echo(action, observation))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPol-v1", "unknown env 'CartPol-v1'; did you mean CartPole-v1"),
        ("CartPole-v9", "unknown env 'CartPole-v9'; did you mean CartPole-v1"),
        ("LunarLandr-v3", "did you mean LunarLander-v3"),
        ("My.Robot-v0", "such as CartPole-v1; write my_module:My.Robot-v0 for one that my_module registers"),
        ("two words", "unknown env 'two words'; there are "),
        ("one:two:Env-v0", "unknown env 'one:two:Env-v0'; "),
        ("json:CartPol-v1", "unknown env 'json:CartPol-v1'; did you mean CartPole-v1"),
        ("no_such_module:Env-v0", "env='no_such_module:Env-v0': "),
    ],
)
def test_an_unknown_environment_is_refused_in_one_line(name, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        opened(name)
    assert "\n" not in str(error.value)
