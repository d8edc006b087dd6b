import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pliant.agents import sgd
from pliant.core.base import plastic
from pliant.core.problem import Batch, Network, Stream
from pliant.core.units import Wiring
from pliant.methods import continual_backprop, l2_init
from pliant.problems import slowly_changing_regression

STEPS = 500


def no_methods(wiring, network, updates):
    del wiring, network, updates
    return ()


def regression(**settings):
    return slowly_changing_regression.make(slowly_changing_regression.Config(flip_every=100, **settings))


def begin(config, stream, methods_for=no_methods, seed=0):
    """A learner, its state, and the batches of `STEPS` steps."""
    learner = sgd.make(config, stream, methods_for)
    data_key, agent_key = jax.random.split(jax.random.key(seed))
    _, batches = jax.jit(stream.draw, static_argnums=1)(stream.init(data_key), STEPS)
    return learner, jax.jit(learner.init)(agent_key), batches


def learn(learner, state, batches, step=0):
    return jax.jit(learner.learn)(state, batches, jnp.int32(step))


def cut(tree, part):
    """An index or a slice of the leading axis of all arrays."""
    return jax.tree.map(lambda x: x[part], tree)


def plain_loop(optimizer, stream, params, batches):
    """The losses of an optax loop without this project, one compiled step at a time."""

    def loss(params, batch):
        return jnp.mean((stream.network.apply(params, batch.x) - batch.y) ** 2)

    @jax.jit
    def step(params, memory, batch):
        error, grads = jax.value_and_grad(loss)(params, batch)
        updates, memory = optimizer.update(grads, memory, params)
        return optax.apply_updates(params, updates), memory, error

    memory, errors = optimizer.init(params), []
    for k in range(STEPS):
        params, memory, error = step(params, memory, cut(batches, k))
        errors.append(error)
    return params, np.array(errors)


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-5), a, b)


def test_sgd_is_backpropagation_written_out():
    # A network of 5 ReLU units, y = v h + d with h = max(0, x W + b), under (prediction - target)^2, in float64.
    learning_rate = 0.01
    learner, state, batches = begin(sgd.Config(learning_rate=learning_rate), regression())
    layers = jax.tree.map(lambda w: np.asarray(w, float), state.params["params"])
    W, b = layers["Dense_0"]["kernel"], layers["Dense_0"]["bias"]
    v, d = layers["Dense_1"]["kernel"][:, 0], layers["Dense_1"]["bias"][0]
    expected = []
    for x, target in zip(np.asarray(batches.x[:, 0], float), np.asarray(batches.y[:, 0, 0], float)):
        h = np.maximum(x @ W + b, 0)
        error = h @ v + d - target
        expected.append(error**2)
        back = 2 * error * v * (h > 0)
        v, d = v - learning_rate * 2 * error * h, d - learning_rate * 2 * error
        W, b = W - learning_rate * np.outer(x, back), b - learning_rate * back
    state, losses = learn(learner, state, batches)
    np.testing.assert_allclose(losses, expected, rtol=2e-3, atol=1e-5)
    after = {"Dense_0": {"kernel": W, "bias": b}, "Dense_1": {"kernel": v[:, None], "bias": d[None]}}
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=1e-4), state.params["params"], after
    )


@pytest.mark.parametrize(
    ("settings", "optimizer"),
    [
        ({"learning_rate": 0.01}, optax.sgd(0.01)),
        ({"learning_rate": 0.003, "momentum": 0.9}, optax.sgd(0.003, momentum=0.9)),
        ({"optimizer": "adam", "learning_rate": 0.003}, optax.adam(0.003)),
        ({"optimizer": "adam", "learning_rate": 0.003, "b1": 0.5, "b2": 0.99}, optax.adam(0.003, 0.5, 0.99)),
        # As long as no weight is made anew the count of each is that of all.
        ({"optimizer": "per_weight_adam", "learning_rate": 0.003, "b1": 0.8}, optax.adam(0.003, 0.8)),
    ],
    ids=["sgd", "momentum", "adam", "adam's decays", "per_weight_adam"],
)
def test_equals_a_plain_optax_loop(settings, optimizer):
    stream = regression(activation="tanh")
    learner, state, batches = begin(sgd.Config(**settings), stream)
    params, expected = plain_loop(optimizer, stream, state.params, batches)
    state, losses = learn(learner, state, batches)
    assert_close(losses, expected)
    assert_close(state.params, params)


def classification():
    """Four classes of points around four corners, in batches of 8, for a linear network of three inputs and a bias."""

    def draw(state, steps):
        label_key, noise_key = jax.random.split(state)
        y = jax.random.randint(label_key, (steps, 8), 0, 4)
        corners = jnp.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]])
        return state, Batch(corners[y] + 0.3 * jax.random.normal(noise_key, (steps, 8, 3)), y)

    def init(key):
        return {"w": jax.random.normal(key, (3, 4)), "b": jnp.zeros(4)}

    network = Network(init, lambda params, x: x @ params["w"] + params["b"][None])
    return Stream(lambda key: key, draw, network, "cross_entropy", STEPS)


def test_cross_entropy_is_softmax_regression_written_out():
    learner, state, batches = begin(sgd.Config(learning_rate=0.1), classification())
    w, b = (np.asarray(state.params[name], float) for name in ("w", "b"))
    expected = []
    for x, y in zip(np.asarray(batches.x, float), np.asarray(batches.y)):
        z = np.exp(x @ w + b)
        p, truth = z / z.sum(1, keepdims=True), np.eye(4)[y]
        expected.append(-np.log((p * truth).sum(1)).mean())
        w, b = w - 0.1 * x.T @ (p - truth) / 8, b - 0.1 * (p - truth).mean(0)
    state, losses = learn(learner, state, batches)
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.params["w"], w, atol=1e-4)
    np.testing.assert_allclose(state.params["b"], b, atol=1e-4)


def test_methods_get_the_wiring_and_the_network():
    stream, given = regression(hidden_units=7), []

    def methods_for(wiring, network, updates):
        given.append((wiring, network))
        return ()

    sgd.make(sgd.Config(), stream, methods_for)
    for wiring, network in given:
        assert isinstance(wiring, Wiring)
        assert [(name, group.units) for name, group in wiring.items()] == [("Dense_0", 7)]
        assert network is stream.network


def renewing(wiring, network, updates):
    del network
    return (continual_backprop(wiring, replacement_rate=0.02, maturity=0), l2_init(1e-3))


@pytest.mark.parametrize("optimizer", ["sgd", "per_weight_adam"])
def test_methods_on_both_sides_of_the_optimizer(optimizer):
    # Five units of which each is mature from its first step on: 0.02 x 5 units are due each step, so that in 500 steps
    # 50 are made anew.
    config, stream = sgd.Config(optimizer=optimizer, momentum=0.5), regression()
    learner, start, batches = begin(config, stream, renewing)
    state, losses = learn(learner, start, batches)
    assert optax.tree.get(state.optimizer, "replaced") == {"Dense_0": 50}
    assert optax.tree.get(state.optimizer, "age")["Dense_0"].min() == 0
    initial = optax.tree.get(state.optimizer, "initial")
    jax.tree.map(np.testing.assert_array_equal, initial, start.params)

    # The same, a step at a time, in a loop of optax, with the random numbers that the learner drew.
    wirings = []
    sgd.make(config, stream, lambda wiring, *_: wirings.append(wiring) or ())
    [wiring, *_] = wirings
    tx = plastic(sgd._optimizer(config), *renewing(wiring, None, 0))
    _, draw_key = jax.random.split(start.optimizer.key)
    draws = tx.draw(draw_key, start.params, STEPS)

    @jax.jit
    def step(params, memory, batch, random):
        def loss(params):
            prediction, features = wiring.apply(params, batch.x)
            return jnp.mean((prediction - batch.y) ** 2), features

        (error, features), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, memory = tx.update(grads, memory, params, random=random, features=features)
        return optax.apply_updates(params, updates), memory, error

    params, memory, expected = start.params, start.optimizer, []
    for k in range(STEPS):
        batch, random = cut((batches, draws), k)
        params, memory, error = step(params, memory, batch, random)
        expected.append(error)
    assert_close(losses, np.array(expected))
    assert_close(state.params, params)


def test_the_step_that_methods_are_told_goes_on_from_call_to_call():
    told = []

    def recorder(wiring, network, updates):
        del wiring, network

        def update(grads, state, params=None, *, step, **signals):
            del params, signals
            return grads, jnp.stack([state[1], step.astype(jnp.int32)])

        return (optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(2, jnp.int32), update),)

    learner, state, batches = begin(sgd.Config(), regression(), recorder)
    half = cut(batches, slice(250))
    for calls in range(2):
        state, _ = learn(learner, state, half, 250 * calls)
        told.append(state.optimizer.before[0].tolist())
    assert told == [[249, 250], [499, 500]]


def test_what_is_drawn_for_the_methods_is_new_in_each_call_and_for_each_seed():
    learner, state, _ = begin(sgd.Config(), regression(), renewing)
    _, other, batches = begin(sgd.Config(), regression(), renewing, seed=1)
    assert (jax.random.key_data(state.optimizer.key) != jax.random.key_data(other.optimizer.key)).any()
    after, _ = learn(learner, state, batches)
    assert (jax.random.key_data(state.optimizer.key) != jax.random.key_data(after.optimizer.key)).any()
    # 20 + 1 fresh incoming weights and no other random numbers, for one unit, in float32.
    assert learner.drawn_per_step >= 4 * 20


def test_without_methods_nothing_is_drawn():
    learner, state, batches = begin(sgd.Config(), regression())
    assert learner.drawn_per_step == 0
    whole, losses = learn(learner, state, batches)
    state, losses_first = learn(learner, state, cut(batches, slice(200)))
    state, losses_rest = learn(learner, state, cut(batches, slice(200, None)), 200)
    np.testing.assert_array_equal(losses, np.concatenate([losses_first, losses_rest]))
    jax.tree.map(np.testing.assert_array_equal, whole.params, state.params)


def test_signals_are_what_diagnostics_need():
    learner, state, batches = begin(sgd.Config(), regression(), renewing)
    state, _ = learn(learner, state, batches)
    probe = Batch(batches.x[:9, 0], batches.y[:9, 0])
    previous = state._replace(params=jax.tree.map(jnp.zeros_like, state.params))
    signals = jax.jit(learner.signals)(previous, state, probe)
    assert set(signals) == {"params", "previous_params", "features", "grads", "method_state"}
    jax.tree.map(np.testing.assert_array_equal, signals["previous_params"], previous.params)
    layers = jax.tree.map(np.asarray, state.params["params"])
    W, b, v, d = (layers[name][leaf] for name in ("Dense_0", "Dense_1") for leaf in ("kernel", "bias"))
    x, y = (np.asarray(value) for value in probe)
    h = np.maximum(x @ W + b, 0)
    assert_close(signals["features"], {"Dense_0": h})
    # The loss is the mean over 9 examples of (h v + d - y)^2.
    assert_close(signals["grads"]["params"]["Dense_1"]["kernel"], 2 / 9 * h.T @ (h @ v + d - y))
    jax.tree.map(np.testing.assert_array_equal, signals["params"], state.params)
    assert optax.tree.get(signals["method_state"], "replaced") == {"Dense_0": 50}


def test_compiles_once():
    learner, state, batches = begin(sgd.Config(momentum=0.9), regression(), renewing)
    compiled = jax.jit(learner.learn)
    for call in range(3):
        state, _ = compiled(state, batches, jnp.int32(call * STEPS))
    assert compiled._cache_size() == 1


@pytest.mark.parametrize(
    ("base", "swept"),
    [
        (sgd.Config(), {"learning_rate": [0.01, 0.001], "momentum": [0.0, 0.9]}),
        (sgd.Config("adam", 0.003), {"b1": [0.9, 0.5], "b2": [0.999, 0.9]}),
        (sgd.Config("per_weight_adam", 0.003), {"learning_rate": [0.01, 0.001]}),
    ],
    ids=lambda value: value.optimizer if isinstance(value, sgd.Config) else "",
)
def test_settings_can_be_swept_inside_one_program(base, swept):
    stream = regression()

    def run(settings):
        learner = sgd.make(dataclasses.replace(base, **settings), stream, renewing)
        data_key, agent_key = jax.random.split(jax.random.key(0))
        _, batches = stream.draw(stream.init(data_key), STEPS)
        return learner.learn(learner.init(agent_key), batches, jnp.int32(0))[1]

    together = jax.jit(jax.vmap(run))({name: jnp.array(values) for name, values in swept.items()})
    alone = jax.jit(lambda: run({name: values[1] for name, values in swept.items()}))()
    assert_close(together[1], alone)
    assert (together[0] != together[1]).any()
