"""Sparsity: how many weights are zero."""

from typing import get_args

from pliant.core.base import Array, Params
from pliant.core.diagnostic import Diagnostic, Leaves, networks, weights, with_average
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring


def sparsity(wiring: Wiring, *, leaves: Leaves = "kernels") -> Diagnostic:
    """Fraction of the weights of each parameter leaf that are exactly zero, of each network, and of all together.

    A weight counts that is missing from a sparse network, and one that is there and has not moved yet. Rows are named
    after the paths of leaves; those of an agent with several networks also after the networks (`actor`); the row `""`
    is the fraction among the entries of all of them.

    Args:
        wiring: not needed: the whole tree is measured.
        leaves: `kernels`: those with at least two axes; `all`: biases, norms and running statistics in the tree, too.

    Signals:
        params: the parameters.

    Raises:
        ValueError: for another choice of leaves.

    References:
        Liu et al., `Neuroplastic expansion in deep reinforcement learning <https://arxiv.org/abs/2410.07994>`_,
        ICLR 2025: kernels and the scales of norms.
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
