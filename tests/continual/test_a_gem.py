"""The projection of A-GEM, in numbers by hand; its reservoir is tested with replay."""

import jax
import numpy as np
import pytest
import trees

from pliant.continual import a_gem
from pliant.core.clock import Clock
from pliant.core.likelihood import unit_normal

PAIR = jax.ShapeDtypeStruct((2,), np.float32)
METHOD = a_gem(lambda params, x: x @ params["w"] - params["statistics"], unit_normal, PAIR, capacity=2, batch_size=1)
X = np.float32([[1, 1], [1, 0]])  # slot 0, and slot 1


def network(w):
    return {"w": np.array(w, np.float32)[:, None], "statistics": np.zeros((1, 1), np.float32)}


@pytest.fixture(scope="module")
def changed():
    """`(gradients, network, update) -> gradients` in the second task; the first ended with a network of zeros."""

    @jax.jit
    def change(key, grads, params, update):
        start = network((0, 0))
        _, state = METHOD.end_task(start, METHOD.init(start), inputs=X, clock=Clock(1, 0, 0), key=key)
        return METHOD.change_gradients(grads, params, state, Clock(update, 0, 1))

    def call(grads, w, update):
        found = trees.numpy(change(trees.key(0), network(grads), network(w), np.int32(update)))
        assert found["statistics"] == 0  # no weight, and no part of r
        return found["w"][:, 0]

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
    def change(grads, params):
        return METHOD.change_gradients(grads, params, METHOD.init(params), Clock(1))

    grads = network((1, -2))
    trees.assert_equal(jax.jit(change)(grads, network((1, 1))), grads)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"batch_size": 0}, "batch_size=0"), ({"capacity": 4, "batch_size": 8}, "capacity=4.*at least 8")],
)
def test_what_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        a_gem(lambda w, x: x @ w, unit_normal, PAIR, **settings)
