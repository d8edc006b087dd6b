"""A pull towards the parameters at the end of the task before, with an importance of each parameter."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock
from pliant.core.continual import Continual, Update
from pliant.core.settings import AtLeast, Between, Whole, require


class ImportanceState(NamedTuple):
    anchor: Params  # the parameters at the end of the newest finished task
    importance: Params  # over all finished tasks


def pull(strength: float) -> Callable[[Params, Any, Update], Array]:
    r"""The penalty $\lambda \sum_i \Omega_i (\theta_i - \theta_i^*)^2$ of a state with `anchor` and `importance`.

    Args:
        strength: $\lambda$, at least 0.

    Raises:
        ValueError: for a negative strength.
    """
    require("strength", strength, AtLeast(0))

    def penalty(params: Params, state: Any, update: Update) -> Array:
        del update

        def of_leaf(theta: Array, anchor: Array, Omega: Array) -> Array:
            return (Omega * (theta - anchor) ** 2).sum()

        return strength * sum(jax.tree.leaves(jax.tree.map(of_leaf, params, state.anchor, state.importance)))

    return penalty


def anchored_by_importance(
    of_input: Callable[[Params, Array], Params], strength: float, samples: int, decay: float = 1.0
) -> Continual:
    r"""A penalty on the distance to the anchor $\theta^*$, weighted by an importance that each task adds to.

    $$\lambda \sum_i \Omega_i (\theta_i - \theta_i^*)^2, \qquad
    \Omega \leftarrow \gamma \Omega + \overline{\Omega(x)}.$$

    Args:
        of_input: $\Omega(x)$: `(params, x) -> importance` for one input `(*input)`, like `params`.
        strength: $\lambda$, at least 0.
        samples: inputs of each task that the mean is over, at least 1.
        decay: $\gamma$ in [0, 1].

    Raises:
        ValueError: for a value outside its range.
    """
    require("samples", samples, Whole(1))
    require("decay", decay, Between(0, 1))

    def mean_over(inputs: Array, params: Params) -> Params:
        """One input at a time, because the gradients of all would not fit into memory."""

        def add(total: Params, x: Array) -> tuple[Params, None]:
            return jax.tree.map(jnp.add, total, of_input(params, x)), None

        total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), inputs)
        return jax.tree.map(lambda total: total / len(inputs), total)

    def init(params: Params) -> ImportanceState:
        return ImportanceState(jax.tree.map(jnp.array, params), jax.tree.map(jnp.zeros_like, params))

    def end_task(
        params: Params, state: ImportanceState, *, inputs: Array, clock: Clock, key: Key
    ) -> tuple[Params, Any]:
        del clock, key
        new = mean_over(inputs, params)
        return params, ImportanceState(params, jax.tree.map(lambda old, new: decay * old + new, state.importance, new))

    return Continual(init, penalty=pull(strength), end_task=end_task, samples=samples)
