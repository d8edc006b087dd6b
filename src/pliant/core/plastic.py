"""The combinator that makes one optax optimizer of an optimizer and plasticity methods."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from . import keys, moments, replicas
from .base import Array, Edit, Key, Method, Params, Surgery, Topology, require_signals
from .clock import Clock
from .gradients import Gradients
from .placement import require_last_word
from .replicas import AxisName
from .units import any_of

_OF_METHODS = ("features", "clock")  # the signals of the methods, which no optimizer gets


class PlasticState(NamedTuple):
    key: Array  # (words,) uint32, the data of a key for the draws of surgeries and topologies: files can hold it
    before: tuple[Any, ...]  # states of the gradient pieces
    optimizer: Any  # the optimizer's own state
    after: tuple[Any, ...]  # states of the surgeries, then of the topologies


def take_keys(state: PlasticState, count: int) -> tuple[list[Key], PlasticState]:
    """Takes keys out of a state, for draws ahead of its steps.

    Args:
        state: with a key of JAX's default generator.
        count: number of keys.

    Returns:
        The keys, and the state with another key.
    """
    key, *taken = jax.random.split(jax.random.wrap_key_data(state.key), 1 + count)
    return taken, state._replace(key=jax.random.key_data(key))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Plastic(optax.GradientTransformationExtraArgs):
    """An optax transformation with six more functions: for topologies, for tasks, and for fast loops.

    It is a dataclass on top of optax's named tuple. A dataclass alone does not suffice: optax's wrappers pass signals
    on only to instances of `GradientTransformationExtraArgs`, and unpack each into `init` and `update`.

    Attributes:
        init: `params -> PlasticState`.
        update: `(grads, state, params, **signals) -> (updates, state)`.
        prepare: `params -> params`: the network as it is before its first step. Without a `Topology` nothing changes.
        mask: `(params, state) -> params`: a copy that follows the network, such as a target, with 0 wherever the
            network has no weight now. Without a `Topology` nothing changes.
        step: `(grads, state, params, *, random=None, **signals) -> (params, state)`: `update` followed by
            `optax.apply_updates`, without forming the difference, which would copy weights and round them.
        draw: `(key, params, steps) -> random`, on a leading axis of steps. `step` and `update` take the numbers of one
            step as `random`; otherwise they draw for themselves.
        begin_task: `(params, state, clock) -> (params, state)`, before the first update of each task; `None` where no
            method asks for it. A loop that knows its tasks calls `before_update` instead.
    """

    init: dataclasses.InitVar[Callable[[Params], PlasticState]]  # pyright: ignore[reportIncompatibleVariableOverride]
    update: dataclasses.InitVar[Callable[..., tuple[Params, PlasticState]]]  # pyright: ignore[reportIncompatibleVariableOverride]
    prepare: Callable[[Params], Params]
    mask: Callable[[Params, PlasticState], Params]
    step: Callable[..., tuple[Params, PlasticState]]
    draw: Callable[[Key, Params, int], Any]
    begin_task: Callable[[Params, PlasticState, Clock], tuple[Params, PlasticState]] | None = None

    def before_update(self, params: Params, state: PlasticState, clock: Clock) -> tuple[Params, PlasticState]:
        """The parameters and the state from which an update begins: the first of a task follows on `begin_task`.

        Args:
            params, state: after the update before.
            clock: of the update. Under `vmap` an unmapped clock keeps the other updates free.
        """
        begin_task = self.begin_task
        if begin_task is None:
            return params, state
        return replicas.cond(clock.task_update == 1, lambda: begin_task(params, state, clock), lambda: (params, state))

    def __new__(cls, init: Any, update: Any, **more: Any) -> "Plastic":
        """The pair that optax knows; the dataclass keeps the rest."""
        del more
        return super().__new__(cls, init, update)

    def _replace(self, **changes: Any) -> "Plastic":  # pyright: ignore[reportIncompatibleMethodOverride]
        return dataclasses.replace(self, **changes)


def plastic(
    optimizer: optax.GradientTransformation,
    *methods: Method,
    key: int | np.integer[Any] | Key = 0,
    reset_moments: bool = True,
    axis_name: AxisName | None = None,
) -> Plastic:
    """Joins an optimizer and plasticity methods into one optax transformation.

    Gradient pieces act before the optimizer and surgeries after it, each in the order given; a surgery with
    `before_step` acts before both. Where a surgery reinitializes a weight, the weight's optimizer state returns to its
    initial value. This works for every optax optimizer, also behind `optax.masked` and `optax.partition`. State that
    several weights share (a factored second moment) stays.

    Each topology has its own mask. A weight is present where all masks are true. The optimizer skips a step, for the
    whole network, if one topology asks for it. A run refuses two topologies that decide about the same leaf.

    A topology acts last on both sides: it receives the gradients after the gradient pieces, and it masks the weights
    after the surgeries. Its network begins masked: write `params = tx.prepare(params)` before
    `state = tx.init(params)`.

    `plastic` is the outermost transformation: a later change of its updates would undo a part of each edit. Clipping,
    weight decay and schedules belong into the optimizer: `plastic(optax.chain(...), ...)`.

    Args:
        optimizer: any optax optimizer.
        methods: gradient transformations, surgeries, topologies, or tuples of them.
        key: for surgeries and topologies; the state holds it, and each step consumes a part. A seed is joined with the
            initial parameters, so that `jax.vmap(tx.init)` gives each member of an ensemble a key of its own. A PRNG
            key is taken as it is: write `jax.vmap(lambda key, params: plastic(..., key=key).init(params))` for members.
        reset_moments: `False` keeps the optimizer's moments of reinitialized weights, as the Nature 2024 PPO runs did.
        axis_name: of the mapped axis over which the batch is spread, in `jax.shard_map` or `jax.pmap`. Each method then
            gets the features of all devices, so that the copies of the network stay equal. The gradients have to be
            averaged before.

    Returns:
        A transformation for any optax loop: `tx.update(grads, state, params, features=features)`. Gradients of
        `pliant.value_and_grad` bring the features with them.

    Raises:
        TypeError: for an argument that is not an optimizer or a method; or, at `update`, if a method's signal is
            missing, or the state is not a state of `init`.
        ValueError: at `init` and `update`, if a transformation of optax changes the updates afterwards; at `update`,
            without `params`, without `axis_name` where JAX knows that features differ between devices, or if a method
            resets step counts that the optimizer does not have.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> def apply(params, x):
        ...     return jax.nn.relu(x @ params["in"]) @ params["out"]
        >>> params = {"in": np.ones((3, 4)), "out": np.ones((4, 1))}
        >>> wiring = pliant.trace(apply, params, np.ones((8, 3)))
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.continual_backprop(wiring))
        >>> params = tx.prepare(params)
        >>> state = tx.init(params)
    """
    _require_optimizer(optimizer)
    replicas.require_names(axis_name)
    pieces = _flatten(methods)
    gradient_pieces = [optax.with_extra_args_support(p) for p in pieces if not isinstance(p, Surgery | Topology)]
    surgeries = [p for p in pieces if isinstance(p, Surgery)]
    topologies = [p for p in pieces if isinstance(p, Topology)]
    editors = [*surgeries, *topologies]
    early = [i for i, surgery in enumerate(surgeries) if surgery.before_step]
    late = [i for i in range(len(editors)) if i not in early]
    optimizer = optax.with_extra_args_support(optimizer)
    generator = keys.implementation(key)

    def prepare(params: Params) -> Params:
        for topology in topologies:
            params = topology.mask(params, topology.init(params))
        return params

    def mask(params: Params, state: PlasticState) -> Params:
        for topology, topology_state in zip(topologies, state.after[len(surgeries) :]):
            params = topology.mask(params, topology_state)
        return params

    def init(params: Params) -> PlasticState:
        if editors:
            require_last_word()
            _refuse_lookahead(params)
        return PlasticState(
            key=keys.initial(key, params),
            before=tuple(piece.init(params) for piece in gradient_pieces),
            optimizer=optimizer.init(params),
            after=tuple(editor.init(params) for editor in editors),
        )

    def draw(key: Key, params: Params, steps: int) -> tuple[Any, ...]:
        each = jax.random.split(keys.typed(key, generator), max(len(editors), 1))
        return tuple(editor.draw(k, params, steps) for editor, k in zip(editors, each))

    def without_old(opt_state: Any, params: Params, edits: list[Edit]) -> Any:
        """The optimizer's state, reset where weights are fresh."""
        fresh = [edit.fresh for edit in edits if edit.fresh is not None]
        if reset_moments and fresh:
            opt_state = moments.reset(optimizer, opt_state, params, any_of(fresh))
        reset_count = [edit.reset_count for edit in edits if edit.reset_count is not None]
        if reset_count:
            opt_state = moments.reset_counts(optimizer, opt_state, params, any_of(reset_count))
        return opt_state

    def step(
        grads: Params, state: PlasticState, params: Params, *, random: Any = None, **signals: Any
    ) -> tuple[Params, PlasticState]:
        if isinstance(grads, Gradients):
            grads, signals = grads.tree, {"features": grads.features, **signals}
        if editors and "features" in signals:
            if axis_name is None:
                replicas.require_axis_name(signals["features"], params)
            else:
                signals["features"] = replicas.gather(signals["features"], axis_name)
        key = state.key
        if random is None and editors:
            next_key, step_key = jax.random.split(keys.typed(key, generator))
            key = jax.random.key_data(next_key)
            random = jax.tree.map(lambda drawn: drawn[0], draw(step_key, params, 1))
        random, states = random or (), list(state.after)

        def edited(which: Iterable[int], params: Params, opt_state: Any) -> tuple[Params, Any]:
            """The weights after the edits of some editors, and the optimizer's state, reset where weights are fresh."""
            edits = []
            for i in which:
                editor = editors[i]
                edit_weights = editor.after if isinstance(editor, Topology) else editor.operate
                require_signals(edit_weights, signals)
                edit, states[i] = edit_weights(params, states[i], random=random[i], **signals)
                params = edit.params
                edits.append(edit)
            return params, without_old(opt_state, params, edits)

        params, opt_state = edited(early, params, state.optimizer)
        before = []
        for piece, piece_state in zip(gradient_pieces, state.before):
            require_signals(piece.update, signals)
            grads, piece_state = piece.update(grads, piece_state, params, **signals)
            before.append(piece_state)

        skips = []
        for i, topology in enumerate(topologies, start=len(surgeries)):
            require_signals(topology.before, signals)
            grads, skip, states[i] = topology.before(grads, params, states[i], random=random[i], **signals)
            skips.append(skip)

        # Optimizers with a line search refuse signals that they do not know.
        others = {name: value for name, value in signals.items() if name not in _OF_METHODS}
        stayed = params, opt_state
        updates, opt_state = optimizer.update(grads, opt_state, params, **others)
        stepped = optax.apply_updates(params, updates), opt_state
        if skips:
            skip = functools.reduce(jnp.logical_or, skips)
            stepped = jax.tree.map(lambda new, old: jnp.where(skip, old, new), stepped, stayed)
        params, opt_state = edited(late, *stepped)
        return params, PlasticState(key, tuple(before), opt_state, tuple(states))

    def begin_task(params: Params, state: PlasticState, clock: Clock) -> tuple[Params, PlasticState]:
        random, *each = jax.random.split(keys.typed(state.key, generator), 1 + len(surgeries))
        states, edits = list(state.after), []
        for i, surgery in enumerate(surgeries):
            if surgery.begin_task is not None:
                edit, states[i] = surgery.begin_task(params, states[i], random=each[i], clock=clock)
                params = edit.params
                edits.append(edit)
        opt_state = without_old(state.optimizer, params, edits)
        state = state._replace(key=jax.random.key_data(random), optimizer=opt_state, after=tuple(states))
        return mask(params, state), state

    def update(
        grads: Params, state: PlasticState, params: Params | None = None, **signals: Any
    ) -> tuple[Params, PlasticState]:
        if params is None:
            raise ValueError("plastic edits weights: call tx.update(grads, state, params, ...), with the params")
        if not isinstance(state, PlasticState):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"tx.update got an object of type {type(state).__name__} as its state; "
                "write tx.update(grads, state, params, ...), with the state of tx.init(params)"
            )
        if editors:
            require_last_word()
        new, state = step(grads, state, params, **signals)
        return jax.tree.map(lambda new, old: new - old, new, params), state

    tasks = any(surgery.begin_task is not None for surgery in surgeries)
    return Plastic(
        init=init, update=update, prepare=prepare, mask=mask, step=step, draw=draw,
        begin_task=begin_task if tasks else None,
    )  # fmt: skip


def _require_optimizer(optimizer: Any) -> None:
    """Refuses an object without `init` and `update`, such as a method, or a function that makes an optimizer."""
    if hasattr(optimizer, "init") and hasattr(optimizer, "update"):
        return
    if isinstance(optimizer, Surgery | Topology | tuple):
        raise TypeError("plastic got a method as its optimizer; write pliant.plastic(optimizer, *methods)")
    hint = "call it, as in optax.adam(1e-3)" if callable(optimizer) else "write plastic(optax.adam(1e-3), *methods)"
    raise TypeError(f"plastic got {str(optimizer)[:60]} as its optimizer; {hint}")


def _refuse_lookahead(params: Params) -> None:
    if isinstance(params, optax.LookaheadParams):
        raise ValueError(
            "optax.lookahead keeps a second copy of the network, which would pull reinitialized units back; "
            "write plastic with the fast optimizer alone"
        )


def _flatten(methods: Iterable[Any]) -> list[optax.GradientTransformation | Surgery | Topology]:
    pieces: list[optax.GradientTransformation | Surgery | Topology] = []
    for method in methods:
        if isinstance(method, optax.GradientTransformation | Surgery | Topology):
            pieces.append(method)
        elif isinstance(method, tuple):
            pieces.extend(_flatten(method))
        else:
            raise TypeError(
                f"plastic got {str(method)[:60]}, which is not a plasticity method; "
                f"{'call it first, or ' if callable(method) else ''}write an optax.GradientTransformation, "
                "a pliant.Surgery, a pliant.Topology, or a tuple of them"
            )
    return pieces
