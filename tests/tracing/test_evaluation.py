"""Gradients of convolutions, max-pooling and products through a traced network, beside JAX's own."""

import re

import jax
import numpy as np
import pytest
import trees
from jax import lax

from pliant.tracing.evaluation import evaluate
from pliant.tracing.product import is_of_few_rows

NHWC, NCHW = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")
CASES = {
    "3x3": ((4, 7, 7, 2), (3, 3, 2, 5), NHWC, {"padding": "SAME"}),
    "strided": ((4, 8, 7, 2), (3, 3, 2, 5), NHWC, {"window_strides": (2, 3), "padding": [(1, 1), (0, 2)]}),
    "uneven": ((4, 9, 6, 2), (2, 4, 2, 3), NHWC, {"window_strides": (2, 2), "padding": "VALID"}),
    "1x1": ((4, 5, 5, 3), (1, 1, 3, 2), NHWC, {"window_strides": (2, 2), "padding": "VALID"}),
    "padded 1x1": ((4, 5, 5, 3), (1, 1, 3, 2), NHWC, {"padding": [(1, 1), (0, 1)]}),
    "colours": ((2, 7, 8, 3), (3, 3, 3, 4), NHWC, {"padding": "SAME"}),
    "colours first": ((2, 3, 6, 9), (5, 3, 4, 4), NCHW, {"padding": [(0, 1), (0, 2)]}),
    "small": ((4, 5, 4, 6), (3, 3, 6, 5), NHWC, {"padding": [(0, 0), (1, 0)]}),
    "channels first": ((4, 2, 7, 6), (5, 2, 3, 3), NCHW, {"window_strides": (2, 1), "padding": "SAME"}),
    "dilated kernel": ((4, 9, 9, 2), (3, 3, 2, 5), NHWC, {"rhs_dilation": (2, 2), "padding": "SAME"}),
    "dilated input": ((4, 4, 4, 2), (3, 3, 2, 5), NHWC, {"lhs_dilation": (2, 2), "padding": [(1, 2), (1, 2)]}),
    "cropped": ((4, 9, 9, 2), (3, 3, 2, 5), NHWC, {"padding": [(-1, 0), (0, -2)]}),
    "grouped": ((4, 7, 7, 4), (3, 3, 2, 6), NHWC, {"feature_group_count": 2, "padding": "SAME"}),
    "one axis": ((4, 9, 2), (3, 2, 5), ("NHC", "HIO", "NHC"), {"window_strides": (2,), "padding": "SAME"}),
    "more examples than at once": ((23, 6, 5, 2), (3, 3, 2, 4), NHWC, {"padding": "SAME"}),
    "three axes": ((2, 4, 5, 3, 2), (2, 2, 2, 2, 3), ("NDHWC", "DHWIO", "NDHWC"), {"padding": "SAME"}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradients_are_those_of_jax(case):
    x_shape, w_shape, numbers, settings = case
    random = np.random.default_rng(0)
    x, w = (random.normal(size=shape).astype(np.float32) for shape in (x_shape, w_shape))

    def plain(x, w):
        strides = (1,) * (len(x_shape) - 2)
        return lax.conv_general_dilated(x, w, dimension_numbers=numbers, **{"window_strides": strides, **settings})

    closed = jax.make_jaxpr(plain)(x, w)
    weights = random.normal(size=closed.out_avals[0].shape).astype(np.float32)

    @jax.jit
    def both(x, w):
        own = jax.value_and_grad(lambda x, w: (weights * plain(x, w)).sum(), (0, 1))(x, w)
        ours = jax.value_and_grad(lambda x, w: (weights * evaluate(closed, x, w)[0]).sum(), (0, 1))(x, w)
        return own, ours

    own, ours = trees.numpy(both(x, w))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), own, ours)


@pytest.mark.parametrize(
    ("shape", "window", "strides"),
    [((3, 4, 7, 2), (1, 2, 2, 1), (1, 2, 2, 1)), ((3, 6, 2), (1, 3, 1), (1, 3, 1)), ((3, 6, 2), (1, 3, 1), (1, 2, 1))],
    ids=["2x2", "one axis", "overlapping"],
)
def test_gradients_of_max_pooling_are_those_of_jax_for_equal_values_too(shape, window, strides):
    def plain(x):
        return lax.reduce_window(x, -np.inf, lax.max, window, strides, "VALID")

    x = np.random.default_rng(0).integers(3, size=shape).astype(np.float32)
    closed = jax.make_jaxpr(plain)(x)
    weights = np.arange(1, closed.out_avals[0].size + 1, dtype=np.float32).reshape(closed.out_avals[0].shape)

    @jax.jit
    def both(x):
        own = jax.value_and_grad(lambda x: (weights * plain(x)).sum())(x)
        return own, jax.value_and_grad(lambda x: (weights * evaluate(closed, x)[0]).sum())(x)

    (value, gradient), (our_value, ours) = trees.numpy(both(x))
    assert value == our_value
    np.testing.assert_array_equal(gradient, ours)


def _product(numbers=(((1,), (0,)), ((), ()))):
    return lambda x, w: lax.dot_general(x, w, numbers)


PRODUCTS = {
    "one row": (_product(), (1, 96), (96, 120)),
    "one row, no parts": (_product(), (1, 90), (90, 120)),
    "no axis of rows": (_product((((0,), (0,)), ((), ()))), (96,), (96, 120)),
    "rows": (_product(), (5, 96), (96, 120)),
    "weights first": (_product((((1,), (1,)), ((), ()))), (120, 96), (2, 96)),
    "batches": (_product((((1,), (1,)), ((0,), (0,)))), (3, 60), (3, 60, 70)),
}


@pytest.mark.parametrize("case", PRODUCTS.values(), ids=PRODUCTS)
def test_gradients_of_products_are_those_of_jax(case):
    plain, *shapes = case
    random = np.random.default_rng(0)
    x, w = (random.normal(size=shape).astype(np.float32) for shape in shapes)
    closed = jax.make_jaxpr(plain)(x, w)
    assert is_of_few_rows(closed.eqns[0].params, *closed.in_avals)

    def derivatives(function):
        loss = jax.jit(lambda x, w: (function(x, w) ** 2).sum())  # inside of `grad`: what is saved has been traced
        twice = jax.grad(lambda x, w: (jax.grad(loss, 1)(x, w) ** 2).sum())(x, w)
        return jax.value_and_grad(loss, (0, 1))(x, w), jax.grad(loss, 1)(x, w), twice

    own, ours = trees.numpy(
        jax.jit(lambda: (derivatives(plain), derivatives(lambda x, w: evaluate(closed, x, w)[0])))()
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-2), own, ours)


def test_the_gradient_of_weights_is_right_when_that_of_the_input_overflows():
    w = np.full((90, 120), 1e37, np.float32)
    x = np.full((1, 90), 1e-3, np.float32)
    closed = jax.make_jaxpr(_product())(x, w)
    dx, dw = trees.numpy(jax.jit(jax.grad(lambda x, w: evaluate(closed, x, w)[0].sum(), (0, 1)))(x, w))
    assert np.isinf(dx).all()
    np.testing.assert_array_equal(dw, np.float32(1e-3))


def test_a_training_loop_copies_no_large_weights():
    x, w = np.ones((1, 96), np.float32), np.ones((96, 96), np.float32)
    closed = jax.make_jaxpr(lambda a, b, x: jax.nn.relu(x @ a) @ b)(w, w, x)

    def train(weights):
        def step(_, weights):
            gradients = jax.grad(lambda weights: evaluate(closed, *weights, x)[0].sum())(weights)
            return [w - 0.1 * dw for w, dw in zip(weights, gradients)]

        return lax.fori_loop(0, 9, step, weights)

    program = jax.jit(train, donate_argnums=0).lower([w, w]).compile().as_text()
    assert "f32[96,96]" in program
    assert not re.search(r"= f32\[96,96\]\S* copy\(%(get-tuple-element|arg)", program)


def test_members_of_a_population_and_bfloat16():
    x_shape, w_shape, numbers, settings = CASES["strided"]
    random = np.random.default_rng(0)
    x, w = (random.normal(size=(3, *shape)).astype(jax.numpy.bfloat16) for shape in (x_shape, w_shape))

    def plain(x, w):
        return lax.conv_general_dilated(x, w, dimension_numbers=numbers, **settings)

    closed = jax.make_jaxpr(plain)(x[0], w[0])

    @jax.jit
    def both(x, w):
        own = jax.vmap(jax.grad(lambda x, w: plain(x, w).sum(), (0, 1)))(x, w)
        return own, jax.vmap(jax.grad(lambda x, w: evaluate(closed, x, w)[0].sum(), (0, 1)))(x, w)

    own, ours = trees.numpy(both(x, w))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-2), own, ours)
    assert {leaf.dtype for leaf in ours} == {np.dtype(jax.numpy.bfloat16)}


def test_calls_and_literals_are_evaluated_as_they_are():
    def function(x):
        carried, _ = lax.scan(lambda c, _: (c * 2.0, None), jax.nn.relu(x) + 1.0, None, 3)
        return carried, 5.0

    closed = jax.make_jaxpr(function)(np.float32(-1))
    results, plain = jax.jit(lambda x: (evaluate(closed, x), function(x)))(np.float32(-1))
    np.testing.assert_allclose(results, [8, 5])
    np.testing.assert_allclose(results, plain)
