"""Continual backpropagation: keep reinitializing the units of least utility."""

import math
from typing import Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core import units
from pliant.core.base import Activation, Array, Edit, Features, FreshInitializer, Key, Params, Surgery
from pliant.core.notes import note
from pliant.core.settings import AtLeast, Between, FromUpTo, Whole, is_traced, require, require_one_of
from pliant.core.timing import every
from pliant.core.units import Group, Outgoing, Wiring
from pliant.surgery import recreation
from pliant.surgery.list_order import in_list_order
from pliant.surgery.recreation import Rows

_ROUNDING = 1e-5  # fifty times 0.02 is one unit, despite float32

Utility: TypeAlias = Literal[
    "contribution",
    "weight",
    "adaptation",
    "zero_contribution",
    "adaptable_contribution",
    "feature_by_input",
    "random",
]
Budget: TypeAlias = Literal["accumulate", "bernoulli"]
RateOf: TypeAlias = Literal["mature", "all"]
Memory: TypeAlias = Literal["average", "sum"]
Readers: TypeAlias = Literal["all", "next"]
When: TypeAlias = Literal["after", "before"]

_OF_THE_MEAN = ("zero_contribution", "adaptable_contribution", "feature_by_input")  # utilities that subtract it


class ContinualBackpropState(NamedTuple):
    utility: dict[str, Array]  # {group: (units,)} running average, not bias-corrected; with `sum` what is ranked
    mean_activation: dict[str, Array]  # {feature: (units,)} running average, not bias-corrected; with `sum` empty
    magnitude: dict[str, Array]  # {feature: (positions, units)} sum of the activations' magnitudes; else empty
    age: dict[str, Array]  # {group: (units,)} steps since the unit was initialized
    owed: dict[str, Array]  # {group: ()} units still owed after the last replacement
    waited: dict[str, Array]  # {group: ()} units x steps since then: an integer, so small rates add up exactly
    replaced: dict[str, Array]  # {group: ()} units reinitialized so far


class _Random(NamedTuple):
    rows: Rows  # fresh incoming weights
    chance: dict[str, Array]  # {group: ()} for the Bernoulli budget
    rank: dict[str, Array]  # {group: (units,)} for the utility `random`


def continual_backprop(
    wiring: Wiring,
    replacement_rate: float = 1e-4,
    decay_rate: float = 0.99,
    maturity: int = 100,
    utility: Utility = "contribution",
    budget: Budget = "accumulate",
    initializer: FreshInitializer = "network",
    activation: Activation = "relu",
    compensate: bool = False,
    max_per_step: int = 1,
    period: int = 1,
    rate_of: RateOf = "mature",
    memory: Memory = "average",
    readers: Readers = "all",
    when: When = "after",
) -> Surgery:
    r"""Continual backpropagation: reinitializes a small fraction of the mature units of least utility at each step.

    With activations $h_i$ of the forward pass, their running mean $m_i$, and the weights after the step, the utility of
    unit $i$ is a running average with decay rate $\eta$,

    $$u_i \leftarrow \eta u_i + (1 - \eta)\, y_i, \qquad \hat u_i = u_i / (1 - \eta^{a_i}),$$

    corrected for the unit's age $a_i$; units are ranked by $\hat u_i$. The averaged quantity $y_i$ has means
    $\overline{\,\cdot\,}$ over the batch, over outgoing weights ($w^{out}$) and over incoming weights ($w^{in}$):

    | utility | $y_i$ |
    |---|---|
    | `contribution` | $\overline{\lvert h_i \rvert} \; \overline{\lvert w^{out}_i \rvert}$ |
    | `zero_contribution` | $\overline{\lvert h_i - \hat m_i \rvert} \; \overline{\lvert w^{out}_i \rvert}$ |
    | `adaptable_contribution` | `zero_contribution` $/\, \overline{\lvert w^{in}_i \rvert}$ |
    | `weight` | $\overline{\lvert w^{out}_i \rvert}$ |
    | `adaptation` | $1 / \overline{\lvert w^{in}_i \rvert}$ |
    | `feature_by_input` | $\overline{\lvert h_i - \hat m_i \rvert} \,/\, \overline{\lvert w^{in}_i \rvert}$ |
    | `random` | none: $\hat u_i$ is uniform in (0, 1), drawn at each step |

    At each step, a group with $n$ units older than `maturity` is due $\rho n$ replacements. A fresh unit has incoming
    weights from the initializer, zero bias and zero outgoing weights, so it does not change the output. A weight that
    is both (tied weights) comes from the initializer.

    **Variants.** The authors' programs differ in these settings. Each column is a preset:
    `--method continual_backprop/conv`, or in Python the settings `pliant.presets.continual_backprop.PRESETS["conv"]`.

    | | `gnt` | `conv` | `resnet` | `layer` |
    |---|---|---|---|---|
    | in | regression, permuted MNIST, PPO | continual ImageNet | incremental CIFAR-100 | users' networks |
    | `rate_of` | `mature` | `all` | `all` | `mature` |
    | `memory` | `average` | `average` | `sum` | none: `decay_rate` 0 |
    | `initializer` | `network` | `default` | `kaiming_normal` | `default` |
    | `readers` | `all` | `all` | `next` | `all` |
    | `when` | `after` | `after` | `after` | `before` |
    | utilities | all | not `weight`, `feature_by_input` | `contribution`, `weight` | `contribution` |

    They keep the optimizer's moments of fresh weights (`reset_moments=False`), but with Adam per weight
    (`pliant.adam`).

    With the memory `sum`, units are ranked by the present weights and by magnitudes that are summed over all steps; a
    fresh unit goes on from the sum of the unit before it:

    $$s_i \leftarrow s_i + (1 - \eta)\, \overline{\lvert h_i \rvert}, \qquad
    \hat u_i = s_i \; \overline{\lvert w^{out}_i \rvert}.$$

    With the readers `next`, the network is a list of layers in the order of the forward pass (`surgery.list_order`).
    Each convolution that writes into a residual stream has units of its own, and only the next convolution reads them.
    A fresh unit then changes the output: other convolutions, the identity path and the projection shortcut still carry
    its channel. With `all`, the channel is fresh in the whole stream, and the output stays.

    Args:
        wiring: the groups whose units are reinitialized.
        replacement_rate: $\rho$ in [0, 1], the expected fraction of mature units replaced per step.
        decay_rate: $\eta$ in [0, 1), the decay rate of the running averages; 0 ranks by the current step alone.
        maturity: steps, at least 0, for which a fresh unit is protected.
        utility: the quantity $y_i$, see the table.
        budget: how fractions of a unit are paid: `accumulate` adds them up over steps; `bernoulli` replaces one unit
            with that probability, and drops the fraction above 1.
        initializer: distribution of fresh incoming weights; `network`: the network's own.
        activation: the network's nonlinearity, for their scale.
        compensate: whether a removed unit's mean contribution is added to the biases of its readers.
        max_per_step: largest number of units of a group replaced at one step, at least 1. It is static: one is the
            cheapest, and suffices while `replacement_rate` × units is at most 1.
        period: act on every `period`-th update and ignore those in between; at least 1.
        rate_of: the units that $n$ counts: the `mature` ones; or `all` of the group as soon as one is mature.
        memory: what is kept of past steps: the running `average` of the utility; or the `sum` of magnitudes.
        readers: the weights that count as outgoing: `all` that read the unit; or only the `next` kernel in the order of
            the forward pass, also of units in a residual stream.
        when: `after` the optimizer's step; or `before` it, as within the backward pass: the step then moves fresh
            weights by the gradients of the old ones. Groups act from the last to the first, each when the later ones
            are fresh.

    Signals:
        features: activations of the forward pass from which the gradients came (`wiring.apply`).
        clock: optional, with a `period`; see `every`.

    Raises:
        ValueError: for a value outside its range; for `compensate` where a reader has no bias; for `sum` with a utility
            or a compensation that needs mean activations; for `next` with a wiring that knows no order.

    Differs from the authors' code: one rule for all layers of any network; its variants are settings. Where several
    weights read a unit, $\overline{\lvert w^{out} \rvert}$ is the mean over all of them, unless `readers="next"`. If a
    unit and one of its readers are replaced at the same step, the weight between them is zero; the authors' code draws
    it, but for the layers. A unit that is due up to rounding is due. If more units are due than are mature, the rest is
    replaced later; their programs for convolutions stop with an error. A slip in their code makes the compensation
    zero: `compensate=False` is what was published. With a rate of 0 the ages still grow. Their Adam of convolutional
    networks clears the second moment of fresh incoming weights and not the first, whence steps of a thousand learning
    rates; ours clears both, and no published configuration uses it. Their layers change weights during the backward
    pass: the gradients below a fresh unit are those of its new weights. Ours are all of one pass with the old weights.
    With a decay rate, their layers average whole batches entry by entry, which mixes examples; ours average utilities.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024. Dohare, Sutton and Mahmood, `Continual backprop: stochastic gradient descent with persistent
        randomness <https://arxiv.org/abs/2108.06325>`_, 2021.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> def apply(params, x):
        ...     return jax.nn.relu(x @ params["in"]) @ params["out"]
        >>> params = {"in": np.ones((3, 4)), "out": np.ones((4, 1))}
        >>> wiring = pliant.trace(apply, params, np.ones((8, 3)))
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.continual_backprop(wiring, replacement_rate=1e-4))
    """
    units.require_units(wiring, "continual_backprop")
    require("replacement_rate", replacement_rate, Between(0, 1))
    require("decay_rate", decay_rate, FromUpTo(0, 1))
    require("maturity", maturity, AtLeast(0))
    require("max_per_step", max_per_step, Whole(1))
    require("period", period, Whole(1))
    require_one_of("utility", utility, get_args(Utility))
    require_one_of("budget", budget, get_args(Budget))
    require_one_of("initializer", initializer, get_args(FreshInitializer))
    require_one_of("activation", activation, get_args(Activation))
    require_one_of("rate_of", rate_of, get_args(RateOf))
    require_one_of("memory", memory, get_args(Memory))
    require_one_of("readers", readers, get_args(Readers))
    require_one_of("when", when, get_args(When))
    if memory == "sum" and (compensate or utility in _OF_THE_MEAN):
        what = "compensate=True" if compensate else f"utility={utility!r}"
        raise ValueError(f"{what} needs the mean activations, which memory='sum' lacks; write memory='average'")
    if readers == "next":
        wiring = in_list_order(wiring)
    _check_reach(wiring, replacement_rate, maturity, compensate, max_per_step)
    rho, eta = replacement_rate, decay_rate
    # Groups that choose together. Within the backward pass each group acts when its own turn comes.
    turns = [list(wiring)] if when == "after" else [[name] for name in reversed(list(wiring))]

    def init(params: Params) -> ContinualBackpropState:
        units.require_leaves(wiring, params)
        sizes = {r.feature: (units.positions(r), group.units) for group in wiring.values() for r in group.outgoing}
        average = memory == "average"
        return ContinualBackpropState(
            utility={name: jnp.zeros(group.units) for name, group in wiring.items()},
            mean_activation={feature: jnp.zeros(size[1:]) for feature, size in sizes.items() if average},
            magnitude={feature: jnp.zeros(size) for feature, size in sizes.items() if not average},
            age={name: jnp.zeros(group.units, jnp.int32) for name, group in wiring.items()},
            owed={name: jnp.zeros(()) for name in wiring},
            waited={name: jnp.zeros((), jnp.int32) for name in wiring},
            replaced={name: jnp.zeros((), jnp.int32) for name in wiring},
        )

    def draw(key: Key, params: Params, steps: int) -> _Random:
        rows_key, other_key = jax.random.split(key)
        widths = [group.units if utility == "random" else 0 for group in wiring.values()]
        chances = len(wiring) if budget == "bernoulli" else 0
        # Scaled words of 32 bits: near 0 their resolution is 2^-32, and rates can be that small.
        bits = jax.random.bits(other_key, (steps * (sum(widths) + chances),), jnp.uint32)
        uniform = bits.astype(jnp.float32).reshape(steps, -1) * 2.0**-32 if bits.size else jnp.zeros((steps, 0))
        ranks = [uniform[:, end - width : end] for width, end in zip(widths, np.cumsum(widths).tolist())]
        return _Random(
            rows=recreation.draw_rows(rows_key, params, wiring, max_per_step, steps),
            rank=dict(zip(wiring, ranks)),
            chance=dict(zip(wiring, uniform[:, sum(widths) :].T)),
        )

    def operate(params: Params, state: ContinualBackpropState, *, random: _Random, features: Features, **signals):
        del signals
        new = ContinualBackpropState({}, {}, {}, {}, {}, {}, {})
        fresh = []
        for names in turns:
            by_path = units.leaves(params)
            # All groups choose before any is edited: a unit's utility does not depend on other units being replaced.
            chosen = {name: choose(name, by_path, state, new, random, features) for name in names}
            params = units.replace_leaves(params, by_path)
            edit = recreation.recreate(params, wiring, chosen, random.rows, initializer, activation)
            params = edit.params
            fresh.append(edit.fresh)
        return Edit(params, units.any_of(fresh)), new

    def choose(
        name: str,
        by_path: dict[str, Array],
        state: ContinualBackpropState,
        new: ContinualBackpropState,
        random: _Random,
        features: Features,
    ) -> Array:
        """The units of one group that are replaced; puts the group's part of the new state into `new`."""
        group = wiring[name]
        age = state.age[name] + 1
        h = {r.feature: units.activation(features, r, group).astype(jnp.float32) for r in group.outgoing}
        m, m_hat = {}, {}
        if memory == "average":
            correction = -jnp.expm1(age.astype(jnp.float32) * jnp.log(eta))
            m = {f: eta * state.mean_activation[f] + (1 - eta) * h[f].mean((0, 1)) for f in h}
            m_hat = {f: m[f] / correction for f in m}
            subtracted = {f: m_hat[f][None, None] if utility in _OF_THE_MEAN else 0.0 for f in h}
            activity = {f: jnp.abs(h[f] - subtracted[f]).mean(0) for f in h}
            u = eta * state.utility[name] + (1 - eta) * _worth(utility, group, by_path, activity)
            u_hat = u / correction
        else:
            s = {f: state.magnitude[f] + (1 - eta) * jnp.abs(h[f]).mean(0) for f in h}
            new.magnitude.update(s)
            u = u_hat = _worth(utility, group, by_path, s)
        u_hat = random.rank[name] if utility == "random" else u_hat

        mature = age > maturity
        n = mature.sum(dtype=jnp.int32) if rate_of == "mature" else jnp.where(mature.any(), group.units, 0)
        waited = state.waited[name] + n
        owed = state.owed[name] + rho * waited.astype(jnp.float32)
        if budget == "bernoulli":
            owed = jnp.where((owed < 1) & (random.chance[name] < owed), 1.0, owed)
        count = jnp.minimum(jnp.floor(owed + _ROUNDING).astype(jnp.int32), max_per_step)
        chosen = recreation.lowest(u_hat, where=mature, count=count, most=min(max_per_step, group.units))
        gone = recreation.is_chosen(chosen, group.units)
        paid = gone.sum(dtype=jnp.int32)

        if compensate:
            _move_into_biases(by_path, group, gone, m_hat)
        new.utility[name] = jnp.where(gone, 0.0, u)
        new.age[name] = jnp.where(gone, 0, age)
        new.replaced[name] = state.replaced[name] + paid
        new.mean_activation.update({f: jnp.where(gone, 0.0, m[f]) for f in m})
        # The Bernoulli budget restarts at every step.
        settled = paid > 0 if budget == "accumulate" else True
        new.waited[name] = jnp.where(settled, 0, waited)
        left = jnp.where(paid > 0, owed - paid.astype(jnp.float32), state.owed[name])
        new.owed[name] = left if budget == "accumulate" else jnp.zeros(())
        return chosen

    surgery = Surgery(init, operate, draw, before_step=when == "before")
    return every(period, surgery)


def _worth(utility: Utility, group: Group, by_path: dict[str, Array], activity: dict[str, Array]) -> Array:
    """$y_i$ of each unit, `(units,)`, from the mean magnitude of each activation."""

    def read(reader: Outgoing) -> Array:
        """The quantity of each unit for one outgoing weight, `(positions, units)`."""
        w_out = units.mean_magnitude(by_path[reader.path], reader)
        return w_out if utility in ("weight", "random") else w_out * activity[reader.feature]

    if utility == "feature_by_input":
        y = sum(of_feature.mean(0) for of_feature in activity.values()) / len(activity)
    elif utility == "adaptation":
        y = jnp.ones(group.units)
    else:
        y = _weighted_mean([(read(reader).mean(0), by_path[reader.path], reader) for reader in group.outgoing])
    if utility in ("adaptation", "adaptable_contribution", "feature_by_input"):
        w_in = [(units.mean_magnitude(by_path[s.path], s).mean(0), by_path[s.path], s) for s in group.incoming]
        y = y / _weighted_mean(w_in)
    return y


def _weighted_mean(parts: list[tuple[Array, Array, units.Slot]]) -> Array:
    """Mean over several leaves, each weighted by its number of weights per unit."""
    counts = [units.positions(slot) * leaf.size / leaf.shape[slot.axis] for _, leaf, slot in parts]
    return sum(value * (count / sum(counts)) for (value, _, _), count in zip(parts, counts))


def _move_into_biases(by_path: dict[str, Array], group: Group, gone: Array, m_hat: dict[str, Array]) -> None:
    r"""$b_k \leftarrow b_k + \sum_i w_{ik} \hat m_i$ over the removed units $i$; `gone` is `(units,)` bool."""
    for reader in group.outgoing:
        leaf, mean = by_path[reader.path], jnp.where(gone, m_hat[reader.feature], 0.0)
        per_entry = mean if reader.indices is None else jnp.zeros(leaf.shape[reader.axis]).at[reader.indices].set(mean)
        moved = jnp.tensordot(per_entry, leaf, (0, reader.axis))  # (*space of a convolution, outputs)
        by_path[reader.bias] = by_path[reader.bias] + moved.sum(tuple(range(moved.ndim - 1)))


def _check_reach(wiring: Wiring, replacement_rate: float, maturity: int, compensate: bool, max_per_step: int) -> None:
    """Refuses settings that this network cannot follow, and logs when the first unit can be replaced."""
    for reader in [reader for group in wiring.values() for reader in group.outgoing]:
        if compensate and reader.bias is None:
            raise ValueError(f"compensate=True needs a bias behind {reader.path!r}; write compensate=False")
    if is_traced(replacement_rate, maturity):
        return
    widest = max((group.units for group in wiring.values()), default=0)
    due = replacement_rate * widest
    if due > max_per_step:
        raise ValueError(
            f"replacement_rate={replacement_rate} of {widest} units is {due:g} units a step, more than "
            f"max_per_step={max_per_step}; write max_per_step={math.ceil(due)}"
        )
    note(
        f"continual_backprop: no replacement before step {maturity + 1} (maturity {maturity}); "
        f"then up to {due:g} units a step in a group"
    )
