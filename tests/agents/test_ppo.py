import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import on_policy
import optax
import pytest
import trees
from on_policy import ACTIONS, INPUTS, E, T, arena_of, assert_close, begun, in_float64, no_methods, some_transitions

from pliant.agents import ppo
from pliant.agents._on_policy import Extras, samples_of, value_errors
from pliant.core.agent import Transitions
from pliant.core.problem import ActorCritic, Continuous, Discrete
from pliant.methods import continual_backprop, l2

CONFIG = ppo.Config(
    horizon=T, epochs=2, minibatches=2, learning_rate=0.02, b1=0.8, b2=0.95, eps=1e-5, discount=0.9, gae_lambda=0.8,
    hidden_units=3, activation="tanh",
)  # fmt: skip


@pytest.mark.parametrize(
    ("action", "settings"),
    [
        ("continuous", {}),
        ("discrete", {"value_clip": 0.1, "value_coefficient": 0.5, "normalize_advantages": "none"}),
        ("continuous", {"entropy_coefficient": 0.3, "clip": 0.05, "max_gradient_norm": 0.5}),
        ("discrete", {"entropy_coefficient": 0.3, "normalize_advantages": "minibatch", "truncation": "bootstrap"}),
        ("continuous", {"schedule": "linear"}),
    ],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value) or "published",
)
def test_equals_an_independent_implementation_with_numerical_gradients(action, settings):
    action = ACTIONS[action]
    config, weight_decay, rounds = dataclasses.replace(CONFIG, **settings), 0.01, 2
    environment = arena_of(action, steps=rounds * T * E)
    agent = ppo.make(config, environment, lambda *network: (l2(weight_decay),))
    learn = jax.jit(agent.learn)
    for seed in range(2):
        state = begun(agent, seed)
        optimizer = on_policy.adam(config, rounds * config.epochs * config.minibatches)
        loss = on_policy.clipped(config.clip)
        reference = on_policy.Reference(state.params, on_policy.perceptrons, config, loss, optimizer, weight_decay)
        for call in range(rounds):
            transitions = on_policy.valued(state.params, some_transitions(action, seed=10 * seed + call))
            orders, before = on_policy.orders_of(state.optimizer.key, config), state
            state, metrics = learn(state, transitions, np.int32(call))
            expected = reference.learn(in_float64(transitions), orders)
            assert_close(state.params, reference.params())
            assert trees.numpy(metrics) == pytest.approx(expected, rel=1e-4, abs=1e-5)
            assert not trees.same(state.optimizer.key, before.optimizer.key)  # the next call draws other orders


def test_losses_of_single_samples():
    # rho = 2 and, of the last, 1. With A = 3 the gain is clipped at 1.2: -3.6; with A = -3 the loss of 6 is not.
    log_prob, old = np.log([2, 2, 1]).astype(np.float32), np.zeros(3, np.float32)
    losses, metrics = jax.jit(ppo.clipped_policy_loss)(log_prob, old, np.float32([3, -3, 5]), 0.2)
    np.testing.assert_allclose(losses, [-3.6, 6, -5], rtol=1e-6)
    np.testing.assert_allclose(metrics["clipped_fraction"], 2 / 3)
    # The value moved from 1 to 2 and the return is 3: without a clip the error is 1. With one of 0.5 the value counts
    # as 1.5, whose error of 2.25 is the larger. Where it moved away from the return, to 0, its own error of 9 counts.
    arrays = np.float32([2, 0]), np.float32([1, 1]), np.float32([3, 3])
    errors = jax.jit(lambda *given: [value_errors(*given, clip) for clip in (0.0, 0.5)])(*arrays)
    np.testing.assert_allclose(errors, [[1, 9], [2.25, 9]])


@pytest.mark.parametrize(
    "loss", [lambda x, y: ppo.clipped_policy_loss(x, x, y, 0.2), lambda x, y: value_errors(x, x, y, 0.2)]
)
def test_a_loss_refuses_to_broadcast(loss):
    with pytest.raises(ValueError, match=r"\(4,\).* \(4, 1\): pass arrays of one shape, with 1 axis each"):
        loss(np.zeros(4), np.zeros((4, 1)))


def one_hot_steps(**ends):
    """Three steps of one environment, each of which sees something else: 0, 1, 2 and at last 3, as one-hot numbers."""
    seen = np.eye(4, dtype=np.float32)[:, None]  # (4, 1, 4)
    never = np.zeros((3, 1), bool)
    rewards, values = np.float32([[1], [2], [4]]), np.float32([[1], [2], [4]])
    extras = Extras(np.zeros((3, 1), np.float32), values, ())
    steps = Transitions(seen[:3], np.zeros((3, 1), np.int32), extras, rewards, never, never, seen[1:])
    return steps._replace(**{name: np.array([[False], [True], [False]]) for name in ends}), seen


@functools.cache
def samples_by_a_linear_value(truncation):
    """Compiled `samples_of` of a network whose value of what is seen is 1, 2, 4 or 8."""
    config = dataclasses.replace(
        CONFIG, discount=0.5, gae_lambda=0.5, normalize_advantages="none", truncation=truncation
    )  # fmt: skip

    def apply(params, x, carry):
        return (None, x @ params), carry

    network = ActorCritic(None, apply, lambda batch: ())
    return jax.jit(lambda transitions: samples_of(config, network, jnp.array([1.0, 2, 4, 8]), transitions))


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
    transitions, seen = one_hot_steps(**dict.fromkeys(ends))
    if "truncated" in ends:
        following = np.array(transitions.next_observation)
        following[1] = seen[3]
        transitions = transitions._replace(next_observation=following)
    samples = samples_by_a_linear_value(truncation)(transitions)
    np.testing.assert_allclose(samples.advantage, expected, rtol=1e-6)
    np.testing.assert_allclose(samples.returns, np.add(expected, [1, 2, 4]), rtol=1e-6)


def test_the_linear_schedule_ends_at_zero():
    # 30 steps are two and a half rounds of 12: they are filled up to three, after which nothing moves any more, but for
    # the rounding of a step size of 0.
    config = dataclasses.replace(CONFIG, schedule="linear")
    agent = ppo.make(config, arena_of(Discrete(3), steps=30), no_methods)
    state, learn = begun(agent), jax.jit(agent.learn)
    moved = []
    for call in range(4):
        after, _ = learn(state, some_transitions(Discrete(3), call), np.int32(call))
        pairs = zip(jax.tree.leaves(after.params), jax.tree.leaves(state.params))
        moved.append(max(np.abs(np.subtract(a, b)).max() for a, b in pairs))
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


@pytest.mark.parametrize(("action", "num_envs"), [("continuous", 4), ("discrete", 1)])
def test_acts_by_its_distribution(action, num_envs):
    action = ACTIONS[action]
    agent = ppo.make(CONFIG, arena_of(action, num_envs), no_methods)
    state, observation = begun(agent), trees.normal(1, num_envs, INPUTS)

    def act(params, observation, is_first, key):
        return [agent.act(params, (), observation, is_first, key, greedy=greedy) for greedy in (False, True)]

    act = jax.jit(act)
    (carry, taken, extras), (_, greedy, of_greedy) = act(
        state.params, observation, np.ones(num_envs, bool), trees.key(2)
    )
    assert jax.tree.leaves(carry) == []
    assert taken.shape == (num_envs, *((action.size,) if isinstance(action, Continuous) else ()))
    (outputs, V), _ = on_policy.perceptrons(*in_float64((state.params, observation)), ())
    expected, _ = on_policy.log_probability_and_entropy(outputs, np.asarray(taken))
    np.testing.assert_allclose(extras.log_prob, expected, rtol=1e-5)
    np.testing.assert_allclose(extras.value, V, rtol=1e-5, atol=1e-6)
    (_, again, _), _ = act(state.params, observation, np.zeros(num_envs, bool), trees.key(2))
    np.testing.assert_array_equal(taken, again)  # without a carry it does not matter what begins
    expected = outputs[0] if isinstance(action, Continuous) else outputs.argmax(1)
    np.testing.assert_allclose(greedy, expected, rtol=1e-5)
    assert of_greedy.log_prob.shape == (num_envs,)


@pytest.mark.parametrize("truncation", ["terminal", "bootstrap"])
def test_it_does_not_matter_how_many_environments_steps_come_from(truncation):
    # The same sixteen steps from four environments, or one after another from one: where an environment's steps break
    # off in the first, the value of what follows stands for the future, as it does where an episode is cut short.
    config = dataclasses.replace(CONFIG, normalize_advantages="none", truncation=truncation)
    params = trees.normal(0, INPUTS)

    def apply(params, x, carry):
        return (None, x @ params), carry

    four = some_transitions(Continuous(2), seed=0, num_envs=4)
    ends = np.zeros((4, 4), bool)
    ends[-1] = True
    four = four._replace(terminated=four.terminated & ~ends, truncated=four.truncated & ~ends)
    four = four._replace(extras=four.extras._replace(value=four.observation @ params))
    ending = "truncated" if truncation == "bootstrap" else "terminated"
    ended = four._replace(**{ending: getattr(four, ending) | ends})
    one = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(16, 1, *x.shape[2:]), ended)
    network = ActorCritic(None, apply, lambda batch: ())
    samples = jax.jit(lambda transitions: samples_of(config, network, params, transitions))
    alone = samples(one)
    for transitions in [four, ended] if truncation == "bootstrap" else [ended]:
        together = samples(transitions)
        for name in ("advantage", "returns", "action"):
            x, y = np.asarray(getattr(together, name)), np.asarray(getattr(alone, name))
            x = x.reshape(4, 4, *x.shape[1:]).swapaxes(0, 1).reshape(y.shape)
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


def test_a_long_horizon_is_measured_by_its_last_thousand_samples():
    config = dataclasses.replace(CONFIG, horizon=600, minibatches=1, hidden_layers=1)
    agent = ppo.make(config, arena_of(Continuous(2), num_envs=2), no_methods)
    state = begun(agent)
    after = state._replace(params=jax.tree.map(np.ones_like, state.params))
    transitions = some_transitions(Continuous(2), 0, horizon=600, num_envs=2)
    signals = trees.numpy(jax.jit(agent.signals)(agent.acting_params(state), after, transitions))
    assert set(signals) == {"params", "previous_params", "features", "grads", "method_state"}
    assert trees.same(signals["params"], after.params) and trees.same(signals["previous_params"], state.params)
    # 500 steps of two environments, with the weights by which they acted.
    x = np.asarray(transitions.observation[-500:]).reshape(1000, INPUTS)
    for name in ("policy", "value"):
        layer = state.params[name]["Dense_0"]
        features = np.tanh(x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]))
        np.testing.assert_allclose(signals["features"][f"{name}/Dense_0"], features, rtol=1e-5, atol=1e-6)
    assert jax.tree.structure(signals["grads"]) == jax.tree.structure(state.params)


def test_methods_get_the_network_and_its_wiring():
    given = []
    ppo.make(CONFIG, arena_of(Continuous(2)), lambda *network: given.append(network[:2]) or ())
    (wiring, network), *_ = given
    assert {name: group.units for name, group in wiring.items()} == {
        "policy/Dense_0": 3, "policy/Dense_1": 3, "value/Dense_0": 3, "value/Dense_1": 3,
    }  # fmt: skip
    assert network.activation == "tanh" and set(jax.eval_shape(network.init, trees.key(0))) == {
        "policy",
        "value",
        "log_std",
    }


@pytest.mark.parametrize("reset_moments", [False, True])
def test_moments_of_fresh_weights_are_cleared_where_it_says_so(reset_moments):
    # Each unit of the three is mature at once, and a third of them is reinitialized at the only update.
    def renewing(wiring, network, updates):
        return (continual_backprop(wiring, 1 / 3, maturity=0, activation=network.activation),)

    config = dataclasses.replace(CONFIG, reset_moments=reset_moments, epochs=1, minibatches=1, hidden_layers=1)
    agent = ppo.make(config, arena_of(Continuous(2)), renewing)

    def run(key, transitions):
        return agent.learn(agent.init(key), transitions, jnp.int32(0))[0]

    state = trees.numpy(jax.jit(run)(trees.key(0), some_transitions(Continuous(2), 0)))
    (method,) = state.optimizer.after
    assert method.replaced == dict.fromkeys(method.replaced, 1)
    mu = optax.tree.get(state.optimizer.optimizer, "mu")
    for name, age in method.age.items():
        network, layer = name.split("/")
        cleared = (mu[network][layer]["kernel"] == 0).all(0)
        np.testing.assert_array_equal(cleared, (age == 0) & reset_moments)


def test_members_with_settings_of_their_own_learn_at_once_as_they_do_alone():
    swept = {
        "learning_rate": [0.02, 0.001], "b1": [0.8, 0.5], "b2": [0.95, 0.99], "eps": [1e-5, 1e-3],
        "discount": [0.9, 0.5], "gae_lambda": [0.8, 0.3], "clip": [0.2, 0.1], "value_coefficient": [1.0, 0.5],
        "entropy_coefficient": [0.0, 0.1],
    }  # fmt: skip

    def run(key, settings, transitions):
        config = dataclasses.replace(
            CONFIG, schedule="linear", epochs=1, minibatches=2, hidden_layers=1, max_gradient_norm=0.0, **settings
        )
        agent = ppo.make(config, arena_of(Continuous(2), steps=2 * T * E), no_methods)
        state, metrics = agent.learn(agent.init(key), transitions, jnp.int32(0))
        return state.params, metrics

    settings = {name: np.float32(values) for name, values in swept.items()}
    batches = trees.stacked([some_transitions(Continuous(2), seed) for seed in range(2)])
    together = trees.numpy(jax.jit(jax.vmap(run))(trees.keys([0, 1]), settings, batches))
    alone = jax.jit(run)
    for i in range(2):
        assert_close(trees.at(together, i), trees.numpy(alone(trees.key(i), *trees.at((settings, batches), i))))
    assert all(abs(a - b) > 1e-3 for name, (a, b) in together[1].items() if name != "clipped_fraction")
