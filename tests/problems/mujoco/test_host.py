"""The host with a scripted simulator: one number is the observation, the action and the reward."""

import numpy as np
import pytest

from pliant.problems.mujoco._friction import FrictionSchedule
from pliant.problems.mujoco._host import SimulatorHost

SEED = np.array([[1, 2], [3, 4]], np.uint32)


class Told:
    """Each environment counts the steps of its episode, tenfold if it is the second; an action above 100 ends it."""

    def __init__(self, num_envs, seed=None):
        self.counts = np.zeros(num_envs)
        self.tenfold = np.where(np.arange(num_envs) == 1, 10, 1)
        self.seeds = None if seed is None else [seed(number) for number in range(num_envs)]
        self.facts = {}  # name -> what makes the values
        self.begun, self.friction, self.at_work, self.closed = [], [], False, False

    def restart(self, which, friction):
        assert not self.at_work
        self.counts[which] = 0
        self.begun.append(which.tolist())
        self.friction.append(None if friction is None else friction.tolist())
        return np.full((len(which), 1), -1.0)

    def send(self, action):
        assert action.dtype == np.float64 and action.shape == (len(self.counts), 1) and not self.at_work
        self.action, self.at_work = action[:, 0].copy(), True

    def receive(self):
        self.at_work = False
        self.counts += 1
        observation = (self.counts * self.tenfold)[:, None]
        facts = {name: values(self) for name, values in self.facts.items()}
        return observation, self.action.astype(np.float32), self.action > 100, facts

    def close(self):
        self.closed = True


def host(members=2, num_envs=1, time_limit=3, friction=None):
    made = []

    def simulate(seed):
        made.append(Told(members * num_envs, seed))
        return made[-1]

    one = SimulatorHost(SEED[:members], num_envs, time_limit, simulate, friction)
    one.made = made
    return one


def step(one, action):
    one.send(np.asarray(action, np.float32)[..., None])
    return one.receive()


def test_an_episode_ends_by_a_fall_or_by_the_time_limit_but_never_by_both():
    one = host()
    np.testing.assert_array_equal(one.reset(), [[[-1]], [[-1]]])
    # Environment 0 falls at its second step, and again at step 3 of the next episode, where the time is up too;
    # environment 1 never falls: its time is up at every third step.
    fall, go = 200.0, 1.0
    expected = [  # action of 0; final observations (environment 1 counts tenfold), terminated, truncated
        (go, (1, 10), (0, 0), (0, 0)),
        (fall, (2, 20), (1, 0), (0, 0)),
        (go, (1, 30), (0, 0), (0, 1)),
        (go, (2, 10), (0, 0), (0, 0)),
        (fall, (3, 20), (1, 0), (0, 0)),
        (go, (1, 30), (0, 0), (0, 1)),
    ]
    for action, final, terminated, truncated in expected:
        answer = step(one, [[action], [go]])
        np.testing.assert_array_equal(answer.final_observation[..., 0, 0], final)
        np.testing.assert_array_equal(answer.terminated[:, 0], np.array(terminated, bool))
        np.testing.assert_array_equal(answer.truncated[:, 0], np.array(truncated, bool))
        ended = (answer.terminated | answer.truncated)[:, 0]
        np.testing.assert_array_equal(answer.observation[:, 0, 0], np.where(ended, -1, final))
        np.testing.assert_array_equal(answer.reward[:, 0], [action, go])
        assert answer.info == {}
    assert one.simulator.begun == [[0, 1], [0], [1], [0], [1]]


def test_shapes_and_types():
    one = host(members=2, num_envs=3)
    assert one.reset().shape == (2, 3, 1) and one.reset().dtype == np.float32
    answer = step(one, np.arange(6).reshape(2, 3))
    for array, dtype in zip(answer[:5], ("f4", "f4", "?", "?", "f4")):
        assert array.shape[:2] == (2, 3) and array.dtype == dtype
    np.testing.assert_array_equal(answer.reward, [[0, 1, 2], [3, 4, 5]])  # environments of a member stay together


def test_arrays_of_a_step_are_not_touched_later():
    one = host(time_limit=1)
    one.reset()
    first = step(one, [[1], [2]])
    kept = [np.array(array) for array in first[:5]]
    step(one, [[200], [np.nan]])
    for array, before in zip(first[:5], kept):
        np.testing.assert_array_equal(array, before)


def test_an_action_that_is_no_number_costs_its_environment_the_reward_alone():
    one = host()
    one.reset()
    answer = step(one, [[np.nan], [2]])
    np.testing.assert_array_equal(answer.reward, [[np.nan], [2]])
    np.testing.assert_array_equal(one.simulator.action, [0, 2])  # what the simulator got
    np.testing.assert_array_equal(step(one, [[1], [np.inf]]).reward, [[1], [np.inf]])


def test_reset_gives_up_what_is_in_flight():
    one = host()
    one.reset()
    step(one, [[1], [1]])
    one.send(np.ones((2, 1, 1), np.float32))
    one.reset()
    np.testing.assert_array_equal(one.simulator.counts, [0, 0])
    for _ in range(2):  # the time counts from the reset
        assert not step(one, [[1], [1]]).truncated.any()
    assert step(one, [[1], [1]]).truncated.all()


def test_a_seed_is_a_function_of_the_member_the_environment_and_the_steps_before():
    pair = host(members=2, num_envs=3)
    alone = host(members=1, num_envs=3)
    pair.reset(), alone.reset()
    seeds = pair.made[0].seeds
    assert seeds[:3] == alone.made[0].seeds
    assert len(set(seeds)) == 6 and all(0 <= seed < 2**31 for seed in seeds)
    for _ in range(4):
        step(alone, np.ones((1, 3)))
    saved = alone.save()
    np.testing.assert_array_equal(saved["steps"], [12])  # those of 3 environments together
    restart, again = host(members=1, num_envs=3), host(members=1, num_envs=3)
    restart.restore(saved), again.restore(saved)
    restart.reset(), again.reset()
    assert restart.made[0].seeds == again.made[0].seeds
    assert not set(restart.made[0].seeds) & set(seeds)
    np.testing.assert_array_equal(restart.save()["steps"], [12])


def test_restoring_in_place_makes_the_environments_anew():
    one = host()
    one.reset()
    step(one, [[1], [1]])
    one.restore({"steps": np.array([50, 70])})
    one.reset()
    first, second = one.made
    assert first.closed and not second.closed and not set(first.seeds) & set(second.seeds)
    step(one, [[1], [1]])
    np.testing.assert_array_equal(one.save()["steps"], [51, 71])


def test_facts_are_the_largest_of_the_episode():
    one = host(time_limit=3)
    one.reset()
    one.simulator.facts["height"] = lambda simulator: simulator.action.copy()
    # Environment 1 falls at step 2; environment 0 goes on until its time is up, at step 3.
    for action, height in [((-2, 5), (-2, 5)), ((3, 200), (3, 200)), ((1, -7), (3, -7)), ((-9, -8), (-9, -7))]:
        answer = step(one, np.array(action)[:, None])
        np.testing.assert_array_equal(answer.info["height"][:, 0], height)
        assert answer.info["height"].dtype == np.float32
    before = answer.info["height"].copy()
    one.reset()  # gives up what was
    np.testing.assert_array_equal(answer.info["height"], before)
    np.testing.assert_array_equal(step(one, [[-20], [-30]]).info["height"], [[-20], [-30]])


def test_friction_changes_at_the_end_of_an_episode_for_each_environment_as_it_begins_its_next():
    # One member with two environments, so a step of the host is two of the member; change_time = 5. The time limit is
    # 3, but environment 0 falls at the first step: it ends at host steps 1, 4, 7, environment 1 at 3, 6.
    seed = SEED[:1]
    values = []
    look = FrictionSchedule(seed, 0.02, 2.0, 0)
    for number in range(1, 4):
        values.append(float(look.values[0]))
        look.episodes_ended(np.ones(1, bool), np.array([number]))
    first, second, third = values
    one = host(members=1, num_envs=2, friction=FrictionSchedule(seed, 0.02, 2.0, 5))
    one.reset()
    simulator = one.simulator
    expected = [  # in force during the step, for both environments
        (first, first),  # 1: environment 0 falls at 2 steps of the member; 2 - 0 is not more than 5
        (first, first),
        (first, first),  # 3: environment 1 ends at 6 steps; 6 - 0 > 5: it begins with the second value
        (first, second),  # 4: environment 0 ends at 8; 8 - 6 is not more than 5; it begins with the second, too
        (second, second),
        (second, second),  # 6: environment 1 ends at 12; 12 - 6 > 5: it begins with the third
        (second, third),  # 7: environment 0 ends
        (third, third),
    ]
    for number, friction in enumerate(expected):
        answer = step(one, [[200 if number == 0 else 1, 1]])
        np.testing.assert_array_equal(answer.info["friction"], np.float32([friction]))
    assert simulator.begun == [[0, 1], [0], [1], [0], [1], [0]]
    assert simulator.friction == [[first, first], [first], [second], [second], [third], [third]]
    after = host(members=1, num_envs=2, friction=FrictionSchedule(seed, 0.02, 2.0, 5))
    after.restore(one.save())
    after.reset()
    assert after.simulator.friction == [[third, third]]  # no episode of before goes on


def test_members_have_schedules_of_their_own():
    # change_time = 3: member 0 falls at steps 4 and 8, and has a new friction each time; member 1 at 5 alone.
    one = host(time_limit=100, friction=FrictionSchedule(SEED, 0.02, 2.0, 3))
    one.reset()
    seen = []
    for number in range(1, 10):
        answer = step(one, [[200 if number in (4, 8) else 1], [200 if number == 5 else 1]])
        seen.append(answer.info["friction"][:, 0])
    changes = np.array(seen)[1:] != np.array(seen)[:-1]
    np.testing.assert_array_equal(np.flatnonzero(changes[:, 0]), [3, 7])  # from step 4 to 5 and from 8 to 9
    np.testing.assert_array_equal(np.flatnonzero(changes[:, 1]), [4])


@pytest.mark.parametrize("close_first", [True, False])
def test_close(close_first):
    one = host()
    if not close_first:
        one.reset()
    one.close()
    assert all(simulator.closed for simulator in one.made)
