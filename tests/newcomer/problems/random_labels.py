"""Random labels: the learner memorizes a label for each of a few inputs, until all labels are drawn again."""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key
from pliant.core.judgement import cross_entropy
from pliant.core.problem import Batch, Network, Stream
from pliant.core.settings import AtLeast
from pliant.networks import MLP

AGENTS = {"sign_descent": {"learning_rate": 0.01}}
INPUTS, CLASSES = 4, 3


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of random labels."""

    batches: Annotated[int, AtLeast(1)] = 10_000
    """Length of a run (batches; one update each)."""
    examples: Annotated[int, AtLeast(1)] = 8
    """Number of inputs, which are one batch."""
    change_every: Annotated[int, AtLeast(1)] = 1000
    """Batches after which all labels are drawn again."""


class State(NamedTuple):
    x: Array  # (examples, INPUTS)
    labels_key: Key
    count: Array  # () batches so far


def make(config: Config) -> Stream:
    """The problem as a stream of whole batches under the cross-entropy."""

    def init(data: Any, key: Key) -> State:
        del data
        inputs_key, labels_key = jax.random.split(key)
        return State(jax.random.normal(inputs_key, (config.examples, INPUTS)), labels_key, jnp.int32(0))

    def draw(data: Any, state: State, steps: int) -> tuple[State, Batch]:
        del data
        tasks = (state.count + jnp.arange(steps)) // config.change_every
        keys = jax.vmap(jax.random.fold_in, (None, 0))(state.labels_key, tasks)
        y = jax.vmap(lambda key: jax.random.randint(key, (config.examples,), 0, CLASSES))(keys)
        x = jnp.broadcast_to(state.x, (steps, *state.x.shape))
        return state._replace(count=state.count + steps), Batch(x, y)

    mlp = MLP((16,), CLASSES)
    network = Network(lambda key: mlp.init(key, jnp.zeros((1, INPUTS))), mlp.apply, "relu")
    return Stream(init, draw, cross_entropy, network, config.batches)
