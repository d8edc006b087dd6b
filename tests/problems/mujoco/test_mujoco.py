"""MuJoCo's problems as hosts, on either backend."""

import importlib.util

import numpy as np
import pytest

from pliant.core.problem import Continuous
from pliant.problems.mujoco import ant, hopper, slippery_ant, walker

PROBLEMS = {"ant": ant, "hopper": hopper, "walker": walker, "slippery_ant": slippery_ant}
BACKENDS = ("envpool", "gymnasium")
SEED = np.array([[1, 2], [3, 4], [5, 6]], np.uint32)

each_problem = pytest.mark.parametrize("problem", PROBLEMS)
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def opened(problem, backend, seed=SEED, **settings):
    module = PROBLEMS[problem]
    return module.make(module.Config(backend=backend, **settings)).open(seed)


def actions(problem, steps, members=3, num_envs=1, seed=0):
    size = PROBLEMS[problem].make(PROBLEMS[problem].Config()).spec.action.size
    return np.random.default_rng(seed).standard_normal((steps, members, num_envs, size)).astype(np.float32)


def played(host, all_actions):
    """What all steps gave, one array for each field of `Timestep`: `(steps, members, num_envs, ...)`."""
    answers = []
    for action in all_actions:
        host.send(action)
        answers.append(host.receive())
    return [np.stack(arrays) for arrays in zip(*[answer[:5] for answer in answers])]


@pytest.mark.parametrize(
    ("problem", "version", "observation", "action"),
    [
        # Ant: 15 positions less two, 14 velocities, 6 contact forces for each of 14 bodies (v5: of 13, not the world).
        ("ant", "v3", 111, 8),
        ("ant", "v4", 27, 8),
        ("ant", "v5", 105, 8),
        ("slippery_ant", "v3", 111, 8),
        ("hopper", "v3", 11, 3),
        ("hopper", "v5", 11, 3),
        ("walker", "v3", 17, 6),
        ("walker", "v4", 17, 6),
    ],
)
@each_backend
def test_sizes_of_observations_and_actions(problem, version, observation, action, backend):
    module = PROBLEMS[problem]
    environment = module.make(module.Config(version=version, backend=backend, num_envs=2))
    assert environment.spec.observation.shape == (observation,) and environment.spec.observation.dtype == np.float32
    assert environment.spec.action == Continuous(action) and environment.num_envs == 2


@each_backend
@pytest.mark.parametrize("problem", ["ant", "slippery_ant"])
def test_contact_forces_of_v3_are_zero(problem, backend):
    host = opened(problem, backend)
    first = host.reset()
    observation = played(host, actions(problem, 50))[0]
    for array in (first, observation):
        np.testing.assert_array_equal(array[..., 27:], 0)
        assert (array[..., :27] != 0).all()
    contact = opened("ant", backend, version="v5")
    contact.reset()
    assert (played(contact, actions("ant", 50))[0][..., 27:] != 0).any()


@pytest.mark.parametrize(
    ("problem", "cost"),
    # From 1 to 3 the squares of 8, 3 and 6 numbers grow by 8 each: 0.5 * 8 * 8, 0.001 * 3 * 8, 0.001 * 6 * 8.
    [("ant", 32), ("hopper", 0.024), ("walker", 0.048), ("slippery_ant", 32)],
)
@each_backend
def test_an_action_is_charged_as_it_is_but_clamped_in_the_physics(problem, cost, backend):
    sign = np.sign(actions(problem, 5))
    one, three = opened(problem, backend), opened(problem, backend)
    np.testing.assert_array_equal(one.reset(), three.reset())
    at_one, at_three = played(one, sign), played(three, 3 * sign)
    np.testing.assert_array_equal(at_one[0], at_three[0])
    np.testing.assert_allclose(at_one[1] - at_three[1], cost, rtol=1e-3, atol=5e-6)


@each_backend
@pytest.mark.parametrize("version", ["v3", "v5"])
def test_an_ant_at_rest_stands_until_the_time_is_up(version, backend):
    host = opened("ant", backend, SEED[:2], version=version)
    host.reset()
    observation, reward, terminated, truncated, final = played(host, np.zeros((1001, 2, 1, 8), np.float32))
    assert not terminated.any()
    np.testing.assert_array_equal(np.flatnonzero(truncated.any((1, 2))), [999])
    assert truncated[999].all()
    assert (observation[999] != final[999]).any()
    np.testing.assert_array_equal(observation[1000], final[1000])
    # It pays 1 a step but for what it slides; in v5 also 0.0005 for the square of each contact force.
    assert abs(reward[500:999].mean() - 1) < 0.02


@pytest.mark.parametrize("problem", ["hopper", "walker"])
@each_backend
def test_a_fall_ends_the_episode_and_the_next_one_begins_in_the_same_step(problem, backend):
    host = opened(problem, backend, num_envs=2)
    host.reset()
    observation, _, terminated, truncated, final = played(host, actions(problem, 120, num_envs=2))
    assert terminated.any((0,)).all() and not truncated.any()
    height, angle = final[..., 0], np.abs(final[..., 1])
    unhealthy = (height <= 0.7) | (angle >= 0.2) if problem == "hopper" else (height <= 0.8) | (angle >= 1)
    np.testing.assert_array_equal(unhealthy, terminated)
    np.testing.assert_array_equal(observation[~terminated], final[~terminated])
    # An episode begins at a height of 1.25, with noise of at most 0.005 everywhere.
    upright = np.array([1.25] + [0.0] * (observation.shape[-1] - 1))
    assert (np.abs(observation[terminated] - upright) <= 0.00501).all()
    assert len(np.unique(observation[terminated], axis=0)) == terminated.sum()


@each_backend
def test_a_members_friction_does_not_depend_on_the_others(backend):
    problem, settings = "slippery_ant", {"change_time": 30, "num_envs": 2}
    together = opened(problem, backend, **settings)
    all_actions = actions(problem, 120, num_envs=2)
    first, seen = together.reset(), played(together, all_actions)
    assert seen[2].any()
    for member in (0, 2):
        alone = opened(problem, backend, SEED[member : member + 1], **settings)
        np.testing.assert_array_equal(alone.reset()[0], first[member])
        for mine, theirs in zip(played(alone, all_actions[:, member : member + 1]), seen):
            np.testing.assert_array_equal(mine[:, 0], theirs[:, member])


@each_backend
def test_nan_stays_with_its_environment(backend, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)  # where MuJoCo would write its log
    sound, broken = opened("hopper", backend), opened("hopper", backend)
    sound.reset(), broken.reset()
    all_actions = actions("hopper", 60)
    seen = played(sound, all_actions)
    all_actions[10:, 1, 0, 2] = np.nan
    disturbed = played(broken, all_actions)
    for array, other in zip(disturbed, seen):
        np.testing.assert_array_equal(array[:, [0, 2]], other[:, [0, 2]])
        np.testing.assert_array_equal(array[:10], other[:10])
    assert np.isnan(disturbed[1][10:, 1]).all()
    assert all(np.isfinite(disturbed[field]).all() for field in (0, 4))
    assert not list(tmp_path.iterdir()) and capfd.readouterr() == ("", "")


@each_backend
def test_friction_is_in_force_again_after_restore(backend):
    settings = {"change_time": 25, "num_envs": 2}
    straight = opened("slippery_ant", backend, **settings)
    straight.reset()
    seen = []
    for action in actions("slippery_ant", 300, num_envs=2):
        straight.send(action)
        seen.append(straight.receive())
    friction = np.stack([answer.info["friction"] for answer in seen])
    ended = np.stack([answer.terminated | answer.truncated for answer in seen])
    assert all(len(np.unique(friction[:, member])) >= 2 for member in range(3))
    changed = friction[1:] != friction[:-1]
    assert ended[:-1][changed].all()  # it changes for an environment only after an episode of its own
    assert friction.min() >= 0.02 and friction.max() <= 2.0

    resumed = opened("slippery_ant", backend, **settings)
    resumed.restore(straight.save())
    resumed.reset()
    resumed.send(np.zeros((3, 2, 8), np.float32))
    now = resumed.receive().info["friction"]
    # Both environments of a member have the member's value, the value of the environment that began an episode last.
    np.testing.assert_array_equal(now[:, 0], now[:, 1])
    for member in range(3):
        assert now[member, 0] in friction[-1, member] or ended[-1, member].any()
    for name, value in straight.save().items():
        if name != "steps":
            np.testing.assert_array_equal(resumed.save()[name], value)


@each_backend
def test_reset_gives_up_what_is_in_flight(backend):
    host = opened("hopper", backend)
    host.reset()
    host.send(actions("hopper", 1)[0])
    first = host.reset()
    upright = np.array([1.25] + [0.0] * 10)
    assert (np.abs(first - upright) <= 0.00501).all()
    played(host, actions("hopper", 3))
    host.send(actions("hopper", 1)[0])
    host.close()


def kind(host):
    host.reset()
    return type(host.simulator).__name__


def test_auto_takes_gymnasium_for_one_environment_and_envpool_for_more():
    assert kind(opened("ant", "auto", SEED[:1])) == "GymnasiumSimulator"
    assert kind(opened("ant", "auto", SEED[:1], num_envs=2)) == "EnvpoolSimulator"
    assert kind(opened("ant", "auto", SEED[:2])) == "EnvpoolSimulator"
    assert kind(opened("slippery_ant", "auto", SEED[:1])) == "GymnasiumSimulator"
    assert kind(opened("slippery_ant", "auto", SEED[:2])) == "SlipperySimulator"
    assert kind(opened("ant", "gymnasium", SEED[:2])) == "GymnasiumSimulator"
    assert kind(opened("ant", "envpool", SEED[:1])) == "EnvpoolSimulator"


@pytest.fixture
def missing(monkeypatch):
    """Makes packages seem not to be installed."""
    find_spec = importlib.util.find_spec

    def hide(*names):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in names else find_spec(name))

    return hide


@pytest.mark.parametrize(
    ("hidden", "backend", "error"),
    [
        (["envpool"], "envpool", "backend='envpool' needs envpool: pip install -e '.[envs]'"),
        (["gymnasium"], "gymnasium", "backend='gymnasium' needs gymnasium and mujoco: pip install -e '.[envs]'"),
        (["mujoco"], "gymnasium", "backend='gymnasium' needs gymnasium and mujoco: pip install -e '.[envs]'"),
        (
            ["envpool", "mujoco"],
            "auto",
            "backend='auto' needs envpool, or gymnasium and mujoco: pip install -e '.[envs]'",
        ),
    ],
)
@each_problem
def test_a_missing_package_is_told_before_anything_runs(problem, hidden, backend, error, missing):
    missing(*hidden)
    module = PROBLEMS[problem]
    with pytest.raises(ValueError) as raised:
        module.make(module.Config(backend=backend))
    assert str(raised.value) == error


def test_auto_takes_what_there_is(missing):
    missing("mujoco")
    assert kind(opened("ant", "auto", SEED[:1])) == "EnvpoolSimulator"
    missing("envpool")
    assert kind(opened("ant", "auto", SEED)) == "GymnasiumSimulator"


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"version": "v2"}, "version='v2': write one of 'v3', 'v4', 'v5'"),
        ({"backend": "mujoco"}, "backend='mujoco': write one of 'auto', 'envpool', 'gymnasium'"),
    ],
)
@each_problem
def test_refuses_what_does_not_exist(problem, settings, error):
    module = PROBLEMS[problem]
    with pytest.raises(ValueError) as raised:
        module.make(module.Config(**settings))
    assert str(raised.value) == error


@pytest.mark.parametrize(("low", "high"), [(2.0, 0.02), (0.0, 1.0), (-1.0, 1.0), (0.1, np.inf), (np.nan, 1.0)])
def test_refuses_frictions_that_are_not_in_order_and_positive(low, high):
    error = f"friction_low={low} and friction_high={high}: write two positive numbers, the lower one first"
    with pytest.raises(ValueError) as raised:
        slippery_ant.make(slippery_ant.Config(friction_low=low, friction_high=high))
    assert str(raised.value) == error


def test_the_defaults_are_the_papers():
    assert [module.make(module.Config()).steps for module in PROBLEMS.values()] == [int(1e8)] * 3 + [int(2e7)]
    assert all(list(module.AGENTS) == ["ppo"] for module in PROBLEMS.values())
    config = slippery_ant.Config()
    assert (config.friction_low, config.friction_high, config.change_time) == (0.02, 2.0, 2_000_000)
