import gymnasium
import numpy as np
import pytest

from pliant.core.problem import Continuous
from pliant.problems.mujoco import cyclic_mujoco
from pliant.problems.mujoco._host import seed_of

SEED = np.array([[1, 2], [3, 4]], np.uint32)


@pytest.fixture(autouse=True)
def transfer(tmp_path, monkeypatch):
    """Where MuJoCo writes its log file: gymnasium, asked directly, makes it do so for HalfCheetah."""
    monkeypatch.chdir(tmp_path)


def arena_of(**settings):
    return cyclic_mujoco.make(cyclic_mujoco.Config(**settings))


def actions(steps, shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, *shape)).astype(np.float32)


def plain_loop(env, all_actions, change):
    """An episode of gymnasium's own task, in a world that was changed: rewards, and forward velocities."""
    plain = gymnasium.make(env)
    change(plain.unwrapped.model)
    plain.reset(seed=seed_of(SEED[0], 0, 0))
    rewards, velocities = [], []
    for action in all_actions:
        _, reward, _, _, info = plain.step(action.astype(np.float64))
        rewards.append(reward)
        velocities.append(info["x_velocity"])
    return np.array(rewards), np.array(velocities)


def gravity(factor):
    return lambda model: model.opt.gravity.__imul__(factor)


def friction(factor):
    return lambda model: model.geom_friction.__imul__([factor, 1, 1])


@pytest.mark.parametrize(
    ("task", "change", "extra"),
    [
        ("forward", gravity(1), lambda v: 0 * v),
        ("backward", gravity(1), lambda v: -2 * v),
        # Beyond 1 m/s the pay of v is 2 - v instead.
        ("slow", gravity(1), lambda v: np.where(v > 1, 2 - 2 * v, 0)),
        ("light", gravity(0.5), lambda v: 0 * v),
        ("heavy", gravity(1.5), lambda v: 0 * v),
        ("slippery", friction(0.25), lambda v: 0 * v),
    ],
)
@pytest.mark.parametrize(("env", "weight"), [("HalfCheetah-v5", 1), ("Humanoid-v5", 1.25)])
def test_a_task_is_gymnasiums_but_for_its_change(task, change, extra, env, weight):
    environment = arena_of(env=env, cycle=task)
    host = environment.open(SEED[:1])
    host.reset()
    all_actions = environment.spec.action.bound * actions(15, (environment.spec.action.size,))
    ours = []
    for action in all_actions:
        host.send(action[None, None])
        ours.append(host.receive().reward[0, 0])
    theirs, velocities = plain_loop(env, all_actions, change)
    np.testing.assert_allclose(ours, theirs + weight * extra(velocities), rtol=1e-5, atol=1e-5)
    others = plain_loop(env, all_actions, gravity(1.01))[0]
    assert np.abs(others - theirs).max() > 1e-3  # a small change is seen


def test_tasks_follow_each_other_by_episodes():
    # Two environments of a member, three episodes for each task. HalfCheetah's episodes all end after 1,000 steps; the
    # two that end together count as two: n = 0, 2, 4, 6, 8, ... episodes have ended, and the task is n // 3 % 2.
    host = arena_of(cycle="backward,forward", episodes=3, num_envs=2).open(SEED)
    host._time_limit = 5
    host.reset()
    seen = []
    for action in actions(40, (2, 2, 6)):
        host.send(action)
        seen.append(host.receive().info["task"])
    seen = np.array(seen)
    assert seen.shape == (40, 2, 2) and seen.dtype == np.float32
    by_hand = np.repeat([0, 0, 1, 0, 0, 1, 0, 0], 5)  # n = 0, 2, 4, 6, 8, 10, 12, 14: n // 3 = 0, 0, 1, 2, 2, 3, 4, 4
    np.testing.assert_array_equal(seen, np.broadcast_to(by_hand[:, None, None], seen.shape))


def test_members_go_on_as_their_own_episodes_end():
    host = arena_of(env="Hopper-v5", cycle="forward,light,slow", episodes=2).open(SEED)
    host.reset()
    ended, seen, expected = np.zeros(2, int), [], []
    for action in actions(200, (2, 1, 3)):
        host.send(3 * action)
        expected.append(ended // 2 % 3)
        answer = host.receive()
        seen.append(answer.info["task"][:, 0])
        ended += answer.terminated[:, 0]
    np.testing.assert_array_equal(seen, expected)
    assert ended.min() >= 6 and (np.array(seen)[:, 0] != np.array(seen)[:, 1]).any()


def test_the_world_is_put_back_when_the_task_comes_round():
    host = arena_of(cycle="light,slippery,forward", episodes=1).open(SEED[:1])
    host._time_limit = 1
    host.reset()
    worlds = []
    for action in actions(6, (1, 1, 6)):
        model = host.simulator._robots.environments[0].model
        worlds.append((float(model.opt.gravity[2]), float(model.geom_friction[0, 0])))
        host.send(action)
        host.receive()
    own = (-9.81, 0.4)
    np.testing.assert_allclose(worlds, 2 * [(own[0] / 2, own[1]), (own[0], own[1] / 4), own])


def test_a_resumed_host_goes_on_with_the_task_in_force():
    settings = {"cycle": "forward,backward,light", "episodes": 2}
    host = arena_of(**settings).open(SEED)
    host._time_limit = 3
    host.reset()
    for action in actions(17, (2, 1, 6)):  # five episodes have ended: the task is 5 // 2 = 2
        host.send(action)
        host.receive()
    resumed = arena_of(**settings).open(SEED)
    resumed._time_limit = 3
    resumed.restore(host.save())
    resumed.reset()
    seen = []
    for action in actions(6, (2, 1, 6)):
        resumed.send(action)
        seen.append(resumed.receive().info["task"][:, 0].tolist())
    assert seen == [[2, 2]] * 3 + [[0, 0]] * 3  # the sixth ends there


def test_specification_and_defaults():
    environment = arena_of(num_envs=3, steps=700)
    assert environment.spec.observation.shape == (17,) and environment.spec.action == Continuous(6)
    assert (environment.num_envs, environment.steps) == (3, 700)
    assert arena_of(env="Humanoid-v4").spec.action == Continuous(17, 0.4)
    # Three rounds of four tasks of 250 episodes, 1,000 steps each.
    assert arena_of().steps == 3 * 4 * 250 * 1000


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"cycle": "forward,backwards"}, "unknown task of a cycle 'backwards'; did you mean backward?"),
        (
            {"cycle": "forward,"},
            "unknown task of a cycle ''; there are: forward, backward, slow, light, heavy, slippery",
        ),
        ({"env": "HalfCheetah"}, "unknown env 'HalfCheetah'; did you mean HalfCheetah-v5 or HalfCheetah-v4?"),
        ({"env": "Pusher-v5"}, "unknown env 'Pusher-v5'; there are: HalfCheetah-v4, HalfCheetah-v5, "),
    ],
)
def test_refuses_what_does_not_exist(settings, error):
    with pytest.raises(ValueError) as raised:
        arena_of(**settings)
    assert str(raised.value).startswith(error) and "\n" not in str(raised.value)
