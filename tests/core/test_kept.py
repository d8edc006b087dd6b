"""Tests of `pliant.core.kept`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant.agents._sequences import trace_along
from pliant.core.kept import kept
from pliant.core.problem import Continuous, Spec
from pliant.networks import actor_critic

SPEC = Spec(jax.ShapeDtypeStruct((3,), jnp.float32), Continuous(2))


@kept
def made(number, name=""):
    return [number, name]


def test_equal_arguments_give_the_same_object():
    assert made(1, name="a") is made(1, name="a") == [1, "a"]
    assert made(1, name="a") is not made(1, name="b")
    with jax.enable_x64(True):
        in_double = made(1, name="a")
    assert in_double is not made(1, name="a")


def test_arguments_that_cannot_be_hashed_give_a_new_object_at_each_call():
    assert made([1]) is not made([1])
    jax.eval_shape(lambda x: made(x)[0], np.float32(0))  # a swept value


def test_errors_are_those_of_the_function():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'number'"):
        made()


def test_a_network_that_is_made_again_has_the_units_that_were_found():
    networks = [actor_critic(SPEC, (4, 4), "relu", "lecun") for _ in range(2)]
    assert networks[0] is networks[1]
    wirings = [trace_along(network, SPEC.observation, 1, 8) for network in networks]
    assert wirings[0] is wirings[1]
    of_others = trace_along(actor_critic(SPEC, (5, 4), "relu", "lecun"), SPEC.observation, 1, 8)
    assert [group.units for group in of_others.values()] == [5, 4, 5, 4]
