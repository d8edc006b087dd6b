"""The two simulators are one physics: from the same state, the same actions lead to the same numbers.

envpool cannot be put into a state, so gymnasium is put into the one that envpool's first observation tells. It tells
all but the position on the plane, upon which nothing depends but rounding. Rounding errors grow, tenfold in some five
steps of Ant, whose legs keep hitting the floor: it is compared for forty steps at a time, from many beginnings.

envpool has MuJoCo 3 inside. MuJoCo 3.6 to 3.15 differ by rounding alone, MuJoCo 4 moves Ant otherwise.
"""

import mujoco
import numpy as np
import pytest

from pliant.problems.mujoco._envpool import EnvpoolSimulator, SlipperySimulator
from pliant.problems.mujoco._gymnasium import GymnasiumSimulator
from pliant.problems.mujoco._mujoco import ANT, HOPPER, WALKER

ONE = np.zeros(1, np.int32)
UNSEEN = {"Ant": 2, "Hopper": 1, "Walker2d": 1}  # positions that no observation has
WINDOW = {"Ant": 40, "Hopper": 1000, "Walker2d": 1000}  # steps
TOLERANCE = {"Ant": 1e-6, "Hopper": 1e-12, "Walker2d": 1e-5}
VERSIONS = ("v3", "v4", "v5")


def gymnasium_of(task, version):
    one = GymnasiumSimulator(f"{task.name}-{version}", 1, task.observation[version], lambda number: 0)
    one.restart(ONE, None)
    return one


def put(one, observation, name, friction=None):
    """Puts gymnasium's environment into the state of a first observation; says what it observes there."""
    (environment,) = one.environments
    model, data = environment.model, environment.data
    known = np.concatenate([np.zeros(UNSEEN[name]), observation])
    mujoco.mj_resetData(model, data)
    if friction is not None:
        model.geom_friction[:, 0] = friction
    environment.set_state(known[: model.nq], known[model.nq : model.nq + model.nv])
    return environment._get_obs()


def step(one, action):
    one.send(action)
    observation, reward, terminated, facts = one.receive()
    assert facts == {}
    return observation[0], reward[0], terminated[0]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("task", [ANT, HOPPER, WALKER], ids=lambda task: task.name)
def test_both_simulate_the_same(task, version):
    rng = np.random.default_rng(1)
    pool, environment = EnvpoolSimulator(f"{task.name}-{version}", [5]), gymnasium_of(task, version)
    falls = steps = 0
    for _ in range(15):
        observation = pool.restart(ONE, None)[0]
        known = put(environment, observation, task.name)
        np.testing.assert_array_equal(known, observation[: known.size])
        np.testing.assert_array_equal(observation[known.size :], 0)
        for _ in range(WINDOW[task.name]):
            action = 2 * rng.standard_normal((1, task.action))  # 62 % of the numbers are outside of [-1, 1]
            theirs, ours = step(pool, action), step(environment, action)
            np.testing.assert_allclose(ours[0], theirs[0], rtol=0, atol=TOLERANCE[task.name])
            np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-6, atol=TOLERANCE[task.name])
            assert ours[2] == theirs[2]
            steps += 1
            if ours[2]:
                falls += 1
                break
    assert falls >= 1 and steps > 150


def deviation(pool, environment, number, frictions):
    """How far one of two environments of a pool comes from gymnasium's in a window, each under its own friction."""
    rng = np.random.default_rng(2)
    put(environment, pool.restart(np.array([number]), frictions[:1])[0], "Ant", frictions[1])
    differences = []
    for _ in range(WINDOW["Ant"]):
        action = rng.standard_normal((2, 8))
        pool.send(action)
        (observation, _, fallen, _), ours = pool.receive(), step(environment, action[number : number + 1])[0]
        differences.append(np.abs(observation[number] - ours).max())
        if fallen[number]:
            break
    return max(differences)


def test_friction_is_in_envpools_physics():
    # Each environment has its own, and changes it when it begins an episode with another one.
    pool, environment = SlipperySimulator("Ant-v3", lambda number: number), gymnasium_of(ANT, "v3")
    pool.restart(np.arange(2), np.array([0.1, 1.7]))
    for number, friction in [(0, 0.1), (1, 1.7), (0, 0.4), (0, 0.1), (1, 1.0)]:
        assert deviation(pool, environment, number, np.array([friction, friction])) < TOLERANCE["Ant"]
        assert deviation(pool, environment, number, np.array([friction, 1.1 * friction])) > 0.01
    pool.close()


def test_one_is_the_friction_of_ant():
    slippery, ant = SlipperySimulator("Ant-v3", lambda number: 7), EnvpoolSimulator("Ant-v3", [7])
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(slippery.restart(ONE, np.ones(1)), ant.restart(ONE, None))
    for _ in range(WINDOW["Ant"]):
        action = rng.standard_normal((1, 8))
        slippery.send(action), ant.send(action)
        for theirs, ours in zip(slippery.receive()[:3], ant.receive()[:3]):
            np.testing.assert_array_equal(theirs, ours)


def test_friction_is_in_gymnasiums_contacts():
    one = GymnasiumSimulator("Ant-v3", 2, 111, lambda number: number)
    rng = np.random.default_rng(4)
    one.restart(np.arange(2), np.array([0.05, 1.9]))
    for which, friction in [([], (0.05, 1.9)), ([1], (0.05, 0.3)), ([0, 1], (1.2, 0.7))]:
        if which:
            one.restart(np.array(which), np.array(friction)[which])
        contacts = [0, 0]
        for _ in range(30):
            one.send(rng.standard_normal((2, 8)))
            one.receive()
            for number, environment in enumerate(one.environments):
                found = environment.data.contact.friction
                contacts[number] += len(found)
                # Two directions of sliding, then torsion and two of rolling, as the model has them.
                np.testing.assert_array_equal(found, np.tile([friction[number]] * 2 + [0.5] * 3, (len(found), 1)))
        assert min(contacts) > 5
