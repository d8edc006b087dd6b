"""The subspace of policies: its distributions, who acts with which mixture, what learns, and what it refuses."""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.continual import _subspace as steps
from pliant.continual import subspace
from pliant.core.clock import Clock, Task
from pliant.core.continual import DenseLayers

SLOTS, SIZES, NUM_ENVS = 4, (3, 5, 2), 5
TASKS = tuple(Task(f"{k}", 10 * (k + 1)) for k in range(SLOTS))


def initialize(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return {
        f"Dense_{i}": {"kernel": jax.random.normal(key, shape), "bias": jnp.ones(shape[1])}
        for i, (key, shape) in enumerate(zip(keys, itertools.pairwise(sizes)))
    }


LAYERS = DenseLayers(SIZES, jnp.tanh, initialize, lambda numbers: numbers, "actor")


def build(**settings):
    return subspace(TASKS, LAYERS, **{"repeat": 3, "candidates": 3, "samples": 3} | settings)


def state_with(anchors, finished=0):
    """A state with so many anchors; the mixture of a task has 1/2 of its own anchor, and 1/4 of each older one."""
    mixtures = np.tril(np.full((SLOTS, SLOTS), 0.25, np.float32), -1) + np.eye(SLOTS, dtype=np.float32) / 2
    candidates = np.eye(3, SLOTS, dtype=np.float32)
    return steps.SubspaceState(
        ANCHORS, np.int32(anchors - 1), np.int32(anchors), mixtures, np.int32(finished), candidates
    )


ANCHORS = {
    "actor": {
        f"Dense_{i}": {"kernel": trees.normal(i, SLOTS, *shape), "bias": trees.normal(9 + i, SLOTS, shape[1])}
        for i, shape in enumerate(itertools.pairwise(SIZES))
    }
}


def test_mixtures_have_the_mean_and_the_covariance_of_their_distribution():
    # Dirichlet with the sum C: means m = c / C, covariances (diag(m) - m mᵀ) / (C + 1).
    rows, peaks = 20_000, np.array([(K, c) for K in range(1, SLOTS + 1) for c in (1, K**2)], np.int32)
    draw = jax.jit(jax.vmap(lambda K, c: steps.dirichlet(jax.random.fold_in(jax.random.key(0), c), rows, SLOTS, K, c)))
    for (K, c), found in zip(peaks, np.asarray(draw(*peaks.T))):
        concentrations = np.array([1.0] * (K - 1) + [c] + [0.0] * (SLOTS - K))
        C = concentrations.sum()
        m = concentrations / C
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
        assert (found[:, K - 1] > 0).all() and not found[:, K:].any()
        np.testing.assert_allclose(found.mean(0), m, atol=0.01)
        np.testing.assert_allclose(np.cov(found.T), (np.diag(m) - np.outer(m, m)) / (C + 1), atol=0.003)


@pytest.fixture(scope="module")
def acted():
    """Mixtures of eight steps in which no episode but that of environment 1 ends, at step 4, by what acts."""
    network = build(distribution="peaked").network
    is_first = np.zeros((8, NUM_ENVS), bool)
    is_first[0], is_first[4, 1] = True, True
    inputs = trees.normal(3, 8, NUM_ENVS, 3)

    def play(route, greedy):
        def step(carry, now):
            inputs, is_first, key = now
            carry, outputs, seen = network.act(newest, route, carry, inputs, is_first=is_first, key=key, greedy=greedy)
            return carry, (outputs, network.apply(newest, inputs, route.mixed._replace(mixtures=seen)), seen)

        newest = jax.tree.map(lambda x: jnp.asarray(x)[route.mixed.newest], ANCHORS)

        return jax.lax.scan(step, network.initial_carry(NUM_ENVS), (inputs, is_first, keys))[1]

    def run():
        state = state_with(3, finished=2)
        return {
            "training": play(network.training_route(state), greedy=False),
            "greedy": play(network.training_route(state), greedy=True),
            "finished": play(network.route(state, 1), greedy=False),
            "to come": play(network.route(state, 2), greedy=False),
            "trial": play(build().trial.route(state, 2), greedy=False),
            "first task": play(network.training_route(state_with(1)), greedy=False),
        }

    keys = trees.keys(range(8))
    return trees.numpy(jax.jit(run)())


def test_outputs_are_of_the_mixture_that_is_stored(acted):
    for outputs, again, seen in acted.values():
        assert seen.shape == (8, NUM_ENVS, build().network.seen)
        np.testing.assert_allclose(outputs, again, rtol=1e-6)


def test_half_of_the_environments_act_without_the_newest_anchor(acted):
    seen = acted["training"][2]
    assert (seen[:, :3, 2] > 0).all() and not seen[:, 3:, 2].any()
    assert (seen[:, :, :2] > 0).all() and not seen[:, :, 3].any()
    np.testing.assert_allclose(acted["first task"][2], np.broadcast_to(np.eye(SLOTS)[0], seen.shape), atol=1e-6)


def test_environments_draw_in_each_episode_and_every_third_step(acted):
    # Timesteps count from 1: 1 2 3 4 5 6 7 8, and 1 2 3 4 1 2 3 4 where an episode ends.
    seen = acted["training"][2]
    draws = (seen[1:] != seen[:-1]).any(2)
    np.testing.assert_array_equal(draws[:, 0], [0, 1, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(draws[:, 1], [0, 1, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(draws[:, 4], draws[:, 0])


def test_mixtures_that_are_not_drawn(acted):
    always = {
        "greedy": [[1 / 11, 1 / 11, 9 / 11, 0]] * NUM_ENVS,  # the mean of Dirichlet(1, 1, 9)
        "finished": [[1 / 4, 1 / 2, 0, 0]] * NUM_ENVS,
        "to come": [[1 / 3, 1 / 3, 1 / 3, 0]] * NUM_ENVS,
        "trial": np.eye(3, SLOTS)[[2, 0, 1, 2, 0]],  # from candidate 2 on
    }
    for name, mixtures in always.items():
        expected = np.broadcast_to(np.float32(mixtures), (8, NUM_ENVS, SLOTS))
        np.testing.assert_allclose(acted[name][2], expected, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("removed", [False, True])
def test_a_task_begins_with_the_mean_of_the_anchors_that_stayed(removed):
    method, state = build(), state_with(3)
    state = state._replace(anchors=np.int32(3 - removed))
    newest = jax.tree.map(lambda x: x[0] + 1, ANCHORS)  # not yet among the older

    @jax.jit
    def run(newest, state, key):
        return method.begin_task(newest, state, clock=Clock(1), key=key)

    params, after = trees.numpy(run(newest, state, trees.key(0)))
    stored = jax.tree.map(lambda x, one: np.stack([x[0], x[1], one]), ANCHORS, newest)
    trees.assert_close(params, jax.tree.map(lambda x: x[: 3 - removed].mean(0), stored), rtol=1e-6)
    assert after.newest == 3 - removed == after.anchors - 1
    trees.assert_equal(trees.at(after.older, slice(3 - removed)), trees.at(stored, slice(3 - removed)))


def test_candidates_are_the_best_by_the_critic_of_each_half():
    # The critic likes the first anchor.
    method = build(samples=64, estimations=4, candidates=6)

    def sample(key, count):
        return jnp.zeros((count, 3)), jnp.zeros((count, 1))

    def value(inputs, actions, mixtures):
        return mixtures[:, 0]

    def run(key):
        return method.trial.propose((), state_with(3), steps.Replayed(sample, value), key)

    found = np.asarray(jax.jit(run)(trees.key(0)).candidates)
    assert found.shape == (6, SLOTS)
    assert (found[:3, 2] > 0).all() and not found[3:, 2:].any() and not found[:, 3].any()
    for half in (found[:3], found[3:]):
        assert (np.diff(half[:, 0]) < 0).all() and half[:, 0].min() > 0.6  # of 64 draws


def test_a_network_begins_with_one_anchor():
    method = build()

    @jax.jit
    def run(key):
        params = method.network.init(key)
        state = method.init(params)
        return params, initialize(key, SIZES), method.network.draw(state, 2, key), method.network.route(state, 0).mixed

    params, first, *mixed = trees.numpy(run(trees.key(0)))
    trees.assert_equal(params["actor"], first)
    for alphas in (context.mixtures for context in mixed):
        np.testing.assert_array_equal(alphas, np.broadcast_to(np.eye(SLOTS)[0], alphas.shape))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repeat": 0}, "repeat=0: write a number at least 1"),
        ({"candidates": 1}, "candidates=1: write a number at least 2"),
        ({"candidates": 8, "samples": 7}, "samples=7: write a number at least 8"),
        ({"estimations": 0}, "estimations=0: write a number at least 1"),
        ({"improvement": -0.1}, "improvement=-0.1: write a number at least 0"),
        ({"episodes": 0}, "episodes=0: write a number at least 1"),
        ({"distribution": "round"}, "distribution='round': write one of 'flat', 'peaked'"),
    ],
)
def test_settings_outside_their_range_are_refused(settings, message):
    with pytest.raises(ValueError) as error:
        build(**settings)
    assert str(error.value) == message


def test_a_network_of_other_layers_is_refused():
    with pytest.raises(ValueError, match="subspace replaces dense layers") as error:
        subspace(TASKS, None)
    assert "\n" not in str(error.value)


def test_the_defaults_are_the_published_ones():
    parameters = inspect.signature(subspace).parameters
    published = {"repeat": 100, "candidates": 8, "samples": 4096, "estimations": 1024, "improvement": 0.1}
    assert {name: parameters[name].default for name in published} == published
