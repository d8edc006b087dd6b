"""Tests of `pliant.surgery.noise`."""

import jax
import numpy as np
import pytest

from pliant.surgery.noise import normal


@pytest.mark.parametrize("number", [0, 1, 2, 1001])
def test_equals_jax_to_the_bit(number):
    key = jax.random.key(7)
    np.testing.assert_array_equal(normal(key, number), jax.random.normal(key, (number,)), strict=True)


def test_members_of_a_population_draw_what_each_draws_alone():
    keys = jax.random.split(jax.random.key(3), 2)
    together = jax.vmap(lambda key: normal(key, 101))(keys)
    np.testing.assert_array_equal(together, [jax.random.normal(key, (101,)) for key in keys])


@pytest.mark.parametrize("change", ["another generator", "double precision", "sequential counters"])
def test_draws_as_jax_where_it_cannot_be_faster(change):
    key = jax.random.key(7, impl="rbg" if change == "another generator" else None)
    with jax.enable_x64(change == "double precision"), jax.threefry_partitionable(change != "sequential counters"):
        np.testing.assert_array_equal(normal(key, 11), jax.random.normal(key, (11,)), strict=True)
