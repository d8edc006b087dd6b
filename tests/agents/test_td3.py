"""TD3 once more, in NumPy and float64, with numerical gradients; and what is particular to it."""

import dataclasses

import environments
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trees
from off_policy import (
    ACTIONS,
    ARENA,
    INPUTS,
    NUMBERS,
    Adam,
    E,
    assert_refuses_in_one_line,
    begun,
    compiled,
    critic,
    merged,
    perceptron,
    rectifier,
    refusals,
    some_transitions,
    train,
)
from on_policy import arena_of, assert_close, in_float64, no_methods

from pliant.agents import td3
from pliant.agents._replay import Replay
from pliant.core.base import Edit, Topology
from pliant.core.problem import Continuous

CONFIG = td3.Config(
    learning_starts=4, buffer_size=40, batch_size=6, update_to_data=0.5, learning_rate=0.02, b1=0.8, b2=0.95, eps=1e-5,
    discount=0.9, tau=0.1, hidden_units=3, actor_layers=1, critic_layers=2,
)  # fmt: skip


def transitions_of(seed, mean_action=None):
    """Random ones; with `mean_action` numbers that stand for the action without noise."""

    def extras(is_first, normal):
        return td3.Extras(is_first, () if mean_action is None else np.tanh(normal(mean_action)))

    return some_transitions(extras, seed)


def actor(params, x):
    return np.tanh(perceptron(params["actor"], x, rectifier))


class Reference:
    """Makes the same updates, of the same samples and noise."""

    def __init__(self, state, config):
        self.params, self.target = in_float64(merged(state.learned.params)), in_float64(merged(state.learned.target))
        self.elastic, self._config, self._updates = self.params, config, 0
        self._optimizers = {name: Adam(config.learning_rate, config) for name in ("actor", "critics")}

    def update(self, sample, noise, weight):
        config = self._config
        self._updates += 1
        noise = np.clip(config.target_noise * noise, -config.target_noise_clip, config.target_noise_clip)
        following = np.clip(actor(self.target, sample.next_observation) + noise, -1, 1)
        inputs = np.concatenate([sample.next_observation, following], 1)
        value = np.minimum(critic(self.target["critic_0"], inputs), critic(self.target["critic_1"], inputs))
        y = sample.reward + sample.discount * value

        def critics_loss(critics):
            inputs = np.concatenate([sample.observation, sample.action], 1)
            errors = sum((critic(critics[name], inputs) - y) ** 2 for name in ("critic_0", "critic_1"))
            return (errors * weight).sum() / weight.sum()

        critics = {name: self.params[name] for name in ("critic_0", "critic_1")}
        loss = critics_loss(critics)
        self.params = self.params | self._optimizers["critics"].step(critics_loss, critics)
        if self._updates % config.policy_delay == 0:

            def actor_loss(mu):
                inputs = np.concatenate([sample.observation, actor(mu, sample.observation)], 1)
                return -(critic(self.params["critic_0"], inputs) * weight).sum() / weight.sum()

            mu = {"actor": self.params["actor"]}
            self.params = self.params | self._optimizers["actor"].step(actor_loss, mu)
            self.target = self._nearer(self.target, config.tau)
            self.elastic = self._nearer(self.elastic, config.elastic_rate)
        return loss

    def _nearer(self, average, rate):
        return jax.tree.map(lambda old, new: (1 - rate) * old + rate * new, average, self.params)


SWITCHES = {"recall": True, "auto_batch": True, "awaken": 0.52, "recall_slope": 3.0}


@pytest.mark.parametrize(
    "settings",
    [
        {"n_step": 3, "layer_norm": False, "policy_delay": 1, "truncation": "terminal", "evaluate_with": "elastic"},
        {"n_step": 2, "n_step_after": 3, "update_to_data": 1.0, "elastic_rate": 0.0, "target_noise": 1.0},
        SWITCHES,
    ],
    ids=["original", "two updates at once", "recall and smaller batches"],
)
def test_equals_an_independent_implementation_with_numerical_gradients(settings):
    # Two environments take a step each before one update (or two) are made; the first two calls explore. Which
    # samples and which noise an update gets follows from the state's key.
    config = dataclasses.replace(CONFIG, **settings)
    agent = td3.make(config, ARENA, no_methods)
    U, first = round(E * config.update_to_data), max(2, config.n_step - 1)
    state, learn = begun(agent), compiled(agent.learn)
    drawn_for = compiled(lambda *given: everything_drawn(config, U, *given))
    reference, number, chosen = Reference(state, config), 0, []
    for call in range(first + 6):
        before = state
        state, metrics = learn(state, transitions_of(call), np.int32(call))
        metrics = trees.numpy(metrics)
        assert int(state.steps) == (call + 1) * E
        if call < first:
            assert_close(state.learned.params, before.learned.params, 0, 0)
            assert metrics["critic_loss"] == 0
            assert metrics["n_step"] == (1 if config.n_step_after else config.n_step)
            continue
        losses, ahead = [], []
        ns = np.array([config.n_step if number + 1 + u >= config.n_step_after else 1 for u in range(U)], np.int32)
        for u, (drawn, old, probe, chance, noise) in enumerate(drawn_for(state.replay, before.learned.key, ns)):
            number += 1
            ahead.append(ns[u])
            weight = np.ones(config.batch_size)
            if config.recall:
                probe, activities = in_float64(probe), []
                for name in ("critic_0", "critic_1"):
                    inputs = np.concatenate([probe.observation, probe.action], 1)
                    critic(reference.params[name], inputs, activities)
                active = np.mean(activities)
                gate = 1 / (1 + config.recall_slope * np.exp(config.awaken - active))
                gate = 0.4 if gate >= 0.6 else gate
                recalls = bool(active < config.awaken and chance >= gate)
                drawn = old if recalls else drawn
                weight[3:] *= not active < 0.9 * config.awaken
                chosen.append((recalls, weight.sum()))
                assert metrics["critics_active_fraction"] == pytest.approx(active)
                assert metrics["recalled"] == recalls and metrics["batch"] == weight.sum()
            drawn = in_float64(drawn)
            losses.append(reference.update(drawn, np.asarray(noise, float), weight * drawn.weight))
        assert metrics["critic_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
        assert metrics["n_step"] == np.mean(ahead)  # 1.5 in the call where the second of two updates is the first of 2
        assert_close(merged(state.learned.params), reference.params, atol=2e-5)
        assert_close(merged(state.learned.target), reference.target, atol=2e-5)
        if config.evaluate_with == "elastic":
            assert_close(state.learned.elastic, {"actor": reference.elastic["actor"]}, atol=2e-5)
    assert settings is not SWITCHES or {(True, 6), (False, 6), (True, 3)} <= set(chosen), set(chosen)


def everything_drawn(config, updates, stored, key, ns):
    """Of each update of a call: its batch, that of the oldest, the probe, the chance to recall, and the noise."""
    replay, drawn = Replay(E, config.buffer_size, NUMBERS, NUMBERS, n=config.n_step), []
    key, *keys = jax.random.split(key, 1 + updates)
    for u, sample_key in enumerate(keys):
        sample_keys = jax.random.split(sample_key, 3)
        key, recall_key, noise_key = jax.random.split(key, 3)
        samples = [
            replay.sample(stored, k, config.batch_size, config.discount, ns[u], share)
            for k, share in zip(sample_keys, (1.0, 0.3, 1.0))
        ]
        noise = jax.random.normal(noise_key, (config.batch_size, ACTIONS))
        drawn.append((*samples, jax.random.uniform(recall_key), noise))
    return drawn


def test_what_the_actor_would_do_otherwise_by_now_is_dropped():
    # Every 20 steps the 16 oldest of them are looked at, and any distance is enough.
    config = dataclasses.replace(
        CONFIG, dynamic_capacity=True, capacity_period=20, capacity_threshold=0.0, least_capacity=20, batch_size=2
    )
    agent = td3.make(config, ARENA, no_methods)
    state, learn = begun(agent), compiled(agent.learn)
    sizes, distances = [], []
    for call in range(21):
        transitions = transitions_of(call, mean_action=ACTIONS)
        whole = transitions._replace(extras=transitions.extras._replace(is_first=np.zeros((1, E), bool)))
        after, metrics = learn(state, whole, np.int32(call))
        sizes.append(np.asarray(after.replay.size).tolist())
        distances.append(float(metrics["replay_distance"]))
        if call == 9:
            rows, params = trees.numpy(after.replay.rows), in_float64(state.learned.params.actor)
            mean_action = actor(params, rows.observation[:, :10].astype(float))
            newest = actor(params, transitions.observation[0].astype(float))
            kept = rows.extras[:, :10]
            of_old, of_new = (mean_action - kept) ** 2, (newest - transitions.extras.mean_action[0]) ** 2
            assert len(of_new) == E  # not among the 16 oldest, which are 8 of each environment
            np.testing.assert_allclose(metrics["replay_distance"], 0.5 * np.mean(of_old[:, :8]), rtol=1e-5)
        state = after
    # Steps 20 and 40 are reached with calls 9 and 19. At first 20 are stored, which all may stay; then 40 are, of which
    # 2 of 20 go in each ring.
    assert sizes[8:11] == [[9, 9], [10, 10], [11, 11]] and sizes[18:] == [[19, 19], [18, 18], [19, 19]]
    assert distances[8] == 0 and distances[9] == distances[18] > 0 and distances[19] != distances[18]


def test_acts_at_random_at_first_then_with_noise_and_greedily_without():
    many = 2000
    config = dataclasses.replace(
        CONFIG, exploration_noise=0.5, evaluate_with="elastic", dynamic_capacity=True, buffer_size=10 * many
    )
    agent = td3.make(config, arena_of(Continuous(ACTIONS), many), no_methods)
    params = jax.eval_shape(agent.init, trees.key(0)).learned.params
    params = trees.changed(trees.random_like(params, scale=0.2), "actor/actor/Dense_1/bias", np.zeros_like)
    elastic = trees.random_like(params.actor, seed=1)
    act = jax.jit(agent.act, static_argnames="greedy")
    x, is_first = trees.normal(1, many, INPUTS), np.arange(many) % 2 == 0

    def taken(steps, **how):
        acting_params = td3.ActingParams(params, elastic, np.int32(steps))
        carry, action, extras = act(acting_params, (), x, is_first, trees.key(2), **how)
        assert carry == () and action.shape == (many, 2)
        np.testing.assert_array_equal(extras.is_first, is_first)
        return np.asarray(action), np.asarray(extras.mean_action)

    mean_action = actor(in_float64(params.actor), x.astype(float))
    action, extras = taken(steps=3)
    np.testing.assert_allclose(np.quantile(action, [0, 0.25, 0.5, 0.75, 1]), [-1, -0.5, 0, 0.5, 1], atol=0.06)
    np.testing.assert_allclose(extras, mean_action, rtol=1e-4, atol=1e-6)
    action, extras = taken(steps=4)
    assert np.abs(action).max() == 1
    inside = np.abs(action) < 1
    np.testing.assert_allclose(np.std((action - mean_action)[np.abs(mean_action) < 0.1]), 0.5, rtol=0.2)
    assert 0.5 < inside.mean() < 1
    for steps in (0, 4):
        action, _ = taken(steps, greedy=True)
        np.testing.assert_allclose(action, actor(in_float64(elastic), x.astype(float)), rtol=1e-4, atol=1e-6)


def test_actor_and_critics_have_methods_with_clocks_of_their_own():
    given = []

    def recorder(wiring, network, updates):
        given.append((tuple(wiring), tuple(jax.eval_shape(network.init, trees.key(0)))))

        def update(grads, state, params=None, *, clock, features, **signals):
            assert set(features) == set(wiring)
            return grads, jnp.concatenate([state[1:], jnp.array([[clock.update, clock.step]])])

        return (optax.GradientTransformationExtraArgs(lambda params: jnp.zeros((3, 2), int), update),)

    agent = td3.make(dataclasses.replace(CONFIG, policy_delay=3, update_to_data=1.0), ARENA, recorder)
    actors, critics = ("actor/Dense_0",), tuple(f"critic_{i}/Dense_{j}" for i in (0, 1) for j in (0, 1))
    assert set(given) == {(actors, ("actor",)), (critics, ("critic_0", "critic_1"))}
    state, learn = begun(agent), compiled(agent.learn)
    for call in range(6):
        state, _ = learn(state, transitions_of(call), np.int32(call))
    # Four calls of two updates, after the steps 4, 6, 8 and 10; the third and the sixth are the actor's.
    assert np.asarray(state.learned.optimizer.critics.before[0]).tolist() == [[6, 8], [7, 10], [8, 10]]
    assert np.asarray(state.learned.optimizer.actor.before[0]).tolist() == [[0, 0], [1, 6], [2, 8]]
    assert learn._cache_size() == 1
    signals = jax.eval_shape(agent.signals, agent.acting_params(state), state, transitions_of(0))
    assert set(signals["features"]) == {*actors, *critics}
    for name in ("params", "previous_params", "grads"):
        assert jax.tree.structure(signals[name]) == jax.tree.structure(merged(state.learned.params))


def test_targets_begin_whole_and_then_have_the_weights_that_the_network_has():
    def without_the_first(params, state):
        return {
            name: jax.tree.map(jnp.zeros_like, network) if name == "critic_0" else network
            for name, network in params.items()
        }

    missing = Topology(
        lambda params: (),
        without_the_first,
        lambda grads, params, state, **signals: (grads, True, state),
        lambda params, state, **signals: (Edit(params), state),
    )
    agent = td3.make(dataclasses.replace(CONFIG, policy_delay=1), ARENA, lambda *network: (missing,))
    before, learn = begun(agent), compiled(agent.learn)
    whole = before.learned.target.critics
    assert np.asarray(whole["critic_0"]["Dense_0"]["kernel"]).all()
    state = before
    for call in range(4):  # the last two of which learn
        state, _ = learn(state, transitions_of(call), np.int32(call))
    for params in (before.learned.params, state.learned.params, state.learned.target):
        assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(params.critics["critic_0"]))
        assert_close(params.critics["critic_1"], whole["critic_1"], 1e-6, 0)


@pytest.mark.parametrize(("settings", "environment", "message"), refusals("TD3"))
def test_refuses_in_one_line(settings, environment, message):
    assert_refuses_in_one_line(td3.make, dataclasses.replace(CONFIG, **settings), environment, message)


PROBE = dataclasses.replace(
    CONFIG, learning_starts=200, buffer_size=4000, batch_size=64, update_to_data=0.25,
    learning_rate=3e-3, b1=0.9, b2=0.999, tau=0.05, hidden_units=32,
)  # fmt: skip


def test_the_actor_finds_where_the_reward_is():
    action, value = train(td3.make, actor, environments.aiming(), PROBE, 1, -1, steps=2400)
    np.testing.assert_allclose(action, np.tile([environments.target(1), environments.target(-1)], (3, 1)), atol=0.1)
    np.testing.assert_allclose(value, 0, atol=0.05)


def test_a_time_limit_is_no_end():
    # Each step is worth 1, and all that are to come 1 / (1 - 0.5) = 2, though episodes are cut short after two steps.
    always = environments.always_rewarded()._replace(action=Continuous(1))
    _, value = train(
        td3.make, actor, always, dataclasses.replace(PROBE, discount=0.5, n_step=2), 1, steps=2400, time_limit=2
    )
    np.testing.assert_allclose(value, 2, atol=0.1)
