"""L2 regularization: decay every weight towards zero."""

import jax
import optax

from pliant.core.base import Edit, Method, Params, stateless_surgery
from pliant.core.settings import AtLeast, Between, require


def l2(weight_decay: float = 1e-4, coupled: bool = True) -> Method:
    r"""L2 regularization, or weight decay: decays every parameter towards zero, biases and norms included.

    Coupled, it is the gradient of $\frac \lambda 2 \lVert w \rVert^2$, which passes through the optimizer:
    $g \leftarrow g + \lambda w$. Decoupled, it acts on the weights after the optimizer's step:
    $w \leftarrow (1 - \lambda) w$.

    Args:
        weight_decay: $\lambda$, at least 0. Decoupled, it is the fraction by which each weight shrinks per step, at
            most 1, learning rate included: for the weight decay of `optax.adamw` write learning rate × weight decay.
            Published, coupled: 1e-4 (permuted MNIST), 3e-6 (continual ImageNet), 1e-3 (PPO).
        coupled: whether the decay passes through the optimizer, as published.

    Raises:
        ValueError: for a value outside its range.

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
    if coupled:
        return optax.stateless_with_tree_map(lambda g, w: g + (weight_decay * w).astype(g.dtype))

    def operate(params: Params, **signals) -> Edit:
        del signals
        new = jax.tree.map(lambda w: (w - weight_decay * w).astype(w.dtype), params)
        return Edit(new)

    return stateless_surgery(operate)
