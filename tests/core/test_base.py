"""The contracts of the methods."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pliant.core.base import Edit, require_signals, stateless_surgery

ONE = np.ones(())


def noise(params, *, random, **signals):
    return Edit(jax.random.normal(random, params.shape))


def test_a_stateless_surgery_is_a_surgery_with_an_empty_state():
    # Its random numbers are the steps' numbers by its own `draw`, and a key each by default.
    surgery = stateless_surgery(
        lambda params, *, random, by, **signals: Edit(params + random * by),
        lambda key, params, steps: jnp.arange(1.0, 1 + steps),
    )
    edit, state = jax.jit(lambda params: surgery.operate(params, surgery.init(params), random=3.0, by=10.0, at=0))(ONE)
    assert edit.params == 31 and edit.fresh is edit.reset_count is None and state == optax.EmptyState()
    assert jax.eval_shape(lambda: surgery.draw(jax.random.key(0), ONE, 7)).shape == (7,)
    keys = jax.eval_shape(lambda: stateless_surgery(noise).draw(jax.random.key(0), ONE, 7))
    assert keys.shape == (7,) and jax.dtypes.issubdtype(keys.dtype, jax.dtypes.prng_key)


def test_a_method_names_the_signals_that_it_needs_after_the_star():
    def method(params, state, *, random, features, weather, step=None, **signals):
        raise AssertionError("it is not called")

    require_signals(method, {"features": 0, "weather": 0})
    with pytest.raises(
        TypeError, match=r"^a method needs the signal 'weather', which update did not get; .* docstring$"
    ):
        require_signals(method, {"features": 0})
