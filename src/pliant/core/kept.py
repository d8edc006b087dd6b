"""Networks and their units, which are the same whenever they are asked for again.

A run makes its agent again for each program with swept values, and a sweep seldom concerns the network.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax

P = ParamSpec("P")
Made = TypeVar("Made")

_MOST = 32  # results of a function


def kept(make: Callable[P, Made]) -> Callable[P, Made]:
    """A function that keeps its newest results: equal arguments give the same object.

    Args:
        make: its results depend on its arguments and on JAX's precision alone. Where an argument cannot be hashed, such
            as a swept value, each call makes a new object.
    """

    @functools.lru_cache(_MOST, typed=True)
    def made(is_double: bool, *given: Any, **named: Any) -> Made:
        del is_double
        return make(*given, **named)

    @functools.wraps(make)
    def found(*given: P.args, **named: P.kwargs) -> Made:
        try:
            hash((given, tuple(named.values())))
        except TypeError:
            return make(*given, **named)
        return made(jax.enable_x64.value, *given, **named)

    return found
