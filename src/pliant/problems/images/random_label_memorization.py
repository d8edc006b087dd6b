"""Random-label memorization: the same few images again and again, each time with other labels.

Each task shuffles the labels of the images among them, so a network can only memorize them. The tasks are equally hard.
With plastic learners the accuracy of each task is the same; with plain backpropagation it falls.
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
from ._permutation import permutation
from ._pixels import centered, flat, whole

AGENTS = {"sgd": {"learning_rate": 0.01}}
SMALL = {"data": "digits", "tasks": 2, "images": 40, "epochs": 3, "batch_size": 4, "hidden_units": 8}  # for tests


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of random-label memorization; the defaults are the paper's."""

    data: str = "mnist"
    """Images: the name of a data set (mnist, fashion_mnist, digits, ...), synthetic, or a folder with MNIST's files."""
    tasks: Annotated[int, AtLeast(1)] = 50
    """Number of tasks, each with other labels."""
    images: Annotated[int, AtLeast(1)] = 1200
    """Number of images, a random choice of the data set that stays for the whole run."""
    epochs: Annotated[int, AtLeast(1)] = 400
    """Passes through the images in each task."""
    batch_size: Annotated[int, AtLeast(1)] = 16
    """Examples of an update."""
    true_labels: Annotated[float, Between(0, 1)] = 0.0
    """Fraction of the images, chosen in each task, that keep their own label."""
    hidden_units: Annotated[int, Between(1, 65_536)] = 100
    """Units of each hidden layer."""
    hidden_layers: Annotated[int, Between(0, 100)] = 2
    """Number of hidden layers."""


class Images(NamedTuple):
    x: Array  # (available, pixels) uint8
    y: Array  # (available,) int32


class State(NamedTuple):
    chosen: Array  # (images,) which of the data set are learned
    labels: Array  # (images,) int32, in this task
    order: Array  # (images,) which of them comes when in this epoch
    position: Array  # () examples of this epoch so far
    labels_key: Key
    order_key: Key


def make(config: Config) -> Stream:
    r"""The problem as a stream under the cross-entropy.

    A run has $N$ images $x_i$, a random choice of the data set. In task $k$ a permutation $\rho_k$ shuffles their
    labels:

    $$x^k_i = x_i, \qquad y^k_i = y_{\rho_k(i)}.$$

    The fraction `true_labels` of the images keeps its own label, $\rho_k(i) = i$; the default is none. The classes are
    as frequent in each task as among the images. Each epoch shows each image once, in a new order. Pixels are numbers
    from -1 to 1.

    The split `memorized` has all images with the labels of the task. Its accuracy at the end of a task is the fraction
    of the images that the network has memorized.

    Raises:
        ValueError: if the data have fewer images, the batches do not divide them, or the data are not found.

    Differs from the authors' code: their epochs leave out the last batch, 16 of the 1200 images, and these epochs have
    all batches; a task has 30,000 batches in both. Colour images have the same range, in place of a mean and a
    deviation per channel. The network is dense for colour images too; their Random Label CIFAR has a convolutional
    network.

    References:
        Kumar, Marklund and Van Roy, `Maintaining plasticity in continual learning via regenerative regularization
        <https://arxiv.org/abs/2308.11958>`_, 2023, Random Label MNIST. Lyle et al., `Understanding plasticity in neural
        networks <https://arxiv.org/abs/2303.01486>`_, ICML 2023. Zhang et al., `Understanding deep learning requires
        rethinking generalization <https://arxiv.org/abs/1611.03530>`_, ICLR 2017, for a fraction of true labels.
    """
    N, B = config.images, config.batch_size
    if N % B:
        raise ValueError(f"batch_size={B} does not divide the {N} images; write a batch_size that divides images")
    found = datasets.load_images("mnist", config.data)
    data = Images(flat(found.train_x), found.train_y)
    available, pixels = data.x.shape
    if available < N:
        raise ValueError(f"images={N}: the data set {config.data} has {available}; write at most {available}")
    moved = N - round(config.true_labels * N)

    def init(data: Images, key: Key) -> State:
        images_key, labels_key, order_key = jax.random.split(key, 3)
        chosen = jax.random.permutation(images_key, available)[:N]
        return State(chosen, data.y[chosen], jnp.arange(N), jnp.int32(0), labels_key, order_key)

    def begin_epoch(data: Images, state: State, clock: Clock) -> State:
        task_key = jax.random.fold_in(state.labels_key, clock.task)
        rho = permutation(task_key, N, moved)
        return state._replace(
            labels=data.y[state.chosen][rho], order=shuffled(state.order_key, N, clock), position=jnp.int32(0)
        )

    def batch_of(data: Images, state: State, which: Array) -> Batch:
        return Batch(centered(data.x[state.chosen[which]]), state.labels[which])

    def draw(data: Images, state: State, steps: int) -> tuple[State, Batch]:
        batches = batch_of(data, state, examples_at(state.order, state.position, steps, B))
        return state._replace(position=state.position + steps * B), batches

    network = dense_network((pixels, *[config.hidden_units] * config.hidden_layers, found.classes))
    epoch = N // B
    task = config.epochs * epoch
    tasks = tuple(Task(f"{k}", (k + 1) * task) for k in range(config.tasks))
    return Stream(
        init, draw, cross_entropy, network, config.tasks * task,
        data=data, tasks=tasks, epoch_steps=(epoch,) * config.tasks, begin_epoch=begin_epoch,
        splits={"memorized": whole(N, batch_of)}, probe=N,
    )  # fmt: skip
