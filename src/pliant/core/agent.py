"""Contract of the agents: what learns."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from .base import Array, Key, Method, Params
from .problem import Batch
from .units import Wiring


class MethodsFor(Protocol):
    """Makes the plasticity methods of a run for one network; an agent does not know which they are."""

    def __call__(self, wiring: Wiring, initialize: Callable[[Key], Params]) -> tuple[Method, ...]:
        """The methods, in the order in which they act.

        Args:
            wiring: the network's groups.
            initialize: `key -> params`, the network's initializer.
        """
        ...


class Learner(NamedTuple):
    """An agent that learns from a stream, for one member of a population: pure functions.

    Attributes:
        init: `key -> state`; the key is consumed.
        learn: `(state, batches, step) -> (state, losses)`: one update a batch. `batches` has a leading axis of steps,
            `step` `()` is the number of updates before, the same for all members; `losses` `(steps,)` are those before
            each update.
        signals: `(previous_state, state, batch) -> signals` for the diagnostics: `params` and `previous_params`,
            `features` and `grads` on that batch, and `method_state`.
        drawn_per_step: bytes of random numbers that `learn` draws ahead for each step.
    """

    init: Callable[[Key], Any]
    learn: Callable[[Any, Batch, Array], tuple[Any, Array]]
    signals: Callable[[Any, Any, Batch], dict[str, Any]]
    drawn_per_step: int
