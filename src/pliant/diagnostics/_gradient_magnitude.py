"""Gradient magnitude: the mean size of the loss's gradient."""

from typing import get_args

import jax.numpy as jnp

from pliant.core.base import Array, Params
from pliant.core.diagnostic import Diagnostic, Leaves, weights, with_average
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring


def gradient_magnitude(wiring: Wiring, *, leaves: Leaves = "kernels") -> Diagnostic:
    r"""Mean magnitude of the gradient of each parameter leaf, and (row `""`) of all of them.

    $\overline{\lvert \partial L / \partial w \rvert}$ over the entries of a leaf. Rows are named after the paths of
    leaves. The row `""` is the mean over all entries, so larger leaves have more weight.

    Args:
        wiring: unused: the whole tree is measured.
        leaves: `kernels`: leaves with at least two axes; `all`: every leaf.

    Signals:
        grads: the gradients of the loss, before any method or the optimizer changes them.

    Raises:
        ValueError: for another choice of leaves.

    Example:
        >>> import jax, numpy as np
        >>> from pliant import Wiring
        >>> from pliant.diagnostics import gradient_magnitude
        >>> grads = {"layer": {"kernel": np.array([[1.0, 0.0, -3.0, 0.0]])}}
        >>> rows = jax.jit(gradient_magnitude(Wiring({})))(grads=grads)
        >>> float(rows["layer/kernel"])
        1.0
    """
    del wiring
    require_one_of("leaves", leaves, get_args(Leaves))

    def measure(*, grads: Params, **signals) -> dict[str, Array]:
        del signals
        by_path = weights(grads, leaves)
        means = {path: jnp.abs(leaf).mean() for path, leaf in by_path.items()}
        return with_average(means, {path: leaf.size for path, leaf in by_path.items()})

    return measure
