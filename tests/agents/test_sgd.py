import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trees

from pliant.agents import sgd
from pliant.core.clock import Clock
from pliant.core.judgement import cross_entropy
from pliant.core.plastic import plastic
from pliant.core.problem import Batch, Network, Stream
from pliant.core.timing import each_task
from pliant.core.units import Wiring
from pliant.methods import continual_backprop, full_reset, head_reset, l2, l2_init
from pliant.problems import slowly_changing_regression

STEPS = 500


def no_methods(wiring, network, updates):
    del wiring, network, updates
    return ()


def regression(**settings):
    return slowly_changing_regression.make(slowly_changing_regression.Config(flip_every=100, **settings))


def begin(config, stream, methods_for=no_methods, seed=0):
    """A learner, its state, and random batches of `STEPS` steps: what is on a stream makes no difference to it."""
    learner = sgd.make(config, stream, methods_for)
    return learner, jax.jit(learner.init)(trees.key(seed)), some_batches(seed)


def some_batches(seed=0, steps=STEPS, size=1):
    """Of 20 random bits, and a number that depends on them."""
    random = np.random.default_rng(seed)
    x = random.integers(2, size=(steps, size, 20)).astype(np.float32)
    y = np.tanh(x @ random.normal(size=(20, 1))) + 0.1 * random.normal(size=(steps, size, 1))
    return Batch(x, y.astype(np.float32))


def learn(learner, state, batches, step=0):
    state, judged = trees.numpy(jax.jit(learner.learn)(state, batches, Clock(np.int32(step + 1), np.int32(step))))
    return state, judged.loss


def cut(tree, part):
    """An index or a slice of the leading axis of all arrays."""
    return jax.tree.map(lambda x: x[part], tree)


def plain_loop(optimizer, stream, params, batches):
    """The parameters and losses of an optax loop without this project."""

    def loss(params, batch):
        return jnp.mean((stream.network.apply(params, batch.x) - batch.y) ** 2)

    def step(carry, batch):
        params, opt_state = carry
        error, grads = jax.value_and_grad(loss)(params, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), error

    (params, _), errors = jax.jit(lambda params: jax.lax.scan(step, (params, optimizer.init(params)), batches))(params)
    return params, errors


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
        # As long as no weight is reinitialized, all weights have the same count.
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
    """A stream of batches of 8 of three inputs, in four classes, for a linear network; and such batches."""
    random = np.random.default_rng(0)
    y = random.integers(4, size=(STEPS, 8)).astype(np.int32)
    corners = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]])
    batches = Batch((corners[y] + 0.3 * random.normal(size=(STEPS, 8, 3))).astype(np.float32), y)

    def init(key):
        return {"w": jax.random.normal(key, (3, 4)), "b": jnp.zeros(4)}

    network = Network(init, lambda params, x: x @ params["w"] + params["b"][None])
    return Stream(lambda *_: (), lambda data, state, _: (state, batches), cross_entropy, network, STEPS), batches


def test_cross_entropy_is_softmax_regression_written_out():
    stream, batches = classification()
    learner, state, _ = begin(sgd.Config(learning_rate=0.1), stream)
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


def centred():
    """A network of three inputs and four units, from which a running mean is subtracted; in training, the batch's."""

    def init(key):
        params = {"w0": jnp.ones((3, 4)), "w1": jax.random.normal(key, (4, 2))}
        return {"params": params, "statistics": {"mean": jnp.zeros(4)}}

    def read(variables, h, mean):
        return jax.nn.relu(h - mean[None]) @ variables["params"]["w1"]

    def train(variables, x):
        h, m = x @ variables["params"]["w0"], variables["statistics"]["mean"]
        moved = {"mean": 0.9 * m + 0.1 * h.mean(0)}
        return read(variables, h, h.mean(0)), {**variables, "statistics": moved}

    def apply(variables, x):
        return read(variables, x @ variables["params"]["w0"], variables["statistics"]["mean"])

    return Network(init, apply, train=train)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "per_weight_adam"])
def test_running_statistics_follow_the_data_whatever_optimizer_and_methods_do(optimizer):
    # With a learning rate of 0 the weights stay. Those of the units are 1: the mean follows that of the inputs' sum.
    # Decay and noise are added to all gradients, and at the last step all weights are reinitialized.
    steps = 6
    x, y = trees.normal(0, steps, 8, 3), np.zeros((steps, 8), np.int32)
    stream = Stream(lambda *_: (), lambda data, state, _: (state, Batch(x, y)), cross_entropy, centred(), steps)
    config = sgd.Config(optimizer, learning_rate=0.0, momentum=0.9, decay_epochs="2,4")
    methods = l2(0.1), optax.add_noise(0.1, 0.5, jax.random.key(1)), full_reset(stream.network.init, period=steps)
    learner = sgd.make(config, stream, lambda *_: methods)

    @jax.jit
    def run(key):
        state, _ = learner.learn(learner.init(key), Batch(x, y), Clock(1))
        return state, learner.predict(state, x[0])

    state, predicted = trees.numpy(run(trees.key(0)))
    m = 0.0
    for batch in x.astype(float).sum(2):
        m = 0.9 * m + 0.1 * batch.mean()
    np.testing.assert_allclose(state.params["statistics"]["mean"], np.full(4, m), rtol=1e-5)
    h = np.maximum(x[0] @ state.params["params"]["w0"] - m, 0)
    np.testing.assert_allclose(predicted, h @ state.params["params"]["w1"], rtol=1e-5, atol=1e-6)
    # The moments of the fresh weights begin anew, although those of statistics do not exist.
    moments = optax.tree.get_all_with_path(state.optimizer, "trace" if optimizer == "sgd" else "nu")
    assert len(moments) == 1 and not any(leaf.any() for leaf in jax.tree.leaves(moments[0][1]["params"]))
    assert jax.tree.leaves(moments[0][1]["statistics"]) == []


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
    # 50 are reinitialized.
    config, stream = sgd.Config(optimizer=optimizer, momentum=0.5), regression()
    learner, start, batches = begin(config, stream, renewing)
    state, losses = learn(learner, start, batches)
    assert optax.tree.get(state.optimizer, "replaced") == {"Dense_0": 50}
    assert optax.tree.get(state.optimizer, "age")["Dense_0"].min() == 0
    trees.assert_equal(optax.tree.get(state.optimizer, "initial"), start.params)

    # The same in a loop of optax, with the random numbers that the learner drew.
    wirings = []
    sgd.make(config, stream, lambda wiring, *_: wirings.append(wiring) or ())
    [wiring, *_] = wirings
    tx = plastic(sgd._optimizer(config, start.params), *renewing(wiring, None, 0))

    def step(carry, this):
        (params, opt_state), (batch, random) = carry, this

        def loss(params):
            prediction, features = wiring.apply(params, batch.x)
            return jnp.mean((prediction - batch.y) ** 2), features

        (error, features), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state, params, random=random, features=features)
        return (optax.apply_updates(params, updates), opt_state), error

    def loop(start):
        _, draw_key = jax.random.split(start.optimizer.key)
        draws = tx.draw(draw_key, start.params, STEPS)
        return jax.lax.scan(step, (start.params, start.optimizer), (batches, draws))

    (params, _), expected = jax.jit(loop)(start)
    assert_close(losses, expected)
    assert_close(state.params, params)


def test_what_is_drawn_for_the_methods_is_new_in_each_call_and_for_each_seed():
    learner = sgd.make(sgd.Config(), regression(), renewing)
    init = jax.jit(learner.init)
    state, other = init(trees.key(0)), init(trees.key(1))
    after, _ = learn(learner, state, some_batches())
    keys = [trees.numpy(optimizer.key).tolist() for optimizer in (state.optimizer, other.optimizer)]
    assert keys[0] != keys[1] and after.optimizer.key.tolist() not in keys
    # 20 + 1 fresh incoming weights and no other random numbers, for one unit, in float32.
    assert learner.drawn_per_step >= 4 * 20


def test_without_methods_nothing_is_drawn():
    learner, state, batches = begin(sgd.Config(), regression())
    assert learner.drawn_per_step == 0
    whole, losses = learn(learner, state, batches)
    half = STEPS // 2
    state, losses_first = learn(learner, state, cut(batches, slice(half)))
    state, losses_rest = learn(learner, state, cut(batches, slice(half, None)), half)
    np.testing.assert_array_equal(losses, np.concatenate([losses_first, losses_rest]))
    trees.assert_equal(whole.params, state.params)


def test_signals_are_what_diagnostics_need():
    learner, state, _ = begin(sgd.Config(), regression(), renewing)
    state = state._replace(params=trees.random_like(state.params))
    probe = cut(some_batches(steps=1, size=9), 0)
    previous = state._replace(params=jax.tree.map(np.zeros_like, state.params))
    signals = trees.numpy(jax.jit(learner.signals)(previous, state, probe))
    assert set(signals) == {"params", "previous_params", "features", "grads", "method_state"}
    trees.assert_equal(signals["previous_params"], previous.params)
    layers = jax.tree.map(np.asarray, state.params["params"])
    W, b, v, d = (layers[name][leaf] for name in ("Dense_0", "Dense_1") for leaf in ("kernel", "bias"))
    x, y = (np.asarray(value) for value in probe)
    h = np.maximum(x @ W + b, 0)
    assert_close(signals["features"], {"Dense_0": h})
    # The loss is the mean over 9 examples of (h v + d - y)^2.
    assert_close(signals["grads"]["params"]["Dense_1"]["kernel"], 2 / 9 * h.T @ (h @ v + d - y))
    trees.assert_equal(signals["params"], state.params)
    assert optax.tree.get(signals["method_state"], "replaced") == {"Dense_0": 0}


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
    stream, batches = regression(), some_batches(steps=50)

    def run(settings):
        learner = sgd.make(dataclasses.replace(base, **settings), stream, no_methods)
        return learner.learn(learner.init(jax.random.key(0)), batches, Clock(1))[1].loss

    swept = {name: np.float32(values) for name, values in swept.items()}
    together = np.asarray(jax.jit(jax.vmap(run))(swept))
    assert_close(together[1], jax.jit(run)(cut(swept, 1)))
    assert (together[0] != together[1]).any()


@pytest.mark.parametrize("reset_moments", [True, False])
def test_a_head_is_reset_before_each_task(reset_moments):
    # Momentum of the old task moves a head of zeros on, unless it is reset with it.
    config = sgd.Config(momentum=0.9, reset_moments=reset_moments)

    def heads(wiring, network, updates):
        return (each_task(head_reset(wiring, network.init)),)

    learner, state, batches = begin(config, regression(), heads)
    learn = jax.jit(learner.learn)
    before, _ = learn(state, cut(batches, slice(20)), Clock(np.int32(1), task_update=np.int32(1)))
    one = cut(batches, slice(20, 21))
    after, judged = learn(before, one, Clock(np.int32(21), task=np.int32(1), task_update=np.int32(1)))
    old, new = (trees.numpy(optax.tree.get(state.optimizer.optimizer, "trace")["params"]) for state in (before, after))
    # A head of zeros predicts 0: the loss is y², its gradient -2 y at the bias, and 0 at all that the head reads.
    y, kept = one.y.item(), 0 if reset_moments else 0.9
    assert_close(judged.loss, np.array([y**2]))
    assert_close(new["Dense_1"]["bias"], -2 * y + kept * old["Dense_1"]["bias"])
    assert_close(new["Dense_0"], jax.tree.map(lambda x: 0.9 * x, old["Dense_0"]))
    head = trees.numpy(after.params["params"]["Dense_1"])
    assert_close(head, jax.tree.map(lambda x: -config.learning_rate * x, new["Dense_1"]))
