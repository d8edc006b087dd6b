"""Networks that grow: a topology adds and prunes weights, and replaces weights once the network is dense enough."""

import dataclasses
import math
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core import replicas, units
from pliant.core.base import Array, Edit, Features, Key, Params, Topology
from pliant.core.clock import Clock
from pliant.core.settings import AtLeast, Between, FromUpTo, Whole, is_traced, require, require_one_of
from pliant.core.units import Wiring

from .activity import scores
from .initializers import lecun_normal
from .masks import grow_and_prune, masked, ordered
from .sparsity import allotment, initial_mask, layers, scales

_ROUNDING = 1e-4  # 0.4 times 5 is 2, despite float32

Growth: TypeAlias = Literal["gradient", "random"]
Amount: TypeAlias = Literal["constant", "cosine"]
Prune: TypeAlias = Literal["magnitude", "redo", "dormant", "none"]
Grown: TypeAlias = Literal["zero", "lecun"]
Stop: TypeAlias = Literal["zeros", "mask", "never"]
Churn: TypeAlias = Literal["rigl", "none"]


@dataclasses.dataclass(frozen=True)
class Rules:
    """When and how a topology changes; `neuroplastic_expansion` describes each field.

    Raises:
        ValueError: for a value outside its range, or for values that do not fit together.
    """

    initial_sparsity: float | Array
    final_sparsity: float | Array
    period: int | Array
    end: int | Array
    growth: Growth
    amount: Amount
    rate: float | Array
    prune: Prune
    prune_fraction: float | Array
    threshold: float | Array
    grown_weights: Grown
    gradient_passes: int | Array
    stop: Stop
    churn: Churn
    churn_fraction: float | Array
    clear_grown: bool
    counter_reset: bool

    def __post_init__(self):
        require("initial_sparsity", self.initial_sparsity, FromUpTo(0, 1))
        require("final_sparsity", self.final_sparsity, FromUpTo(0, 1))
        require("period", self.period, Whole(2))
        require("end", self.end, Whole(0))
        require("rate", self.rate, Between(0, 1))
        require("prune_fraction", self.prune_fraction, Between(0, 1))
        require("threshold", self.threshold, AtLeast(0))
        require("churn_fraction", self.churn_fraction, Between(0, 1))
        require("gradient_passes", self.gradient_passes, Whole(1))
        require_one_of("growth", self.growth, get_args(Growth))
        require_one_of("grown_weights", self.grown_weights, get_args(Grown))
        if not is_traced(self.initial_sparsity, self.final_sparsity) and self.final_sparsity > self.initial_sparsity:
            raise ValueError(
                f"final_sparsity={self.final_sparsity} is above initial_sparsity={self.initial_sparsity}: a network "
                f"that grows is less sparse in the end; write at most {self.initial_sparsity}"
            )
        if not is_traced(self.period) and self.gradient_passes > self.period:
            raise ValueError(
                f"gradient_passes={self.gradient_passes} is more than the {self.period} steps of a period; "
                f"write at most {self.period}"
            )


class NeuroplasticExpansionState(NamedTuple):
    mask: dict[str, Array]  # {path: like the leaf} bool: the present weights
    previous_mask: dict[str, Array]  # like mask: before the last topology step
    initial_mask: dict[str, Array]  # like mask: before the first topology step
    dense_gradient: dict[str, Array]  # {path: like the leaf} mean over the passes so far; empty for one pass
    count: Array  # () steps so far  # pyright: ignore[reportIncompatibleMethodOverride]
    clock: Array  # () steps since the start, or since the end of growth
    ended: Array  # () bool: whether growth has ended
    changed: Array  # () bool: whether the last step was a topology step
    topology_steps: Array  # () so far


class _Random(NamedTuple):
    ties: Array  # (layers, 2) uint32: rank equal weights to keep, and equal weights to grow
    key: Key | None  # for the values of grown weights, where they are drawn


def growing(wiring: Wiring, rules: Rules, updates: int) -> Topology:
    """Makes a topology that follows rules.

    Args:
        wiring: the groups whose weights can be missing.
        rules: when and how the topology changes.
        updates: of the whole run; the topology stays after them where the rules have no end.

    Returns:
        A topology with a `NeuroplasticExpansionState`.
    """
    end = rules.end
    end = jnp.where(end == 0, updates, end) if isinstance(end, jax.Array) else end or updates

    def init(params: Params) -> NeuroplasticExpansionState:
        weights = units.leaves(params)
        mask = initial_mask(wiring, weights, rules.initial_sparsity)
        one_pass = not is_traced(rules.gradient_passes) and rules.gradient_passes == 1
        return NeuroplasticExpansionState(
            mask=mask,
            # Copies: a training step may donate the buffers of the state, and cannot donate one twice.
            previous_mask=jax.tree.map(jnp.array, mask),
            initial_mask=jax.tree.map(jnp.array, mask),
            dense_gradient={} if one_pass else {path: jnp.zeros_like(weights[path]) for path in mask},
            count=jnp.int32(0),
            clock=jnp.int32(0),
            ended=jnp.bool_(False),
            changed=jnp.bool_(False),
            topology_steps=jnp.int32(0),
        )

    def mask(tree: Params, state: NeuroplasticExpansionState) -> Params:
        return units.replace_leaves(tree, masked(units.leaves(tree), state.mask))

    def draw(key: Key, params: Params, steps: int) -> _Random:
        ties_key, values_key = jax.random.split(key)
        shape = steps, len(layers(wiring, units.leaves(params))), 2
        ties = jax.random.bits(ties_key, (math.prod(shape),), jnp.uint32).reshape(shape)
        return _Random(ties, jax.random.split(values_key, steps) if rules.grown_weights == "lecun" else None)

    def before(
        grads: Params,
        params: Params,
        state: NeuroplasticExpansionState,
        *,
        random: _Random,
        clock: Clock | None = None,
        features: Features | None = None,
        **signals: Any,
    ) -> tuple[Params, Array, NeuroplasticExpansionState]:
        del signals
        by_path = units.leaves(grads)
        state = state._replace(count=state.count + 1, clock=state.clock + 1)
        number = state.count if clock is None else clock.update
        state = state._replace(dense_gradient=_averaged_gradient(rules, state, by_path, number))
        dense = state.dense_gradient or by_path
        # Only topology steps cost anything.
        changed = replicas.cond(
            number % rules.period == 0,
            lambda: _change(wiring, rules, end, state, units.leaves(params), dense, features, random.ties),
            lambda: state._replace(initial_mask={}, dense_gradient={}, changed=jnp.bool_(False)),
        )
        state = changed._replace(initial_mask=state.initial_mask, dense_gradient=state.dense_gradient)
        return mask(grads, state), state.changed, state

    def after(
        params: Params,
        state: NeuroplasticExpansionState,
        *,
        random: _Random,
        clock: Clock | None = None,
        **signals: Any,
    ):
        del signals
        weights = units.leaves(params)
        new = masked(weights, state.mask)
        grown = {path: state.changed & there & ~state.previous_mask[path] for path, there in state.mask.items()}
        values_key = random.key
        if values_key is not None:
            number = state.count if clock is None else clock.update
            values = replicas.cond(
                number % rules.period == 0,
                lambda: lecun_normal(values_key, wiring, new),
                lambda: jax.tree.map(jnp.zeros_like, new),
            )
            new = {path: jnp.where(grown[path], values[path], w) for path, w in new.items()}
        fresh = units.mask_leaves(params, grown) if rules.clear_grown else None
        reset_count = None
        if rules.counter_reset:
            allotted = allotment(wiring, weights, rules.initial_sparsity)
            sparse = {path: state.changed & (a_0 < new[path].size) for path, a_0 in allotted.items()}
            reset_count = {path: jnp.expand_dims(s, range(new[path].ndim)) for path, s in sparse.items()}
            reset_count = units.mask_leaves(params, reset_count)
        return Edit(units.replace_leaves(params, new), fresh, reset_count), state

    return Topology(init, mask, before, after, draw)


def _averaged_gradient(
    rules: Rules, state: NeuroplasticExpansionState, grads: dict[str, Array], number: Array | int
) -> dict[str, Array]:
    """The mean gradient over those passes before the next topology step that are over."""
    ahead = -number % rules.period
    first, counts = ahead == rules.gradient_passes - 1, ahead < rules.gradient_passes
    return {
        path: jnp.where(first, 0, mean) + jnp.where(counts, grads[path] / rules.gradient_passes, 0)
        for path, mean in state.dense_gradient.items()
    }


def _change(
    wiring: Wiring,
    rules: Rules,
    end: int | Array,
    state: NeuroplasticExpansionState,
    weights: dict[str, Array],
    dense: dict[str, Array],
    features: Features | None,
    ties: Array,
) -> NeuroplasticExpansionState:
    """A topology step: the new state, without the fields that no step changes.

    Args:
        wiring: the groups whose weights can be missing.
        rules: when and how the topology changes.
        end: steps after which the topology stays.
        state: at this step.
        weights: the leaves by path, missing weights at 0.
        dense: gradients of all weights by path.
        features: activations, for pruning by units.
        ties: see `_Random`.
    """
    is_dense = _is_dense(wiring, rules, weights, state.mask)
    acts = state.clock < end
    if rules.churn == "none":
        acts &= ~is_dense
    clock = jnp.where(acts & is_dense & ~state.ended, 0, state.clock)
    wave = (1 + jnp.cos(math.pi * clock.astype(jnp.float32) / end)) / 2
    rate_t = rules.rate * wave if rules.amount == "cosine" else rules.rate
    score = _scores(wiring, rules, weights, features)

    masks = {}
    for (path, a_0), seeds in zip(allotment(wiring, weights, rules.initial_sparsity).items(), ties):
        w, there = weights[path], state.mask[path]
        n, a = w.size, there.sum(dtype=jnp.int32)
        churned = jnp.where(a_0 < n, _whole(a.astype(jnp.float32) * rules.churn_fraction * wave), 0)
        grown = _whole(rate_t * (rules.initial_sparsity * n - a_0.astype(np.float32)))
        pruned = _whole(rules.prune_fraction * grown.astype(jnp.float32))
        worth = ordered(jnp.abs(w))
        if rules.prune == "none":
            pruned = jnp.minimum(pruned, 0)
        elif rules.prune == "redo" and path in score:
            worth = jnp.where(is_dense, worth, ordered(score[path]))
        elif rules.prune == "dormant":
            alive = score[path] > rules.threshold if path in score else jnp.ones(w.shape, bool)
            pruned = jnp.minimum(pruned, (there & ~alive).sum(dtype=jnp.int32))
            worth = jnp.where(is_dense, worth, alive.astype(jnp.uint32))
        grown, pruned = (jnp.where(is_dense, churned, k) for k in (grown, pruned))
        demand = ordered(jnp.abs(dense[path])) if rules.growth == "gradient" else jnp.zeros(w.shape, jnp.uint32)
        masks[path] = grow_and_prune(there, worth, demand, grown=grown, pruned=pruned, ties=seeds)

    def unless_idle(new: dict[str, Array], old: dict[str, Array]) -> dict[str, Array]:
        return jax.tree.map(lambda x, y: jnp.where(acts, x, y), new, old)

    return state._replace(
        mask=unless_idle(masks, state.mask),
        previous_mask=unless_idle(state.mask, state.previous_mask),
        initial_mask={},
        dense_gradient={},
        clock=clock,
        ended=state.ended | (acts & is_dense),
        changed=acts,
        topology_steps=state.topology_steps + acts.astype(jnp.int32),
    )


def _is_dense(wiring: Wiring, rules: Rules, weights: dict[str, Array], masks: dict[str, Array]) -> Array:
    """Whether growth has reached its end, `()` bool."""
    if rules.stop == "never":
        return jnp.bool_(False)
    leaves = [*(weights[path] for path in masks), *scales(wiring, weights)]
    if rules.stop == "zeros":
        missing = sum(((w == 0).sum(dtype=jnp.int32) for w in leaves), jnp.int32(0))
    else:
        missing = sum(((~there).sum(dtype=jnp.int32) for there in masks.values()), jnp.int32(0))
    return missing.astype(jnp.float32) <= rules.final_sparsity * sum(w.size for w in leaves)


def _scores(wiring: Wiring, rules: Rules, weights: dict[str, Array], features: Features | None) -> dict[str, Array]:
    """The scores of the weights by path; empty where pruning needs no scores."""
    if rules.prune not in ("redo", "dormant"):
        return {}
    if features is None:
        raise TypeError(
            f"prune={rules.prune!r} needs the signal 'features', which update did not get; "
            "write tx.update(grads, state, params, features=features), with the features of wiring.apply(params, x)"
        )
    return scores(wiring, weights, features)


def _whole(number: float | Array | np.float32) -> Array:
    """A number without its fraction; numbers may be negative."""
    number = jnp.asarray(number, jnp.float32)
    return jnp.trunc(number + _ROUNDING * jnp.sign(number)).astype(jnp.int32)
