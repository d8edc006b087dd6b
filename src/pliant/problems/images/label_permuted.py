"""Label-permuted images: the classes exchange their labels again and again.

The images stay the same, and a permutation of the classes holds for one task. The features of the hidden layers remain
useful, so a learner that keeps them and stays plastic learns later tasks faster than the first. Nothing tells the
learner that a task begins.
"""

import dataclasses
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from pliant import datasets
from pliant.core.base import Array, Key
from pliant.core.clock import Clock, Task
from pliant.core.judgement import cross_entropy
from pliant.core.problem import Batch, Stream
from pliant.core.settings import AtLeast, Between
from pliant.networks import dense_network

from ._epochs import examples_at, shuffled
from ._pixels import centered, flat, whole

AGENTS = {"sgd": {"learning_rate": 0.01}}
SMALL = {"data": "digits", "tasks": 2, "change_every": 60, "batch_size": 5, "hidden_units": 8}  # for tests


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of label-permuted images; the defaults are the paper's, but for the data set."""

    data: str = "mnist"
    """Images: the name of a data set (emnist, mnist, digits, ...), synthetic, or a folder with EMNIST's files."""
    tasks: Annotated[int, AtLeast(1)] = 400
    """Number of tasks, each with another permutation of the classes."""
    change_every: Annotated[int, AtLeast(1)] = 2500
    """Examples of a task: a part of the data set, or all of it a whole number of times."""
    batch_size: Annotated[int, AtLeast(1)] = 1
    """Examples of an update."""
    hidden_units: Annotated[int, Between(1, 65_536)] = 300
    """Units of the first hidden layer; each further layer has half as many as the layer before it."""
    hidden_layers: Annotated[int, Between(0, 16)] = 2
    """Number of hidden layers."""


class Images(NamedTuple):
    x: Array  # (examples, pixels) uint8
    y: Array  # (examples,) int32
    test_x: Array  # (test examples, pixels) uint8
    test_y: Array  # (test examples,) int32


class State(NamedTuple):
    labels: Array  # (classes,) the label of each class in this task
    order: Array  # (examples,) which example of the data set comes when in this epoch
    position: Array  # () examples of this epoch so far
    labels_key: Key
    order_key: Key


def make(config: Config) -> Stream:
    r"""The problem as a stream under the cross-entropy.

    In task $k$ a permutation $\pi_k$ of the classes replaces each label, and the examples come in a random order:

    $$x^k_i = x_i, \qquad y^k_i = \pi_k(y_i).$$

    The first task is permuted too. A task of fewer examples than the data set shows a random part of it; a longer task
    has several epochs, each in a new order. Pixels are numbers from -1 to 1. The split `test` is the test images with
    the labels of their task.

    Raises:
        ValueError: if the batches do not divide an epoch, a task is longer than the data set and no multiple of it, or
            the data are not found.

    Differs from the authors' code: each permutation is drawn by itself, where theirs permutes the labels of the task
    before; permutations are uniform in both. A longer task is a whole number of epochs. The test split is added.

    References:
        Elsayed and Mahmood, `Addressing loss of plasticity and catastrophic forgetting in continual learning
        <https://openreview.net/forum?id=sKPzAXoylB>`_, ICLR 2024, label-permuted EMNIST.
    """
    B = config.batch_size
    found = datasets.load_images("emnist", config.data)
    data = Images(flat(found.train_x), found.train_y, flat(found.test_x), found.test_y)
    examples, pixels = data.x.shape
    epoch = min(config.change_every, examples)
    if config.change_every % epoch:
        raise ValueError(
            f"change_every={config.change_every}: write at most the {examples} examples of the data set, or a multiple "
            "of them"
        )
    if epoch % B:
        raise ValueError(
            f"batch_size={B} does not divide the {epoch} examples of an epoch; write a batch_size that divides them"
        )

    def init(data: Images, key: Key) -> State:
        del data
        return State(jnp.arange(found.classes), jnp.arange(examples), jnp.int32(0), *jax.random.split(key))

    def begin_epoch(data: Images, state: State, clock: Clock) -> State:
        del data
        task_key = jax.random.fold_in(state.labels_key, clock.task)
        pi = jax.random.permutation(task_key, found.classes)
        return state._replace(labels=pi, order=shuffled(state.order_key, examples, clock), position=jnp.int32(0))

    def draw(data: Images, state: State, steps: int) -> tuple[State, Batch]:
        which = examples_at(state.order, state.position, steps, B)
        batches = Batch(centered(data.x[which]), state.labels[data.y[which]])
        return state._replace(position=state.position + steps * B), batches

    def tested(data: Images, state: State, which: Array) -> Batch:
        return Batch(centered(data.test_x[which]), state.labels[data.test_y[which]])

    hidden = (max(1, config.hidden_units >> layer) for layer in range(config.hidden_layers))
    network = dense_network((pixels, *hidden, found.classes))
    task = config.change_every // B
    tasks = tuple(Task(f"{k}", (k + 1) * task) for k in range(config.tasks))
    return Stream(
        init, draw, cross_entropy, network, config.tasks * task,
        data=data, tasks=tasks, epoch_steps=(epoch // B,) * config.tasks, begin_epoch=begin_epoch,
        splits={"test": whole(len(data.test_x), tested)},
    )  # fmt: skip
