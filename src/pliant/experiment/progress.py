"""The work of a run, and its progress."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

OnProgress: TypeAlias = Callable[[int, int], None]  # (done, all), in the same unit


class Work(NamedTuple):
    """The work of a run."""

    amount: int  # of all members together
    unit: str  # "examples", or "steps" of environments
