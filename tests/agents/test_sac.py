"""SAC once more, in NumPy and float64, with numerical gradients; and what is particular to it."""

import dataclasses
import functools

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

from pliant.agents import sac
from pliant.agents._replay import Replay
from pliant.agents._soft_losses import Noise
from pliant.core.clock import Clock, Task
from pliant.core.continual import Continual, Memory, size_of
from pliant.core.likelihood import gaussian
from pliant.core.problem import Continuous
from pliant.experiment.configuration.components import Components
from pliant.experiment.loops import device as device_loop
from pliant.methods import full_reset, head_reset, layer_reset

CONFIG = sac.Config(
    learning_starts=4, random_steps=4, buffer_size=40, batch_size=6, update_to_data=0.5, learning_rate=0.02,
    critic_learning_rate=0.01, temperature_learning_rate=0.05, b1=0.8, b2=0.95, eps=1e-5, discount=0.9, tau=0.1,
    hidden_units=3, actor_layers=1, critic_layers=2,
)  # fmt: skip

transitions_of = functools.partial(some_transitions, lambda is_first, normal: sac.Extras(is_first))


class Reference:
    """Makes the same updates, of the same samples and noise."""

    def __init__(self, state, config):
        learned = in_float64(trees.numpy(state.learned))
        self.actor, self.critics, self.target = learned.params.actor, learned.params.critics, learned.target
        self.log_alpha, self._config, self._updates = {"log": learned.temperature.log}, config, 0
        rates = config.learning_rate, config.critic_learning_rate, config.temperature_learning_rate
        self._optimizers = [Adam(rate, config) for rate in rates]

    def update(self, sample, noise):
        config = self._config
        of_actor, of_critics, of_temperature = self._optimizers
        alpha, weight = np.exp(self.log_alpha["log"]), sample.weight
        a, log_p = self._actions(self.actor, sample.next_observation, noise.target)
        entropy = -(log_p * weight).sum() / weight.sum() if config.entropy_target == "batch_mean" else -log_p
        value = self._smallest(self.target, sample.next_observation, a) + alpha * entropy
        y = config.reward_scale * sample.reward + sample.discount * value

        def critics_loss(critics):
            inputs = np.concatenate([sample.observation, sample.action], 1)
            errors = sum((critic(one, inputs, activation=self._activation) - y) ** 2 for one in critics.values())
            return (errors * weight).sum() / weight.sum()

        loss = critics_loss(self.critics)
        self.critics = of_critics.step(critics_loss, self.critics)
        if self._updates % config.policy_delay == 0:
            s, w = sample.observation, weight
            if config.actor_states == "both":
                s, w = np.concatenate([s, sample.next_observation]), np.tile(w, 2)

            def actor_loss(params):
                a, log_p = self._actions(params, s, noise.actor)
                return ((alpha * log_p - self._smallest(self.critics, s, a)) * w).sum() / w.sum()

            _, of_states = self._actions(self.actor, s, noise.actor)
            excess = ((of_states - config.target_multiplier * ACTIONS) * w).sum() / w.sum()
            self.actor = of_actor.step(actor_loss, self.actor)
            self.log_alpha = of_temperature.step(lambda log: -np.exp(log["log"]) * excess, self.log_alpha)
        if self._updates % config.target_delay == 0:
            self.target = jax.tree.map(
                lambda old, new: (1 - config.tau) * old + config.tau * new, self.target, self.critics
            )
        self._updates += 1
        return loss, alpha, -(log_p * weight).sum() / weight.sum()

    def _activation(self, x):
        return (
            np.where(x > 0, x, self._config.negative_slope * x)
            if self._config.activation == "leaky_relu"
            else np.tanh(x)
        )

    def _actions(self, params, s, noise):
        """Actions and the logarithms of their densities: the normal one, divided by the slope of tanh."""
        mean, log_std = np.split(perceptron(params["actor"], s, self._activation), 2, axis=1)
        u = mean + np.exp(log_std) * noise
        log_slope = np.log(1 - np.tanh(u) ** 2)
        if self._config.tanh_correction == "half":
            log_slope = np.log(2) + log_slope / 2
        return np.tanh(u), (-(noise**2) / 2 - log_std - np.log(2 * np.pi) / 2 - log_slope).sum(1)

    def _smallest(self, critics, s, a):
        inputs = np.concatenate([s, a], 1)
        return np.min([critic(one, inputs, activation=self._activation) for one in critics.values()], 0)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_step": 3, "critics": 3, "layer_norm": True, "activation": "tanh", "policy_delay": 2},
        {
            "update_to_data": 1.0, "activation": "leaky_relu", "negative_slope": 0.2, "target_delay": 2,
            "reward_scale": 0.1, "target_multiplier": 2.0, "initial_temperature": 2.0, "truncation": "terminal",
            "tanh_correction": "half", "entropy_target": "batch_mean", "actor_states": "both",
        },
    ],
    ids=["three critics", "as published, two updates at once"],
)  # fmt: skip
def test_equals_an_independent_implementation_with_numerical_gradients(settings):
    # Two environments take a step each before one update (or two) are made; the first two calls explore. Which
    # samples and which noise an update gets follows from the state's key.
    config = dataclasses.replace(CONFIG, **settings)
    agent = sac.make(config, ARENA, no_methods)
    U = round(E * config.update_to_data)
    state, learn = begun(agent), compiled(agent.learn)
    drawn_for = compiled(functools.partial(everything_drawn, config, U))
    reference = Reference(state, config)
    for call in range(8):
        before = state
        state, metrics = learn(state, transitions_of(call), np.int32(call))
        metrics = trees.numpy(metrics)
        assert int(state.steps) == (call + 1) * E
        if call < 2:
            assert_close(state.learned.params, before.learned.params, 0, 0)
            assert metrics["critic_loss"] == 0
            continue
        drawn = in_float64(trees.numpy(drawn_for(state.replay, before.learned.key)))
        made = [reference.update(*jax.tree.map(lambda x, u=u: x[u], drawn)) for u in range(U)]
        for name, value in zip(("critic_loss", "temperature", "entropy"), np.mean(made, 0), strict=True):
            assert metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
        assert_close(merged(state.learned.params), reference.actor | reference.critics, atol=2e-5)
        assert_close(state.learned.target, reference.target, atol=2e-5)
        assert_close(state.learned.temperature.log, reference.log_alpha["log"], atol=2e-5)


def everything_drawn(config, updates, stored, key):
    """The batches and the noise of the updates of a call."""
    replay = Replay(E, config.buffer_size, NUMBERS, NUMBERS, n=config.n_step)
    _, updates_key = jax.random.split(key)
    noise_key, sample_key, _ = jax.random.split(updates_key, 3)
    samples = jax.vmap(lambda key: replay.sample(stored, key, config.batch_size, config.discount, config.n_step))(
        jax.random.split(sample_key, updates)
    )
    target_key, actor_key = jax.random.split(noise_key)
    states = config.batch_size * (1 + (config.actor_states == "both"))
    return samples, Noise(
        jax.random.normal(target_key, (updates, config.batch_size, ACTIONS)),
        jax.random.normal(actor_key, (updates, states, ACTIONS)),
    )


def test_acts_at_random_at_first_then_by_its_distribution_and_greedily_by_the_middle():
    many, bound = 4000, 2.0
    agent = sac.make(
        dataclasses.replace(CONFIG, buffer_size=10 * many), arena_of(Continuous(1, bound), many), no_methods
    )
    params = jax.eval_shape(agent.init, trees.key(0)).learned.params
    params = trees.random_like(params, scale=0.2)
    act = jax.jit(agent.act, static_argnames="greedy")
    x, is_first = np.tile(trees.normal(1, 1, INPUTS), (many, 1)), np.arange(many) % 2 == 0
    mean, log_std = perceptron(in_float64(params.actor)["actor"], x[:1].astype(float), rectifier)[0]

    def taken(steps, **how):
        carry, action, extras = act(sac.ActingParams(params, (), np.int32(steps)), (), x, is_first, trees.key(2), **how)
        assert carry == () and action.shape == (many, 1)
        np.testing.assert_array_equal(extras.is_first, is_first)
        return np.asarray(action)[:, 0]

    np.testing.assert_allclose(np.quantile(taken(3), [0, 0.25, 0.5, 0.75, 1]), [-2, -1, 0, 1, 2], atol=0.1)
    u = np.arctanh(taken(4) / bound)
    np.testing.assert_allclose([u.mean(), u.std()], [mean, np.exp(log_std)], atol=0.06)
    for steps in (0, 4):
        np.testing.assert_allclose(taken(steps, greedy=True), bound * np.tanh(mean), rtol=1e-4)


# Tasks

# Two tasks of six calls each, of which the first two explore.
IN_TASKS = ARENA._replace(tasks=(Task("a", 12), Task("b", 24)), steps=24)


def recording(wiring, network, updates):
    """A gradient piece whose state are the clocks of the latest updates: update, step, task, update of the task."""

    def update(grads, state, params=None, *, clock, features, **signals):
        row = jnp.array([clock.update, clock.step, clock.task, clock.task_update])
        return grads, jnp.concatenate([state[1:], row[None]])

    return (optax.GradientTransformationExtraArgs(lambda params: jnp.zeros((2, 4), int), update),)


def test_a_new_task_restarts_all_but_actor_and_critics():
    config = dataclasses.replace(CONFIG, update_to_data=1.0, policy_delay=2)
    agent = sac.make(config, IN_TASKS, recording)
    state, learn = begun(agent), compiled(agent.learn)
    initial = state
    for call in range(6):
        state, _ = learn(state, transitions_of(call), np.int32(call))
    # Calls 2 to 5 have two updates each, of which the actor makes the first.
    assert np.asarray(state.learned.optimizer.critics.before[0]).tolist() == [[7, 10, 0, 7], [8, 10, 0, 8]]
    assert np.asarray(state.learned.optimizer.actor.before[0]).tolist() == [[3, 8, 0, 3], [4, 10, 0, 4]]

    after = compiled(agent.begin_task)(state, Clock(update=1, step=12, task=np.int32(1), task_update=1))
    trees.assert_equal(after.learned.params, state.learned.params)
    trees.assert_equal(after.learned.target, state.learned.params.critics)
    trees.assert_equal(after.learned.temperature, initial.learned.temperature)
    for now, then, start in zip(after.learned.optimizer, state.learned.optimizer, initial.learned.optimizer):
        trees.assert_equal(now.optimizer, start.optimizer)
        trees.assert_equal(now.before, then.before)
    assert int(after.steps) == 0 and not np.asarray(after.replay.size).any()

    state, sizes = after, []
    for call in range(6, 9):
        before, (state, metrics) = state, learn(state, transitions_of(call), np.int32(call))
        sizes.append((int(state.steps), np.asarray(state.replay.size).max()))
        assert (
            (float(metrics["critic_loss"]) > 0)
            == trees.differs(before.learned.params, state.learned.params)
            == (call == 8)
        )
    assert [steps for steps, _ in sizes] == [2, 4, 6] and sizes[0][1] == 1
    assert np.asarray(state.learned.optimizer.critics.before[0]).tolist() == [[9, 16, 1, 1], [10, 16, 1, 2]]
    assert np.asarray(state.learned.optimizer.actor.before[0])[-1].tolist() == [5, 16, 1, 1]
    assert learn._cache_size() == 1


def test_a_new_task_can_keep_everything():
    agent = sac.make(dataclasses.replace(CONFIG, on_new_task="keep"), IN_TASKS, no_methods)
    state, learn = begun(agent), compiled(agent.learn)
    for call in range(6):
        state, _ = learn(state, transitions_of(call), np.int32(call))
    clock = Clock(update=1, step=12, task=np.int32(1), task_update=1)
    kept = compiled(agent.begin_task)(state, clock)
    assert trees.same(kept.learned._replace(key=()), state.learned._replace(key=())) and trees.same(
        kept.replay, state.replay
    )
    after, metrics = learn(state, transitions_of(6), np.int32(6))
    assert int(after.steps) == 14 and float(metrics["critic_loss"]) > 0


def test_a_continual_method_is_of_the_actor():
    # The penalty's gradient is 1000 in each weight, so that the first step of Adam is the learning rate.
    given = {}

    def continual_for(**of_network):
        given.update(of_network)

        def end_task(params, state, *, inputs, clock, key):
            return jax.tree.map(jnp.ones_like, params), {"inputs": inputs, "task": clock.task}

        return Continual(
            init=lambda params: {"inputs": jnp.zeros((5, INPUTS)), "task": jnp.int32(-1)},
            penalty=lambda params, state, update: 1000 * sum(x.sum() for x in jax.tree.leaves(params)),
            end_task=end_task,
            view=lambda params, state, task: jax.tree.map(lambda x: x + task, params),
            samples=5,
            per_task=True,
            memory=lambda params, state, tasks: Memory(tasks * size_of(params), 0),
        )

    agent = sac.make(CONFIG, IN_TASKS, no_methods, continual_for)
    assert given["likelihood"] is gaussian and given["inputs"].shape == (INPUTS,)
    state, learn = begun(agent), compiled(agent.learn)
    begins = state.learned.params
    for call in range(3):
        state, _ = learn(state, transitions_of(call), np.int32(call))
    moved = jax.tree.map(lambda x, y: x - y, *map(trees.numpy, (state.learned.params, begins)))
    for step in jax.tree.leaves(moved.actor):
        np.testing.assert_allclose(step, -0.02, atol=1e-5)
    steps = np.concatenate([np.ravel(step) for step in jax.tree.leaves(moved.critics)])
    assert steps.min() < 0 < steps.max()

    ended = compiled(agent.end_task)(state, Clock(update=1, step=12, task=np.int32(0)))
    assert all((np.asarray(x) == 1).all() for x in jax.tree.leaves(ended.learned.params.actor))
    trees.assert_equal(ended.learned.params.critics, state.learned.params.critics)
    rows = np.asarray(state.replay.rows.observation).reshape(-1, INPUTS)
    assert all((row == rows).all(1).any() for row in np.asarray(ended.learned.continual["inputs"]))
    assert int(ended.learned.continual["task"]) == 0
    shown = compiled(lambda state: agent.acting_params_for(state, np.int32(2)))(ended)
    assert all((np.asarray(x) == 3).all() for x in jax.tree.leaves(shown.params.actor))
    # 2 * 3 + 3 weights, and 3 * 4 + 4.
    assert agent.memory(state, 2) == (2 * 25, 0)


def test_a_continual_method_may_need_no_inputs():
    agent = sac.make(CONFIG, IN_TASKS, no_methods, lambda **of_network: Continual())
    state = jax.eval_shape(agent.init, trees.key(0))
    assert jax.eval_shape(agent.end_task, state, Clock(np.int32(1), task=np.int32(0))) == state
    assert agent.acting_params_for is None


@pytest.mark.parametrize("which", ["full", "head", "layer"])
def test_periodic_resets_reset_the_optimizer_with_its_counts(which):
    # Calls of two updates; a reset comes with every second, for actor and critics.
    def methods(wiring, network, updates):
        if which == "full":
            return (full_reset(network.init, period=2),)
        if which == "head":
            return (head_reset(wiring, network.init, period=2),)
        first = next(name for name in wiring if name.endswith("Dense_0"))
        return (layer_reset(wiring, network.init, layers=first, period=2),)

    config = dataclasses.replace(CONFIG, update_to_data=1.0, optimizer="per_weight_adam")
    agent = sac.make(config, ARENA, methods)
    state, learn = begun(agent), compiled(agent.learn)
    for call in range(3):
        state, _ = learn(state, transitions_of(call), np.int32(call))
    for network, plastic_state in zip(("actor", "critic_0"), state.learned.optimizer):
        adam = plastic_state.optimizer[0]
        for name, layer in adam.count[network].items():
            last = "Dense_1" if network == "actor" else "Dense_2"
            is_reset = which == "full" or name == ("Dense_0" if which == "layer" else last)
            for count, m in zip(layer.values(), adam.mu[network][name].values()):
                assert (np.asarray(count) == (0 if is_reset else 2)).all(), name
                assert np.asarray(m).any() != is_reset


@pytest.mark.parametrize(("settings", "environment", "message"), refusals("SAC"))
def test_refuses_in_one_line(settings, environment, message):
    assert_refuses_in_one_line(sac.make, dataclasses.replace(CONFIG, **settings), environment, message)


# Learning


def middle(params, x):
    """The middle of the actions."""
    return np.tanh(perceptron(params["actor"], x, rectifier)[:, :1])


PROBE = dataclasses.replace(
    CONFIG, learning_starts=200, random_steps=200, buffer_size=4000, batch_size=64, update_to_data=0.25,
    learning_rate=3e-3, critic_learning_rate=3e-3, b1=0.9, b2=0.999, tau=0.05, hidden_units=32, actor_layers=2,
    initial_temperature=0.003, temperature_learning_rate=0.0,
)  # fmt: skip


def test_the_actor_finds_where_the_reward_is():
    action, value = train(sac.make, middle, environments.aiming(), PROBE, 1, -1, steps=2400)
    np.testing.assert_allclose(action, np.tile([environments.target(1), environments.target(-1)], (3, 1)), atol=0.1)
    np.testing.assert_allclose(value, 0, atol=0.05)


def test_a_time_limit_is_no_end():
    # Each step is worth 1, and all that are to come 1 / (1 - 0.5) = 2, though episodes are cut short after two steps.
    # Any action is as good as another: with a temperature of nearly 0 its entropy does not count.
    always = environments.always_rewarded()._replace(action=Continuous(1))
    config = dataclasses.replace(PROBE, discount=0.5, n_step=2, initial_temperature=1e-4)
    _, value = train(sac.make, middle, always, config, 1, steps=2400, time_limit=2)
    np.testing.assert_allclose(value, 2, atol=0.1)


def test_the_temperature_brings_the_entropy_to_its_target():
    # With the reward -(a - t)² and the temperature alpha the best distribution is normal, with mean t and variance
    # alpha / 2. Its entropy log(2 pi e alpha / 2) / 2 is the target -1 with alpha = exp(-3) / pi = 0.0158.
    config = dataclasses.replace(PROBE, initial_temperature=0.1, temperature_learning_rate=0.01)
    environment = environments.auto_reset(environments.aiming(), 4000, num_envs=4)
    parts = Components(environment, sac.make(config, environment, no_methods), {})

    def run(seed):
        return device_loop.advance(parts, device_loop.begin(parts, seed), jnp.int32(0), 4000)[0].agent.learned

    learned = trees.numpy(compiled(run)(np.int32(0)))
    outputs = perceptron(in_float64(learned.params.actor)["actor"], np.array([[1.0], [-1.0]]), rectifier)
    mean, log_std = np.split(outputs, 2, axis=1)
    u = mean + np.exp(log_std) * trees.normal(0, 1, 10_000)
    entropy = log_std[:, 0] + np.log(2 * np.pi * np.e) / 2 + np.log(1 - np.tanh(u) ** 2).mean(1)
    np.testing.assert_allclose(entropy, -1, atol=0.3)
    np.testing.assert_allclose(np.exp(learned.temperature.log), np.exp(-3) / np.pi, rtol=0.5)
