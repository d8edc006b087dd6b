"""Sparsity: the fraction of weights that are zero."""

from typing import get_args

from pliant.core.base import Array, Params
from pliant.core.diagnostic import Diagnostic, Leaves, networks, weights, with_average
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring


def sparsity(wiring: Wiring, *, leaves: Leaves = "kernels") -> Diagnostic:
    """Fraction of weights that are exactly zero, in each parameter leaf, each network and (row `""`) all of them.

    Missing weights of a sparse network count, and so do grown weights that have not moved yet. Rows are named after the
    paths of leaves and, for an agent with several networks, after the networks (`actor`).

    Args:
        wiring: unused: the whole tree is measured.
        leaves: `kernels`: leaves with at least two axes; `all`: biases and norms as well.

    Signals:
        params: the parameters.

    Raises:
        ValueError: for another choice of leaves.

    References:
        Liu et al., `Neuroplastic expansion in deep reinforcement learning <https://arxiv.org/abs/2410.07994>`_,
        ICLR 2025: kernels and the scales of norms.

    Example:
        >>> import jax, numpy as np
        >>> from pliant import Wiring
        >>> from pliant.diagnostics import sparsity
        >>> params = {"layer": {"kernel": np.array([[1.0, 0.0, -3.0, 0.0]])}}
        >>> rows = jax.jit(sparsity(Wiring({})))(params=params)
        >>> float(rows["layer/kernel"])
        0.5
    """
    del wiring
    require_one_of("leaves", leaves, get_args(Leaves))

    def measure(*, params: Params, **signals) -> dict[str, Array]:
        del signals
        by_path = weights(params, leaves)
        zeros = {path: (leaf == 0).mean() for path, leaf in by_path.items()}
        sizes = {path: leaf.size for path, leaf in by_path.items()}
        rows = with_average(zeros, sizes)
        for network in networks(path for path, leaf in by_path.items() if leaf.ndim > 1):
            its = {path: value for path, value in zeros.items() if path.startswith(f"{network}/")}
            rows[network] = with_average(its, sizes)[""]
        return rows

    return measure
