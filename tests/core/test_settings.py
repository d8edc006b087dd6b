import jax
import pytest

from pliant.core.settings import AtLeast, Between, FromUpTo, require


@pytest.mark.parametrize(
    "allowed, good, bad",
    [
        (AtLeast(1), [1, 2.5], [0.9, float("nan"), float("inf")]),
        (Between(0, 1), [0, 0.5, 1], [-0.1, 1.1, float("nan")]),
        (FromUpTo(0, 1), [0, 0.5], [1, -0.1, float("nan")]),
    ],
    ids=str,
)
def test_ranges(allowed, good, bad):
    for value in good:
        require("rate", value, allowed)
    for value in bad:
        with pytest.raises(ValueError, match=rf"^rate={value}: write a number {allowed}$"):
            require("rate", value, allowed)


def test_a_traced_value_passes():
    def f(rate):
        require("rate", rate, Between(0, 1))
        return rate

    assert jax.jit(f)(7.0) == 7.0
