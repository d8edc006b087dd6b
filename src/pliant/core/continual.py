"""Contract of the continual methods: how one network serves a sequence of tasks.

A plasticity method keeps a network able to learn. A continual method decides what the network keeps of earlier tasks:
stored copies, an anchor, examples to rehearse. Agents and learners name no continual method, and each works beside any
plasticity methods.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from .base import Array, Key, Method, Params
from .clock import Clock, Task
from .likelihood import Likelihood


class ContinualContext(NamedTuple):
    """What a run knows of a network; a continual method's factory receives the fields that its arguments name."""

    initialize: Callable[[Key], Params]  # `key -> params`, the network's initializer
    apply: Callable[[Params, Array], Any]  # `(params, (batch, *input)) -> outputs`, a tree, the batch first
    likelihood: Likelihood  # what the outputs are the parameters of
    inputs: jax.ShapeDtypeStruct  # of one input
    tasks: tuple[Task, ...]  # in order


def _nothing(params: Params) -> tuple[()]:
    del params
    return ()


def _no_penalty(params: Params, state: Any, clock: Clock) -> Array | float:
    del params, state, clock
    return 0.0


def _keep(params: Params, state: Any, *, inputs: Array, clock: Clock, key: Key) -> tuple[Params, Any]:
    del inputs, clock, key
    return params, state


def _newest(params: Params, state: Any, task: Array | int) -> Params:
    del state, task
    return params


class Memory(NamedTuple):
    """Numbers that are stored to act on all tasks so far, of the networks that act."""

    parameters: int  # of all stored networks
    parameters_and_buffers: int  # with anchors and examples


class Continual(NamedTuple):
    """Pure functions of one network that learns tasks in turn, for one member of a population.

    Attributes:
        init: `params -> state`, before the first task. Room for all tasks is made here.
        method: pieces that act beside the run's plasticity methods, after them. A surgery with `begin_task` acts at
            the beginning of each task.
        penalty: `(params, state, clock) -> ()`, added to the loss of the network; `clock` is that of the update.
        end_task: `(params, state, *, inputs, clock, key) -> (params, state)`, after the last update of each task.
            `inputs` `(samples, *input)` are drawn from those of the task; `clock.task` is its index; the key is
            consumed.
        view: `(params, state, task) -> params`: the parameters that act on the task with this index, `()` int.
        samples: the number of inputs that `end_task` needs.
        per_task: whether `view` depends on the task: the state holds copies of the network.
        copies: networks that are stored for acting after so many finished tasks, `tasks -> number`.
    """

    init: Callable[[Params], Any] = _nothing
    method: Method = ()
    penalty: Callable[[Params, Any, Clock], Array | float] = _no_penalty
    end_task: Callable[..., tuple[Params, Any]] = _keep
    view: Callable[[Params, Any, Array | int], Params] = _newest
    samples: int = 0
    per_task: bool = False
    copies: Callable[[int], int] = lambda tasks: 1


class ContinualFor(Protocol):
    """Makes the continual method of a run for one network."""

    def __call__(
        self,
        initialize: Callable[[Key], Params],
        apply: Callable[[Params, Array], Any],
        likelihood: Likelihood,
        inputs: jax.ShapeDtypeStruct,
    ) -> Continual:
        """The method for a network, see `ContinualContext` for the arguments."""
        ...


def no_continual(
    initialize: Callable[[Key], Params],
    apply: Callable[[Params, Array], Any],
    likelihood: Likelihood,
    inputs: jax.ShapeDtypeStruct,
) -> Continual:
    """A `ContinualFor` without a method: the network is trained further and keeps nothing."""
    del initialize, apply, likelihood, inputs
    return Continual()


def memory_of(method: Continual, params: Params, tasks: int) -> Memory:
    """The numbers that a method stores after so many finished tasks.

    Args:
        method: the method.
        params: of the network, or their shapes.
        tasks: finished tasks.
    """

    def size(tree: Any) -> int:
        return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree) if x.ndim)

    networks = method.copies(tasks) * size(params)
    buffers = 0 if method.per_task else size(jax.eval_shape(method.init, params))
    return Memory(networks, networks + buffers)
