"""Gradient magnitude: how strongly the loss still pulls at the weights."""

from typing import get_args

import jax.numpy as jnp

from pliant.core.base import Array, Params
from pliant.core.diagnostic import Diagnostic, Leaves, weights, with_average
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring


def gradient_magnitude(wiring: Wiring, *, leaves: Leaves = "kernels") -> Diagnostic:
    r"""Mean magnitude of the gradient of each parameter leaf, and of all together.

    $\overline{\lvert \partial L / \partial w \rvert}$ over the entries of a leaf. Rows are named after the paths of
    leaves; the row `""` is the mean over the entries of all of them, in which larger leaves weigh more.

    Args:
        wiring: not needed: the whole tree is measured.
        leaves: `kernels`: those with at least two axes; `all`: every leaf.

    Signals:
        grads: the gradients of the loss, before any method or the optimizer changes them.

    Raises:
        ValueError: for another choice of leaves.
    """
    del wiring
    require_one_of("leaves", leaves, get_args(Leaves))

    def measure(*, grads: Params, **signals) -> dict[str, Array]:
        del signals
        by_path = weights(grads, leaves)
        means = {path: jnp.abs(leaf).mean() for path, leaf in by_path.items()}
        return with_average(means, {path: leaf.size for path, leaf in by_path.items()})

    return measure
