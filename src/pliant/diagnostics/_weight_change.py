"""Weight change: the distance that the weights moved."""

from typing import get_args

import jax.numpy as jnp

from pliant.core.base import Array, Params
from pliant.core.diagnostic import Diagnostic, Leaves, weights
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring


def weight_change(wiring: Wiring, *, leaves: Leaves = "kernels") -> Diagnostic:
    r"""Sum of the magnitudes of the changes of the weights, in each parameter leaf and (row `""`) in all of them.

    $\sum \lvert w_t - w_{t'} \rvert$ over the entries of a leaf, between the previous and the current parameters. Rows
    are named after the paths of leaves.

    Args:
        wiring: unused: the whole tree is measured.
        leaves: `kernels`: leaves with at least two axes; `all`: biases and norms as well.

    Signals:
        params: the parameters now.
        previous_params: the parameters before: one step, or in PPO one whole update with all its epochs, earlier.

    Raises:
        ValueError: for another choice of leaves; when measuring, if the two trees do not match.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024: the policy's kernels, over one PPO update.

    Example:
        >>> import jax, numpy as np
        >>> from pliant import Wiring
        >>> from pliant.diagnostics import weight_change
        >>> params = {"layer": {"kernel": np.array([[1.0, 0.0, -3.0, 0.0]])}}
        >>> previous = {"layer": {"kernel": np.zeros((1, 4))}}
        >>> rows = jax.jit(weight_change(Wiring({})))(params=params, previous_params=previous)
        >>> float(rows["layer/kernel"])
        4.0
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
