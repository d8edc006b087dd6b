import re

import jax
import numpy as np
import pytest

from pliant.core.settings import AtLeast, Between, FromUpTo, Whole, require, require_function


@pytest.mark.parametrize(
    "allowed, good, bad",
    [
        (AtLeast(1), [1, 2.5], [0.9, float("nan"), float("inf")]),
        (Between(0, 1), [0, 0.5, 1], [-0.1, 1.1, float("nan")]),
        (Whole(1), [1, np.int64(7), np.ones((), int)], [0, 1.0, 1.5, np.float32(2)]),
        (FromUpTo(0, 1), [0, 0.5], [1, -0.1, float("nan")]),
    ],
    ids=str,
)
def test_ranges(allowed, good, bad):
    for value in good:
        require("rate", value, allowed)
    for value in bad:
        with pytest.raises(ValueError, match=rf"^rate={value}: write a (whole )?number {allowed}$"):
            require("rate", value, allowed)


def test_a_traced_value_passes():
    def f(rate):
        require("rate", rate, Between(0, 1))
        return rate

    assert jax.jit(f)(7.0) == 7.0


@pytest.mark.parametrize("value", ["many", None, {"w": [1.0]}, np.ones(2), str])
def test_what_is_not_a_number_is_refused_in_the_same_words(value):
    with pytest.raises(ValueError, match=rf"^threshold={re.escape(str(value)[:60])}: write a number at least 0$"):
        require("threshold", value, AtLeast(0))


@pytest.mark.usefixtures("unchecked")
def test_an_array_of_one_number_is_a_number():
    with pytest.raises(ValueError, match=r"^threshold=-0.5: write a number at least 0$"):
        require("threshold", np.array(-0.5), AtLeast(0))


def test_what_is_no_function_is_refused():
    require_function("initialize", jax.random.normal, "key -> params")
    with pytest.raises(TypeError, match=r"^initialize is of type int; write a function key -> params$"):
        require_function("initialize", 3, "key -> params")
