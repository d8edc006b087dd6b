"""PackNet: each task owns a part of the weights of one network, and later tasks leave them as they are."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock, Task
from pliant.core.continual import Continual
from pliant.core.notes import note
from pliant.core.settings import FromUpTo, Whole, is_traced, require
from pliant.core.units import is_statistic, leaves
from pliant.surgery.masks import allot, owned_until
from pliant.surgery.resets import Initialize


class PackNetState(NamedTuple):
    owners: Params  # like the parameters, int: the task that owns a weight; -1: the weight is free
    finished: Array  # () int: finished tasks, which is the index of the task that is learned
    pruned: Array  # () bool: whether that task has its weights and the others are 0, as in fine-tuning


def packnet(
    tasks: tuple[Task, ...], initialize: Initialize, prune: float = 0.875, finetune: int = 100_000
) -> Continual:
    r"""PackNet: at the end of each task pruning chooses the weights that the task owns, and all others become 0.

    Of each leaf, a kernel or a bias, with $n$ weights $w$, let $c$ be the number with rank $\lfloor p n \rfloor$ among
    all $|w_i|$, ascending, where 0 stands for weights with an owner. The task gets the free weights with
    $|w_i| > c$, a share of $1 - p$ while there are as many; the free weights become 0. The task's own weights are then
    fine-tuned on the replay. In later tasks the free weights learn, from 0, and the owned ones stay as they are.

    The weights of the tasks up to $t$ act on task $t$, with all others at 0: to the bit the network at its end. The
    network itself acts on a task to come. Once no weight is free, a task learns nothing: $1 / (1 - p)$ tasks find free
    weights, fewer in a leaf of few weights. A run says beforehand after which task a leaf is used up.

    Plasticity methods see all weights, and owned weights are put back after them: of a reinitialized unit only the
    free weights change, and in fine-tuning only those of the task.

    Args:
        tasks: of the run.
        initialize: `key -> params`, the network's initial parameters: their shapes count.
        prune: $p$ in [0, 1). Published: 0.875.
        finetune: updates on the replay after each task; 0: the pruned network is not trained further, and agents
            without a replay take no other number. Published: 100,000.

    Raises:
        ValueError: for a value outside its range, or a network with running statistics.

    Differs from the authors' code: they store a copy of the network for each task, $(N + 1) P$ numbers after $N$ tasks
    with the owners. Ours stores the network and the owners, $2 P$ numbers, for the copies follow from them. They put
    owned weights back before each forward pass of training, and ours after each update, so that evaluations within a
    task see the network that is trained.

    References:
        Mallya and Lazebnik, `PackNet: adding multiple tasks to a single network by iterative pruning
        <https://arxiv.org/abs/1711.05769>`_, CVPR 2018. Wolczyk et al., `Continual World
        <https://arxiv.org/abs/2105.10919>`_, NeurIPS 2021: for SAC.

    Example:
        >>> import jax, pliant.continual
        >>> from pliant.core.clock import Task
        >>> def initialize(key):
        ...     return {"w": jax.random.normal(key, (40, 10))}
        >>> method = pliant.continual.packnet((Task("moon", 1000), Task("normal", 2000)), initialize, prune=0.5)
    """
    require("prune", prune, FromUpTo(0, 1))
    require("finetune", finetune, Whole(0))
    sizes = {path: leaf.size for path, leaf in leaves(jax.eval_shape(lambda: initialize(jax.random.key(0)))).items()}
    if any(map(is_statistic, sizes)):
        raise ValueError("packnet stores weights, and no running statistics; choose a network without batch norms")
    if not is_traced(prune):
        _note_used_up(sizes, len(tasks), prune)
    dtype = np.min_scalar_type(-1 - len(tasks))  # int8 up to 127 tasks

    def init(params: Params) -> PackNetState:
        owners = jax.tree.map(lambda w: jnp.full(w.shape, -1, dtype), params)
        return PackNetState(owners, jnp.zeros((), jnp.int32), jnp.zeros((), bool))

    def project(params: Params, state: PackNetState, previous: Params) -> Params:
        def of_leaf(new: Array, old: Array, owner: Array) -> Array:
            free = jnp.where(state.pruned & (owner < 0), 0, new)
            return jnp.where(owned_until(owner, state.finished - 1), old, free)

        return jax.tree.map(of_leaf, params, previous, state.owners)

    def end_training(params: Params, state: PackNetState, *, clock: Clock, key: Key) -> tuple[Params, Any]:
        del clock, key
        owners = jax.tree.map(
            lambda w, owner: allot(owner, w, state.finished, jnp.asarray(prune * w.size, jnp.int32)),
            params,
            state.owners,
        )
        state = PackNetState(owners, state.finished, jnp.ones((), bool))
        return project(params, state, params), state

    def end_task(params: Params, state: PackNetState, *, inputs: Array, clock: Clock, key: Key) -> tuple[Params, Any]:
        del inputs, clock, key
        return params, PackNetState(state.owners, state.finished + 1, jnp.zeros((), bool))

    def view(params: Params, state: PackNetState, task: Array | int) -> Params:
        def of_leaf(w: Array, owner: Array) -> Array:
            return jnp.where((task >= state.finished) | owned_until(owner, task), w, 0)

        return jax.tree.map(of_leaf, params, state.owners)

    return Continual(
        init,
        project=project,
        end_training=end_training,
        finetune=finetune,
        end_task=end_task,
        view=view,
        per_task=True,
    )


def _note_used_up(sizes: dict[str, int], tasks: int, prune: float) -> None:
    r"""Notes after which task there are no free weights: in the network, and in leaves of few weights.

    Of $n$ weights each task gets $n - \lfloor p n \rfloor$, at least one.

    Args:
        sizes: numbers of weights of the leaves by path.
        tasks: of the run.
        prune: $p$.
    """
    tasks_served = {path: math.ceil(n / (n - int(prune * n))) for path, n in sizes.items()}
    last = max(tasks_served.values())
    if last < tasks:
        enough = math.ceil(1000 * (1 - 1 / tasks)) / 1000
        note(
            f"packnet: after task {last} of {tasks} no weight is free, and later tasks learn nothing; "
            f"write a prune of at least {enough}",
            is_warning=True,
        )
    early = [f"{path} ({sizes[path]}) after task {k}" for path, k in tasks_served.items() if k < min(last, tasks)]
    if early:
        note(f"packnet: leaves of few weights are used up earlier: {', '.join(early)}")
