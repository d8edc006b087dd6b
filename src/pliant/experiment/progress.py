"""How much there is to do, and how far it is."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

OnProgress: TypeAlias = Callable[[int, int], None]  # (done, of the whole), in the same units


class Work(NamedTuple):
    """How much a run has to do."""

    amount: int  # of all members together
    unit: str  # "examples", or "steps" of environments
