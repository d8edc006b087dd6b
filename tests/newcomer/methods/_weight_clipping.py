"""Weight clipping: no weight grows beyond a bound."""

import jax.numpy as jnp

from pliant.core.base import Edit, Params, Surgery, stateless_surgery
from pliant.surgery.norms import map_except


def weight_clipping(bound: float = 0.5) -> Surgery:
    r"""Weight clipping: clips every weight to $[-b, b]$ after the optimizer's step.

    Args:
        bound: $b$, above 0.

    Differs from the authors' code: one bound serves all layers.

    References:
        Elsayed et al., `Weight clipping for deep continual and reinforcement learning
        <https://arxiv.org/abs/2407.01704>`_, RLC 2024.
    """

    def operate(params: Params, **signals) -> Edit:
        del signals
        return Edit(map_except(lambda w: jnp.clip(w, -bound, bound), (), params))

    return stateless_surgery(operate)
