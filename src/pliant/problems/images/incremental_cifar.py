"""Class-incremental CIFAR-100: every 200 epochs five more classes, all to be told apart.

The images are augmented at random, a task ends with the parameters of its best validation accuracy, and the learning
rate falls within each task. Compare a run with one whose network is reset at each task: what was learned before should
help, and with plain backpropagation it does harm in the end.
"""

import dataclasses
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant import datasets
from pliant.core.base import Array, Key
from pliant.core.clock import Clock, Task
from pliant.core.judgement import Judgement, cross_entropy
from pliant.core.problem import Batch, Split, Stream
from pliant.core.settings import AtLeast
from pliant.networks import resnet18

from ._augmentation import augmentation, pixels

AGENTS = {
    "sgd": {
        "learning_rate": 0.1, "momentum": 0.9, "reset_moments": False, "decay_epochs": "60,120,160",
        "early_stopping": True,
    }
}  # fmt: skip
SMALL = {  # for tests
    "data": "synthetic", "tasks": 2, "epochs": 2, "classes_per_task": 2, "train_images": 10, "validation_images": 5,
    "test_images": 5, "batch_size": 10, "width": 1,
}  # fmt: skip

_MEAN = (0.5071, 0.4865, 0.4409)  # of the pixels of CIFAR-100, by channel
_DEVIATION = (0.2673, 0.2564, 0.2762)


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of incremental CIFAR-100; the defaults are the paper's."""

    data: str = "cifar100"
    """Images: cifar100, imagenet32, synthetic, or a folder with the archive of CIFAR-100."""
    tasks: Annotated[int, AtLeast(1)] = 20
    """Number of tasks; each adds classes to those of the task before."""
    classes_per_task: Annotated[int, AtLeast(1)] = 5
    """Classes that a task adds."""
    epochs: Annotated[int, AtLeast(1)] = 200
    """Epochs of a task."""
    train_images: Annotated[int, AtLeast(1)] = 450
    """Images of each class to learn from."""
    validation_images: Annotated[int, AtLeast(1)] = 50
    """Images of each class that decide which parameters are best: the first of the data set."""
    test_images: Annotated[int, AtLeast(1)] = 100
    """Images of each class to be tested on."""
    batch_size: Annotated[int, AtLeast(1)] = 90
    """Examples of an update."""
    augment: bool = True
    """Whether training images are flipped, cropped and rotated at random."""
    augment_test: bool = False
    """Whether test images are augmented, too: a slip of the published program, on which its accuracies are measured."""
    width: Annotated[int, AtLeast(1)] = 64
    """Channels of the network's first stage; the next three have twice, four and eight times as many."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type in which convolutions are computed."""


class Images(NamedTuple):
    train: Array  # (all classes, validation + train images, height, width, channels) uint8, validation first
    test: Array  # (all classes, test images, height, width, channels) uint8


class Labels(NamedTuple):
    y: Array  # (batch,) int: when the class was introduced, which is the output that stands for it
    seen: Array  # (batch,) int: number of classes seen so far


class State(NamedTuple):
    classes: Array  # (all classes,) in the order of introduction
    order: Array  # (examples of the last task,) which example of the classes seen so far comes when
    position: Array  # () examples of this epoch so far
    seen: Array  # () number of classes seen so far
    epoch_key: Key  # of the augmentation in this epoch
    key: Key


def make(config: Config) -> Stream:
    r"""The problem as a stream under the cross-entropy of the classes seen so far.

    Task $k$ has the first $k \cdot$ `classes_per_task` classes of an order that depends on the seed alone. The outputs
    of classes that have not been seen count as $-\infty$. Pixels are normalized by mean and deviation of each channel.

    The splits `validation` and `test` are judged in batches of one class each: at the end of each epoch that ends a row
    of metrics, and the split by which a task stops early after each epoch. For the analysis of
    finished runs `next_task` has the training images of the classes that a task adds, and `previous_tasks` those of all
    classes before; both without augmentation.

    Raises:
        ValueError: if the batches do not divide an epoch, the tasks have more classes than the data, or a class has
            fewer images, or the data are not found.

    Differs from the authors' code: outputs are in the order of introduction, instead of the data set's. Test images are
    clean, unless `augment_test` is set. Where no validation accuracy is above 0, early stopping keeps the last
    parameters; the authors' code ends with an error.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024, Fig. 2.
    """
    C, N, V, B = config.classes_per_task, config.train_images, config.validation_images, config.batch_size
    if C * N % B:
        raise ValueError(
            f"batch_size={B} does not divide the {C * N} examples of an epoch of the first task; write a batch_size "
            "that divides classes_per_task x train_images"
        )
    found = datasets.load_images("cifar100", config.data)
    if config.tasks * C > found.classes:
        raise ValueError(
            f"tasks={config.tasks} of {C} classes each need {config.tasks * C} classes, and the data have "
            f"{found.classes}; write at most {found.classes // C} tasks (in a recipe a smaller "
            "--scale), or take other data"
        )
    data = Images(
        found.train_by_class(V + N, "validation_images + train_images"),
        found.test_by_class(config.test_images, "test_images"),
    )
    side, channels = data.train.shape[2], data.train.shape[-1]
    mean, deviation = (np.resize(np.float32(of), (1, 1, 1, channels)) for of in (_MEAN, _DEVIATION))
    epochs = tuple((task + 1) * C * N // B for task in range(config.tasks))  # updates of each

    def normalized(x: Array) -> Array:
        return (x.astype(jnp.float32) / 255 - mean) / deviation

    def augmented(x: Array, which: tuple[Array, Array], key: Key) -> Array:
        """Images `which` of `x` after a random augmentation, normalized."""
        row, column, inside = pixels(augmentation(key, len(which[0])), side)
        chosen = x[which[0][:, None, None], which[1][:, None, None], row, column]
        return jnp.where(inside[..., None], normalized(chosen), 0.0)

    def init(data: Images, key: Key) -> State:
        classes_key, key = jax.random.split(key)
        classes = jax.random.permutation(classes_key, len(data.train))
        return State(classes, jnp.arange(config.tasks * C * N), jnp.int32(0), jnp.int32(C), key, key)

    def begin_epoch(data: Images, state: State, clock: Clock) -> State:
        del data
        key = jax.random.fold_in(jax.random.fold_in(state.key, clock.task), clock.epoch)
        order_key, epoch_key = jax.random.split(key)
        place = jax.random.uniform(order_key, state.order.shape)
        seen = (clock.task + 1) * C
        order = jnp.argsort(jnp.where(jnp.arange(len(place)) < seen * N, place, jnp.inf))
        return state._replace(order=order, position=jnp.int32(0), seen=jnp.int32(seen), epoch_key=epoch_key)

    def draw(data: Images, state: State, steps: int) -> tuple[State, Batch]:
        def batch(step: Array) -> Batch:
            example = jax.lax.dynamic_slice(state.order, (step * B,), (B,))
            y = (example // N).astype(jnp.int32)
            which = state.classes[y], V + example % N
            key = jax.random.fold_in(state.epoch_key, step)
            x = augmented(data.train, which, key) if config.augment else normalized(data.train[which])
            return Batch(x, Labels(y, jnp.full(B, state.seen, jnp.int32)))

        batches = jax.vmap(batch)(state.position // B + jnp.arange(steps))
        return state._replace(position=state.position + steps * B), batches

    def of_class(y: Array | int, x: Array, state: State) -> Batch:
        return Batch(x, Labels(jnp.full(len(x), y, jnp.int32), jnp.full(len(x), state.seen, jnp.int32)))

    def validation(data: Images, state: State, clock: Clock, y: Array | int) -> Batch:
        del clock
        return of_class(y, normalized(data.train[state.classes[y], :V]), state)

    def test(data: Images, state: State, clock: Clock, y: Array | int) -> Batch:
        del clock
        images, M = data.test, config.test_images
        if not config.augment_test:
            return of_class(y, normalized(images[state.classes[y]]), state)
        which = jnp.full(M, state.classes[y]), jnp.arange(M)
        return of_class(y, augmented(images, which, jax.random.fold_in(state.epoch_key, epochs[-1] + y)), state)

    def clean(data: Images, state: State, clock: Clock, y: Array | int) -> Batch:
        del clock
        return of_class(y, normalized(data.train[state.classes[y]]), state)

    def next_task(data: Images, state: State, clock: Clock, i: Array | int) -> Batch:
        return clean(data, state, clock, clock.task * C + i)

    network = resnet18(
        data.train.shape[2:], found.classes,
        widths=tuple(config.width * times for times in (1, 2, 4, 8)), dtype=jnp.dtype(config.precision),
    )  # fmt: skip
    ends = np.cumsum(np.array(epochs) * config.epochs).tolist()
    return Stream(
        init, draw, masked_cross_entropy, network, ends[-1],
        data=data, tasks=tuple(Task(f"{task}", end) for task, end in enumerate(ends)), epoch_steps=epochs,
        begin_epoch=begin_epoch,
        splits={
            "validation": Split(lambda clock: (clock.task + 1) * C, validation),
            "test": Split(lambda clock: (clock.task + 1) * C, test),
            "next_task": Split(lambda clock: C, next_task, tracked=False),
            "previous_tasks": Split(lambda clock: clock.task * C, clean, tracked=False),
        },
    )  # fmt: skip


def masked_cross_entropy(prediction: Array, y: Labels) -> Judgement:
    """The cross-entropy among the classes seen so far.

    Args:
        prediction: `(batch, all classes)` logits, in the order of introduction.
        y: the labels.
    """
    seen = jnp.arange(prediction.shape[-1])[None] < y.seen[:, None]
    return cross_entropy(jnp.where(seen, prediction, -jnp.inf), y.y)
