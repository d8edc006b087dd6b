"""Replay: rehearse the network's own outputs on stored inputs of earlier tasks."""

from collections.abc import Callable
from typing import Any

import jax

from pliant.core.base import Array, Params
from pliant.core.continual import Continual, Update
from pliant.core.likelihood import Likelihood
from pliant.core.settings import AtLeast, require

from ._reservoir import Reservoir, rehearsal


def replay(
    apply: Callable[[Params, Array], Any],
    likelihood: Likelihood,
    inputs: jax.ShapeDtypeStruct,
    strength: float = 1.0,
    capacity: int = 8192,
    batch_size: int = 128,
) -> Continual:
    r"""Replay: a reservoir of inputs of all finished tasks, on which the outputs are to stay as they were.

    With the statistics $v$ of the outputs and their weights $w$ (see `likelihood`), and with $v^*, w^*$ at the end of
    the input's task, the penalty is the mean over a batch of the reservoir of

    $$\frac{\lambda}{2} \sum_k w^*_k (v_k - v^*_k)^2,$$

    the second-order form of the Kullback-Leibler divergence from the outputs then to the outputs now. At the end of
    task $t$, counted from 0, each slot of the reservoir gets an input of the task with probability $1 / (t + 1)$:
    from the replay of an agent that has one, from the last round of PPO and A2C, from the newest batches of a stream.
    Batches go through the slots in turn.

    Args:
        apply: `(params, inputs) -> outputs` of the network.
        likelihood: of the outputs.
        inputs: shape and type of one input.
        strength: $\lambda$, at least 0.
        capacity: slots of the reservoir, at least `batch_size`.
        batch_size: slots that each update rehearses, at least 1.

    Raises:
        ValueError: for a value outside its range.

    Differs from the authors' code: dark experience replay has the squared distance of logits, and adds single examples
    while it learns; ours adds a sample of the task at its end, and so works for policies, which have no labels. The
    reservoir of Continual World keeps transitions, from which the critics learn.

    References:
        Buzzega et al., `Dark experience for general continual learning <https://arxiv.org/abs/2004.07211>`_,
        NeurIPS 2020. Wolczyk et al., `Disentangling transfer in continual reinforcement learning
        <https://arxiv.org/abs/2209.13900>`_, NeurIPS 2022: the same for the policies of SAC.

    Example:
        >>> import jax, numpy as np, pliant.continual
        >>> from pliant.core.likelihood import categorical
        >>> def apply(params, x):
        ...     return x @ params["w"]
        >>> one = jax.ShapeDtypeStruct((3,), np.float32)
        >>> method = pliant.continual.replay(apply, categorical, one, strength=1.0, capacity=512)
    """
    require("strength", strength, AtLeast(0))
    storing, distance = rehearsal(apply, likelihood, inputs, capacity, batch_size)

    def penalty(params: Params, state: Reservoir, update: Update) -> Array:
        return strength * distance(params, state, update.clock)

    return storing._replace(penalty=penalty)
