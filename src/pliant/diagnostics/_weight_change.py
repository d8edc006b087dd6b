"""Weight change: how far the weights moved."""

from typing import get_args

import jax.numpy as jnp

from pliant.core.base import Array, Params
from pliant.core.diagnostic import Diagnostic, Leaves, weights
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring


def weight_change(wiring: Wiring, *, leaves: Leaves = "kernels") -> Diagnostic:
    r"""Sum of the magnitudes by which the weights of each parameter leaf moved, and of all together.

    $\sum \lvert w_t - w_{t'} \rvert$ over the entries of a leaf, from the previous parameters to those now. Rows are
    named after the paths of leaves; the row `""` is the sum over all of them.

    Args:
        wiring: not needed: the whole tree is measured.
        leaves: `kernels`: those with at least two axes; `all`: biases, norms and running statistics in the tree, too.

    Signals:
        params: the parameters now.
        previous_params: the parameters before: one step, or in PPO one whole update with all its epochs, earlier.

    Raises:
        ValueError: for another choice of leaves; when measuring, if the two trees do not match.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024: the policy's kernels, over one PPO update.
    """
    del wiring
    require_one_of("leaves", leaves, get_args(Leaves))

    def measure(*, params: Params, previous_params: Params, **signals) -> dict[str, Array]:
        del signals
        now, before = weights(params, leaves), weights(previous_params, leaves)
        for path in now.keys() | before.keys():
            if path not in now or path not in before or now[path].shape != before[path].shape:
                raise ValueError(
                    f"params and previous_params do not match at {path!r}; pass the same network's parameters twice"
                )
        changes = {path: jnp.abs(now[path] - before[path]).sum() for path in now}
        return {**changes, "": sum(changes.values())} if changes else {}

    return measure
