"""Gradients that carry features: an ordinary loop, and flax's `TrainState`."""

import hand_wired
import jax
import jax.numpy as jnp
import optax
import pytest
import trees
from flax.training.train_state import TrainState

from pliant.core.base import Edit, stateless_surgery
from pliant.core.gradients import value_and_grad
from pliant.core.plastic import plastic

WIRING, PARAMS, X = hand_wired.mlp(3, 4, 2), hand_wired.params(3, 4, 2), trees.normal(1, 5, 3)


def adding_the_mean_activity(params, *, features, **signals):
    return Edit(jax.tree.map(lambda w: w + features["w0"].mean(), params))


TX = plastic(optax.sgd(0.1), stateless_surgery(adding_the_mean_activity))


def loss(params, x):
    output, features = WIRING.apply(params, x)
    return jnp.mean(output**2), features


def test_the_optimizer_gets_gradients_and_the_methods_features():
    def both(params, x):
        state = TX.init(params)
        (error, features), grads = jax.value_and_grad(loss, has_aux=True)(params, x)
        by_hand = TX.update(grads, state, params, features=features)
        value, carrying = value_and_grad(loss)(params, x)
        stepped = TX.step(carrying, state, params)[0]
        return (
            error,
            by_hand,
            value,
            TX.update(carrying, state, params),
            optax.apply_updates(params, by_hand[0]),
            stepped,
        )

    error, by_hand, value, carried, applied, stepped = jax.jit(both)(PARAMS, X)
    trees.assert_equal((value, carried), (error, by_hand))
    trees.assert_close(stepped, applied)


def test_a_loss_may_return_more():
    def with_more(params, x):
        value, features = loss(params, x)
        return (value, {"batch": x}), features

    (value, more), grads = jax.eval_shape(
        lambda params, x: (lambda out: (out[0], out[1].tree))(value_and_grad(with_more, has_aux=True)(params, x)),
        PARAMS, X,
    )  # fmt: skip
    assert value.shape == () and more["batch"].shape == (5, 3)
    assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, PARAMS)


def test_the_train_state_of_flax_passes_them_on():
    def both(params, x):
        state = TrainState.create(apply_fn=None, params=params, tx=TX)
        (_, features), grads = jax.value_and_grad(loss, has_aux=True)(params, x)
        by_hand = TX.step(grads, TX.init(params), params, features=features)[0]
        _, carrying = value_and_grad(loss)(params, x)
        return state.apply_gradients(grads=carrying).params, by_hand

    trees.assert_close(*jax.jit(both)(PARAMS, X))


def test_the_train_state_of_flax_without_them_is_told_what_to_write():
    def step(params):
        return TrainState.create(apply_fn=None, params=params, tx=TX).apply_gradients(grads=params)

    with pytest.raises(TypeError, match=r"needs the signal 'features', .* pliant.value_and_grad, .* flax's TrainState"):
        jax.eval_shape(step, PARAMS)


def test_an_error_of_jax_shows_what_to_write():
    steps = optax.MultiSteps(TX, every_k_schedule=2)

    def step(params, x):
        return steps.update(value_and_grad(loss)(params, x)[1], steps.init(params), params)

    with pytest.raises(
        TypeError, match=r"<Gradients for tx.update of plastic; elsewhere write grads.tree and grads.feat"
    ):
        jax.eval_shape(step, PARAMS, X)


CLIPPED = optax.chain(optax.clip_by_global_norm(1.0), TX)


@pytest.mark.parametrize(
    "compute",
    [
        lambda grads: CLIPPED.update(grads, CLIPPED.init(PARAMS), PARAMS),
        lambda grads: optax.tree.norm(grads),
        lambda grads: jax.tree.map(lambda leaf: leaf.astype(jnp.float32), grads),
    ],
)
def test_whoever_computes_with_them_is_told_where_the_tree_is(compute):
    def step(params, x):
        return compute(value_and_grad(loss)(params, x)[1])

    with pytest.raises(
        AttributeError, match=r"^Gradients .* inside of plastic; write grads.tree and grads.features els"
    ):
        jax.eval_shape(step, PARAMS, X)


@pytest.mark.parametrize("compute", [lambda grads: grads**2, lambda grads: 0.5 * grads, lambda grads: -grads])
def test_whoever_takes_them_for_an_array_is_told_where_the_tree_is(compute):
    def step(params, x):
        return compute(value_and_grad(loss)(params, x)[1])

    with pytest.raises(TypeError, match=r"^Gradients .* cannot be computed with.* write grads.tree and grads.features"):
        jax.eval_shape(step, PARAMS, X)


def test_a_loss_without_features_is_told_what_to_write():
    with pytest.raises(TypeError, match=r"returned a .*Tracer, and not \(value, features\); write .*wiring.apply"):
        jax.eval_shape(value_and_grad(lambda params, x: loss(params, x)[0]), PARAMS, X)
