"""When a method acts: every n steps, during the first n steps only, at the start of each task; or restarted."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from . import replicas
from .base import Array, Edit, Key, Method, Params, Surgery, Topology, require_signals
from .clock import Clock
from .settings import Whole


class EveryState(NamedTuple):
    count: Array  # () steps so far  # pyright: ignore[reportIncompatibleMethodOverride]
    inner: Any  # the method's own state


def every(n: int | Array, method: Method) -> Method:
    """Lets a method act at steps n, 2n, 3n, ... only.

    At the steps in between, weights, gradients and the method's state stay as they are.

    Args:
        n: the period in steps, at least 1.
        method: a surgery, a gradient transformation, or a tuple of them. A topology has its own period.

    Returns:
        A method of the same kind; its state is an `EveryState`. For a period of 1 it is the method itself.

    Signals:
        clock: its `update` is the number of this step. Optional: without it the method counts for itself. Under
            `vmap` an unmapped clock keeps the idle steps free: one choice is then made for all members.

    Raises:
        ValueError: if n is not a whole number from 1 on; for a topology; for a method of `each_task`.

    Example:
        >>> import optax, pliant
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.every(100, pliant.shrink_and_perturb(shrink=0.9)))
    """
    if not isinstance(n, jax.Array):
        if not Whole(1).allows(n):
            raise ValueError(f"every(n={n}, ...): n is a whole number of steps, at least 1")
        if n == 1:
            return method
    return _when(lambda step: step % n == 0, method)


def until(n: int | Array, method: Method) -> Method:
    """Lets a method act during the first n steps only.

    Args:
        n: number of steps, at least 0.
        method: as in `every`.

    Returns:
        A method of the same kind; its state is an `EveryState`.

    Signals:
        clock: as in `every`.

    Raises:
        ValueError: if n is not a whole number from 0 on; for a topology; for a method of `each_task`.

    Example:
        >>> import optax, pliant
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.until(10_000, pliant.l2(1e-4)))
    """
    if not isinstance(n, jax.Array) and not Whole(0).allows(n):
        raise ValueError(f"until(n={n}, ...): n is a whole number of steps, at least 0")
    return _when(lambda step: step <= n, method)


def each_task(method: Method) -> Method:
    """Lets a surgery act before the first update of each task, the first task included, and at no other time.

    It acts whatever its period is: a `head_reset` resets the head once a task. PPO, A2C and SAC let it act before they
    collect the data of that update, so that the network of a task acts from the task's first step.

    Args:
        method: a surgery that does not need the features of a batch; or a tuple with surgeries, whose gradient
            transformations act at every step, like the weight decay of `shrink_and_perturb`.

    Returns:
        A surgery with a `begin_task`, or a tuple; its state is that of the given one.

    Raises:
        ValueError: for a method that is not a surgery and has none, or that needs features.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> def initialize(key):
        ...     return {"w": jax.random.normal(key, (3, 1))}
        >>> tx = pliant.plastic(optax.sgd(0.1), pliant.each_task(pliant.full_reset(initialize)))
        >>> params = initialize(jax.random.key(0))
        >>> params, state = tx.begin_task(params, tx.init(params), pliant.Clock(update=1, task_update=1))
    """
    if isinstance(method, optax.GradientTransformation | Topology):
        raise ValueError("each_task takes a surgery, such as head_reset or shrink_and_perturb")
    if not isinstance(method, Surgery):
        changes_gradients = [isinstance(piece, optax.GradientTransformation) for piece in method]
        if all(changes_gradients):
            raise ValueError("each_task takes a surgery, such as head_reset or shrink_and_perturb; this has none")
        return tuple(piece if changes else each_task(piece) for piece, changes in zip(method, changes_gradients))
    surgery = method
    if "features" in inspect.signature(surgery.operate).parameters:
        raise ValueError(
            "a method that needs the features of a batch acts after updates, not between tasks; "
            "take a surgery such as head_reset or shrink_and_perturb"
        )

    def operate(params: Params, state: Any, *, random: Any, **signals: Any) -> tuple[Edit, Any]:
        del random, signals
        return Edit(params), state

    def begin_task(params: Params, state: Any, *, random: Key, clock: Clock) -> tuple[Edit, Any]:
        drawn = jax.tree.map(lambda drawn: drawn[0], surgery.draw(random, params, 1))
        # Update 0 is due for every period.
        return surgery.operate(params, state, random=drawn, clock=clock._replace(update=0))

    return Surgery(surgery.init, operate, begin_task=begin_task)


class RestartState(NamedTuple):
    task: Array  # () how many of the given steps have passed
    inner: Any  # the method's own state


def restart(at: Sequence[int] | Array, method: Method) -> Method:
    """Restarts a method at given steps of a run, for example at the start of each task.

    A restart sets the method's state to its initial value: ages, utilities and counts are 0 again. The weights and the
    optimizer's state stay. A topology chooses its initial mask again, from the weights present at the restart.

    Args:
        at: when to restart, in steps of the problem (examples or environment steps), in ascending order.
        method: a surgery, a gradient transformation, a topology, or a tuple of them.

    Returns:
        A method of the same kind; its state is a `RestartState`.

    Signals:
        clock: its `step` is the number of steps of the problem before the data of this update. The method restarts at
            the first update with `clock.step` at or beyond an element of `at`.

    Example:
        >>> import optax, pliant
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.restart([50_000, 100_000], pliant.l2_init(1e-3)))

        The loop then passes `tx.update(grads, state, params, clock=pliant.Clock(update, step))`.
    """
    steps = jnp.asarray(at, jnp.int32)

    if isinstance(method, Surgery):
        return _restarted_surgery(steps, method)
    if isinstance(method, optax.GradientTransformation):
        return _restarted_transformation(steps, optax.with_extra_args_support(method))
    if isinstance(method, Topology):
        return _restarted_topology(steps, method)
    return tuple(restart(at, piece) for piece in method)


def _restarted_surgery(steps: Array, surgery: Surgery) -> Surgery:
    init, current = _restarting(steps, surgery.init)

    def operate(params: Params, state: RestartState, *, random: Any, clock: Clock, **signals: Any):
        state = current(params, state, clock.step)
        signals = {**signals, "clock": clock}
        require_signals(surgery.operate, signals)
        edit, inner = surgery.operate(params, state.inner, random=random, **signals)
        return edit, state._replace(inner=inner)

    if (begin := surgery.begin_task) is None:
        return surgery._replace(init=init, operate=operate)

    def begin_task(params: Params, state: RestartState, *, random: Key, clock: Clock) -> tuple[Edit, RestartState]:
        state = current(params, state, clock.step)
        edit, inner = begin(params, state.inner, random=random, clock=clock)
        return edit, state._replace(inner=inner)

    return surgery._replace(init=init, operate=operate, begin_task=begin_task)


def _restarted_transformation(
    steps: Array, transformation: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    init, current = _restarting(steps, transformation.init)

    def update(updates: Params, state: RestartState, params: Params | None = None, *, clock: Clock, **signals: Any):
        state = current(params, state, clock.step)
        updates, inner = transformation.update(updates, state.inner, params, clock=clock, **signals)
        return updates, state._replace(inner=inner)

    # optax's types know of no signal that must be given.
    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


def _restarted_topology(steps: Array, topology: Topology) -> Topology:
    init, current = _restarting(steps, topology.init)

    def mask(params: Params, state: RestartState) -> Params:
        return topology.mask(params, state.inner)

    def before(grads: Params, params: Params, state: RestartState, *, random: Any, clock: Clock, **signals: Any):
        state = current(params, state, clock.step)
        signals = {**signals, "clock": clock}
        require_signals(topology.before, signals)
        grads, skip, inner = topology.before(grads, params, state.inner, random=random, **signals)
        return grads, skip, state._replace(inner=inner)

    def after(params: Params, state: RestartState, *, random: Any, **signals: Any):
        require_signals(topology.after, signals)
        edit, inner = topology.after(params, state.inner, random=random, **signals)
        return edit, state._replace(inner=inner)

    return Topology(init, mask, before, after, topology.draw)


def _restarting(
    steps: Array, init: Callable[[Params], Any]
) -> tuple[Callable[[Params], RestartState], Callable[[Params, RestartState, Array | int], RestartState]]:
    """`params -> state` at the start of a run, and `(params, state, step) -> state` at an update."""

    def current(params: Params, state: RestartState, step: Array | int) -> RestartState:
        task = (step >= steps).sum(dtype=jnp.int32)
        # Under `cond`, because a topology ranks all weights when it starts.
        inner = replicas.cond(task != state.task, lambda: init(params), lambda: state.inner)
        return RestartState(task, inner)

    return lambda params: RestartState(jnp.int32(0), init(params)), current


def _when(due: Callable[[Array | int], Array | bool], method: Method) -> Method:
    if isinstance(method, Surgery):
        if method.begin_task is not None:
            raise ValueError(
                "every and until do not take a method of each_task, which acts at the start of tasks whatever its "
                "period is; leave them out"
            )
        return _surgery_when(due, method)
    if isinstance(method, optax.GradientTransformation):
        return _transformation_when(due, optax.with_extra_args_support(method))
    if isinstance(method, Topology):
        raise ValueError(
            "every and until do not take a topology, whose masks hold at every step; "
            "write the topology's own period and end"
        )
    return tuple(_when(due, piece) for piece in method)


def _surgery_when(due: Callable[[Array | int], Array | bool], surgery: Surgery) -> Surgery:
    def init(params: Params) -> EveryState:
        return EveryState(jnp.zeros((), jnp.int32), surgery.init(params))

    @functools.wraps(surgery.operate)  # so that the signals that it needs can be seen
    def operate(
        params: Params, state: EveryState, *, random: Key, clock: Clock | None = None, **signals: Any
    ) -> tuple[Edit, EveryState]:
        count = state.count + 1
        signals["clock"] = clock

        def act():
            drawn = jax.tree.map(lambda drawn: drawn[0], surgery.draw(random, params, 1))
            return surgery.operate(params, state.inner, random=drawn, **signals)

        def wait():
            edit, _ = jax.eval_shape(act)
            nowhere = jax.tree.map(lambda mask: jnp.zeros(mask.shape, bool), (edit.fresh, edit.reset_count))
            return Edit(params, *nowhere), state.inner

        edit, inner = replicas.cond(due(count if clock is None else clock.update), act, wait)
        return edit, EveryState(count, inner)

    return Surgery(init, operate, before_step=surgery.before_step)


def _transformation_when(
    due: Callable[[Array | int], Array | bool], transformation: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    def init(params: Params) -> EveryState:
        return EveryState(jnp.zeros((), jnp.int32), transformation.init(params))

    def update(
        updates: Params,
        state: EveryState,
        params: Params | None = None,
        *,
        clock: Clock | None = None,
        **signals: Any,
    ) -> tuple[Params, EveryState]:
        count = state.count + 1
        updates, inner = replicas.cond(
            due(count if clock is None else clock.update),
            lambda: transformation.update(updates, state.inner, params, clock=clock, **signals),
            lambda: (updates, state.inner),
        )
        return updates, EveryState(count, inner)

    # optax takes any state, and `update` its own.
    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]
