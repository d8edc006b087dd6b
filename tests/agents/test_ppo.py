import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import on_policy
import optax
import pytest
from on_policy import ACTIONS, INPUTS, E, T, arena_of, assert_close, in_float64, no_methods, some_transitions

from pliant.agents import ppo
from pliant.agents._advantage import normalized
from pliant.agents._on_policy import Extras
from pliant.core.agent import Transitions
from pliant.core.problem import Continuous, Discrete
from pliant.methods import continual_backprop, l2

CONFIG = ppo.Config(
    horizon=T, epochs=2, minibatches=2, learning_rate=0.02, b1=0.8, b2=0.95, eps=1e-5, discount=0.9, gae_lambda=0.8,
    hidden_units=3, activation="tanh",
)  # fmt: skip


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"value_clip": 0.1, "value_coefficient": 0.5},
        {"entropy_coefficient": 0.3, "clip": 0.05},
        {"max_gradient_norm": 0.5},
        {"normalize_advantages": "minibatch", "truncation": "bootstrap"},
        {"normalize_advantages": "none", "schedule": "linear"},
    ],
    ids=lambda settings: ", ".join(settings) or "published",
)
def test_equals_an_independent_implementation_with_numerical_gradients(action, settings):
    config, weight_decay, rounds, seeds = dataclasses.replace(CONFIG, **settings), 0.01, 2, 3
    environment = arena_of(action, steps=rounds * T * E)
    agent = ppo.make(config, environment, lambda *network: (l2(weight_decay),))
    init, learn = jax.jit(agent.init), jax.jit(agent.learn)
    for seed in range(seeds):
        state = init(jax.random.key(seed))
        optimizer = on_policy.adam(config, rounds * config.epochs * config.minibatches)
        loss = on_policy.clipped(config.clip)
        reference = on_policy.Reference(state.params, on_policy.perceptrons, config, loss, optimizer, weight_decay)
        for call in range(rounds):
            transitions = on_policy.valued(state.params, some_transitions(action, seed=10 * seed + call))
            orders = on_policy.orders_of(state.optimizer.key, config)
            state, metrics = learn(state, transitions, jnp.int32(call))
            expected = reference.learn(in_float64(transitions), orders)
            assert_close(state.params, reference.params())
            assert metrics == pytest.approx(expected, rel=1e-4, abs=1e-5)


def one_hot_steps(**ends):
    """Three steps of one environment, each of which sees something else: 0, 1, 2 and at last 3, as one-hot numbers."""
    seen = jnp.eye(4)[:, None]  # (4, 1, 4)
    never = jnp.zeros((3, 1), bool)
    rewards = jnp.array([1.0, 2.0, 4.0])[:, None]
    extras = Extras(jnp.zeros((3, 1)), jnp.array([1.0, 2, 4])[:, None], ())
    steps = Transitions(seen[:3], jnp.zeros((3, 1), jnp.int32), extras, rewards, never, never, seen[1:])
    return steps._replace(**{name: never.at[1].set(True) for name in ends}), seen


@functools.cache
def linear_agent(truncation):
    """Compiled `learn` and `signals` of an agent whose value of what is seen is 1, 2, 4 or 8; and its state."""
    config = dataclasses.replace(
        CONFIG, horizon=3, epochs=1, minibatches=1, discount=0.5, gae_lambda=0.5, hidden_layers=0,
        normalize_advantages="none", truncation=truncation,
    )  # fmt: skip
    agent = ppo.make(config, arena_of(Discrete(2), 1, inputs=4), no_methods)
    state = jax.jit(agent.init)(jax.random.key(0))
    state.params["value"]["Dense_0"]["kernel"] = jnp.array([1.0, 2, 4, 8])[:, None]
    return jax.jit(agent.learn), jax.jit(agent.signals), state


@pytest.mark.parametrize(
    ("truncation", "ends", "expected"),
    [
        # Values 1, 2, 4, 8 of what is seen; discount and lambda 0.5. The last step is followed by what is worth 8, the
        # end of the horizon being no end: delta_2 = 4 + 0.5 * 8 - 4 = 4. Without an end delta_1 = 2 + 0.5 * 4 - 2 = 2,
        # so that A_1 = 2 + 0.25 * 4 = 3 and, with delta_0 = 1 + 0.5 * 2 - 1 = 1, A_0 = 1.75.
        ("terminal", [], [1.75, 3, 4]),
        ("bootstrap", [], [1.75, 3, 4]),
        # Where it is over A_1 = 2 - 2 = 0 and A_0 = 1 + 0.25 * 0.
        ("terminal", ["terminated"], [1, 0, 4]),
        ("bootstrap", ["terminated"], [1, 0, 4]),
        # A time limit taken for an end; or in its place the value of 3, which was seen when time was up (not that of 2,
        # with which the next episode began): A_1 = 2 + 0.5 * 8 - 2 = 4, A_0 = 1 + 0.25 * 4 = 2.
        ("terminal", ["truncated"], [1, 0, 4]),
        ("bootstrap", ["truncated"], [2, 4, 4]),
    ],
)
def test_what_follows_the_end_of_an_episode(truncation, ends, expected):
    learn, signals, state = linear_agent(truncation)
    transitions, seen = one_hot_steps(**dict.fromkeys(ends))
    if "truncated" in ends:
        transitions = transitions._replace(next_observation=transitions.next_observation.at[1].set(seen[3]))
    # The squared errors of the values are those of the advantages, and the weight of what is seen at a step gets
    # the derivative of the mean of the three: -2 A / 3.
    _, metrics = learn(state, transitions, jnp.int32(0))
    np.testing.assert_allclose(metrics["value_loss"], np.mean(np.square(expected)), rtol=1e-6)
    after = state._replace(params=jax.tree.map(jnp.ones_like, state.params))  # does not matter to the gradients
    gradient = signals(state.params, after, transitions)["grads"]["value"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(gradient[:, 0], [-2 / 3 * A for A in expected] + [0], rtol=1e-6, atol=1e-6)


def test_advantages_are_standardized():
    # The published numbers: mean 3.6162025, and standard deviation 2.1847... with three degrees of freedom.
    A = normalized(jnp.array([2.4008, 1.6, 6.56501, 3.899]))
    np.testing.assert_allclose(A, [-0.556345, -0.922907, 1.349802, 0.129449], rtol=1e-5)
    # Equal ones are only shifted, be they one or many.
    np.testing.assert_array_equal(normalized(jnp.full(4, 3.0)), np.zeros(4))
    np.testing.assert_array_equal(normalized(jnp.full(1, 3.0)), np.zeros(1))


def test_the_linear_schedule_ends_at_zero():
    # 30 steps are two and a half rounds of 12: they are filled up to three, after which nothing moves any more, but for
    # the rounding of a step size of 0.
    config = dataclasses.replace(CONFIG, schedule="linear")
    agent = ppo.make(config, arena_of(Discrete(3), steps=30), no_methods)
    state, learn = jax.jit(agent.init)(jax.random.key(0)), jax.jit(agent.learn)
    moved = []
    for call in range(4):
        after, _ = learn(state, some_transitions(Discrete(3), call), jnp.int32(call))
        moved.append(optax.tree.norm(optax.tree.sub(after.params, state.params)))
        state = after
    assert moved[2] > 0.01 and moved[3] < 1e-7


@pytest.mark.parametrize(
    ("settings", "environment", "message"),
    [
        ({"minibatches": 5}, {}, "minibatches=5 do not divide the 12 samples of a round (horizon=4 x num_envs=3)"),
        ({}, {"steps": 11}, "steps=11 are fewer than the 12 of one round (horizon=4 x num_envs=3)"),
    ],
)
def test_refuses_rounds_that_do_not_work_out(settings, environment, message):
    with pytest.raises(ValueError) as error:
        ppo.make(dataclasses.replace(CONFIG, **settings), arena_of(Discrete(3), **environment), no_methods)
    assert message in str(error.value) and "; write " in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize("num_envs", [1, 4])
def test_acts_by_its_distribution(action, num_envs):
    agent = ppo.make(CONFIG, arena_of(action, num_envs), no_methods)
    state = jax.jit(agent.init)(jax.random.key(0))
    observation = jax.random.normal(jax.random.key(1), (num_envs, INPUTS))
    act = jax.jit(agent.act, static_argnames="greedy")
    is_first, key = jnp.ones(num_envs, bool), jax.random.key(2)
    carry, taken, extras = act(agent.policy(state), agent.initial_carry(num_envs), observation, is_first, key)
    assert jax.tree.leaves(carry) == []
    assert taken.shape == (num_envs, *((action.size,) if isinstance(action, Continuous) else ()))
    (outputs, V), _ = on_policy.perceptrons(*in_float64((state.params, observation)), ())
    expected, _ = on_policy.log_probability_and_entropy(outputs, np.asarray(taken))
    np.testing.assert_allclose(extras.log_prob, expected, rtol=1e-5)
    np.testing.assert_allclose(extras.value, V, rtol=1e-5, atol=1e-6)
    _, again, _ = act(agent.policy(state), carry, observation, ~is_first, key)
    np.testing.assert_array_equal(taken, again)  # it remembers nothing, so that it does not matter what begins
    _, greedy, extras = act(agent.policy(state), carry, observation, is_first, key, greedy=True)
    expected = outputs[0] if isinstance(action, Continuous) else outputs.argmax(1)
    np.testing.assert_allclose(greedy, expected, rtol=1e-5)
    assert extras.log_prob.shape == (num_envs,)


@pytest.mark.parametrize("truncation", ["terminal", "bootstrap"])
def test_it_does_not_matter_how_many_environments_steps_come_from(truncation):
    # The same sixteen steps from four environments, or one after another from one: where an environment's steps break
    # off in the first, the value of what follows stands for the future, as it does where an episode is cut short.
    config = dataclasses.replace(CONFIG, horizon=4, minibatches=1, truncation=truncation)
    action = Continuous(2)
    four = some_transitions(action, seed=0, num_envs=4)
    ends = jnp.zeros((4, 4), bool).at[-1].set(True)
    four = four._replace(terminated=four.terminated & ~ends, truncated=four.truncated & ~ends)
    ending = "truncated" if truncation == "bootstrap" else "terminated"
    ended = four._replace(**{ending: getattr(four, ending) | ends})
    one = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(16, 1, *x.shape[2:]), ended)

    def learn(horizon, num_envs, transitions):
        settings = dataclasses.replace(config, horizon=horizon)
        agent = ppo.make(settings, arena_of(action, num_envs), no_methods)
        return jax.jit(agent.learn)(jax.jit(agent.init)(jax.random.key(0)), transitions, jnp.int32(0))

    alone = learn(16, 1, one)
    for transitions in [four, ended] if truncation == "bootstrap" else [ended]:
        state, metrics = learn(4, 4, transitions)
        assert_close(state.params, alone[0].params)
        assert_close(metrics, alone[1])


def test_a_long_horizon_is_measured_by_its_last_thousand_samples():
    config = dataclasses.replace(CONFIG, horizon=600, minibatches=1, hidden_layers=1)
    agent = ppo.make(config, arena_of(Continuous(2), num_envs=2), no_methods)
    state = jax.jit(agent.init)(jax.random.key(0))
    after = state._replace(params=jax.tree.map(jnp.ones_like, state.params))
    transitions = some_transitions(Continuous(2), 0, horizon=600, num_envs=2)
    signals = jax.jit(agent.signals)(agent.policy(state), after, transitions)
    assert set(signals) == {"params", "previous_params", "features", "grads", "method_state"}
    jax.tree.map(np.testing.assert_array_equal, signals["params"], after.params)
    jax.tree.map(np.testing.assert_array_equal, signals["previous_params"], state.params)
    # 500 steps of two environments, with the weights by which they acted.
    x = np.asarray(transitions.observation[-500:]).reshape(1000, INPUTS)
    for name in ("policy", "value"):
        layer = state.params[name]["Dense_0"]
        features = np.tanh(x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]))
        np.testing.assert_allclose(signals["features"][f"{name}/Dense_0"], features, rtol=1e-5, atol=1e-6)
    assert jax.tree.structure(signals["grads"]) == jax.tree.structure(state.params)


def test_orders_and_draws_are_new_in_each_call_and_for_each_seed():
    agent = ppo.make(CONFIG, arena_of(Discrete(3)), no_methods)
    init = jax.jit(agent.init)
    one, other = init(jax.random.key(0)), init(jax.random.key(1))
    after, _ = jax.jit(agent.learn)(one, some_transitions(Discrete(3), 0), jnp.int32(0))
    keys = [jax.random.key_data(state.optimizer.key).tolist() for state in (one, other, after)]
    assert keys[0] not in keys[1:] and keys[1] != keys[2]


def test_methods_get_the_network_and_its_wiring():
    given = []
    ppo.make(CONFIG, arena_of(Continuous(2)), lambda *network: given.append(network[:2]) or ())
    (wiring, network), *_ = given
    assert {name: group.units for name, group in wiring.items()} == {
        "policy/Dense_0": 3, "policy/Dense_1": 3, "value/Dense_0": 3, "value/Dense_1": 3,
    }  # fmt: skip
    assert network.activation == "tanh" and set(network.init(jax.random.key(0))) == {"policy", "value", "log_std"}


def test_the_step_that_methods_are_told_goes_on_from_call_to_call():
    # A round has 2 epochs of 2 minibatches: four updates.
    def recorder(wiring, network, updates):
        def update(grads, state, params=None, *, step, features, **signals):
            return grads, jnp.append(state[1:], step)

        return (optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(4, jnp.int32), update),)

    agent = ppo.make(CONFIG, arena_of(Discrete(3)), recorder)
    state, learn = jax.jit(agent.init)(jax.random.key(0)), jax.jit(agent.learn)
    for told in ([1, 2, 3, 4], [5, 6, 7, 8]):
        state, _ = learn(state, some_transitions(Discrete(3), 0), jnp.int32(told[0] // 4))
        assert state.optimizer.before[0].tolist() == told


@pytest.mark.parametrize("reset_moments", [False, True])
def test_moments_of_fresh_weights_are_cleared_where_it_says_so(reset_moments):
    # Each unit of the three is mature at once, and a third of them goes at each step.
    def renewing(wiring, network, updates):
        return (continual_backprop(wiring, 1 / 3, maturity=0, activation=network.activation),)

    config = dataclasses.replace(CONFIG, reset_moments=reset_moments)
    agent = ppo.make(config, arena_of(Continuous(2)), renewing)
    state = jax.jit(agent.init)(jax.random.key(0))
    state, _ = jax.jit(agent.learn)(state, some_transitions(Continuous(2), 0), jnp.int32(0))
    (method,) = state.optimizer.after
    assert method.replaced == dict.fromkeys(method.replaced, 4)
    mu = optax.tree.get(state.optimizer.optimizer, "mu")
    for name, age in method.age.items():
        network, layer = name.split("/")
        cleared = (np.asarray(mu[network][layer]["kernel"]) == 0).all(0)
        np.testing.assert_array_equal(cleared, (np.asarray(age) == 0) & reset_moments)


def test_compiles_once():
    agent = ppo.make(CONFIG, arena_of(Continuous(2)), lambda wiring, *network: (continual_backprop(wiring, 0.1),))
    state, learn = jax.jit(agent.init)(jax.random.key(0)), jax.jit(agent.learn)
    for call in range(3):
        state, _ = learn(state, some_transitions(Continuous(2), call), jnp.int32(call))
    assert learn._cache_size() == 1


def test_members_with_settings_of_their_own_learn_at_once_as_they_do_alone():
    swept = {
        "learning_rate": [0.02, 0.001], "b1": [0.8, 0.5], "b2": [0.95, 0.99], "eps": [1e-5, 1e-3],
        "discount": [0.9, 0.5], "gae_lambda": [0.8, 0.3], "clip": [0.2, 0.1], "value_coefficient": [1.0, 0.5],
        "entropy_coefficient": [0.0, 0.1],
    }  # fmt: skip

    def run(key, settings, transitions):
        config = dataclasses.replace(CONFIG, schedule="linear", **settings)
        agent = ppo.make(config, arena_of(Continuous(2), steps=2 * T * E), no_methods)
        state, metrics = agent.learn(agent.init(key), transitions, jnp.int32(0))
        return state.params, metrics

    settings = {name: jnp.array(values) for name, values in swept.items()}
    batches = jax.tree.map(lambda *x: jnp.stack(x), *(some_transitions(Continuous(2), seed) for seed in range(2)))
    members = jax.random.split(jax.random.key(0)), settings, batches
    together, alone = jax.jit(jax.vmap(run))(*members), jax.jit(run)
    for i in range(2):
        assert_close(*(jax.tree.map(lambda x, i=i: x[i], together), alone(*jax.tree.map(lambda x, i=i: x[i], members))))
    assert all(abs(a - b) > 1e-3 for a, b in together[1].values())
