"""What every method owes, whatever it does: whoever joins `pliant.methods` is tested here by that alone."""

import functools
import inspect
import typing

import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pliant.methods
from pliant.core.base import Surgery, Topology, plastic

METHODS = {name: getattr(pliant.methods, name) for name in dir(pliant.methods) if not name.startswith("_")}
CONTEXT = {"wiring", "initialize"}  # what a method may ask of the network; all else are settings
BUSY = {"period": 2, "maturity": 1, "replacement_rate": 0.2, "threshold": 0.5}  # so that it acts within a few steps
SIZES = (3, 5, 4, 2)
STEPS = 6


def build(name, dtype=jnp.float32, **settings):
    """A method with its settings, for the network of this file."""
    parameters = inspect.signature(METHODS[name]).parameters
    context = {"wiring": hand_wired.mlp(*SIZES), "initialize": hand_wired.initializer(*SIZES, dtype=dtype)}
    given = {k: v for k, v in {**BUSY, **context, **settings}.items() if k in parameters}
    return METHODS[name](**given)


def train(tx, seed=0, steps=STEPS, dtype=jnp.float32, **extra):
    """Parameters and state after some steps on random data, in one compiled loop."""
    wiring = hand_wired.mlp(*SIZES)
    params_key, data_key = jax.random.split(jax.random.key(seed))
    params = hand_wired.initializer(*SIZES, dtype=dtype)(params_key)

    def loss(params, x):
        output, features = wiring.apply(params, x)
        return (output.astype(jnp.float32) ** 2).mean(), features

    def step(carry, this):
        params, state = carry
        x, number = this
        grads, features = jax.grad(loss, has_aux=True)(params, x)
        return tx.step(grads, state, params, features=features, step=number, **extra), None

    xs = (jax.random.normal(data_key, (steps, 8, SIZES[0]), dtype), 1 + jnp.arange(steps))
    params = tx.prepare(params)
    return jax.lax.scan(step, (params, tx.init(params)), xs)[0]


def assert_same(a, b, **tolerance):
    def check(x, y):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_allclose(np.asarray(x, float), np.asarray(y, float), **tolerance)

    jax.tree.map(check, a, b)


def settings_of(name):
    parameters = inspect.signature(METHODS[name]).parameters
    return {k: p for k, p in parameters.items() if k not in CONTEXT}


@pytest.mark.parametrize("name", METHODS)
def test_its_settings_make_a_command_line(name):
    hints = typing.get_type_hints(METHODS[name])
    document = inspect.getdoc(METHODS[name])
    for setting, parameter in settings_of(name).items():
        assert parameter.default is not parameter.empty, f"{setting} has no default; only {CONTEXT} may have none"
        allowed = hints[setting] in (float, int, bool, str) or typing.get_origin(hints[setting]) is typing.Literal
        assert allowed, f"{setting}: {hints[setting]}"
        assert f"\n    {setting}: " in document or f"{setting}, " in document
    assert "\nArgs:\n" in document and "\nReferences:\n" in document and "\nDiffers from the authors' code:" in document
    assert document.splitlines()[0].endswith(".") and document.splitlines()[1] == ""


@functools.cache
def trained_without():
    """The parameters after the same steps without any method."""
    return jax.jit(lambda: train(plastic(optax.sgd(0.1))))()[0]


@pytest.mark.parametrize("name", METHODS)
def test_acts(name):
    params, _ = jax.jit(lambda: train(plastic(optax.sgd(0.1), build(name))))()
    plain = trained_without()
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    assert any((params[path] != plain[path]).any() for path in plain)


@pytest.mark.parametrize("name", METHODS)
def test_compiles_once(name):
    tx = plastic(optax.sgd(0.1), build(name))
    wiring, params = hand_wired.mlp(*SIZES), hand_wired.initializer(*SIZES)(jax.random.key(0))
    state = jax.jit(tx.init)(params)
    traces = []

    @jax.jit
    def step(params, state, x, number):
        traces.append(None)
        _, features = wiring.apply(params, x)
        return tx.step(params, state, params, features=features, step=number)

    for i in range(1, 6):
        params, state = step(params, state, jnp.full((8, SIZES[0]), 1.0 + i), jnp.int32(i))
    assert len(traces) == 1


@pytest.mark.parametrize("name", METHODS)
def test_vmap_over_seeds_equals_a_loop(name):
    def run(seed):
        return train(plastic(optax.sgd(0.1), build(name), key=jax.random.key(seed)), seed)

    together = jax.jit(jax.vmap(run))(jnp.arange(3))
    alone = jax.jit(run)
    for i in range(3):
        assert_same(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone(i), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_numeric_settings_can_be_swept(name):
    hints = typing.get_type_hints(METHODS[name])
    numbers = {k: p.default for k, p in settings_of(name).items() if hints[k] is float}
    if "period" in settings_of(name):
        numbers["period"] = BUSY["period"]

    def run(values):
        return train(plastic(optax.sgd(0.1), build(name, **values)), steps=4)

    defaults = {k: BUSY.get(k, v) for k, v in numbers.items()}
    swept = jax.jit(jax.vmap(run))({k: jnp.full(2, v) for k, v in defaults.items()}) if defaults else None
    if swept is not None:
        fixed = jax.jit(lambda: run(defaults))()
        assert_same(jax.tree.map(lambda leaf: leaf[1], swept)[0], fixed[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_keeps_dtypes(name):
    params, state = jax.eval_shape(
        lambda: train(plastic(optax.adam(0.1), build(name, jnp.bfloat16)), dtype=jnp.bfloat16)
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(optax.tree.get(state.optimizer, "mu"))} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("name", METHODS)
def test_is_deterministic_in_the_key(name):
    def run(seed):
        return train(plastic(optax.sgd(0.1), build(name), key=jax.random.key(seed)))

    run = jax.jit(run)
    assert_same(run(0), run(0), rtol=0)


@pytest.mark.parametrize("name", METHODS)
def test_draws_ahead_equal_draws_inside(name):
    tx = plastic(optax.sgd(0.1), build(name))
    wiring, params = hand_wired.mlp(*SIZES), hand_wired.initializer(*SIZES)(jax.random.key(0))
    _, features = wiring.apply(params, jnp.ones((8, SIZES[0])))
    state = tx.init(params)
    step = jax.jit(lambda state, random: tx.step(params, state, params, features=features, step=2, random=random))
    drawn = jax.jit(tx.draw, static_argnums=2)(jax.random.split(state.key)[1], params, 1)
    inside, _ = step(state, None)
    ahead, _ = step(state, jax.tree.map(lambda d: d[0], drawn))
    assert_same(inside, ahead, rtol=0)


@pytest.mark.parametrize("name", METHODS)
def test_draws_of_many_steps_have_a_leading_axis(name):
    params = hand_wired.initializer(*SIZES)(jax.random.key(0))
    method = build(name)
    for piece in method if type(method) is tuple else (method,):
        if isinstance(piece, Surgery | Topology):
            drawn = jax.eval_shape(lambda piece=piece: piece.draw(jax.random.key(0), params, 7))
            assert all(leaf.shape[0] == 7 for leaf in jax.tree.leaves(drawn))


def with_signals(name):
    """The method's transformation, parameters, and all signals there are."""
    params = hand_wired.initializer(*SIZES)(jax.random.key(0))
    _, features = hand_wired.mlp(*SIZES).apply(params, jnp.ones((8, SIZES[0])))
    tx = plastic(optax.sgd(0.1), build(name))
    return tx, params, {"features": features, "step": 2}


@pytest.mark.parametrize("name", METHODS)
def test_ignores_unknown_signals_and_names_a_missing_one(name):
    tx, params, signals = with_signals(name)
    jax.eval_shape(lambda: tx.step(params, tx.init(params), params, **signals, weather="fine"))
    needed = {word for word in ("features",) if f"\n    {word}: " in inspect.getdoc(METHODS[name])}
    for signal in signals:
        some = {k: v for k, v in signals.items() if k != signal}
        if signal in needed:
            with pytest.raises(TypeError, match=f"keyword-only argument: '{signal}'"):
                jax.eval_shape(lambda some=some: tx.step(params, tx.init(params), params, **some))
        else:
            jax.eval_shape(lambda some=some: tx.step(params, tx.init(params), params, **some))


@pytest.mark.parametrize("name", METHODS)
def test_works_behind_optax_wrappers_and_without_a_step_signal(name):
    tx = optax.chain(optax.clip_by_global_norm(1.0), plastic(optax.adam(0.1), build(name)))
    _, params, signals = with_signals(name)
    updates, _ = jax.jit(lambda: tx.update(params, tx.init(params), params, features=signals["features"]))()
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(updates))


def test_all_compose():
    together = plastic(optax.adam(0.01), *map(build, METHODS))
    params, state = jax.jit(lambda: train(together))()
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((params, state.optimizer)))
    # Each finds its own state, as many surgeries and gradient pieces as there are.
    assert len(state.after) + len(state.before) >= len(METHODS)


@pytest.mark.parametrize("first", METHODS)
def test_composes_with_each_other(first):
    for second in METHODS:
        tx = plastic(optax.adam(0.01), build(first), build(second))
        params, _ = jax.eval_shape(lambda tx=tx: train(tx))
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("name", METHODS)
def test_promotes_no_dtype_in_silence(name):
    # By gradient descent, for optax's Adam itself promotes.
    with jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(lambda: train(plastic(optax.sgd(0.1), build(name))))
