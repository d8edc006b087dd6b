"""When a method acts: every so many steps, for some steps only, or from the beginning again."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from .base import Array, Edit, Key, Method, Params, Surgery, Topology


class EveryState(NamedTuple):
    count: Array  # () steps so far
    inner: Any


def every(n: int | Array, method: Method) -> Method:
    """Lets a method act at steps n, 2n, 3n, ... only; in between neither weights nor gradients nor its state change.

    Args:
        n: the period in steps, at least 1.
        method: a surgery, a gradient transformation, or a tuple of them; no topology, which has a period of its own.

    Signals:
        step: `()`, the number of this step, counted from 1. Optional: without it the method counts for itself. Under
            `vmap` an unmapped `step` keeps the idle steps free: the choice is then made once for all members.

    Raises:
        ValueError: if n is below 1; for a topology.
    """
    if not isinstance(n, jax.Array) and n < 1:
        raise ValueError(f"every(n={n}, ...): n is a number of steps, at least 1")
    return _when(lambda step: step % n == 0, method)


def until(n: int | Array, method: Method) -> Method:
    """Lets a method act during the first n steps only.

    Args:
        n: number of steps, at least 0.
        method: as in `every`.

    Signals:
        step: as in `every`.

    Raises:
        ValueError: if n is negative; for a topology.
    """
    if not isinstance(n, jax.Array) and n < 0:
        raise ValueError(f"until(n={n}, ...): n is a number of steps, at least 0")
    return _when(lambda step: step <= n, method)


class RestartState(NamedTuple):
    task: Array  # () how many of the moments are over
    inner: Any


def restart(at: Sequence[int], method: Method) -> Method:
    """Lets a method begin anew, as if it had seen nothing, at given moments of a run.

    Args:
        at: the moments, in steps of the problem, in order.
        method: a surgery, a gradient transformation, a topology, or a tuple of them. A topology keeps the largest of
            the weights that there are at the moment, as it did of the first.

    Signals:
        steps_before: `()`, steps of the problem before those that are being learned from.
    """
    moments = jnp.asarray(at, jnp.int32)

    def current(
        params: Params, state: RestartState, init: Callable[[Params], Any], steps_before: Array
    ) -> RestartState:
        task = (steps_before >= moments).sum(dtype=jnp.int32)
        changed = task != state.task
        # A topology looks at all weights when it begins: not at every step.
        return RestartState(task, jax.lax.cond(changed, lambda: init(params), lambda: state.inner))

    if isinstance(method, Surgery):

        def operate(params: Params, state: RestartState, *, random: Any, steps_before: Array, **signals):
            state = current(params, state, method.init, steps_before)
            edit, inner = method.operate(params, state.inner, random=random, steps_before=steps_before, **signals)
            return edit, state._replace(inner=inner)

        return Surgery(lambda params: RestartState(jnp.int32(0), method.init(params)), operate, method.draw)
    if isinstance(method, optax.GradientTransformation):
        transformation = optax.with_extra_args_support(method)

        def update(grads, state: RestartState, params: Params | None = None, *, steps_before: Array, **signals):
            state = current(params, state, transformation.init, steps_before)
            grads, inner = transformation.update(grads, state.inner, params, steps_before=steps_before, **signals)
            return grads, state._replace(inner=inner)

        return optax.GradientTransformationExtraArgs(
            lambda params: RestartState(jnp.int32(0), transformation.init(params)), update
        )
    if isinstance(method, Topology):

        def before(grads, params: Params, state: RestartState, *, random: Any, steps_before: Array, **signals):
            state = current(params, state, method.init, steps_before)
            signals = {**signals, "steps_before": steps_before}
            grads, skip, inner = method.before(grads, params, state.inner, random=random, **signals)
            return grads, skip, state._replace(inner=inner)

        def after(params: Params, state: RestartState, *, random: Any, **signals):
            edit, inner = method.after(params, state.inner, random=random, **signals)
            return edit, state._replace(inner=inner)

        return Topology(
            lambda params: RestartState(jnp.int32(0), method.init(params)),
            lambda params, state: method.mask(params, state.inner),
            before,
            after,
            method.draw,
        )
    return tuple(restart(at, piece) for piece in method)


def _when(due: Callable[[Array], Array], method: Method) -> Method:
    if isinstance(method, Surgery):
        return _surgery_when(due, method)
    if isinstance(method, optax.GradientTransformation):
        return _transformation_when(due, optax.with_extra_args_support(method))
    if isinstance(method, Topology):
        raise ValueError(
            "every and until cannot hold a topology back, whose missing weights are missing at every step; "
            "write its own period and end"
        )
    return tuple(_when(due, piece) for piece in method)


def _surgery_when(due: Callable[[Array], Array], surgery: Surgery) -> Surgery:
    def init(params: Params) -> EveryState:
        return EveryState(jnp.zeros((), jnp.int32), surgery.init(params))

    def operate(params: Params, state: EveryState, *, random: Key, step: Array | None = None, **signals):
        count = state.count + 1

        def act():
            drawn = jax.tree.map(lambda drawn: drawn[0], surgery.draw(random, params, 1))
            return surgery.operate(params, state.inner, random=drawn, step=step, **signals)

        def wait():
            edit, _ = jax.eval_shape(act)
            return Edit(params, jax.tree.map(lambda mask: jnp.zeros(mask.shape, bool), edit.fresh)), state.inner

        edit, inner = jax.lax.cond(due(count if step is None else step), act, wait)
        return edit, EveryState(count, inner)

    return Surgery(init, operate)


def _transformation_when(due: Callable[[Array], Array], transformation) -> optax.GradientTransformationExtraArgs:
    def init(params: Params) -> EveryState:
        return EveryState(jnp.zeros((), jnp.int32), transformation.init(params))

    def update(grads, state: EveryState, params: Params | None = None, *, step: Array | None = None, **signals):
        count = state.count + 1
        grads, inner = jax.lax.cond(
            due(count if step is None else step),
            lambda: transformation.update(grads, state.inner, params, step=step, **signals),
            lambda: (grads, state.inner),
        )
        return grads, EveryState(count, inner)

    return optax.GradientTransformationExtraArgs(init, update)
