import dataclasses

import environments
import jax
import numpy as np
import on_policy
import pytest
import trees
from on_policy import ACTIONS, QUICK, E, T, arena_of, assert_close, begun, in_float64, some_transitions

from pliant.agents import a2c
from pliant.core.problem import Discrete
from pliant.methods import l2

CONFIG = a2c.Config(
    horizon=T,
    learning_rate=0.02,
    decay=0.9,
    eps=1e-3,
    discount=0.9,
    gae_lambda=0.8,
    hidden_units=3,
    hidden_layers=1,
)


@pytest.mark.parametrize(
    ("action", "settings"),
    [
        ("discrete", {}),
        ("continuous", {"max_gradient_norm": 0.0, "entropy_coefficient": 0.3, "truncation": "bootstrap"}),
        ("discrete", {"normalize_advantages": "round", "value_coefficient": 1.0}),
        ("recalling", {"recurrence": 2}),
    ],
)
def test_equals_an_independent_implementation_with_numerical_gradients(action, settings):
    config, weight_decay = dataclasses.replace(CONFIG, **settings), 0.01
    network, action = (on_policy.recalling(), "discrete") if action == "recalling" else (None, action)
    if network is not None:  # which comes with units of its own
        config = dataclasses.replace(config, hidden_units=64, hidden_layers=2)
    agent = a2c.make(config, arena_of(ACTIONS[action], network=network), lambda *network: (l2(weight_decay),))
    learn = jax.jit(agent.learn, compiler_options=QUICK)
    for seed in range(2):
        state, before = begun(agent, seed), np.zeros((E, 3))
        optimizer = on_policy.rmsprop(config)
        again = on_policy.recall if network is not None else on_policy.perceptrons
        reference = on_policy.Reference(state.params, again, config, on_policy.unclipped, optimizer, weight_decay)
        for call in range(3):
            transitions = some_transitions(ACTIONS[action], 10 * seed + call)
            if network is None:
                transitions = on_policy.valued(state.params, transitions)
            else:
                transitions, before = on_policy.carry(state.params, transitions, before)
            orders = on_policy.orders_of(state.optimizer.key, config)
            assert len(orders) == 1  # one step of the optimizer, with all that was seen
            state, metrics = learn(state, transitions, np.int32(call))
            expected = reference.learn(in_float64(transitions), orders)
            assert_close(state.params, reference.params())
            assert trees.numpy(metrics) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_defaults_are_those_of_torch_ac():
    config = a2c.Config()
    assert (config.horizon, config.learning_rate, config.decay, config.eps) == (8, 1e-3, 0.99, 1e-8)
    assert (config.discount, config.gae_lambda, config.max_gradient_norm) == (0.99, 0.95, 0.5)
    assert (config.value_coefficient, config.entropy_coefficient) == (0.5, 0.01)
    assert (config.normalize_advantages, config.truncation, config.recurrence) == ("none", "terminal", 1)


def test_the_action_depends_on_what_is_seen():
    config = a2c.Config(learning_rate=0.01, hidden_units=16, hidden_layers=1)
    logits, V = on_policy.train(a2c.make, config, environments.action_by_sight(), 1, -1, rounds=100)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert (p[:, 0, 1] > 0.95).all() and (p[:, 1, 0] > 0.95).all()
    np.testing.assert_allclose(V, np.ones(V.shape), atol=0.1)


@pytest.mark.parametrize(
    ("settings", "environment", "message"),
    [
        ({}, {"steps": 11}, "steps=11 are fewer than the 12 of one round (horizon=4 x num_envs=3)"),
        ({"recurrence": 2}, {}, "recurrence=2: this network is not recurrent; write recurrence=1"),
        ({}, {"network": on_policy.recalling()}, "hidden_units=3: this problem brings its network"),
    ],
)
def test_refuses_in_one_line(settings, environment, message):
    with pytest.raises(ValueError) as error:
        a2c.make(dataclasses.replace(CONFIG, **settings), arena_of(Discrete(3), **environment), on_policy.no_methods)
    assert message in str(error.value) and "\n" not in str(error.value)
