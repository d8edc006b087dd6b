"""An agent in a loop of one's own: its carry, its batches, its random actions."""

import re

import jax
import jax.export
import numpy as np
import pytest
import uneven

from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.evaluation.restore import load
from pliant.experiment.evaluation.trained_agent import TrainedAgent
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A member after 4 rounds of 16 steps: its mean has grown by 4 x 0.5."""
    with pytest.MonkeyPatch.context() as patch:
        uneven.add(patch)
        config = from_mapping({"problem": "uneven", "seeds": "1-1", "diagnostics": []})
        yield load(run(plan(config), tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def mean():
    return uneven.initial_mean(1) + 2.0


@pytest.fixture(scope="module")
def of_module(trained):
    return TrainedAgent(trained)


@pytest.fixture
def agent(of_module):
    of_module.reset()
    return of_module


# Greedily a riser acts by its mean, and by 1 more for each step of the episode so far, which is its carry.


def test_the_carry_is_kept_until_a_reset(agent, mean):
    acted = [agent.act([0.0]) for _ in range(3)]
    np.testing.assert_allclose(acted, [[mean], [mean + 1], [mean + 2]], rtol=1e-6)
    agent.reset(ended=False)
    np.testing.assert_allclose(agent.act([0.0]), [mean + 3], rtol=1e-6)
    agent.reset(ended=np.bool_(True))
    np.testing.assert_allclose(agent.act([0.0]), [mean], rtol=1e-6)


def test_episodes_of_a_batch_start_apart(agent, mean):
    observation = np.zeros((3, 1), np.float32)
    np.testing.assert_allclose(agent.act(observation), np.full((3, 1), mean), rtol=1e-6)
    agent.reset(ended=[False, True, False])
    np.testing.assert_allclose(agent.act(observation), [[mean + 1], [mean], [mean + 1]], rtol=1e-6)
    agent.reset()
    np.testing.assert_allclose(agent.act([0.0]), [mean], rtol=1e-6)  # and the batch may have another size


def test_sampled_actions_are_random_and_those_of_the_seed(trained, agent, mean):
    def noise(agent):
        return [float(agent.act([0.0], mode="sampled")[0]) - mean - t for t in range(3)]

    first, other = noise(TrainedAgent(trained)), noise(TrainedAgent(trained))
    assert first == other
    assert len(set(first)) == 3 and 0 < np.abs(first).max() < 5
    agent.act([0.0])  # actions before change what follows
    agent.reset()
    assert noise(agent) != first


@pytest.mark.parametrize("shape", [(), (2,), (0, 1), (3, 2), (1, 1, 1)])
def test_an_observation_of_another_shape_is_refused(agent, shape):
    expected = f"observation of shape {shape}: the problem has (1,); write this shape, or a batch of it"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        agent.act(np.zeros(shape))


def test_a_batch_of_another_size_is_refused_in_the_middle_of_episodes(agent):
    agent.act([0.0])
    with pytest.raises(ValueError, match=r"^2 observations: episodes of 1 are in flight; call reset\(\) first"):
        agent.act(np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"^ended of shape \(2,\): the last batch has size 1$"):
        agent.reset(ended=[True, False])


def test_an_unknown_mode_is_refused(agent):
    with pytest.raises(ValueError, match=r"^mode='random': write 'greedy' or 'sampled'$"):
        agent.act([0.0], mode="random")


def read(file):
    return jax.export.deserialize(file.read_bytes())


def test_an_exported_agent_acts_by_its_carry_without_pliant(agent, mean, tmp_path):
    agent.export(tmp_path / "agent.jax")
    policy = read(tmp_path / "agent.jax")
    observation = np.zeros((2, 1), np.float32)
    carry = [np.full(2, 7, np.float32)]  # where an episode begins, it does not count
    carry, action = policy.call(carry, observation, np.array([True, False]))
    np.testing.assert_allclose(action, [[mean], [mean + 8]], rtol=1e-6)
    _, action = policy.call([carry[0][:1]], observation[:1], np.array([False]))  # another size of the batch
    np.testing.assert_allclose(action, [[mean + 1]], rtol=1e-6)


def test_an_exported_agent_without_a_carry_takes_observations_alone(trained, mean, tmp_path):
    agent = TrainedAgent(trained)

    def act(params, carry, observation, is_first, key, *, greedy):
        return (), params + 2 * observation, {}

    agent._agent = agent._agent._replace(initial_carry=lambda E: (), act=act)
    agent.export(tmp_path / "agent.jax")
    action = read(tmp_path / "agent.jax").call(np.array([[1], [2], [3]], np.float32))
    np.testing.assert_allclose(action, [[mean + 2], [mean + 4], [mean + 6]], rtol=1e-6)
