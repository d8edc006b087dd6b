"""Your own data as a stream: two arrays and a list of tasks."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock, Task
from pliant.core.judgement import Judgement, cross_entropy, squared_error
from pliant.core.problem import Batch, Network, Split, Stream
from pliant.core.settings import FromUpTo, Whole, require
from pliant.networks import dense_network

from .images._epochs import examples_at, shuffled

Examples: TypeAlias = ArrayLike | Callable[[np.ndarray, np.ndarray], tuple[ArrayLike, ArrayLike]]

_HIDDEN = (100, 100)  # units of the network that is used if none is given
_MOST_CLASSES = 2**31 - 1
_TEST_BATCH = 1000  # the most examples of a batch of the test split


class Data(NamedTuple):
    x: Array  # (examples, *input) uint8 or float32
    y: Array  # (examples,) int32 or (examples, *output) float32
    rows: Array  # (tasks, most) which examples a task has, again from the first where it has fewer than most
    sizes: Array  # (tasks,) how many it has
    test_rows: Array  # (tasks, most test examples) those it is tested on


class State(NamedTuple):
    order: Array  # (most,) which example comes when in this epoch
    position: Array  # () examples of this epoch so far
    key: Key


def stream_of(
    x: ArrayLike,
    y: ArrayLike,
    tasks: Sequence[tuple[str, Examples]] | None = None,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    test: float = 0.0,
    network: Network | None = None,
    judge: Callable[[Array, Any], Judgement] | None = None,
) -> Stream:
    r"""Your own data as a stream: two arrays and a list of tasks.

    A function that returns the stream is a problem for `pliant run FILE.py` and for `pliant.run`. Each task shows its
    examples for some epochs, each epoch in a new order. An epoch has whole batches; the examples of less than a batch
    that remain are others in each epoch.

    Args:
        x: inputs `(examples, *input)`: uint8, which become numbers from 0 to 1, or of a float type.
        y: targets. Classes `(examples,)` of an integer type, from 0; or numbers `(examples,)` or `(examples, *output)`
            of a float type.
        tasks: in order, each a name and its examples: indices, a mask `(examples,)` of bool, or a function of NumPy
            arrays `(x, y) -> (x, y)` that makes the examples of the task. Results of functions are all kept in memory.
            `None`: one task with all examples.
        epochs: passes through the examples in each task, at least 1.
        batch_size: examples of an update, at least 1.
        test: fraction of all examples, from 0 to below 1, that no task learns. The split `test` has those of the
            present task, in whole batches, after its function. They are the same for all seeds.
        network: to learn with; `None`: two hidden layers of 100 units.
        judge: `(prediction, y) -> Judgement`; `None`: `cross_entropy` for classes, `squared_error` for numbers.

    Returns:
        The stream, with its data.

    Raises:
        ValueError: if the arrays do not fit together, or a task has no such examples or fewer than a batch.

    Example:
        >>> import numpy as np, pliant
        >>> x, y = np.random.default_rng(0).normal(size=(100, 3)), np.arange(100) % 4
        >>> stream = pliant.stream_of(x, y, tasks=[("0, 1", y < 2), ("2, 3", y >= 2)], epochs=5, batch_size=10)
        >>> [task.until for task in stream.tasks]
        [25, 50]
    """
    for setting, value in (("epochs", epochs), ("batch_size", batch_size)):
        require(setting, value, Whole(1))
    require("test", test, FromUpTo(0, 1))
    x, y = _checked("", x, y)
    tasks = [("all", np.arange(len(x)))] if tasks is None else tasks
    _check_pairs(tasks)
    names = [name for name, _ in tasks]
    data = _data(x, y, tasks, test)
    sizes, test_sizes = np.asarray(data.sizes), (data.test_rows >= 0).sum(1)
    B, most = batch_size, data.rows.shape[1]
    for name, size in zip(names, sizes, strict=True):
        if size == 0:
            raise ValueError(f"task {name} has no examples to learn; leave it out")
        if size < B:
            raise ValueError(f"task {name} has {size} examples to learn; write a batch_size of at most {size}")

    def init(data: Data, key: Key) -> State:
        return State(data.rows[0], jnp.int32(0), key)

    def begin_epoch(data: Data, state: State, clock: Clock) -> State:
        order = shuffled(state.key, most, clock)
        order = order[jnp.argsort(order >= data.sizes[clock.task])]  # first those that the task has; argsort is stable
        return state._replace(order=data.rows[clock.task][order], position=jnp.int32(0))

    def batch_of(data: Data, which: Array) -> Batch:
        x = data.x[which]
        return Batch(x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x, data.y[which])

    def draw(data: Data, state: State, steps: int) -> tuple[State, Batch]:
        batches = batch_of(data, examples_at(state.order, state.position, steps, B))
        return state._replace(position=state.position + steps * B), batches

    network = _small_network(data) if network is None else network
    _check_network(network, data, B, judges_alone=judge is None)
    epoch_steps = tuple(int(size) // B for size in sizes)
    ends = np.cumsum(epoch_steps) * epochs
    stream = Stream(
        init, draw, judge or (cross_entropy if data.y.dtype == np.int32 else squared_error), network, int(ends[-1]),
        data=data, tasks=tuple(map(Task, names, map(int, ends))), epoch_steps=epoch_steps, begin_epoch=begin_epoch,
    )  # fmt: skip
    if test == 0:
        return stream
    size = min(_TEST_BATCH, *test_sizes)
    if size == 0:
        name = names[int(test_sizes.argmin())]
        raise ValueError(f"test={test}: none of these examples is of task {name}; write a larger fraction")

    def tested(data: Data, state: State, clock: Clock, i: Array | int) -> Batch:
        del state
        return batch_of(data, data.test_rows[clock.task][i * size + jnp.arange(size)])

    batches = test_sizes // size
    return stream._replace(splits={"test": Split(lambda clock: jnp.asarray(batches)[clock.task], tested)})


def _check_pairs(tasks: Any) -> None:
    if not isinstance(tasks, list | tuple) or not tasks:
        found = "empty" if isinstance(tasks, list | tuple) else f"a {type(tasks).__name__}"
        raise ValueError(f"tasks is {found}; write a list of pairs (name, examples), or leave it out")
    for index, task in enumerate(tasks):
        if not (isinstance(task, list | tuple) and len(task) == 2 and isinstance(task[0], str)):
            raise ValueError(f"task {index} is not a pair of a text and examples; write ('{index}', examples)")


def _checked(where: str, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays with the types that they have on the device.

    Args:
        where: for errors: nothing, or the task.
        x, y: inputs and targets.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim < 2 or y.ndim < 1 or len(x) != len(y):
        raise ValueError(
            f"{where}x has shape {x.shape} and y {y.shape}; write x (examples, *input) and as many targets y"
        )
    if x.dtype.kind != "f" and x.dtype != np.uint8:
        raise ValueError(f"{where}x has type {x.dtype}; write uint8, from 0 to 255, or a float type")
    if y.dtype.kind in "iu":
        if y.ndim != 1 or y.min(initial=0) < 0:
            found = f"shape {y.shape}" if y.ndim != 1 else f"the class {y.min()}"
            raise ValueError(f"{where}y has {found}; write one class from 0 on for each example, or numbers as floats")
        if y.max(initial=0) > _MOST_CLASSES:
            raise ValueError(f"{where}y has the class {y.max()}; write classes from 0 to {_MOST_CLASSES:,} at most")
        y = y.astype(np.int32)
    elif y.dtype.kind == "f":
        y = y.astype(np.float32).reshape(len(y), *(y.shape[1:] or (1,)))
    else:
        raise ValueError(f"{where}y has type {y.dtype}; write classes of an integer type, or numbers of a float type")
    x = x if x.dtype == np.uint8 else x.astype(np.float32)
    for name, array in (("x", x), ("y", y)):
        if not np.isfinite(array).all():
            raise ValueError(f"{where}{name} has numbers that are not finite; leave these examples out")
    return x, y


def _data(x: np.ndarray, y: np.ndarray, tasks: Sequence[tuple[str, Examples]], test: float) -> Data:
    """The examples of all tasks, those to learn and those to be tested on."""
    held = np.zeros(len(x), bool)
    held[np.random.default_rng(0).permutation(len(x))[: round(test * len(x))]] = True
    # Tasks of indices share the arrays; functions add to them.
    pieces = [] if all(callable(examples) for _, examples in tasks) else [(x, y)]
    rows, test_rows = [], []

    def added(name: str, make: Callable[..., Any], of: np.ndarray) -> np.ndarray:
        made = make(x[of], y[of])
        if not (isinstance(made, tuple) and len(made) == 2):
            raise ValueError(f"task {name}: its function returns a {type(made).__name__}; write return x, y")
        piece = _checked(f"task {name}: ", *made)
        for what, mine, all_of in zip(("x", "y"), piece, (x, y), strict=True):
            if (mine.dtype, mine.shape[1:]) != (all_of.dtype, all_of.shape[1:]):
                raise ValueError(
                    f"task {name}: its function returns {what} of {mine.dtype}{mine.shape[1:]} for each example; write "
                    f"{all_of.dtype}{all_of.shape[1:]}, as in the other tasks"
                )
        before = sum(len(x) for x, _ in pieces)
        pieces.append(piece)
        return before + np.arange(len(piece[0]))

    for name, examples in tasks:
        if callable(examples):
            rows.append(added(name, examples, ~held))
            test_rows.append(added(name, examples, held))
        else:
            which = _indices(name, np.asarray(examples), len(x))
            rows.append(which[~held[which]])
            test_rows.append(which[held[which]])
    most, most_test = max(map(len, rows)), max(map(len, test_rows))
    return Data(
        np.concatenate([x for x, _ in pieces]),
        np.concatenate([y for _, y in pieces]),
        np.stack([np.resize(one, most) for one in rows]).astype(np.int32),
        np.array([len(one) for one in rows], np.int32),
        np.stack([np.pad(one, (0, most_test - len(one)), constant_values=-1) for one in test_rows]).astype(np.int32),
    )


def _indices(name: str, examples: np.ndarray, total: int) -> np.ndarray:
    """The indices of a task that are written as such, or as a mask."""
    if examples.dtype == bool and examples.shape == (total,):
        return np.flatnonzero(examples)
    if examples.dtype.kind not in "iu" or examples.ndim != 1:
        raise ValueError(
            f"task {name}: its examples are {examples.dtype}{examples.shape}; write indices, a mask of {total} bools, "
            "or a function of (x, y)"
        )
    wrong = examples[(examples < 0) | (examples >= total)]
    if len(wrong):
        raise ValueError(f"task {name}: there is no example {wrong[0]}; write indices from 0 to {total - 1}")
    return examples


def _check_network(network: Network, data: Data, batch_size: int, *, judges_alone: bool) -> None:
    """Refuses a network that does not take the inputs, or whose predictions are not those that are judged."""
    if not isinstance(network, Network):
        raise ValueError(f"network is of type {type(network).__name__}; write pliant.Network(init, apply)")
    x = jax.ShapeDtypeStruct((batch_size, *data.x.shape[1:]), jnp.float32)
    try:
        made = jax.eval_shape(lambda x: network.apply(network.init(jax.random.key(0)), x), x)
    except Exception as error:  # whatever a network raises
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"network: it does not take inputs of shape {x.shape}: {reason[:100]}") from error
    if not judges_alone:
        return
    if data.y.dtype == np.int32:
        classes = int(data.y.max()) + 1
        fits = made.ndim == 2 and made.shape[1] >= classes
        wanted = f"({batch_size}, {classes}), a number for each of the classes from 0 to {classes - 1}"
    else:
        wanted = (batch_size, *data.y.shape[1:])
        fits = made.shape == wanted
    if not fits:
        raise ValueError(f"network: its predictions have shape {made.shape}; write one with {wanted}, or another judge")


def _small_network(data: Data) -> Network:
    output = (int(data.y.max()) + 1,) if data.y.dtype == np.int32 else data.y.shape[1:]
    dense = dense_network((math.prod(data.x.shape[1:]), *_HIDDEN, math.prod(output)))

    def apply(params: Params, x: Array) -> Array:
        return dense.apply(params, x.reshape(len(x), -1)).reshape(len(x), *output)

    return dense._replace(apply=apply)
