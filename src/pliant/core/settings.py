"""Ranges that settings may have, as annotations: `rate: Annotated[float, Between(0, 1)] = 1e-4`."""

import dataclasses
import math
import numbers
import sys
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Range(Protocol):
    """A range of numbers; `str` puts it in words."""

    def allows(self, value: float) -> bool:
        """Whether the value is in the range."""
        ...

    def __str__(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """Numbers from `low` on."""

    low: float

    def allows(self, value: float) -> bool:
        """Whether the value is in the range."""
        return math.isfinite(value) and value >= self.low

    def __str__(self) -> str:
        return f"at least {self.low}"


@dataclasses.dataclass(frozen=True)
class Whole:
    """Whole numbers from `low` on."""

    low: int

    def allows(self, value: Any) -> bool:
        """Whether the value is in the range."""
        return _is_whole(value) and bool(value >= self.low)

    def __str__(self) -> str:
        return f"at least {self.low}"


@dataclasses.dataclass(frozen=True)
class Between:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float

    def allows(self, value: float) -> bool:
        """Whether the value is in the range."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"from {self.low} to {self.high}"


@dataclasses.dataclass(frozen=True)
class FromUpTo:
    """Numbers from `low` up to `high`, the latter not included."""

    low: float
    high: float

    def allows(self, value: float) -> bool:
        """Whether the value is in the range."""
        return self.low <= value < self.high

    def __str__(self) -> str:
        return f"from {self.low} to below {self.high}"


def is_traced(*values: object) -> bool:
    """Whether any of the values is traced, and so has no number yet."""
    jax = sys.modules.get("jax")  # not imported here: lists and help of the command line do without it
    return jax is not None and any(isinstance(value, jax.core.Tracer) for value in values)


def require(name: str, value: Any, allowed: Range) -> None:
    """Refuses a setting outside its range.

    A traced value passes, because it has no number yet: a sweep checks each of its values beforehand.

    Args:
        name: the setting's name, for the error.
        value: the setting's value.
        allowed: the range.

    Raises:
        ValueError: naming the setting, the value and the range.
    """
    if not is_traced(value) and not (_is_number(value) and allowed.allows(value)):
        kind = "whole number" if isinstance(allowed, Whole) and not _is_whole(value) else "number"
        raise ValueError(f"{name}={str(value)[:60]}: write a {kind} {allowed}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) or getattr(getattr(value, "dtype", None), "kind", "") in ("i", "u")


def _is_number(value: Any) -> bool:
    """Whether it is one number, or an array of one."""
    return isinstance(value, numbers.Real) or getattr(value, "shape", None) == ()


def require_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuses a setting that is not among its choices.

    Raises:
        ValueError: naming the setting, the value and the choices.
    """
    if value not in choices:
        raise ValueError(f"{name}={value!r}: write one of {', '.join(map(repr, choices))}")


def require_function(name: str, value: object, form: str) -> None:
    """Refuses an argument that is no function.

    Args:
        name: the argument's name, for the error.
        value: the argument.
        form: what the function takes and returns, for the error.

    Raises:
        TypeError: naming the argument, its type and the form.
    """
    if not callable(value):
        raise TypeError(f"{name} is of type {type(value).__name__}; write a function {form}")
