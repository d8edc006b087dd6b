"""The projection of A-GEM, in numbers by hand; its reservoir is tested with replay."""

import jax
import numpy as np
import pytest
import trees

from pliant.continual import a_gem
from pliant.core.clock import Clock
from pliant.core.likelihood import unit_normal

PAIR = jax.ShapeDtypeStruct((2,), np.float32)
METHOD = a_gem(lambda w, x: x @ w, unit_normal, PAIR, capacity=2, batch_size=1)
X = np.float32([[1, 1], [1, 0]])  # slot 0, and slot 1


@pytest.fixture(scope="module")
def changed():
    """`(gradients, network, update) -> gradients` in the second task; the first ended with a network of zeros."""

    @jax.jit
    def change(key, grads, w, update):
        start = np.zeros((2, 1), np.float32)
        _, state = METHOD.end_task(start, METHOD.init(start), inputs=X, clock=Clock(1, 0, 0), key=key)
        return METHOD.change_gradients(grads, w, state, Clock(update, 0, 1))

    def call(grads, w, update):
        grads, w = (np.array(value, np.float32)[:, None] for value in (grads, w))
        return np.asarray(change(trees.key(0), grads, w, np.int32(update)))[:, 0]

    return call


@pytest.mark.parametrize(
    ("grads", "w", "update", "expected"),
    [
        # Of slot 0 the output is the sum s of the weights, and r = (s, s): with s = 1, g.r = -1 and r.r = 2.
        ((1, -2), (0.5, 0.5), 2, (1.5, -1.5)),
        ((1, -2), (2, 2), 2, (1.5, -1.5)),  # the length of r does not matter
        ((2, -1), (0.5, 0.5), 2, (2, -1)),  # the outputs return: nothing is projected
        ((2, -1), (-0.5, -0.5), 2, (1.5, -1.5)),  # now they move away
        # Of slot 1, r = (w_0, 0).
        ((-3, 4), (2, 7), 1, (0, 4)),
        # The network has not moved, or by so little that r.r is 0.
        ((1, -2), (0, 0), 2, (1, -2)),
        ((1, -2), (1e-30, 0), 2, (1, -2)),
    ],
)
def test_a_gradient_loses_what_opposes_that_of_the_stored_inputs(changed, grads, w, update, expected):
    np.testing.assert_allclose(changed(grads, w, update), expected, rtol=1e-6)


def test_there_is_no_projection_in_the_first_task():
    def change(grads, w):
        return METHOD.change_gradients(grads, w, METHOD.init(w), Clock(1))

    grads = np.float32([[1], [-2]])
    np.testing.assert_array_equal(jax.jit(change)(grads, np.ones((2, 1), np.float32)), grads)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"batch_size": 0}, "batch_size=0"), ({"capacity": 4, "batch_size": 8}, "capacity=4.*at least 8")],
)
def test_what_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        a_gem(lambda w, x: x @ w, unit_normal, PAIR, **settings)
