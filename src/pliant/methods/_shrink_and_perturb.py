"""Shrink and perturb: scale the weights down and add noise."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pliant.core.base import Edit, Key, Method, Params, stateless_surgery
from pliant.core.settings import AtLeast, Between, Whole, require
from pliant.core.timing import every
from pliant.core.units import Wiring, is_statistic, path_of
from pliant.surgery.noise import normal
from pliant.surgery.norms import Norms, left_alone, map_except


def shrink_and_perturb(
    shrink: float = 1.0,
    perturb_scale: float = 1e-5,
    weight_decay: float = 1e-4,
    period: int = 1,
    norms: Norms = "keep",
    wiring: Wiring | None = None,
) -> Method:
    r"""Shrink and perturb: scales all parameters down and adds noise to them.

    The gradient $g$ of each parameter $w$, biases and norms included, becomes $g + \lambda_{wd} w$ at every step, and
    after the step

    $$w \leftarrow \lambda w + \epsilon, \qquad \epsilon \sim N(0, \sigma^2).$$

    The defaults are the continual form of Dohare et al.: weight decay alone shrinks the weights ($\lambda = 1$), and
    noise is added after every step. The original form acts between rounds of training: $\lambda < 1$, no weight decay,
    and a period of one round.

    Args:
        shrink: $\lambda$ in [0, 1].
        perturb_scale: $\sigma$, at least 0, the standard deviation of the noise. Published: 1e-5.
        weight_decay: $\lambda_{wd}$, at least 0, as in `l2`. Published: 1e-4 (permuted MNIST), 1e-5 (continual
            ImageNet).
        period: steps from one $w \leftarrow \lambda w + \epsilon$ to the next, at least 1.
        norms: whether the scales and shifts of norm layers are `keep`, treated as other parameters, or `skip`, left
            alone. Running statistics are left alone in any case.
        wiring: of the whole network, in which `norms="skip"` finds the norms.

    Signals:
        clock: optional; see `every`.

    Raises:
        ValueError: for a value outside its range; for `norms="skip"` without a wiring.

    Differs from the authors' code: nothing.

    References:
        Ash and Adams, `On warm-starting neural network training <https://arxiv.org/abs/1910.08475>`_, NeurIPS 2020.
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024.

    Example:
        >>> import optax, pliant
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.shrink_and_perturb(perturb_scale=1e-5, weight_decay=1e-4))
    """
    require("shrink", shrink, Between(0, 1))
    require("perturb_scale", perturb_scale, AtLeast(0))
    require("weight_decay", weight_decay, AtLeast(0))
    require("period", period, Whole(1))
    alone = left_alone(norms, wiring, "shrink_and_perturb")

    def draw(key: Key, params: Params, steps: int) -> Params:
        """Standard normal numbers like the parameters; `None` for running statistics, and leaves that are integers."""
        with_paths, structure = jax.tree_util.tree_flatten_with_path(params)
        leaves = [w for _, w in with_paths]
        noisy = [jnp.issubdtype(w.dtype, jnp.floating) and not is_statistic(path_of(keys)) for keys, w in with_paths]
        sizes = [math.prod(w.shape) if is_noisy else 0 for w, is_noisy in zip(leaves, noisy)]
        # One flat draw: XLA's generator is several times slower on two axes, and for many small draws.
        numbers = normal(key, steps * sum(sizes)).reshape(steps, sum(sizes))
        ends = np.cumsum(sizes).tolist()
        return structure.unflatten(
            numbers[:, end - size : end].reshape(steps, *w.shape) if is_noisy else None
            for w, is_noisy, size, end in zip(leaves, noisy, sizes, ends)
        )

    def operate(params: Params, *, random: Params, **signals) -> Edit:
        del signals
        return Edit(
            map_except(
                lambda w, e: w if e is None else (shrink * w + perturb_scale * e).astype(w.dtype), alone, params, random
            )
        )

    decay = optax.stateless(
        lambda grads, params: map_except(lambda g, w: g + (weight_decay * w).astype(g.dtype), alone, grads, params)
    )
    return decay, every(period, stateless_surgery(operate, draw))
