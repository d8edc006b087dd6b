"""A recurrent network along sequences of steps: traced, run, and restarted where an episode begins.

The gradient runs back through the carry to the beginning of a sequence and no further. Two steps of a sequence are
traced, because the second shows which weights read the carry of the first; the later steps run in a loop.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Features, Params
from pliant.core.kept import kept
from pliant.core.problem import ActorCritic
from pliant.core.units import Wiring
from pliant.tracing.trace import trace

_TRACED = 2  # steps of a sequence


class Steps(Protocol):
    """The steps of sequences, a NamedTuple with leading axes `(recurrence, sequences)`."""

    observation: Array
    is_first: Array  # bool: the first observation of an episode


def restart(carry: Any, is_first: Array) -> Any:
    """The carry, with zeros where an episode begins; `is_first` has the leading axes of the carry."""
    return jax.tree.map(
        lambda x: jnp.where(is_first.reshape(is_first.shape + (1,) * (x.ndim - is_first.ndim)), 0, x), carry
    )


@kept
def trace_along(network: ActorCritic, observation: jax.ShapeDtypeStruct, recurrence: int, sequences: int) -> Wiring:
    """Finds the units of a network, including the units that are read one step later.

    Args:
        network: with or without a carry.
        observation: shape and type of one observation.
        recurrence: steps of a sequence.
        sequences: batch size.

    Returns:
        The wiring, whose `apply` takes `(params, observations, is_first, carry)`: tuples of the traced steps, without
        `is_first` of the first. It returns lists of the network's answers and of the carries.
    """
    steps = min(recurrence, _TRACED)

    def apply(params: Params, observations: tuple[Array, ...], is_first: tuple[Array, ...], carry: Any) -> Any:
        answers, carries = [], []
        for step, seen in enumerate(observations):
            if step:
                carry = restart(carry, is_first[step - 1])
            answer, carry = network.apply(params, seen, carry)
            answers.append(answer)
            carries.append(carry)
        return answers, carries

    params = jax.eval_shape(network.init, jax.random.key(0))
    seen = jax.ShapeDtypeStruct((sequences, *observation.shape), observation.dtype)
    is_first = jax.ShapeDtypeStruct((sequences,), jnp.bool)
    carry = jax.eval_shape(lambda: network.initial_carry(sequences))
    return trace(apply, params, (seen,) * steps, (is_first,) * (steps - 1), carry)


def run_along(
    network: ActorCritic,
    wiring: Wiring,
    params: Params,
    batch: Steps,
    carry: Any,
    judge: Callable[[Any, Any], Any],
) -> tuple[Any, Features, Any]:
    """Runs a network along sequences.

    Args:
        network: the traced network.
        wiring: from `trace_along`.
        params: of the network.
        batch: the steps.
        carry: before the first step, `(sequences, ...)`.
        judge: `(answer, step of the batch) -> tree`, such as a loss and its metrics.

    Returns:
        The results of `judge` for each step, `(recurrence, ...)`; the features of the traced steps; and the carries
        after all steps but the last, `(recurrence - 1, sequences, ...)`.
    """
    recurrence = batch.is_first.shape[0]
    traced = min(recurrence, _TRACED)
    steps = [jax.tree.map(lambda x, i=i: x[i], batch) for i in range(traced)]
    observations, is_first = [step.observation for step in steps], [step.is_first for step in steps[1:]]
    (answers, carries), features = wiring.apply(params, tuple(observations), tuple(is_first), carry)
    judged = [judge(answer, step) for answer, step in zip(answers, steps)]
    judged, carries = (jax.tree.map(lambda *x: jnp.stack(x), *each) for each in (judged, carries))

    def further(carry: Any, step: Any) -> Any:
        answer, carry = network.apply(params, step.observation, restart(carry, step.is_first))
        return carry, (judge(answer, step), carry)

    if recurrence > traced:
        last = jax.tree.map(lambda x: x[-1], carries)
        _, others = jax.lax.scan(further, last, jax.tree.map(lambda x: x[traced:], batch))
        judged, carries = jax.tree.map(lambda *x: jnp.concatenate(x), (judged, carries), others)
    return judged, features, jax.tree.map(lambda x: x[:-1], carries)
