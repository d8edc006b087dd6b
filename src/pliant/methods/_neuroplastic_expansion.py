"""Neuroplastic Expansion: a network begins sparse, and grows while it learns."""

import logging
import math
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core import units
from pliant.core.base import Array, Edit, Features, Key, Params, Topology, nothing_fresh
from pliant.core.settings import AtLeast, Between, FromUpTo, require, require_one_of
from pliant.core.units import Wiring
from pliant.surgery.sparsity import erdos_renyi, largest, ordered

logger = logging.getLogger(__name__)

_PERIOD = 100  # that of the published program
_ROUNDING = 1e-4  # 0.4 times 5 is 2, whatever float32 makes of it
_TRUNCATED = 0.87962566  # standard deviation of a standard normal distribution cut off at -2 and 2

Preset: TypeAlias = Literal["code", "paper"]
Growth: TypeAlias = Literal["gradient", "random"]
Amount: TypeAlias = Literal["preset", "constant", "cosine"]
Prune: TypeAlias = Literal["preset", "magnitude", "redo", "dormant", "none"]
Grown: TypeAlias = Literal["zero", "lecun"]
Stop: TypeAlias = Literal["preset", "zeros", "mask", "never"]
Churn: TypeAlias = Literal["preset", "rigl", "none"]

_PRESETS = {
    "code": {"amount": "constant", "prune": "magnitude", "stop": "zeros", "churn": "rigl"},
    "paper": {"amount": "cosine", "prune": "dormant", "stop": "never", "churn": "none"},
}


class NeuroplasticExpansionState(NamedTuple):
    mask: dict[str, Array]  # {path: like the leaf} bool: which weights there are
    previous_mask: dict[str, Array]  # likewise, before the last topology step
    initial_mask: dict[str, Array]  # likewise, before the first
    dense_gradient: dict[str, Array]  # {path: like the leaf} mean over the passes so far; empty if one pass is enough
    count: Array  # () steps so far
    clock: Array  # () steps since the start, or since the end of growth
    ended: Array  # () bool: whether the end of growth has been seen
    changed: Array  # () bool: whether the last step was a topology step
    topology_steps: Array  # () so far


class _Random(NamedTuple):
    ties: Array  # (layers, 2) uint32: what chance follows among weights to keep, and among those to grow
    key: Key | None  # for the values of grown weights, where they are drawn


def neuroplastic_expansion(
    wiring: Wiring,
    preset: Preset = "code",
    initial_sparsity: float = 0.8,
    final_sparsity: float = 0.25,
    period: int = _PERIOD,
    end: int = 0,
    growth: Growth = "gradient",
    amount: Amount = "preset",
    rate: float = 0.008,
    prune: Prune = "preset",
    prune_fraction: float = 0.4,
    threshold: float = 0.0,
    grown_weights: Grown = "zero",
    gradient_passes: int = 1,
    stop: Stop = "preset",
    churn: Churn = "preset",
    churn_fraction: float = 0.2,
    clear_grown: bool = False,
    counter_reset: bool = False,
    static: bool = False,
    updates: int = 5_975_000,
) -> Topology:
    r"""Neuroplastic Expansion: begins with few of the weights, and adds those that the gradient asks for.

    At first each layer keeps its largest weights, as many as `core.sparsity.erdos_renyi` allots it. Layers are the
    weights with two axes or more that make or read the wiring's units; the scales of norms count as weights in the
    allotment (and in all sparsities below), but none of them is ever missing; biases do not count.

    Every $\Delta$ steps the optimizer does not step; instead the topology does. In a layer of $n$ weights, of which
    $a_0$ were there at first and $a$ are there now,

    1. $k = \lfloor \rho_t (S_0 n - a_0) \rfloor$ weights shall grow and $\lfloor \omega k \rfloor$ be pruned;
    2. the $a - \lfloor \omega k \rfloor$ weights that matter most are kept;
    3. of all others, those just pruned among them, grow the $k$ with the largest gradient $\lvert \partial L / \partial
       w \rvert$, which is taken where the missing weights are zero.

    Once the network is as dense as it shall be, layers churn as in RigL: at the topology step $t$ steps later
    $\lfloor a \frac \zeta 2 (1 + \cos \frac{\pi t}{T}) \rfloor$ weights, the smallest, make room for as many others.
    In between, missing weights stay zero and the optimizer sees no gradient of them. The published program is not what
    the paper describes; the preset says which of them decides what is left at `preset`:

    | | `code` | `paper` |
    |---|---|---|
    | `amount` | `constant`: $\rho_t = \rho$ | `cosine`: $\rho_t = \frac \rho 2 (1 + \cos \frac{\pi t}{T})$ |
    | `prune` | `magnitude`: the smallest weights | `dormant`: weights of units that are never active |
    | `stop` | `zeros`: at the final sparsity | `never`: it grows to full size |
    | `churn` | `rigl` | `none` |

    Args:
        wiring: whose weights; all of them share one allotment, so give an actor and a critic a method of their own.
        preset: `code`, what the published program does, or `paper`, what is described.
        initial_sparsity: $S_0$ in [0, 1), the fraction of weights that are missing at first.
        final_sparsity: in [0, 1), at most the initial one: growth stops once no more are missing.
        period: $\Delta$, steps from one topology step to the next, at least 2. Published: 100 by default, and 10000 in
            the instructions; growth takes the same number of topology steps, about 190.
        end: $T$, at least 0, steps after which the topology stays; it is counted from the end of growth once that is
            seen. 0: the updates of the whole run, as published.
        growth: whether weights grow by the largest `gradient` or at `random`.
        amount: how many weights grow, see above.
        rate: $\rho$ in [0, 1].
        prune: what is pruned: the smallest weights (`magnitude`); weights that feed the units with the lowest score of
            `redo`, where they feed none the smallest; at random of the weights that feed `dormant` units, and no more
            than there are; or `none`.
        prune_fraction: $\omega$ in [0, 1], pruned weights per grown one.
        threshold: at least 0, up to which score of `redo` a unit is dormant; 0: never active.
        grown_weights: at what grown weights begin, `zero`, or random as in a new layer: `lecun`, normal with standard
            deviation $1 / \sqrt{\text{fan\_in}}$, cut off at two of these.
        gradient_passes: over how many of the last steps the gradient for growth is averaged, from 1 to `period`.
        stop: when growth stops: as the fraction of weights that are exactly zero says (`zeros`: those grown count until
            they move), of those that are missing (`mask`), or `never`.
        churn: whether layers churn after growth; `none`: the topology stays.
        churn_fraction: $\zeta$ in [0, 1].
        clear_grown: whether the optimizer forgets what it remembers of a weight that grows.
        counter_reset: whether topology steps set back the step counts of the sparse layers, as a side effect in the
            published program does, which makes its steps there about 4 times shorter; for `per_weight_adam`.
        static: whether the topology stays as it is at first, and each step is an optimizer's.
        updates: at least 0, how many there will be in all, of the network of the agent that has most of them.

    Signals:
        step: optional; see `every`.
        Pruning by units (`redo`, `dormant`) needs `features` as well: activations of the forward pass from which the
            gradients came (`wiring.apply`).

    Raises:
        ValueError: for a value outside its range; for a wiring without units; if the norms alone have more weights than
            the initial sparsity leaves; if the end comes after the last update; if, without an end, growth takes longer
            than all updates. With the published period that is but a warning, so that a run can be the beginning of
            a published one.

    Differs from the authors' code: layers are found by what they are connected to. Equal weights are ranked by chance,
    but one that is there comes before one that is missing. Where a layer keeps more than $S_0 n$ weights at first $k$
    is negative: as there, $\lfloor \omega \lvert k \rvert \rfloor$ weights are added, at random, and none is pruned.
    The scales of norms stay whole also where the allotment would thin them out. The program never finds a dormant unit
    and has no working way to a grown weight other than zero; at `paper` the fractions are not published, and the rate
    says by what time the network is full.

    References:
        Liu et al., `Neuroplastic expansion in deep reinforcement learning <https://arxiv.org/abs/2410.07994>`_,
        ICLR 2025. Evci et al., `Rigging the lottery: making all tickets winners <https://arxiv.org/abs/1911.11134>`_,
        ICML 2020.

    Example:
        >>> params = {"in": jnp.ones((10, 20)), "out": jnp.ones((20, 1))}
        >>> wiring = pliant.trace(lambda w, x: jnp.maximum(x @ w["in"], 0) @ w["out"], params, jnp.ones((8, 10)))
        >>> tx = pliant.plastic(optax.adam(3e-4), pliant.neuroplastic_expansion(wiring, initial_sparsity=0.5))
        >>> params = tx.prepare(params)  # from here on half of the weights are missing
        >>> state = tx.init(params)
        >>> print({path: int(mask.sum()) for path, mask in state.after[0].mask.items()})
        {'in': 90, 'out': 20}
    """
    require("initial_sparsity", initial_sparsity, FromUpTo(0, 1))
    require("final_sparsity", final_sparsity, FromUpTo(0, 1))
    require("period", period, AtLeast(2))
    require("end", end, AtLeast(0))
    require("rate", rate, Between(0, 1))
    require("prune_fraction", prune_fraction, Between(0, 1))
    require("threshold", threshold, AtLeast(0))
    require("churn_fraction", churn_fraction, Between(0, 1))
    require("gradient_passes", gradient_passes, AtLeast(1))
    for name, value, choices in (
        ("preset", preset, Preset),
        ("growth", growth, Growth),
        ("amount", amount, Amount),
        ("prune", prune, Prune),
        ("grown_weights", grown_weights, Grown),
        ("stop", stop, Stop),
        ("churn", churn, Churn),
    ):
        require_one_of(name, value, get_args(choices))
    _check(wiring, initial_sparsity, final_sparsity, gradient_passes, period)
    rules = _PRESETS[preset]
    amount, prune, stop, churn = (
        rules[name] if given == "preset" else given
        for name, given in (("amount", amount), ("prune", prune), ("stop", stop), ("churn", churn))
    )
    if not static and not _traced(initial_sparsity, final_sparsity, period, end, rate, prune_fraction):
        pruned = prune_fraction if prune in ("magnitude", "redo") else 0.0
        mean_rate = rate / 2 if amount == "cosine" else rate
        gain = (1 - pruned) * mean_rate * (2 * initial_sparsity - 1) if stop != "never" else 0.0
        _check_length(initial_sparsity - final_sparsity, gain, period, end, updates)
    end = jnp.where(end == 0, updates, end) if isinstance(end, jax.Array) else end or updates

    def at_first(weights: dict[str, Array]) -> dict[str, Array]:
        """The mask that keeps the largest weights of each layer."""
        allotted = _allotment(wiring, weights, initial_sparsity)
        return {path: largest(ordered(jnp.abs(weights[path])) + 1, a_0, seed=0) for path, a_0 in allotted.items()}

    def init(params: Params) -> NeuroplasticExpansionState:
        weights = units.leaves(params)
        mask = at_first(weights)
        averaged = isinstance(gradient_passes, int) and gradient_passes == 1
        return NeuroplasticExpansionState(
            mask=mask,
            # Copies: a training step may donate the memory of the state, and cannot donate it twice.
            previous_mask=jax.tree.map(jnp.array, mask),
            initial_mask=jax.tree.map(jnp.array, mask),
            dense_gradient={} if averaged else {path: jnp.zeros_like(weights[path]) for path in mask},
            count=jnp.int32(0),
            clock=jnp.int32(0),
            ended=jnp.bool_(False),
            changed=jnp.bool_(False),
            topology_steps=jnp.int32(0),
        )

    def mask(params: Params, state: NeuroplasticExpansionState) -> Params:
        return units.replace_leaves(params, _masked(units.leaves(params), state.mask))

    def draw(key: Key, params: Params, steps: int) -> _Random:
        ties_key, values_key = jax.random.split(key)
        layers = len(_layers(wiring, units.leaves(params)))
        ties = jax.random.bits(ties_key, (steps * layers * 2,), jnp.uint32).reshape(steps, layers, 2)
        return _Random(ties, jax.random.split(values_key, steps) if grown_weights == "lecun" else None)

    def before(
        grads: Params,
        params: Params,
        state: NeuroplasticExpansionState,
        *,
        random: _Random,
        step: Array | None = None,
        features: Features | None = None,
        **signals,
    ):
        del signals
        by_path = units.leaves(grads)
        state = state._replace(count=state.count + 1, clock=state.clock + 1)
        number = state.count if step is None else step
        if not static:
            state = state._replace(dense_gradient=averaged_gradient(state, by_path, number))
            dense = state.dense_gradient or by_path
            # Only topology steps pay.
            changed = jax.lax.cond(
                number % period == 0,
                lambda: change(state, units.leaves(params), dense, features, random.ties),
                lambda: state._replace(initial_mask={}, dense_gradient={}, changed=jnp.bool_(False)),
            )
            state = changed._replace(initial_mask=state.initial_mask, dense_gradient=state.dense_gradient)
        return units.replace_leaves(grads, _masked(by_path, state.mask)), state.changed, state

    def averaged_gradient(state: NeuroplasticExpansionState, grads: dict[str, Array], number: Array | int):
        """The mean gradient over the passes up to the next topology step, as far as they go."""
        until = -number % period
        first, counts = until == gradient_passes - 1, until < gradient_passes
        return {
            path: jnp.where(first, 0, mean) + jnp.where(counts, grads[path] / gradient_passes, 0)
            for path, mean in state.dense_gradient.items()
        }

    def change(
        state: NeuroplasticExpansionState,
        weights: dict[str, Array],
        dense: dict[str, Array],
        features: Features | None,
        ties: Array,
    ) -> NeuroplasticExpansionState:
        """A topology step; without the parts of the state that it leaves alone."""
        is_dense = _is_dense(stop, wiring, weights, state.mask, final_sparsity)
        acts = state.clock < end
        if churn == "none":
            acts &= ~is_dense
        clock = jnp.where(acts & is_dense & ~state.ended, 0, state.clock)
        wave = (1 + jnp.cos(math.pi * clock.astype(jnp.float32) / end)) / 2
        rate_t = rate * wave if amount == "cosine" else rate
        scores = _scores(wiring, weights, features, prune) if prune in ("redo", "dormant") else {}

        mask = {}
        for (path, a_0), seed in zip(_allotment(wiring, weights, initial_sparsity).items(), ties):
            w, there = weights[path], state.mask[path]
            n, a = w.size, there.sum(dtype=jnp.int32)
            churned = jnp.where(a_0 < n, _whole(a.astype(jnp.float32) * churn_fraction * wave), 0)
            grown = _whole(rate_t * (initial_sparsity * n - a_0.astype(np.float32)))
            pruned = _whole(prune_fraction * grown.astype(jnp.float32))
            matters = ordered(jnp.abs(w))
            if prune == "none":
                pruned = jnp.minimum(pruned, 0)
            elif prune == "redo" and path in scores:
                matters = jnp.where(is_dense, matters, ordered(scores[path]))
            elif prune == "dormant":
                alive = scores[path] > threshold if path in scores else jnp.ones(w.shape, bool)
                pruned = jnp.minimum(pruned, (there & ~alive).sum(dtype=jnp.int32))
                matters = jnp.where(is_dense, matters, alive.astype(jnp.uint32))
            grown, pruned = (jnp.where(is_dense, churned, k) for k in (grown, pruned))
            kept = largest(jnp.where(there, matters + 2, 1), a - pruned, seed[0])
            asks = ordered(jnp.abs(dense[path])) if growth == "gradient" else jnp.zeros(w.shape, jnp.uint32)
            mask[path] = kept | largest(jnp.where(kept, 0, asks + 1), grown, seed[1])

        def unless_idle(new: dict[str, Array], old: dict[str, Array]) -> dict[str, Array]:
            return jax.tree.map(lambda x, y: jnp.where(acts, x, y), new, old)

        return state._replace(
            mask=unless_idle(mask, state.mask),
            previous_mask=unless_idle(state.mask, state.previous_mask),
            initial_mask={},
            dense_gradient={},
            clock=clock,
            ended=state.ended | (acts & is_dense),
            changed=acts,
            topology_steps=state.topology_steps + acts.astype(jnp.int32),
        )

    def after(
        params: Params, state: NeuroplasticExpansionState, *, random: _Random, step: Array | None = None, **signals
    ):
        del signals
        weights = units.leaves(params)
        new = _masked(weights, state.mask)
        grown = {path: state.changed & there & ~state.previous_mask[path] for path, there in state.mask.items()}
        if grown_weights == "lecun" and not static:
            number = state.count if step is None else step
            values = jax.lax.cond(
                number % period == 0,
                lambda: _drawn(random.key, wiring, new),
                lambda: jax.tree.map(jnp.zeros_like, new),
            )
            new = {path: jnp.where(grown[path], values[path], w) for path, w in new.items()}
        nothing = nothing_fresh(params)
        reset_count = None
        if counter_reset:
            allotted = _allotment(wiring, weights, initial_sparsity)
            sparse = {path: state.changed & (a_0 < new[path].size) for path, a_0 in allotted.items()}
            reset_count = {path: jnp.expand_dims(s, range(new[path].ndim)) for path, s in sparse.items()}
            reset_count = units.replace_leaves(nothing, reset_count)
        fresh = units.replace_leaves(nothing, grown) if clear_grown else nothing
        return Edit(units.replace_leaves(params, new), fresh, reset_count), state

    return Topology(init, mask, before, after, draw)


def _check(
    wiring: Wiring, initial_sparsity: float, final_sparsity: float, gradient_passes: int, period: int | Array
) -> None:
    """Refuses what does not fit together."""
    if not wiring:
        raise ValueError(
            "this wiring has no groups of units: no layer can be sparse; trace a network with hidden units"
        )
    if not _traced(initial_sparsity, final_sparsity) and final_sparsity > initial_sparsity:
        raise ValueError(
            f"final_sparsity={final_sparsity} is above initial_sparsity={initial_sparsity}: a network that grows is "
            f"less sparse in the end; write at most {initial_sparsity}"
        )
    if not _traced(period) and gradient_passes > period:
        raise ValueError(
            f"gradient_passes={gradient_passes} are more than there are from one topology step to the next; "
            f"write at most {period}, the period"
        )


def _check_length(lacking: float, gain: float, period: int, end: int, updates: int) -> None:
    r"""Refuses growth that takes longer than training.

    Of $N$ weights $\sum (S_0 n - a_0) = (2 S_0 - 1) N$, if no layer is whole, so that the sparsity falls by the same
    amount at each topology step. Where layers are whole or small it takes a little less or more of them.

    Args:
        lacking: the sparsity that growth is to take away.
        gain: what a topology step takes away, on the average; 0: growth has no end, and one topology step is enough.
        period, end, updates: see `neuroplastic_expansion`.
    """
    if not updates:
        return  # nothing is learned at all
    if end:  # growth may well be cut short by it
        if end > updates:
            raise ValueError(
                f"end={end}: growth would last longer than training, which has {updates:,} updates; "
                f"write at most {updates}, or 0 for all of them"
            )
        return
    steps = max(1.0, lacking / gain if gain > 0 else 1.0)
    if steps * period <= updates:
        return
    longest = math.floor(updates / steps)
    takes = f"takes about {math.ceil(steps)} topology steps, longer than" if steps > 1 else "would begin after"
    line = (
        f"period={period}: growth {takes} training, which has {updates:,} updates; "
        f"write {f'a period of at most {longest}, or ' if longest > 1 else ''}more steps"
    )
    if period != _PERIOD:
        raise ValueError(line)
    logger.warning(line)


def _traced(*values: Any) -> bool:
    return any(isinstance(value, jax.core.Tracer) for value in values)


def _layers(wiring: Wiring, weights: dict[str, Array]) -> list[str]:
    """Paths of the weights with two axes or more that make or read units, in the order in which data meets them."""
    slots = [slot for group in wiring.values() for slot in (*group.incoming, *group.outgoing)]
    return list(dict.fromkeys(slot.path for slot in slots if units.find(weights, slot).ndim > 1))


def _scales(wiring: Wiring, weights: dict[str, Array]) -> list[Array]:
    """The scales of norms over the units; running variances, where the optimizer sees them, count as such."""
    vectors = [vector for group in wiring.values() for vector in group.vectors if vector.neutral == 1]
    return list({vector.path: units.find(weights, vector) for vector in vectors}.values())


def _allotment(wiring: Wiring, weights: dict[str, Array], sparsity: float | Array) -> dict[str, Array | int]:
    """How many weights each layer keeps at first, by path."""
    layers = _layers(wiring, weights)
    whole = sum(scale.size for scale in _scales(wiring, weights))
    sparsities = erdos_renyi([weights[path].shape for path in layers], sparsity, whole)
    # Rounded as there: the missing weights down.
    return {path: weights[path].size - (s * weights[path].size).astype(np.int32) for path, s in zip(layers, sparsities)}


def _masked(weights: dict[str, Array], mask: dict[str, Array]) -> dict[str, Array]:
    return {path: jnp.where(there, weights[path], 0) for path, there in mask.items()}


def _whole(number: float | Array) -> Array:
    """A number without its fraction, be it negative or not."""
    number = jnp.asarray(number, jnp.float32)
    return jnp.trunc(number + _ROUNDING * jnp.sign(number)).astype(jnp.int32)


def _is_dense(
    stop: Stop, wiring: Wiring, weights: dict[str, Array], mask: dict[str, Array], final_sparsity: float | Array
) -> Array:
    """Whether growth has reached its end, `()` bool."""
    if stop == "never":
        return jnp.bool_(False)
    scales = _scales(wiring, weights)
    total = sum(w.size for w in (*(weights[path] for path in mask), *scales))
    if stop == "zeros":
        missing = sum((w == 0).sum(dtype=jnp.int32) for w in (*(weights[path] for path in mask), *scales))
    else:
        missing = sum((~there).sum(dtype=jnp.int32) for there in mask.values())
    return missing.astype(jnp.float32) <= final_sparsity * total


def _scores(wiring: Wiring, weights: dict[str, Array], features: Features | None, prune: Prune) -> dict[str, Array]:
    """For each weight that feeds a unit the unit's score, its mean magnitude relative to its group's, by path."""
    if features is None:
        raise TypeError(
            f"prune={prune!r} is missing 1 required keyword-only argument: 'features'; take them of wiring.apply"
        )
    by_path: dict[str, Array] = {}
    for group in wiring.values():
        score = jnp.zeros(group.units)
        for reader in group.outgoing:
            magnitude = jnp.abs(units.activation(features, reader, group).astype(jnp.float32)).mean((0, 1))
            mean = magnitude.mean()
            # What any reader sees is alive; in a group that is dead as a whole no unit is.
            score = jnp.maximum(score, jnp.where(mean > 0, magnitude / jnp.where(mean > 0, mean, 1), 0))
        for slot in group.incoming:
            shape = weights[slot.path].shape
            entries = jnp.arange(group.units)[None] if slot.indices is None else slot.indices
            along = jnp.full(shape[slot.axis], -1.0).at[entries].set(score[None])
            others = [axis for axis in range(len(shape)) if axis != slot.axis]
            of_slot = jnp.broadcast_to(jnp.expand_dims(along, others), shape)
            # A weight that feeds several units is as alive as the most active of them.
            by_path[slot.path] = jnp.maximum(by_path[slot.path], of_slot) if slot.path in by_path else of_slot
    return {path: jnp.where(score < 0, jnp.inf, score) for path, score in by_path.items()}


def _drawn(key: Key | None, wiring: Wiring, weights: dict[str, Array]) -> dict[str, Array]:
    """Weights like these, as in a new layer."""
    inputs = {}
    for group in wiring.values():
        for reader in group.outgoing:
            shape = weights[reader.path].shape
            # What a reader makes of the units lies along its other axis, behind those of space.
            outputs = shape[-1] if reader.axis < len(shape) - 1 else shape[0]
            inputs[reader.path] = math.prod(shape) // outputs
    for group in wiring.values():  # they know it better
        for slot in group.incoming:
            shape = weights[slot.path].shape
            inputs[slot.path] = slot.fan_in or math.prod(shape) // shape[slot.axis]
    drawn = {}
    for (path, w), one_key in zip(weights.items(), jax.random.split(key, len(weights))):
        deviation = 1 / math.sqrt(inputs[path]) / _TRUNCATED
        drawn[path] = (deviation * jax.random.truncated_normal(one_key, -2, 2, w.shape)).astype(w.dtype)
    return drawn
