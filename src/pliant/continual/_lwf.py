"""Learning without forgetting (LwF): on the inputs of the new task the outputs are to stay as they were."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock
from pliant.core.continual import Continual, Update
from pliant.core.likelihood import Likelihood, divergence
from pliant.core.settings import AtLeast, require


class LwfState(NamedTuple):
    teacher: Params  # the network at the end of the newest finished task
    finished: Array  # () int: finished tasks


def lwf(apply: Callable[[Params, Array], Any], likelihood: Likelihood, strength: float = 1.0) -> Continual:
    r"""Learning without forgetting: the network of the task before is the teacher of the network of this task.

    With the statistics $v$ of the outputs and their weights $w$ (see `likelihood`), and with $v^*, w^*$ of the network
    at the end of the task before, the penalty is, from the second task on, the mean over the inputs of the update of

    $$\frac{\lambda}{2} \sum_k w^*_k (v_k - v^*_k)^2,$$

    the second-order form of the Kullback-Leibler divergence from the teacher's outputs to the network's. No inputs are
    stored. For a policy this is policy distillation on the observations of the new task.

    Args:
        apply: `(params, inputs) -> outputs` of the network.
        likelihood: of the outputs.
        strength: $\lambda$, at least 0. Published: 1, for images.

    Raises:
        ValueError: for a negative strength.

    Differs from the authors' code: there each task has output units of its own, the new ones are trained alone at
    first, and the divergence is a cross-entropy of class probabilities at temperature 2. Here all tasks share the
    outputs.

    References:
        Li and Hoiem, `Learning without forgetting <https://arxiv.org/abs/1606.09282>`_, ECCV 2016. Rusu et al.,
        `Policy distillation <https://arxiv.org/abs/1511.06295>`_, ICLR 2016.

    Example:
        >>> import pliant.continual
        >>> from pliant.core.likelihood import categorical
        >>> def apply(params, x):
        ...     return x @ params["w"]
        >>> method = pliant.continual.lwf(apply, categorical, strength=2.0)
    """
    require("strength", strength, AtLeast(0))

    def init(params: Params) -> LwfState:
        return LwfState(jax.tree.map(jnp.array, params), jnp.zeros((), jnp.int32))

    def penalty(params: Params, state: LwfState, update: Update) -> Array:
        del params  # the outputs are known
        v, _ = likelihood(update.outputs)
        distances = divergence(likelihood(apply(state.teacher, update.inputs)), v)
        return strength * (state.finished > 0) * distances.mean()

    def end_task(params: Params, state: LwfState, *, inputs: Array, clock: Clock, key: Key) -> tuple[Params, Any]:
        del inputs, clock, key
        return params, LwfState(params, state.finished + 1)

    return Continual(init, penalty=penalty, end_task=end_task)
