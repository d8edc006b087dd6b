"""DoorKey in the `minigrid` package as a host, and that the environment on the device is the same."""

import importlib.util

import gymnasium
import jax
import numpy as np
import pytest
import trees

from pliant.core.clock import Calendar, Task
from pliant.core.problem import ActorCritic, Discrete, Spec
from pliant.problems.doorkey import _minigrid
from pliant.problems.doorkey._doorkey import State, observe, step

SPEC = Spec(jax.ShapeDtypeStruct((7, 7, 3), np.uint8), Discrete(7))
NETWORK = ActorCritic(lambda key: {}, lambda params, observation, memory: ((), memory), lambda batch: ())
TASKS = (Task("5x5", 40), Task("6x6", 100), Task("8x8", 120))
BIG = (Task("16x16", 120),)
SEED = np.array([[1, 2], [3, 4]], np.uint32)
LEFT, FORWARD, DONE = 0, 2, 6  # actions


def environment(num_envs=1, tasks=TASKS):
    return _minigrid.environment(tasks, num_envs, SPEC, NETWORK)


def opened(num_envs=1, seed=SEED, **settings):
    host = environment(num_envs, **settings).open(seed)
    host.reset()
    return host


def play(host, action):
    """One step, of the same action everywhere or of one for each environment."""
    member, place = max(host.environments)
    host.send(np.broadcast_to(np.int32(action), (member + 1, place + 1)))
    return host.receive()


def put_before_goal(environment):
    """Whoever goes forward next is at the goal: the cell above it is never a wall."""
    environment.agent_pos, environment.agent_dir = (environment.width - 2, environment.height - 3), 1


def sizes(host):
    return [environment.width for environment in host.environments.values()]


def seed_of(member, place, steps):
    sequence = np.random.SeedSequence(SEED[member].tolist(), spawn_key=(place, steps))
    return int(sequence.generate_state(1)[0] >> 1)


def state_of(environment):
    """What the environment on the device needs to know of MiniGrid's."""
    cells = {(x, y): environment.grid.get(x, y) for x, y in np.ndindex(environment.width, environment.height)}
    (key,) = [where for where, cell in cells.items() if cell and cell.type == "key"] or [(-1, -1)]
    (door,) = [where for where, cell in cells.items() if cell and cell.type == "door"]
    carrying = environment.carrying is not None
    numbers = (*environment.agent_pos, environment.agent_dir, *key, *door, cells[door].encode()[2], carrying)
    return State(*map(np.int32, (*numbers, environment.step_count, environment.width)))


def test_the_arena():
    made = environment(num_envs=3)
    assert made.spec is SPEC and made.network is NETWORK and made.num_envs == 3
    assert made.steps == 120 and made.tasks == TASKS


def test_episodes_are_those_of_gymnasium():
    host = environment(num_envs=2, tasks=(Task("5x5", 10_000),)).open(SEED)
    first = host.reset()
    actions = np.random.default_rng(0).integers(0, 7, (520, 2, 2), np.int32)  # the time is up twice: T = 250
    answers = []
    for action in actions:
        host.send(action)
        answers.append(host.receive())
    seen, reward, terminated, truncated, final = (np.stack(arrays) for arrays in zip(*[a[:5] for a in answers]))
    assert truncated.any() and not (terminated & truncated).any()
    for member, place in np.ndindex(2, 2):
        plain = gymnasium.make("minigrid:MiniGrid-DoorKey-5x5-v0", disable_env_checker=True)
        observation, _ = plain.reset(seed=seed_of(member, place, 0))
        np.testing.assert_array_equal(first[member, place], observation["image"])
        for t, action in enumerate(actions[:, member, place]):
            here = (t, member, place)
            observation, expected, *ends, _ = plain.step(action)
            assert reward[here] == np.float32(expected) and [terminated[here], truncated[here]] == ends
            np.testing.assert_array_equal(final[here], observation["image"])
            if any(ends):
                observation, _ = plain.reset()
            np.testing.assert_array_equal(seen[here], observation["image"])


def test_an_episode_ends_at_the_goal_or_by_the_time_limit_but_never_by_both():
    host = opened(num_envs=4, seed=SEED[:1])
    before_goal, at_the_last_step, out_of_time, goes_on = host.environments.values()
    put_before_goal(before_goal)
    put_before_goal(at_the_last_step)
    at_the_last_step.step_count = out_of_time.step_count = 249  # of 10 * 5 * 5
    out_of_time.agent_dir, goes_on.agent_dir = 3, 3
    answer = play(host, [[FORWARD, FORWARD, LEFT, LEFT]])
    # 1 - 0.9 * 1 / 250, and 1 - 0.9 * 250 / 250.
    np.testing.assert_allclose(answer.reward, [[0.9964, 0.1, 0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(answer.terminated, [[True, True, False, False]])
    np.testing.assert_array_equal(answer.truncated, [[False, False, True, False]])
    np.testing.assert_array_equal(answer.info["success"], [[1, 1, 0, 0]])
    # On the goal of 5x5, facing down, there are walls on both sides and ahead; its own cell the agent sees as empty.
    expected = np.zeros((7, 7, 3), np.uint8)
    expected[2:5, 5:] = (2, 5, 0)
    expected[3, 6] = (1, 0, 0)
    np.testing.assert_array_equal(answer.final_observation[0, :2], [expected] * 2)
    for place, environment in enumerate(host.environments.values()):
        np.testing.assert_array_equal(answer.observation[0, place], environment.gen_obs()["image"])
        assert environment.step_count == (1 if environment is goes_on else 0)
    np.testing.assert_array_equal(answer.observation[0, 3], answer.final_observation[0, 3])


def test_an_episode_has_the_size_of_the_task_in_which_it_begins():
    host = opened(num_envs=2, seed=SEED[:1])
    first, second = host.environments.values()
    for _ in range(18):
        play(host, DONE)
    put_before_goal(first)
    play(host, FORWARD)  # step 19: the next episode begins after 38 steps of the member, which is below 40
    assert sizes(host) == [5, 5] and host.environments[0, 0] is first
    put_before_goal(first)
    seen = play(host, FORWARD).observation[0, 0]
    assert sizes(host) == [6, 5] and host.environments[0, 1] is second  # that one is played to its end
    restart = gymnasium.make("minigrid:MiniGrid-DoorKey-6x6-v0", disable_env_checker=True)
    np.testing.assert_array_equal(seen, restart.reset(seed=seed_of(0, 0, 40))[0]["image"])
    put_before_goal(second)
    play(host, FORWARD)
    assert sizes(host) == [6, 6]


@pytest.mark.parametrize(("steps", "size"), [(0, 5), (39, 5), (40, 6), (99, 6), (100, 8), (119, 8), (10_000, 8)])
def test_tasks_go_on_after_restore(steps, size):
    host = environment().open(SEED)
    host.restore({"steps": np.array([steps, 0])})
    host.reset()
    assert sizes(host) == [size, 5]
    assert TASKS[Calendar(TASKS).task(steps)].name == f"{size}x{size}"


def test_a_size_overrides_the_tasks():
    host = environment(tasks=BIG).open(SEED)
    for steps in (0, 110):
        host.restore({"steps": np.full(2, steps)})
        host.reset()
        assert sizes(host) == [16, 16]


def test_a_restored_host_begins_other_episodes():
    host = opened(num_envs=2, tasks=BIG)
    beginnings = [[state_of(environment) for environment in host.environments.values()]]
    assert len(set(beginnings[0])) == 4
    for _ in range(3):
        play(host, LEFT)
    saved = host.save()
    np.testing.assert_array_equal(saved["steps"], [6, 6])  # those of two environments together
    for _ in range(2):
        host = environment(num_envs=2, tasks=BIG).open(SEED)
        host.restore(saved)
        host.reset()
        beginnings.append([state_of(environment) for environment in host.environments.values()])
    assert beginnings[1] == beginnings[2]
    assert not set(beginnings[0]) & set(beginnings[1])
    np.testing.assert_array_equal(host.save()["steps"], [6, 6])
    host.reset()  # neither does a host that goes on repeat them
    assert not set(beginnings[2]) & {state_of(environment) for environment in host.environments.values()}


def test_nothing_to_restore_is_a_beginning():
    host = opened(num_envs=2)
    beginning = [state_of(environment) for environment in host.environments.values()]
    play(host, LEFT)
    host.restore({})
    host.reset()
    assert [state_of(environment) for environment in host.environments.values()] == beginning
    np.testing.assert_array_equal(host.save()["steps"], [0, 0])


def test_a_film_shows_the_members_first_environment():
    film, host = environment(num_envs=2).render(SEED[1]), environment(num_envs=2).open(SEED)
    np.testing.assert_array_equal(film.reset()[0, 0], host.reset()[1, 0])
    before = film.draw()
    assert before.shape == (160, 160, 3) and before.dtype == np.uint8  # 32 pixels a cell
    answer = play(film, LEFT)
    assert answer.observation.shape == (1, 1, 7, 7, 3)
    assert (film.draw() != before).any()
    film.close()


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError) as raised:
        environment()
    assert str(raised.value) == "backend='minigrid' needs minigrid: pip install -e '.[envs]'"


def test_the_environment_on_the_device_is_the_same():
    rng = np.random.default_rng(2)
    before, actions, answers, after = [], [], [], []
    for size in ("5x5", "6x6", "8x8", "16x16"):
        host = opened(num_envs=2, tasks=(Task(size, 120),))
        for t in range(60):
            if t % 20 == 19:
                put_before_goal(host.environments[0, 0])
                host.environments[1, 1].step_count = host.environments[1, 1].max_steps - 1
            before.extend(map(state_of, host.environments.values()))
            # Mostly forward, and seldom a drop: the key is to be found and carried to the door.
            action = rng.choice(7, (2, 2), p=[0.15, 0.15, 0.3, 0.15, 0.05, 0.15, 0.05])
            actions.extend(action.flat)
            answers.append(play(host, action))
            after.extend(map(state_of, host.environments.values()))
    action = np.int32(actions)

    @jax.jit
    @jax.vmap
    def answer(state, action):
        following, *rest = step(state, action)
        return following, observe(following), *rest

    states = State(*map(np.stack, zip(*before)))
    following, image, reward, terminated, truncated = trees.numpy(answer(states, action))
    theirs = [np.concatenate([np.reshape(a[field], (4, *a[field].shape[2:])) for a in answers]) for field in range(5)]
    np.testing.assert_array_equal(image, theirs[4])
    np.testing.assert_allclose(reward, theirs[1], rtol=0, atol=1e-7)
    np.testing.assert_array_equal(terminated, theirs[2])
    np.testing.assert_array_equal(truncated, theirs[3])
    goes_on = ~(theirs[2] | theirs[3])
    for mine, number in zip(following, zip(*after)):
        np.testing.assert_array_equal(np.asarray(mine)[goes_on], np.stack(number)[goes_on])
    # What has to have happened for this to mean anything.
    carried = np.array([state.carrying for state in after])
    assert (reward > 0).sum() >= 3 and theirs[3].sum() >= 10 and carried.any()
    assert len({int(state.door_state) for state in after}) >= 2
