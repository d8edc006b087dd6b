import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trees

from pliant.core.base import Edit, Surgery
from pliant.core.plastic import plastic
from pliant.surgery.adam import PerWeightAdamState, adam


def run(tx, params, grads):
    """The parameters after each of some steps, from gradients stacked over the steps."""

    def step(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.jit(lambda p, g: jax.lax.scan(step, (p, tx.init(p)), g))(params, grads)


@pytest.mark.parametrize(
    "learning_rate", [0.01, optax.linear_schedule(0.1, 0.0, 20), np.float32(0.01)], ids=["number", "schedule", "array"]
)
def test_equals_optax_adam_while_nothing_is_reinitialized(learning_rate):
    params = {"w": np.ones((3, 4)), "b": {"c": np.zeros(4)}}
    grads = jax.tree.map(lambda w: trees.normal(w.ndim, 50, *w.shape), params)
    _, ours = run(adam(learning_rate, 0.8, 0.95, 1e-4), params, grads)
    _, theirs = run(optax.adam(learning_rate, 0.8, 0.95, 1e-4), params, grads)
    trees.assert_close(ours, theirs, rtol=2e-6, atol=1e-7)


def test_published_form_has_the_slip():
    # Gradient [1, -2, 0], step size 1e-3. At t = 1, m = 0.1 g, v = 0.001 g^2, so the step is
    # 1e-3 * (1 - 0.999) * 0.1 g / (sqrt(0.001) |g|) = 3.1623e-6, whatever g; the authors' program printed the three
    # numbers below, in float32. With no gradient there is no step, and no NaN.
    grads = np.broadcast_to([1.0, -2.0, 0.0], (3, 3))
    _, positions = run(adam(1e-3, correction="published"), np.zeros(3), grads)
    steps = np.diff(np.concatenate([np.zeros((1, 3)), positions]), axis=0)
    expected = np.outer([3.16224e-6, 8.49477e-6, 1.48358e-5], [-1, 1, 0])
    np.testing.assert_allclose(steps, expected, rtol=2e-5)
    _, positions = run(adam(1e-3), np.zeros(3), grads)
    np.testing.assert_allclose(np.asarray(positions)[0], [-1e-3, 1e-3, 0], rtol=1e-5)


def test_a_fresh_weight_starts_again_and_the_others_continue():
    # At step 3 the first weight is reinitialized at 5. Afterwards it moves as a new one does, by the learning rate at
    # each step while its gradient is constant; the second moves as if nothing had happened.
    first = np.array([True, False])

    def operate(params, state, *, random, **signals):
        due = state == 3
        return Edit(jnp.where(first & due, 5.0, params), first & due), state + 1

    tx = plastic(adam(0.1), Surgery(lambda params: jnp.ones((), jnp.int32), operate))
    grads = np.array([[1.0, 1.0]] * 3 + [[-1.0, 1.0]] * 2)
    (_, state), params = run(tx, np.zeros(2), grads)
    np.testing.assert_allclose(np.asarray(params)[:, 0], [-0.1, -0.2, 5.0, 5.1, 5.2], rtol=1e-5)
    np.testing.assert_allclose(np.asarray(params)[:, 1], [-0.1, -0.2, -0.3, -0.4, -0.5], rtol=1e-5)
    counted = next(s for s in state.optimizer if isinstance(s, PerWeightAdamState))
    np.testing.assert_array_equal(counted.count, [2, 5])


def test_keeps_the_dtype_of_the_weights():
    (params, state), _ = run(adam(np.float32(0.1)), np.ones(3, jnp.bfloat16), np.ones((2, 3), jnp.bfloat16))
    assert params.dtype == state[0].mu.dtype == state[0].nu.dtype == jnp.bfloat16
    # Two steps of 0.1 from 1: 0.9 and 0.8, within bfloat16's 3 digits.
    np.testing.assert_allclose(np.asarray(params, float), 0.8, rtol=1e-2)


@pytest.mark.parametrize(
    "settings, error",
    [
        ({"b1": 1.0}, r"^b1=1.0: write a number from 0 to below 1$"),
        ({"b2": -0.1}, r"^b2=-0.1: write a number from 0 to below 1$"),
        ({"eps": -1e-8}, r"^eps=-1e-08: write a number at least 0$"),
        ({"correction": "none"}, r"^correction='none': write one of 'intended', 'published'$"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_refuses_settings_out_of_range(settings, error):
    with pytest.raises(ValueError, match=error):
        adam(**settings)
