"""L2 regularization: decay every weight towards zero."""

import optax

from pliant.core.base import Edit, Method, Params, stateless_surgery
from pliant.core.settings import AtLeast, Between, require
from pliant.core.units import Wiring
from pliant.surgery.norms import Norms, left_alone, map_except


def l2(weight_decay: float = 1e-4, coupled: bool = True, norms: Norms = "keep", wiring: Wiring | None = None) -> Method:
    r"""L2 regularization, or weight decay: decays every parameter towards zero, biases and norms included.

    Coupled, it is the gradient of $\frac \lambda 2 \lVert w \rVert^2$, which passes through the optimizer:
    $g \leftarrow g + \lambda w$. Decoupled, it acts on the weights after the optimizer's step:
    $w \leftarrow (1 - \lambda) w$.

    Args:
        weight_decay: $\lambda$, at least 0. Decoupled, it is the fraction by which each weight shrinks per step, at
            most 1, learning rate included: for the weight decay of `optax.adamw` write learning rate × weight decay.
            Published, coupled: 1e-4 (permuted MNIST), 3e-6 (continual ImageNet), 1e-3 (PPO).
        coupled: whether the decay passes through the optimizer, as published.
        norms: whether the scales and shifts of norm layers are `keep`, treated as other parameters, or `skip`, left
            alone. Running statistics are left alone in any case.
        wiring: of the whole network, in which `norms="skip"` finds the norms.

    Raises:
        ValueError: for a value outside its range; for `norms="skip"` without a wiring.

    Differs from the authors' code: nothing. Decoupled, the weights shrink after the step; in AdamW before it.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024. Loshchilov and Hutter, `Decoupled weight decay regularization <https://arxiv.org/abs/1711.05101>`_,
        ICLR 2019.

    Example:
        >>> import optax, pliant
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.l2(weight_decay=1e-3))
    """
    require("weight_decay", weight_decay, AtLeast(0) if coupled else Between(0, 1))
    alone = left_alone(norms, wiring, "l2")
    if coupled:
        return optax.stateless(
            lambda grads, params: map_except(lambda g, w: g + (weight_decay * w).astype(g.dtype), alone, grads, params)
        )

    def operate(params: Params, **signals) -> Edit:
        del signals
        return Edit(map_except(lambda w: (w - weight_decay * w).astype(w.dtype), alone, params))

    return stateless_surgery(operate)
