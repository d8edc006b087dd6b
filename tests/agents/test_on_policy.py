"""What PPO and A2C share, where a network remembers and where minibatches alternate; the rest is tested with PPO."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import on_policy
import optax
import pytest
import trees
from on_policy import INPUTS, QUICK, E, T, arena_of, assert_close, begun, in_float64, no_methods, some_transitions

from pliant.agents import a2c, ppo
from pliant.agents._on_policy import Extras, samples_of
from pliant.core.agent import Transitions
from pliant.core.problem import ActorCritic, Discrete
from pliant.methods import continual_backprop

UNITS = 3
RECALLING = on_policy.recalling(UNITS)
CONFIG = ppo.Config(
    horizon=T, epochs=2, minibatches=3, recurrence=2, learning_rate=0.02, b1=0.8, b2=0.95, eps=1e-5, discount=0.9,
    gae_lambda=0.8, entropy_coefficient=0.05,
)  # fmt: skip


def compiled(function):
    return jax.jit(function, compiler_options=QUICK)


# Sequences and their memory


@pytest.mark.parametrize(
    "settings",
    [
        # Sequences begin at 0 and 2; in the second epoch, at 1, where the first left what it remembered.
        {"alternate": True, "epochs": 2, "value_clip": 0.1, "max_gradient_norm": 0.5},
        {"recurrence": 4, "normalize_advantages": "minibatch", "truncation": "bootstrap"},
        # At 0 and 4, at 2, and again at 0 and 4. In an epoch that alternates the last minibatch is half a minibatch.
        {"recurrence": 4, "horizon": 8, "alternate": True, "epochs": 3, "normalize_advantages": "none"},
    ],
    ids=["pairs", "whole rounds", "fours"],
)
def test_learning_along_sequences_equals_an_independent_implementation(settings):
    config, rounds = dataclasses.replace(CONFIG, **settings), 2
    agent = ppo.make(config, arena_of(Discrete(3), network=RECALLING), no_methods)
    learn = compiled(agent.learn)
    for seed in range(2):
        state = begun(agent, seed)
        optimizer, loss = on_policy.adam(config, None), on_policy.clipped(config.clip)
        reference = on_policy.Reference(state.params, on_policy.recall, config, loss, optimizer)
        before = np.random.default_rng(seed).uniform(-1, 1, (E, UNITS))  # the first round begins amid episodes
        for call in range(rounds):
            transitions = some_transitions(Discrete(3), 10 * seed + call, config.horizon)
            transitions, before = on_policy.carry(state.params, transitions, before)
            ended = transitions.terminated | transitions.truncated
            assert ended[:-1].any() and not ended.all()
            orders = on_policy.orders_of(state.optimizer.key, config, config.horizon)
            state, metrics = learn(state, transitions, np.int32(call))
            expected = reference.learn(in_float64(transitions), orders)
            # Where gradients are small Adam makes steps of what rounding left of them.
            assert_close(state.params, reference.params(), atol=2e-5)
            assert trees.numpy(metrics) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("truncation", "which"), [("terminal", 0), ("bootstrap", 1)])
def test_what_comes_after_the_last_step_is_seen_with_what_is_remembered_by_then(truncation, which):
    # The network remembers the sum of what it saw, which is the value: 1 and 1 + 2 = 3; then 1 + 2 + 4 = 7 follows, or
    # 1 + 5 = 6 where the first step ends an episode and 5 was seen last. With a discount of 0.5 and lambda = 0
    # advantages are r + 0.5 V' - V.
    def apply(params, x, total):
        total = total + x
        return (None, total[:, 0]), total

    network = ActorCritic(None, apply, lambda batch: jnp.zeros((batch, 1)))
    config = dataclasses.replace(
        CONFIG, discount=0.5, gae_lambda=0.0, normalize_advantages="none", truncation=truncation
    )
    samples = compiled(lambda transitions: samples_of(config, network, {}, transitions))
    seen = np.float32([1, 2, 4, 5]).reshape(4, 1, 1)
    never, first, last = (np.array([[a], [b]]) for a, b in [(False, False), (True, False), (False, True)])
    cases = [
        # (terminated, truncated), then what is expected if time limits are ends, and if they are not
        ((never, never), [10 + 1.5 - 1, 20 + 3.5 - 3], [10 + 1.5 - 1, 20 + 3.5 - 3]),
        ((last, never), [10 + 1.5 - 1, 20 - 3], [10 + 1.5 - 1, 20 - 3]),
        ((never, last), [10 + 1.5 - 1, 20 - 3], [10 + 1.5 - 1, 20 + 3.5 - 3]),
        # Of the second episode 2 is seen first, and then 4.
        ((never, first), [10 - 1, 20 + 3 - 2], [10 + 3 - 1, 20 + 3 - 2]),
    ]
    for (terminated, truncated), *expected in cases:
        restarts = truncated[0, 0]
        carry = np.float32([0, 0 if restarts else 1]).reshape(2, 1, 1)
        following = np.stack([seen[3] if restarts else seen[1], seen[2]])
        nothing = np.zeros((2, 1), np.float32)
        extras = Extras(nothing, (carry + seen[:2])[..., 0], carry)
        reward = np.float32([[10], [20]])
        given = Transitions(seen[:2], nothing, extras, reward, terminated, truncated, following)
        np.testing.assert_allclose(samples(given).advantage, expected[which], rtol=1e-6)


def test_acts_by_what_it_remembers_of_the_episode():
    agent = ppo.make(CONFIG, arena_of(Discrete(3), network=RECALLING), no_methods)
    state, act = begun(agent), jax.jit(agent.act)
    weights, carry = in_float64(state.params), agent.initial_carry(E)
    np.testing.assert_array_equal(carry, np.zeros((E, UNITS)))
    before, random = np.zeros((E, UNITS)), np.random.default_rng(0)
    for t, is_first in enumerate([[True] * E, [False] * E, [False, True, False], [False] * E]):
        before = np.where(np.array(is_first)[:, None], 0, before)
        x = random.normal(size=(E, INPUTS)).astype(np.float32)
        (logits, V), after = on_policy.recall(weights, x.astype(float), before)
        carry, action, extras = act(agent.acting_params(state), carry, x, np.array(is_first), trees.key(t))
        np.testing.assert_allclose(extras.carry, before, rtol=1e-5, atol=1e-6)  # what the network saw
        np.testing.assert_allclose(carry, after, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(extras.value, V, rtol=1e-5, atol=1e-6)
        log_p, _ = on_policy.log_probability_and_entropy(logits, np.asarray(action))
        np.testing.assert_allclose(extras.log_prob, log_p, rtol=1e-5)
        before = after


def test_diagnostics_get_what_was_remembered():
    # Of two sequences of two steps in each environment, the first steps; then the second ones.
    agent = ppo.make(CONFIG, arena_of(Discrete(3), network=RECALLING), no_methods)
    state = begun(agent)
    transitions, _ = on_policy.carry(state.params, some_transitions(Discrete(3), 0), np.ones((E, UNITS)))
    features = compiled(lambda *given: agent.signals(*given)["features"])(state.params, state, transitions)
    x, h = transitions.observation[::2].reshape(-1, INPUTS), transitions.extras.carry[::2].reshape(-1, UNITS)
    _, h = on_policy.recall(*in_float64((state.params, x, h)))
    np.testing.assert_allclose(features["see@act"], h, rtol=1e-5, atol=1e-6)


# Minibatches that alternate


def test_methods_are_told_of_each_update_once():
    # 16 samples in minibatches of 8, and 12 in the second epoch, of which 4 make the last minibatch.
    sizes = [8, 8, 8, 4]

    def recorder(wiring, network, updates):
        def update(grads, state, params=None, *, clock, features, **signals):
            samples = len(features["policy/Dense_0"])
            return grads, jnp.concatenate([state[1:], jnp.array([[clock.update, clock.step, samples]])])

        return (optax.GradientTransformationExtraArgs(lambda params: jnp.zeros((len(sizes), 3), int), update),)

    config = dataclasses.replace(CONFIG, recurrence=1, hidden_layers=1, alternate=True, minibatches=2, epochs=2)
    agent = ppo.make(config, arena_of(Discrete(3), num_envs=4), recorder)
    state, learn = begun(agent), compiled(agent.learn)
    for call in range(2):
        state, _ = learn(state, some_transitions(Discrete(3), call, num_envs=4), np.int32(call))
        signals = np.asarray(state.optimizer.before[0]).tolist()
        assert signals == [[1 + 4 * call + i, 16 * call, size] for i, size in enumerate(sizes)]


# Methods, and what is refused


def test_methods_find_the_units_that_remember():
    # Each unit is mature at once, and one is reinitialized at each of six updates. The last reinitialized unit has no
    # bias, and its outgoing weights are zero: to the policy, to the value, and to the carry.
    wirings = []

    def renewing(wiring, network, updates):
        wirings.append(wiring)
        return (continual_backprop(wiring, 1 / 3, maturity=0, activation=network.activation),)

    agent = ppo.make(CONFIG, arena_of(Discrete(3), network=RECALLING), renewing)
    ((name, group),) = wirings[0].items()
    assert group.units == UNITS
    assert [(slot.path, slot.axis) for slot in group.incoming] == [("see", 1), ("recall", 1)]
    assert {(slot.path, slot.axis) for slot in group.outgoing} == {("act", 0), ("judge", 0), ("recall", 0)}

    state = begun(agent)
    state = compiled(agent.init)(trees.key(0))._replace(params=state.params)
    transitions, _ = on_policy.carry(state.params, some_transitions(Discrete(3), 0), np.zeros((E, UNITS)))
    after = trees.numpy(compiled(agent.learn)(state, transitions, np.int32(0))[0])
    (method,) = after.optimizer.after
    assert method.replaced == {name: 6}
    (new,) = np.flatnonzero(method.age[name] == 0)
    params = after.params
    assert params["bias"][new] == 0
    assert not params["act"][new].any() and not params["judge"][new].any() and not params["recall"][new].any()
    assert params["see"][:, new].all() and (np.delete(params["recall"][:, new], new) != 0).all()


@pytest.mark.parametrize(
    ("settings", "network", "message"),
    [
        ({}, None, "recurrence=2: this network is not recurrent; write recurrence=1"),
        ({"recurrence": 1}, RECALLING, "recurrence=1: this network is recurrent and learns along at least 2 steps"),
        ({"recurrence": 3}, RECALLING, "recurrence=3 does not divide both horizon=4 and the 4 samples of a minibatch"),
        ({"minibatches": 4}, RECALLING, "recurrence=2 does not divide both horizon=4 and the 3 samples of a minibatch"),
        (
            {"alternate": True, "recurrence": 4},
            RECALLING,
            "alternate=true leaves out a sequence: write a horizon of at",
        ),
        ({"hidden_units": 64}, RECALLING, "hidden_units=64: this problem brings its network; leave hidden_units"),
        ({"hidden_layers": 1}, RECALLING, "hidden_layers=1: this problem brings its network"),
        ({"activation": "tanh"}, RECALLING, "activation=tanh: this problem brings its network"),
        ({"initializer": "kaiming"}, RECALLING, "initializer=kaiming: this problem brings its network"),
    ],
)
def test_refuses_what_does_not_fit_the_network(settings, network, message):
    with pytest.raises(ValueError) as error:
        ppo.make(dataclasses.replace(CONFIG, **settings), arena_of(Discrete(3), network=network), no_methods)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_network_of_the_arena_serves_all_agents():
    environment = arena_of(Discrete(3), network=RECALLING)
    for agent in (
        ppo.make(CONFIG, environment, no_methods),
        a2c.make(a2c.Config(recurrence=4), environment, no_methods),
    ):
        assert set(agent.acting_params(begun(agent))) == {"see", "recall", "bias", "act", "judge"}
