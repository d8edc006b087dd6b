"""Learning rates that fall, in numbers by hand."""

import jax
import numpy as np
import pytest

from pliant.agents._step_decay import rates_of


def test_rates_fall_and_are_rounded():
    assert rates_of(0.1, 3, 0.2, 5) == [0.1, 0.02, 0.004, 0.0008]
    assert rates_of(0.001, 3, 0.2, 5) == [0.001, 0.0002, 0.00004, 0.00001]
    assert rates_of(0.0, 2, 0.2, 5) == [0, 0, 0]
    assert rates_of(1e-4, 0, 0.2, 5) == [1e-4]
    traced = jax.jit(lambda rate, factor: rates_of(rate, 3, factor, 5))(0.001, 0.2)
    np.testing.assert_allclose(traced, [0.001, 0.0002, 0.00004, 0.00001], rtol=1e-6)


def test_a_rate_that_is_rounded_to_0_is_refused():
    with pytest.raises(
        ValueError,
        match=r"^decay_decimals=5: after 2 of 3 falls by 0\.2 the learning_rate 0\.0001 is rounded to 0; "
        r"write a larger decay_decimals$",
    ):
        rates_of(1e-4, 3, 0.2, 5)
    assert rates_of(1e-4, 2, 0.2, 6) == [1e-4, 2e-5, 4e-6]
