"""Contract of the problems that a learner is set."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

from .base import Array, Key, Params
from .initializers import Activation


class Batch(NamedTuple):
    x: Array  # (batch, *input)
    y: Array  # (batch, *output), or (batch,) int labels under cross-entropy


class Network(NamedTuple):
    """A network as the agents see it: two pure functions."""

    init: Callable[[Key], Params]
    apply: Callable[[Params, Array], Array]  # (params, (batch, *input)) -> (batch, *output)
    activation: Activation = "relu"  # of the hidden units: methods draw fresh weights accordingly


Loss: TypeAlias = Literal["mse", "cross_entropy"]


class Stream(NamedTuple):
    """A supervised problem without end, for one member of a population.

    Attributes:
        init: `key -> state`; the key is consumed.
        draw: `(state, steps) -> (state, Batch)`: the next `steps` batches at once, on a leading axis. `steps` is known
            when compiling; how a stretch of data is cut into calls does not change the data.
        network: what the problem's paper trains on it.
        loss: how predictions are judged.
        steps: how many steps a whole run has.
    """

    init: Callable[[Key], Any]
    draw: Callable[[Any, int], tuple[Any, Batch]]
    network: Network
    loss: Loss
    steps: int
