import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pliant.agents import ppo
from pliant.agents._on_policy import Said, _normalized
from pliant.core.agent import Transitions
from pliant.core.problem import Arena, Continuous, Discrete, Spec
from pliant.methods import continual_backprop, l2

INPUTS, T, E = 2, 4, 3
_LOSSES = ("policy_loss", "value_loss", "entropy", "clipped_fraction")
ACTIONS = {"continuous": Continuous(2), "discrete": Discrete(3)}
CONFIG = ppo.Config(
    horizon=T, epochs=2, minibatches=2, step_size=0.02, b1=0.8, b2=0.95, epsilon=1e-5, discount=0.9, trace_decay=0.8,
    hidden_units=3, activation="tanh",
)  # fmt: skip


def no_methods(wiring, network):
    del wiring, network
    return ()


def arena_of(action, environments=E, steps=10_000, inputs=INPUTS):
    """What an agent asks of an arena; it is not acted in."""
    spec = Spec(jax.ShapeDtypeStruct((inputs,), jnp.float32), action)
    return Arena(spec, environments, steps, None, None)


def some_transitions(action, seed, horizon=T, environments=E):
    """Random ones, in which episodes end in both ways. Only within an episode does one observation follow another."""
    random, shape = np.random.default_rng(seed), (horizon, environments)
    kind = random.choice(3, shape, p=[0.6, 0.2, 0.2])
    terminated, truncated = kind == 1, kind == 2
    seen = random.normal(size=(horizon + 1, environments, INPUTS))
    elsewhere = random.normal(size=(*shape, INPUTS))
    ended = (terminated | truncated)[..., None]
    if isinstance(action, Continuous):
        actions = random.normal(size=(*shape, action.size))
    else:
        actions = random.integers(action.n, size=shape).astype(np.int32)
    return jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32) if x.dtype == float else jnp.asarray(x),
        Transitions(
            observation=seen[:-1],
            action=actions,
            said=Said(
                random.normal(-2 if isinstance(action, Continuous) else -1, 0.5, shape), random.normal(size=shape), ()
            ),
            reward=random.normal(size=shape),
            terminated=terminated,
            truncated=truncated,
            next_observation=np.where(ended, elsewhere, seen[1:]),
        ),
    )


def valued(params, transitions):
    """The same transitions, seen by the network with these parameters when they happened."""
    V = perceptron(in_float64(params)["value"], np.asarray(transitions.observation, float))[..., 0]
    return transitions._replace(said=transitions.said._replace(value=jnp.asarray(V, jnp.float32)))


def in_float64(tree):
    return jax.tree.map(lambda x: np.asarray(x, float if x.dtype == jnp.float32 else None), tree)


def assert_close(a, b, rtol=1e-5, atol=5e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, atol), a, b)


# The algorithm once more: in NumPy and float64, with plain loops and numerical gradients.


def perceptron(layers, x):
    for i in range(len(layers)):
        x = x @ layers[f"Dense_{i}"]["kernel"] + layers[f"Dense_{i}"]["bias"]
        x = np.tanh(x) if i < len(layers) - 1 else x
    return x


def log_probability_and_entropy(params, observation, action):
    outputs = perceptron(params["policy"], observation)
    if "log_std" in params:
        std = np.exp(params["log_std"])
        density = np.exp(-0.5 * ((action - outputs) / std) ** 2) / (std * np.sqrt(2 * np.pi))
        return np.log(density).sum(1), np.full(len(action), np.log(std * np.sqrt(2 * np.pi * np.e)).sum())
    p = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    return np.log(p[np.arange(len(action)), action]), -(p * np.log(p)).sum(1)


def standardized(A):
    return (A - A.mean()) / np.sqrt(((A - A.mean()) ** 2).sum() / (len(A) - 1))


def samples_of(params, transitions, config):
    """Observations, actions, old log probabilities, old values, returns and advantages of all samples."""
    V, next_V = (
        perceptron(params["value"], x)[..., 0] for x in (transitions.observation, transitions.next_observation)
    )
    A = np.zeros(V.shape)
    for e in range(V.shape[1]):
        follows = 0.0
        for t in reversed(range(V.shape[0])):
            cut = transitions.truncated[t, e]
            future = 0 if transitions.terminated[t, e] or (cut and config.truncation == "terminal") else next_V[t, e]
            follows = 0 if transitions.terminated[t, e] or cut else follows
            error = transitions.reward[t, e] + config.discount * future - V[t, e]
            A[t, e] = follows = error + config.discount * config.trace_decay * follows
    returns, A = A + V, A.reshape(-1)
    if config.normalize_advantages == "round":
        A = standardized(A)
    x, a = (x.reshape(len(A), *x.shape[2:]) for x in (transitions.observation, transitions.action))
    return x, a, transitions.said.log_prob.reshape(-1), V.reshape(-1), returns.reshape(-1), A


def losses(params, samples, config):
    """The loss, and what it is made of: policy loss, value loss, entropy, and how many ratios were clipped."""
    x, action, old_log_p, old_V, returns, A = samples
    if config.normalize_advantages == "minibatch":
        A = standardized(A)
    log_p, H = log_probability_and_entropy(params, x, action)
    rho = np.exp(log_p - old_log_p)
    objective = np.minimum(rho * A, np.clip(rho, 1 - config.clip, 1 + config.clip) * A)
    V = perceptron(params["value"], x)[:, 0]
    squared = (returns - V) ** 2
    if config.value_clip:
        moved = np.clip(V, old_V - config.value_clip, old_V + config.value_clip)
        squared = np.maximum(squared, (returns - moved) ** 2)
    parts = -objective.mean(), squared.mean(), H.mean(), (np.abs(rho - 1) > config.clip).mean()
    loss = parts[0] + config.value_coefficient * parts[1] - config.entropy_coefficient * parts[2]
    return loss, parts


def numerical_gradient(function, w, step=1e-6):
    return np.array([(function(w + d) - function(w - d)) / (2 * step) for d in step * np.eye(len(w))])


class ReferencePPO:
    """Learns as the agent should, from the same batches; `weight_decay` is that of the method `l2`."""

    def __init__(self, params, config, weight_decay, updates):
        leaves, self.structure = jax.tree.flatten(params)
        self.shapes = [np.shape(leaf) for leaf in leaves]
        self.w = np.concatenate([np.asarray(leaf, float).reshape(-1) for leaf in leaves])
        self.m, self.v, self.count = np.zeros_like(self.w), np.zeros_like(self.w), 0
        self.config, self.weight_decay, self.updates = config, weight_decay, updates
        self.norms = []

    def params(self, w=None):
        pieces = np.split(self.w if w is None else w, np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1])
        return self.structure.unflatten([piece.reshape(shape) for piece, shape in zip(pieces, self.shapes)])

    def learn(self, transitions, orders):
        """One round; `orders` are the samples of each minibatch of each epoch. Returns the mean parts of the loss."""
        samples, metrics = samples_of(self.params(), transitions, self.config), []
        for chosen in orders:
            minibatch = [x[chosen] for x in samples]
            metrics.append(losses(self.params(), minibatch, self.config)[1])
            self.update(
                numerical_gradient(lambda w, some=minibatch: losses(self.params(w), some, self.config)[0], self.w)
            )
        return np.mean(metrics, 0)

    def update(self, gradient):
        config, norm = self.config, np.sqrt((gradient**2).sum())
        self.norms.append(norm)
        if config.max_gradient_norm and norm > config.max_gradient_norm:
            gradient = gradient / norm * config.max_gradient_norm
        gradient = gradient + self.weight_decay * self.w
        falling = 1 - self.count / self.updates if config.schedule == "linear" else 1
        self.count += 1
        self.m = config.b1 * self.m + (1 - config.b1) * gradient
        self.v = config.b2 * self.v + (1 - config.b2) * gradient**2
        m_hat, v_hat = self.m / (1 - config.b1**self.count), self.v / (1 - config.b2**self.count)
        self.w = self.w - config.step_size * falling * m_hat / (np.sqrt(v_hat) + config.epsilon)


def orders_of(key, config, samples):
    """The samples of each minibatch in the order in which the agent with this key will take them."""
    orders = []
    for epoch_key in jax.random.split(key, 1 + config.epochs)[1:]:
        order = jax.random.permutation(jax.random.split(epoch_key)[0], samples)
        assert sorted(order.tolist()) == list(range(samples))
        orders.extend(np.split(np.asarray(order), config.minibatches))
    return orders


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
    samples = T * E
    arena = arena_of(action, steps=rounds * samples)
    agent = ppo.make(config, arena, lambda wiring, network: (l2(weight_decay),))
    init, learn = jax.jit(agent.init), jax.jit(agent.learn)
    for seed in range(seeds):
        state = init(jax.random.key(seed))
        reference = ReferencePPO(state.params, config, weight_decay, rounds * config.epochs * config.minibatches)
        for call in range(rounds):
            transitions = valued(state.params, some_transitions(action, seed=10 * seed + call))
            orders = orders_of(state.optimizer.key, config, samples)
            state, metrics = learn(state, transitions, jnp.int32(call))
            expected = reference.learn(in_float64(transitions), orders)
            assert_close(state.params, reference.params())
            for name, value in zip(_LOSSES, expected):
                np.testing.assert_allclose(metrics[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
            others = {"value": float(transitions.said.value.mean())}
            if isinstance(action, Continuous):
                others["action_magnitude"] = np.abs(transitions.action).mean()
            if config.max_gradient_norm:
                others["gradient_norm"] = np.mean(reference.norms)
                reference.norms.clear()
            assert {name: value for name, value in metrics.items() if name not in _LOSSES} == pytest.approx(
                others, rel=1e-4
            )


def one_hot_steps(**ends):
    """Three steps of one environment, each of which sees something else: 0, 1, 2 and at last 3, as one-hot numbers."""
    seen = jnp.eye(4)[:, None]  # (4, 1, 4)
    never = jnp.zeros((3, 1), bool)
    rewards = jnp.array([1.0, 2.0, 4.0])[:, None]
    said = Said(jnp.zeros((3, 1)), jnp.array([1.0, 2, 4])[:, None], ())
    steps = Transitions(seen[:3], jnp.zeros((3, 1), jnp.int32), said, rewards, never, never, seen[1:])
    return steps._replace(**{name: never.at[1].set(True) for name in ends}), seen


@functools.cache
def linear_agent(truncation):
    """Compiled `learn` and `signals` of an agent whose value of what is seen is 1, 2, 4 or 8; and its state."""
    config = dataclasses.replace(
        CONFIG, horizon=3, epochs=1, minibatches=1, discount=0.5, trace_decay=0.5, hidden_layers=0,
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
    gradient = signals(state, after, transitions)["grads"]["value"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(gradient[:, 0], [-2 / 3 * A for A in expected] + [0], rtol=1e-6, atol=1e-6)


def test_advantages_are_standardized():
    # The published numbers: mean 3.6162025, and standard deviation 2.1847... with three degrees of freedom.
    A = _normalized(jnp.array([2.4008, 1.6, 6.56501, 3.899]))
    np.testing.assert_allclose(A, [-0.556345, -0.922907, 1.349802, 0.129449], rtol=1e-5)
    # Equal ones are only shifted, be they one or many.
    np.testing.assert_array_equal(_normalized(jnp.full(4, 3.0)), np.zeros(4))
    np.testing.assert_array_equal(_normalized(jnp.full(1, 3.0)), np.zeros(1))


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
    ("settings", "arena", "message"),
    [
        ({"minibatches": 5}, {}, "minibatches=5 do not divide the 12 samples of a round (horizon=4 x environments=3)"),
        ({}, {"steps": 11}, "steps=11 are fewer than the 12 of one round (horizon=4 x environments=3)"),
    ],
)
def test_refuses_rounds_that_do_not_work_out(settings, arena, message):
    with pytest.raises(ValueError) as error:
        ppo.make(dataclasses.replace(CONFIG, **settings), arena_of(Discrete(3), **arena), no_methods)
    assert message in str(error.value) and "; write " in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize("environments", [1, 4])
def test_acts_by_its_distribution(action, environments):
    agent = ppo.make(CONFIG, arena_of(action, environments), no_methods)
    state = jax.jit(agent.init)(jax.random.key(0))
    observation = jax.random.normal(jax.random.key(1), (environments, INPUTS))
    act = jax.jit(agent.act, static_argnames="greedy")
    begins, key = jnp.ones(environments, bool), jax.random.key(2)
    memory, taken, said = act(agent.policy(state), agent.remember(environments), observation, begins, key)
    assert jax.tree.leaves(memory) == []
    assert taken.shape == (environments, *((action.size,) if isinstance(action, Continuous) else ()))
    expected, _ = log_probability_and_entropy(*in_float64((state.params, observation, taken)))
    np.testing.assert_allclose(said.log_prob, expected, rtol=1e-5)
    V = perceptron(in_float64(state.params["value"]), np.asarray(observation, float))[:, 0]
    np.testing.assert_allclose(said.value, V, rtol=1e-5, atol=1e-6)
    _, again, _ = act(agent.policy(state), memory, observation, ~begins, key)
    np.testing.assert_array_equal(taken, again)  # it remembers nothing, so that it does not matter what begins
    _, greedy, said = act(agent.policy(state), memory, observation, begins, key, greedy=True)
    outputs = perceptron(in_float64(state.params["policy"]), np.asarray(observation))
    expected = outputs if isinstance(action, Continuous) else outputs.argmax(1)
    np.testing.assert_allclose(greedy, expected, rtol=1e-5)
    assert said.log_prob.shape == (environments,)


@pytest.mark.parametrize("truncation", ["terminal", "bootstrap"])
def test_it_does_not_matter_how_many_environments_steps_come_from(truncation):
    # The same sixteen steps from four environments, or one after another from one: where an environment's steps break
    # off in the first, the value of what follows stands for the future, as it does where an episode is cut short.
    config = dataclasses.replace(CONFIG, horizon=4, minibatches=1, truncation=truncation)
    action = Continuous(2)
    four = some_transitions(action, seed=0, environments=4)
    ends = jnp.zeros((4, 4), bool).at[-1].set(True)
    four = four._replace(terminated=four.terminated & ~ends, truncated=four.truncated & ~ends)
    ending = "truncated" if truncation == "bootstrap" else "terminated"
    ended = four._replace(**{ending: getattr(four, ending) | ends})
    one = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(16, 1, *x.shape[2:]), ended)

    def learn(horizon, environments, transitions):
        settings = dataclasses.replace(config, horizon=horizon)
        agent = ppo.make(settings, arena_of(action, environments), no_methods)
        return jax.jit(agent.learn)(jax.jit(agent.init)(jax.random.key(0)), transitions, jnp.int32(0))

    alone = learn(16, 1, one)
    for transitions in [four, ended] if truncation == "bootstrap" else [ended]:
        state, metrics = learn(4, 4, transitions)
        assert_close(state.params, alone[0].params)
        assert_close(metrics, alone[1])


def test_a_long_horizon_is_measured_by_its_last_thousand_samples():
    config = dataclasses.replace(CONFIG, horizon=600, minibatches=1, hidden_layers=1)
    agent = ppo.make(config, arena_of(Continuous(2), environments=2), no_methods)
    state = jax.jit(agent.init)(jax.random.key(0))
    after = state._replace(params=jax.tree.map(jnp.ones_like, state.params))
    transitions = some_transitions(Continuous(2), 0, horizon=600, environments=2)
    signals = jax.jit(agent.signals)(state, after, transitions)
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
    ppo.make(CONFIG, arena_of(Continuous(2)), lambda wiring, network: given.append((wiring, network)) or ())
    (wiring, network), *_ = given
    assert {name: group.units for name, group in wiring.items()} == {
        "policy/Dense_0": 3, "policy/Dense_1": 3, "value/Dense_0": 3, "value/Dense_1": 3,
    }  # fmt: skip
    assert network.activation == "tanh" and set(network.init(jax.random.key(0))) == {"policy", "value", "log_std"}


def test_the_step_that_methods_are_told_goes_on_from_call_to_call():
    # A round has 2 epochs of 2 minibatches: four updates.
    def recorder(wiring, network):
        def update(grads, state, params=None, *, step, features, **signals):
            return grads, jnp.append(state[1:], step)

        return (optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(4, jnp.int32), update),)

    agent = ppo.make(CONFIG, arena_of(Discrete(3)), recorder)
    state, learn = jax.jit(agent.init)(jax.random.key(0)), jax.jit(agent.learn)
    for told in ([1, 2, 3, 4], [5, 6, 7, 8]):
        state, _ = learn(state, some_transitions(Discrete(3), 0), jnp.int32(told[0] // 4))
        assert state.optimizer.before[0].tolist() == told


@pytest.mark.parametrize("clear_memory", [False, True])
def test_moments_of_fresh_weights_are_cleared_where_it_says_so(clear_memory):
    # Each unit of the three is mature at once, and a third of them goes at each step.
    def renewing(wiring, network):
        return (continual_backprop(wiring, 1 / 3, maturity=0, activation=network.activation),)

    config = dataclasses.replace(CONFIG, clear_memory=clear_memory)
    agent = ppo.make(config, arena_of(Continuous(2)), renewing)
    state = jax.jit(agent.init)(jax.random.key(0))
    state, _ = jax.jit(agent.learn)(state, some_transitions(Continuous(2), 0), jnp.int32(0))
    (method,) = state.optimizer.after
    assert method.replaced == dict.fromkeys(method.replaced, 4)
    mu = optax.tree.get(state.optimizer.optimizer, "mu")
    for name, age in method.age.items():
        network, layer = name.split("/")
        cleared = (np.asarray(mu[network][layer]["kernel"]) == 0).all(0)
        np.testing.assert_array_equal(cleared, (np.asarray(age) == 0) & clear_memory)


def test_compiles_once():
    agent = ppo.make(CONFIG, arena_of(Continuous(2)), lambda wiring, network: (continual_backprop(wiring, 0.1),))
    state, learn = jax.jit(agent.init)(jax.random.key(0)), jax.jit(agent.learn)
    for call in range(3):
        state, _ = learn(state, some_transitions(Continuous(2), call), jnp.int32(call))
    assert learn._cache_size() == 1


def test_members_with_settings_of_their_own_learn_at_once_as_they_do_alone():
    swept = {
        "step_size": [0.02, 0.001], "b1": [0.8, 0.5], "b2": [0.95, 0.99], "epsilon": [1e-5, 1e-3],
        "discount": [0.9, 0.5], "trace_decay": [0.8, 0.3], "clip": [0.2, 0.1], "value_coefficient": [1.0, 0.5],
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
