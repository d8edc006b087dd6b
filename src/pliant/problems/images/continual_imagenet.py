"""Continual ImageNet: one pair of classes after another, to be told apart by one network.

A task shows its images many times, and is judged by test images of its classes at the end of epochs. Learning-rate
decay, normalization layers and augmentation are left out on purpose. The tasks are equally hard on average, so with
plastic learners the test accuracy stays; with plain backpropagation it falls.
"""

import dataclasses
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from pliant import datasets
from pliant.core.base import Array, Key
from pliant.core.clock import Clock, Task
from pliant.core.judgement import cross_entropy
from pliant.core.problem import Batch, Split, Stream
from pliant.core.settings import AtLeast
from pliant.networks import conv_net

from ._epochs import examples_at, shuffled

AGENTS = {"sgd": {"learning_rate": 0.01, "momentum": 0.9, "reset_moments": False}}
SMALL = {  # for tests
    "data": "synthetic", "tasks": 2, "epochs": 2, "train_images": 20, "test_images": 10, "batch_size": 10,
    "channels": 2, "hidden_units": 4,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of continual ImageNet; the defaults are the paper's."""

    data: str = "imagenet32"
    """Images: imagenet32, cifar100, synthetic, or a folder with the files of 32x32 ImageNet."""
    tasks: Annotated[int, AtLeast(1)] = 5000
    """Number of tasks, each with other classes; when all have been shown, they come in another order."""
    classes_per_task: Annotated[int, AtLeast(2)] = 2
    """Classes of a task."""
    epochs: Annotated[int, AtLeast(1)] = 250
    """Epochs of a task."""
    train_images: Annotated[int, AtLeast(1)] = 600
    """Images of each class to learn from."""
    test_images: Annotated[int, AtLeast(1)] = 100
    """Images of each class to be tested on."""
    batch_size: Annotated[int, AtLeast(1)] = 100
    """Examples of an update."""
    channels: Annotated[int, AtLeast(1)] = 32
    """Channels of the first convolution; the next two have twice and four times as many."""
    hidden_units: Annotated[int, AtLeast(1)] = 128
    """Units of both hidden dense layers."""


class Images(NamedTuple):
    train: Array  # (all classes, train images, height, width, channels) uint8
    test: Array  # (all classes, test images, height, width, channels) uint8


class State(NamedTuple):
    classes: Array  # (classes,) of the data set that this task shows; their labels are 0, 1, ...
    order: Array  # (examples,) which example of the task comes when, counted class by class
    position: Array  # () examples of this epoch so far
    classes_key: Key
    order_key: Key


def make(config: Config) -> Stream:
    """The problem as a stream under the cross-entropy.

    The classes of the tasks depend on the seed alone, so all methods of a seed meet the same tasks. Pixels are numbers
    from 0 to 1. The split `test` is judged at the end of each epoch that ends a row of metrics, as the mean over
    batches of one class each.

    The published program sets the output layer to zero before each task, as `--method head_reset --method.on_new_task
    act` does.

    Raises:
        ValueError: if the batches do not divide an epoch, a task has more classes than the data, or a class has fewer
            images, or the data are not found.

    Differs from the authors' code: the classes are permutations of all classes drawn from the seed, one after another;
    the authors' list of classes is not published. The scale of their pixels is not known.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024, Fig. 1.
    """
    C, N, B = config.classes_per_task, config.train_images, config.batch_size
    if C * N % B:
        raise ValueError(
            f"batch_size={B} does not divide the {C * N} examples of an epoch; write a batch_size that divides "
            "classes_per_task x train_images"
        )
    found = datasets.load_images("imagenet32", config.data)
    if found.classes < C:
        raise ValueError(f"classes_per_task={C}: the data have {found.classes} classes; write at most {found.classes}")
    data = Images(found.train_by_class(N, "train_images"), found.test_by_class(config.test_images, "test_images"))

    def init(data: Images, key: Key) -> State:
        del data
        classes_key, order_key = jax.random.split(key)
        return State(jnp.zeros(C, jnp.int32), jnp.arange(C * N), jnp.int32(0), classes_key, order_key)

    def begin_epoch(data: Images, state: State, clock: Clock) -> State:
        return state._replace(
            classes=classes_of(state.classes_key, clock.task, len(data.train), C),
            order=shuffled(state.order_key, C * N, clock),
            position=jnp.int32(0),
        )

    def draw(data: Images, state: State, steps: int) -> tuple[State, Batch]:
        which = examples_at(state.order, state.position, steps, B)
        label, image = which // N, which % N
        x = data.train[state.classes[label], image].astype(jnp.float32) / 255
        return state._replace(position=state.position + steps * B), Batch(x, label.astype(jnp.int32))

    def test(data: Images, state: State, clock: Clock, label: Array | int) -> Batch:
        del clock
        x = data.test[state.classes[label]].astype(jnp.float32) / 255
        return Batch(x, jnp.full(len(x), label, jnp.int32))

    network = conv_net(
        data.train.shape[2:], C,
        channels=tuple(config.channels * times for times in (1, 2, 4)), units=(config.hidden_units,) * 2,
    )  # fmt: skip
    epoch = C * N // B
    tasks = tuple(Task(f"{task}", (task + 1) * config.epochs * epoch) for task in range(config.tasks))
    return Stream(
        init, draw, cross_entropy, network, tasks[-1].until,
        data=data, tasks=tasks, epoch_steps=(epoch,) * config.tasks, begin_epoch=begin_epoch,
        splits={"test": Split(lambda clock: C, test)},
    )  # fmt: skip


def classes_of(key: Key, task: Array | int, classes: int, each: int) -> Array:
    """The classes of a task, `(each,)`: the next ones in a permutation of all; when it is over, another one is drawn.

    Args:
        key: of the permutations of all tasks.
        task: `()`, index of the task.
        classes: number of all classes.
        each: number of classes of a task.
    """
    tasks = classes // each  # of one permutation
    order = jax.random.permutation(jax.random.fold_in(key, task // tasks), classes)
    return jax.lax.dynamic_slice(order.astype(jnp.int32), (task % tasks * each,), (each,))
