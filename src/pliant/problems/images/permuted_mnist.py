"""Online permuted MNIST: images whose pixels are permuted again and again.

A permutation of the pixels holds for one task, and the next task permutes the permuted pixels again. Each example is
seen once in a task, in a new order. Nothing tells the learner that a task begins. The tasks are equally hard, so with
plastic learners the accuracy of each task is the same; with plain backpropagation it falls.
"""

import dataclasses
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from pliant import datasets
from pliant.core.base import Array, Key
from pliant.core.clock import Clock, Task
from pliant.core.judgement import cross_entropy
from pliant.core.problem import Batch, Network, Stream
from pliant.core.settings import AtLeast, Between
from pliant.networks import MLP

from ._epochs import examples_at
from ._permutation import permutation

AGENTS = {"sgd": {"learning_rate": 0.003}}
SMALL = {"data": "digits", "tasks": 2, "change_every": 60, "batch_size": 5, "hidden_units": 8}  # for tests

_PROBE = 2000  # examples of a new task on which the published program measures units and ranks


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of permuted MNIST; the defaults are the paper's."""

    data: str = "mnist"
    """Images: mnist, fashion_mnist, digits, synthetic, or a folder with the four IDX files of MNIST."""
    tasks: Annotated[int, AtLeast(1)] = 800
    """Number of tasks, each with a further permutation of the pixels."""
    change_every: Annotated[int, AtLeast(1)] = 60_000
    """Examples of a task; beyond the size of the data set its examples come again."""
    batch_size: Annotated[int, AtLeast(1)] = 1
    """Examples of an update."""
    swapped_pixels: Annotated[int, AtLeast(0)] = 0
    """Gradual drift: the number of pixels that a new task permutes among each other; 0: all of them."""
    hidden_units: Annotated[int, Between(1, 65_536)] = 2000
    """Units of each hidden layer."""
    hidden_layers: Annotated[int, Between(0, 100)] = 3
    """Number of hidden layers."""


class Images(NamedTuple):
    x: Array  # (examples, pixels) uint8
    y: Array  # (examples,) int32


class State(NamedTuple):
    pixels: Array  # (pixels,) which pixel of the data set is at each place
    order: Array  # (examples,) which example of the data set comes when
    position: Array  # () examples of this task so far
    key: Key


def make(config: Config) -> Stream:
    r"""The problem as a stream under the cross-entropy.

    At the start of task $k$ a permutation $\pi$ of the pixels and a permutation $\rho$ of the examples are drawn, and
    applied to the permuted data of the task before:

    $$x^k_{ij} = x^{k-1}_{\rho(i)\,\pi(j)}, \qquad y^k_i = y^{k-1}_{\rho(i)}.$$

    Pixels are numbers from 0 to 1. Diagnostics are measured before a task, on its first 2000 examples.

    Raises:
        ValueError: if the batches do not divide a task, more pixels are swapped than there are, or the data are not
            found.

    Differs from the authors' code: permutations are drawn from the key of the seed; the examples are not shuffled once
    before the first task, whose order is random anyway.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024, Extended Data Fig. 1.
    """
    B = config.batch_size
    if config.change_every % B:
        raise ValueError(
            f"batch_size={B} does not divide the {config.change_every} examples of a task; "
            "write a batch_size that divides change_every"
        )
    found = datasets.load_images("mnist", config.data)
    data = Images(found.train_x.reshape(len(found.train_x), -1), found.train_y)
    examples, pixels = data.x.shape
    if config.swapped_pixels > pixels or config.swapped_pixels == 1:
        raise ValueError(
            f"swapped_pixels={config.swapped_pixels}: the images have {pixels} pixels; "
            f"write 2 to {pixels}, or 0 for all of them"
        )

    def init(data: Images, key: Key) -> State:
        del data
        return State(jnp.arange(pixels), jnp.arange(examples), jnp.int32(0), key)

    def begin_epoch(data: Images, state: State, clock: Clock) -> State:
        del data
        pixels_key, examples_key = jax.random.split(jax.random.fold_in(state.key, clock.task))
        moved = permutation(pixels_key, pixels, config.swapped_pixels or pixels)
        return compounded(state, moved, jax.random.permutation(examples_key, examples))

    def draw(data: Images, state: State, steps: int) -> tuple[State, Batch]:
        which = examples_at(state.order, state.position, steps, B)
        x = data.x[which][..., state.pixels].astype(jnp.float32) / 255
        return state._replace(position=state.position + steps * B), Batch(x, data.y[which])

    mlp = MLP((config.hidden_units,) * config.hidden_layers, found.classes)
    network = Network(lambda key: mlp.init(key, jnp.zeros((1, pixels))), mlp.apply)
    steps = config.change_every // B
    tasks = tuple(Task(f"{task}", (task + 1) * steps) for task in range(config.tasks))
    return Stream(
        init, draw, cross_entropy, network, config.tasks * steps,
        data=data, tasks=tasks, begin_epoch=begin_epoch, probe=_PROBE,
    )  # fmt: skip


def compounded(state: State, pixels: Array, examples: Array) -> State:
    """The state at the start of a task: permutations of the permuted pixels and of the permuted examples."""
    return state._replace(pixels=state.pixels[pixels], order=state.order[examples], position=jnp.int32(0))
