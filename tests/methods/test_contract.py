"""The contract of methods; a new file in `pliant.methods` is tested here without further code.

A method is compiled three times: with its settings as numbers, with settings and seed as arrays, and for a population
of both. The tests of numbers compare what these programs gave; all other tests trace, and compile nothing.
"""

import dataclasses
import functools
import inspect
import typing
from typing import Any, NamedTuple

import busy
import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trees

import pliant.methods
from pliant.core.base import Surgery, Topology
from pliant.core.clock import Clock
from pliant.core.lookup import replacements
from pliant.core.plastic import plastic
from pliant.core.units import Group, Outgoing, Vector, Wiring

METHODS = {name: getattr(pliant.methods, name) for name in dir(pliant.methods) if not name.startswith("_")}
CONTEXT = {"wiring", "initialize", "activation", "updates"}  # what the run fills in; all else are settings
SIZES = (3, 5, 4, 2)
WIRING = hand_wired.mlp(*SIZES)
PARAMS = hand_wired.params(*SIZES)
GRADS = trees.random_like(PARAMS, seed=1)
FEATURES = {"w0": np.ones((8, 5), np.float32), "w1": np.ones((8, 4), np.float32)}
SIGNALS = {"features": FEATURES, "clock": Clock(np.int32(2))}
STEPS = 6


def build(name, dtype=jnp.float32, wiring=WIRING, initialize=None, **settings):
    """A method with settings with which it acts, for the network of this file, or another."""
    context = {
        "wiring": wiring,
        "initialize": initialize or hand_wired.initializer(*SIZES, dtype=dtype),
        "activation": "relu",
        "updates": 1000,
    }
    return METHODS[name](**busy.settings(METHODS[name], context) | settings)


def settings_of(name):
    return {k: p for k, p in inspect.signature(METHODS[name]).parameters.items() if k not in CONTEXT}


def numbers_of(name):
    """The settings that a sweep may trace, with the values that `build` gives them."""
    hints = typing.get_type_hints(METHODS[name])
    values = busy.settings(METHODS[name], {})
    return {k: values[k] for k in settings_of(name) if hints[k] is float or k == "period"}


def train(method, seed=0, steps=STEPS, dtype=jnp.float32, optimizer=None, **extra):
    """Parameters and state after some steps on random data, in one loop."""
    params_key, data_key, method_key = jax.random.split(jax.random.key(seed), 3)
    params = hand_wired.initializer(*SIZES, dtype=dtype)(params_key)
    tx = plastic(optax.sgd(0.1) if optimizer is None else optimizer, method, key=method_key)

    def loss(params, x):
        output, features = WIRING.apply(params, x)
        return (output.astype(jnp.float32) ** 2).mean(), features

    def step(carry, this):
        params, state = carry
        x, number = this
        grads, features = jax.grad(loss, has_aux=True)(params, x)
        return tx.step(grads, state, params, features=features, clock=Clock(number), **extra), None

    xs = (jax.random.normal(data_key, (steps, 8, SIZES[0]), dtype), 1 + np.arange(steps, dtype=np.int32))
    params = tx.prepare(params)
    return jax.lax.scan(step, (params, tx.init(params)), xs)[0]


@functools.cache
def trained_without():
    """The parameters after the same steps without any method."""
    return trees.numpy(jax.jit(lambda: train(()))()[0])


class Trained(NamedTuple):
    """Parameters and state after the steps with seed 0, unless another is named."""

    fixed: Any  # with the settings as numbers
    traced: Any  # with the settings as arrays
    again: Any  # by the same program once more
    other: Any  # with seed 2
    together: Any  # with seeds 0, 1 and 2, in a population


@pytest.fixture(scope="module", params=METHODS)
def trained(request):
    """A method's name, and what its three programs gave."""
    name = request.param

    def run(seed, values):
        return train(build(name, **values), seed)

    values = {k: np.asarray(v, np.int32 if k == "period" else np.float32) for k, v in numbers_of(name).items()}
    one, seeds = jax.jit(run), np.arange(3)
    fixed = jax.jit(lambda: train(build(name)))()
    traced, again, other = (one(np.int32(seed), values) for seed in (0, 0, 2))
    together = jax.jit(jax.vmap(run))(seeds, {k: np.stack([v] * 3) for k, v in values.items()})
    return name, Trained(*map(trees.numpy, (fixed, traced, again, other, together)))


def test_acts(trained):
    name, ran = trained
    params, _ = ran.fixed
    assert trees.finite(params)
    assert not trees.same(params, trained_without()), busy.nothing_changed(name)


def test_vmap_over_seeds_and_settings_equals_a_loop(trained):
    _, ran = trained
    trees.assert_close(trees.at(ran.together, 0), ran.traced)
    trees.assert_close(trees.at(ran.together, 2), ran.other)
    assert trees.differs(ran.traced[0], ran.other[0])


def test_numeric_settings_can_be_swept(trained):
    _, ran = trained
    trees.assert_close(ran.traced[0], ran.fixed[0])


def test_is_deterministic_in_the_key(trained):
    _, ran = trained
    assert trees.same(ran.traced, ran.again)


@pytest.mark.parametrize("name", METHODS)
def test_its_settings_make_a_command_line(name):
    hints = typing.get_type_hints(METHODS[name])
    document = inspect.getdoc(METHODS[name])
    for setting, parameter in settings_of(name).items():
        assert parameter.default is not parameter.empty, f"{setting} has no default; only {CONTEXT} may have none"
        allowed = hints[setting] in (float, int, bool, str) or typing.get_origin(hints[setting]) is typing.Literal
        assert allowed, f"{setting}: {hints[setting]}"
        assert f"\n    {setting}: " in document or f"{setting}, " in document
    for section in ("Args:", "Differs from the authors' code:", "References:", "Example:"):
        assert f"\n{section}" in document, f"{name}: its docstring has no {section}"
    assert document.splitlines()[0].endswith(".") and document.splitlines()[1] == ""


@pytest.mark.parametrize("name", METHODS)
def test_compiles_once(name):
    # A state that comes back as it went in, weak types included, needs no second program.
    tx = plastic(optax.sgd(0.1), build(name))
    given = jax.eval_shape(lambda params: (params, tx.init(params)), PARAMS)
    back = jax.eval_shape(
        lambda params, state, grads, signals: tx.step(grads, state, params, **signals), *given, GRADS, SIGNALS
    )
    assert jax.tree.structure(back) == jax.tree.structure(given)
    for before, after in zip(jax.tree.leaves(given), jax.tree.leaves(back)):
        assert (after.shape, after.dtype, after.weak_type) == (before.shape, before.dtype, before.weak_type)


@pytest.mark.parametrize("name", METHODS)
def test_keeps_dtypes(name):
    method = build(name, jnp.bfloat16)
    params, state = jax.eval_shape(lambda: train(method, dtype=jnp.bfloat16, optimizer=optax.adam(0.1)))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(optax.tree.get(state.optimizer, "mu"))} == {np.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("name", METHODS)
def test_promotes_no_dtype_in_silence(name):
    # By gradient descent, for optax's Adam itself promotes.
    with jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(lambda: train(build(name)))


@pytest.mark.parametrize("name", METHODS)
def test_draws_ahead_equal_draws_inside(name):
    tx = plastic(optax.sgd(0.1), build(name))

    def both(params, grads, signals):
        state = tx.init(params)
        drawn = tx.draw(jax.random.split(state.key)[1], params, 1)
        inside, _ = tx.step(grads, state, params, **signals)
        ahead, _ = tx.step(grads, state, params, random=jax.tree.map(lambda d: d[0], drawn), **signals)
        return inside, ahead

    trees.assert_equal(*jax.jit(both)(PARAMS, GRADS, SIGNALS))


@pytest.mark.parametrize("name", METHODS)
def test_draws_of_many_steps_have_a_leading_axis(name):
    for piece in pieces(build(name)):
        if isinstance(piece, Surgery | Topology):
            drawn = jax.eval_shape(lambda piece=piece: piece.draw(jax.random.key(0), PARAMS, 7))
            assert all(leaf.shape[0] == 7 for leaf in jax.tree.leaves(drawn))


@pytest.mark.parametrize("name", METHODS)
def test_ignores_unknown_signals_and_names_a_missing_one(name):
    tx = plastic(optax.sgd(0.1), build(name))

    def step(**signals):
        def one(params, grads, signals):
            return tx.step(grads, tx.init(params), params, **signals)

        return jax.eval_shape(one, PARAMS, GRADS, signals)

    step(**SIGNALS, weather=np.float32(0))
    needed = {word for word in ("features",) if f"\n    {word}: " in inspect.getdoc(METHODS[name])}
    for signal in SIGNALS:
        some = {k: v for k, v in SIGNALS.items() if k != signal}
        if signal in needed:
            with pytest.raises(TypeError, match=f"^a method needs the signal '{signal}', which up"):
                step(**some)
        else:
            step(**some)


@pytest.mark.parametrize("name", METHODS)
def test_works_behind_optax_wrappers_and_without_a_step_signal(name):
    tx = optax.chain(optax.clip_by_global_norm(1.0), plastic(optax.adam(0.1), build(name)))

    def update(params, grads, features):
        return tx.update(grads, tx.init(params), params, features=features)

    updates, _ = jax.eval_shape(update, PARAMS, GRADS, FEATURES)
    assert jax.tree.map(lambda u: (u.shape, u.dtype), updates) == jax.tree.map(lambda w: (w.shape, w.dtype), PARAMS)


WIRED = [  # those that cannot do without a wiring
    name
    for name, method in METHODS.items()
    if getattr(inspect.signature(method).parameters.get("wiring"), "default", None) is inspect.Parameter.empty
]


@pytest.mark.parametrize("name", WIRED)
def test_refuses_what_is_not_a_wiring_and_a_wiring_without_units(name):
    with pytest.raises(TypeError, match=rf"^{name} got an object of type dict as its wiring; write pliant.{name}\("):
        build(name, wiring=PARAMS)
    with pytest.raises(ValueError, match=rf"^{name}: this wiring has no groups of units"):
        build(name, wiring=WIRING.only())


@pytest.mark.parametrize("name", WIRED)
def test_refuses_parameters_of_which_optax_masks_some(name):
    # All but the last layer, which each of the methods edits.
    seen = {path: not path.endswith("2") for path in PARAMS}
    tx = optax.masked(plastic(optax.sgd(0.1), build(name)), seen)

    def update(params, grads, signals):
        return tx.update(grads, tx.init(params), params, **signals)

    with pytest.raises(
        ValueError, match=r"has a parameter|names a parameter .*put optax.masked and optax.partition ins"
    ):
        jax.eval_shape(update, PARAMS, GRADS, SIGNALS)


# Running statistics


def inside(slot):
    """A slot of the parameters where they are one of two collections."""
    bias = {"bias": f"params/{slot.bias}"} if isinstance(slot, Outgoing) else {}
    return dataclasses.replace(slot, path=f"params/{slot.path}", **bias)


def with_statistics():
    """The wiring of this file for a network with the running statistics of a norm over the units of `w0`."""
    groups = {
        name: Group(name, g.units, *(tuple(map(inside, slots)) for slots in (g.incoming, g.vectors, g.outgoing)))
        for name, g in WIRING.items()
    }
    running = Vector("statistics/mean", 0), Vector("statistics/var", 0, neutral=1.0)
    groups["w0"] = dataclasses.replace(groups["w0"], vectors=(*groups["w0"].vectors, *running))
    return Wiring(groups)


def freshly_initialized(key):
    statistics = {"mean": jnp.zeros(5), "var": jnp.ones(5)}
    return {"params": hand_wired.initializer(*SIZES)(key), "statistics": statistics}


@pytest.mark.parametrize("name", METHODS)
def test_running_statistics_change_only_with_a_reinitialized_unit(name):
    statistics = {"mean": 2 + np.arange(5, dtype=np.float32), "var": 7 + np.arange(5, dtype=np.float32)}
    grads = {"params": GRADS, "statistics": jax.tree.map(np.zeros_like, statistics)}
    fresh = []  # of each edit: which units of `w0` have only fresh incoming weights

    def watched(piece):
        if not isinstance(piece, Surgery | Topology):
            return piece
        where = "operate" if isinstance(piece, Surgery) else "after"

        def edits(*given, **signals):
            edit, state = getattr(piece, where)(*given, **signals)
            if edit.fresh is not None:
                fresh.append(jnp.broadcast_to(edit.fresh["params"]["w0"], (3, 5)).all(0))
            return edit, state

        return piece._replace(**{where: edits})

    method = build(name, wiring=with_statistics(), initialize=freshly_initialized)
    tx = plastic(optax.sgd(0.1), *map(watched, pieces(method)))

    def some_steps(params, features):
        def step(carry, number):
            fresh.clear()
            params, state = carry
            after = tx.step(grads, state, params, features=features, clock=Clock(number))
            return after, jnp.stack([*fresh, jnp.zeros(5, bool)]).any(0)

        params = tx.prepare(params)
        start = tx.init(params | {"statistics": jax.tree.map(lambda x: x + 1, statistics)})  # they have moved since
        (params, state), ever = jax.lax.scan(step, (params, start), 1 + np.arange(STEPS, dtype=np.int32))
        return params["statistics"], replacements(state), ever.any(0)

    features = FEATURES | {"w0": np.repeat([[0, 1, 1, 1, 1]], 8, 0).astype(np.float32)}  # one is dead
    run = jax.jit(some_steps)({"params": PARAMS, "statistics": statistics}, features)
    after, replaced, reinitialized = trees.numpy(run)
    moved = (after["mean"] != statistics["mean"]) | (after["var"] != statistics["var"])
    assert not (moved & ~reinitialized).any()
    assert (after["mean"][moved] == 0).all() and (after["var"][moved] == 1).all()
    if replaced:  # a method of units
        assert replaced["w0"] > 0 and (moved == reinitialized).all()


# Composition


def pieces(method):
    return [piece for part in method for piece in pieces(part)] if type(method) is tuple else [method]


def kind(name):
    method = build(name)
    return "gradient piece" if isinstance(method, optax.GradientTransformation) else type(method)


KINDS = {kind(name): name for name in reversed(METHODS)}  # gradient piece, surgery, topology, tuple: the first of each


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", METHODS)
def test_composes_with_methods_of_each_kind_before_and_after_it(name):
    others = [build(other) for other in KINDS.values()]
    params, state = jax.eval_shape(lambda: train((*others, build(name), *others), optimizer=optax.adam(0.01)))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(jnp.float32)}
    assert len(state.before) + len(state.after) == sum(map(len, map(pieces, (*others, build(name), *others))))


def test_all_compose():
    method = tuple(map(build, METHODS))
    params, state = jax.jit(lambda: train(method, optimizer=optax.adam(0.01)))()
    assert trees.finite((params, state.optimizer))
    # Each finds its own state, as many surgeries and gradient pieces as there are.
    assert len(state.after) + len(state.before) == len(pieces(method))
