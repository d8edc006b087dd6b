"""Neuroplastic Expansion: a network begins sparse, and grows while it learns."""

import math
from typing import Literal, get_args

from pliant.core.base import Topology
from pliant.core.notes import note
from pliant.core.settings import is_traced, require_one_of
from pliant.core.units import Wiring, require_units
from pliant.surgery.growth import Amount, Churn, Grown, Growth, Prune, Rules, Stop, growing

_PERIOD = 100  # of the published program
_CHOICES = {
    "code": {"amount": "constant", "prune": "magnitude", "stop": "zeros", "churn": "rigl"},
    "paper": {"amount": "cosine", "prune": "dormant", "stop": "never", "churn": "none"},
}


def neuroplastic_expansion(
    wiring: Wiring,
    preset: Literal["code", "paper"] = "code",
    initial_sparsity: float = 0.8,
    final_sparsity: float = 0.25,
    period: int = _PERIOD,
    end: int = 0,
    growth: Growth = "gradient",
    amount: Literal["preset", Amount] = "preset",
    rate: float = 0.008,
    prune: Literal["preset", Prune] = "preset",
    prune_fraction: float = 0.4,
    threshold: float = 0.0,
    grown_weights: Grown = "zero",
    gradient_passes: int = 1,
    stop: Literal["preset", Stop] = "preset",
    churn: Literal["preset", Churn] = "preset",
    churn_fraction: float = 0.2,
    clear_grown: bool = False,
    counter_reset: bool = False,
    updates: int = 5_975_000,
) -> Topology:
    r"""Neuroplastic Expansion: begins with few of the weights, and adds the weights of largest gradient.

    The initial masks are those of `static_sparse`. Every $\Delta$ steps the optimizer skips its step, and the topology
    changes instead. In a layer of $n$ weights, $a_0$ of them present at first and $a$ now,

    1. $k = \lfloor \rho_t (S_0 n - a_0) \rfloor$ weights are to grow and $\lfloor \omega k \rfloor$ to be pruned;
    2. the $a - \lfloor \omega k \rfloor$ weights of largest worth are kept;
    3. of all other weights, the pruned ones included, the $k$ with the largest gradient $\lvert \partial L / \partial w
       \rvert$ grow; the gradient is taken where missing weights are zero.

    When growth has ended, layers churn as in RigL: at the topology step $t$ steps later the smallest $\lfloor a \frac
    \zeta 2 (1 + \cos \frac{\pi t}{T}) \rfloor$ weights are replaced by as many others. Missing weights stay 0, and the
    optimizer sees no gradient of them. The published program differs from the paper; the preset decides which of them
    sets the arguments left at `preset`:

    | | `code` | `paper` |
    |---|---|---|
    | `amount` | `constant`: $\rho_t = \rho$ | `cosine`: $\rho_t = \frac \rho 2 (1 + \cos \frac{\pi t}{T})$ |
    | `prune` | `magnitude`: the smallest weights | `dormant`: weights of units that are never active |
    | `stop` | `zeros`: at the final sparsity | `never`: it grows to full size |
    | `churn` | `rigl` | `none` |

    Args:
        wiring: the groups whose weights can be missing. All layers share one allotment, so give an actor and a critic
            a method each.
        preset: `code`, as in the published program, or `paper`, as described.
        initial_sparsity: $S_0$ in [0, 1), the fraction of missing weights at first.
        final_sparsity: in [0, 1), at most the initial one: growth stops at this fraction of missing weights.
        period: $\Delta$, steps from one topology step to the next, at least 2. Published: 100 by default, and 10000 in
            the instructions; growth takes about 190 topology steps with either.
        end: $T$, at least 0, steps after which the topology stays, counted from the end of growth once growth
            has ended. 0: the updates of the whole run, as published.
        growth: whether weights grow by the largest `gradient` or at `random`.
        amount: how many weights grow, see above.
        rate: $\rho$ in [0, 1].
        prune: which weights are pruned: `magnitude`, the smallest; `redo`, weights into the units with the lowest score
            of `redo`, and the smallest of weights that feed no unit; `dormant`, weights into dormant units, at random,
            at most all of them; or `none`.
        prune_fraction: $\omega$ in [0, 1], pruned weights per grown weight.
        threshold: at least 0, the largest `redo` score of a dormant unit; 0: never active.
        grown_weights: initial value of grown weights: `zero`, or as in a new layer: `lecun`, normal with standard
            deviation $1 / \sqrt{\text{fan\_in}}$, cut off at two deviations.
        gradient_passes: number of last steps for the average of the gradient for growth, from 1 to `period`.
        stop: which fraction ends growth: of weights that are exactly zero (`zeros`: grown weights count until they
            move), of missing weights (`mask`), or `never`.
        churn: whether layers churn after growth; `none`: the topology stays.
        churn_fraction: $\zeta$ in [0, 1].
        clear_grown: whether the optimizer state of a grown weight is reset.
        counter_reset: whether topology steps reset the step counts of the sparse layers, for `per_weight_adam`: a side
            effect in the published program, which makes its steps there about 4 times shorter.
        updates: at least 0, the number of updates of the run; with several networks, of the most updated one.

    Signals:
        clock: optional; see `every`.
        Pruning by units (`redo`, `dormant`) needs `features` as well: activations of the forward pass from which the
            gradients came (`wiring.apply`).

    Raises:
        ValueError: for a value outside its range; for a wiring without units; if the norms alone have more weights than
            the initial sparsity leaves; if the end comes after the last update; if, without an end, growth takes longer
            than all updates. With the published period the last is a warning only: a run may be the beginning of a
            published one.

    Differs from the authors' code: layers are found by their connections. Equal weights are ranked by chance, a present
    weight before a missing one. Where a layer keeps more than $S_0 n$ weights at first, $k$ is negative: as in the
    program, $\lfloor \omega \lvert k \rvert \rfloor$ weights are added, at random, and none is pruned. The scales of
    norms stay whole also where the allotment would thin them out. The program never finds a dormant unit, and its
    grown weights other than zero do not work. With `paper` the fractions are not published; the rate decides when the
    network is full.

    References:
        Liu et al., `Neuroplastic expansion in deep reinforcement learning <https://arxiv.org/abs/2410.07994>`_,
        ICLR 2025. Evci et al., `Rigging the lottery: making all tickets winners <https://arxiv.org/abs/1911.11134>`_,
        ICML 2020.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> params = {"in": np.ones((10, 20), np.float32), "out": np.ones((20, 1), np.float32)}
        >>> wiring = pliant.trace(lambda w, x: jax.nn.relu(x @ w["in"]) @ w["out"], params, np.ones((8, 10)))
        >>> tx = pliant.plastic(optax.adam(3e-4), pliant.neuroplastic_expansion(wiring, initial_sparsity=0.5))
        >>> params = jax.jit(tx.prepare)(params)  # from here on half of the weights are missing
        >>> state = jax.jit(tx.init)(params)
        >>> print({path: int(mask.sum()) for path, mask in state.after[0].mask.items()})
        {'in': 90, 'out': 20}
    """
    require_one_of("preset", preset, tuple(_CHOICES))
    require_units(wiring, "neuroplastic_expansion")
    choices = {"amount": amount, "prune": prune, "stop": stop, "churn": churn}
    for name, value, allowed in zip(choices, choices.values(), (Amount, Prune, Stop, Churn)):
        require_one_of(name, value, ("preset", *get_args(allowed)))
    rules = Rules(
        initial_sparsity=initial_sparsity,
        final_sparsity=final_sparsity,
        period=period,
        end=end,
        growth=growth,
        rate=rate,
        prune_fraction=prune_fraction,
        threshold=threshold,
        grown_weights=grown_weights,
        gradient_passes=gradient_passes,
        churn_fraction=churn_fraction,
        clear_grown=clear_grown,
        counter_reset=counter_reset,
        **_CHOICES[preset] | {name: value for name, value in choices.items() if value != "preset"},
    )
    _check_length(rules, updates)
    return growing(wiring, rules, updates)


def _check_length(rules: Rules, updates: int) -> None:
    r"""Refuses growth that takes longer than training; with the published period it warns.

    Of $N$ weights $\sum (S_0 n - a_0) = (2 S_0 - 1) N$, if no layer is whole: the sparsity falls by the same amount at
    each topology step. Where layers are whole or small it takes a few topology steps less or more.
    """
    numbers = (rules.initial_sparsity, rules.final_sparsity, rules.period, rules.end, rules.rate, rules.prune_fraction)
    if is_traced(*numbers) or not updates:  # a run without updates has no growth
        return
    if rules.end:  # an end may well cut growth short
        if rules.end > updates:
            raise ValueError(
                f"end={rules.end}: growth would last longer than training, which has {updates:,} updates; "
                f"write at most {updates}, or 0 for all of them"
            )
        return
    pruned = rules.prune_fraction if rules.prune in ("magnitude", "redo") else 0.0
    mean_rate = rules.rate / 2 if rules.amount == "cosine" else rules.rate
    gain = (1 - pruned) * mean_rate * (2 * rules.initial_sparsity - 1) if rules.stop != "never" else 0.0
    # Without a gain growth has no end, and one topology step is enough.
    steps = max(1.0, (rules.initial_sparsity - rules.final_sparsity) / gain if gain > 0 else 1.0)
    if steps * rules.period <= updates:
        return
    longest = math.floor(updates / steps)
    takes = f"takes about {math.ceil(steps)} topology steps, longer than" if steps > 1 else "would begin after"
    line = (
        f"period={rules.period}: growth {takes} training, which has {updates:,} updates; "
        f"write {f'a period of at most {longest}, or ' if longest > 1 else ''}more steps"
    )
    if rules.period != _PERIOD:
        raise ValueError(line)
    note(line, is_warning=True)
