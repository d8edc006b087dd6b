"""Weight magnitude: how large the weights have grown."""

from typing import get_args

import jax.numpy as jnp

from pliant.core.base import Array, Params
from pliant.core.diagnostic import Diagnostic, Leaves, weights, with_average
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring


def weight_magnitude(wiring: Wiring, *, leaves: Leaves = "kernels") -> Diagnostic:
    r"""Mean magnitude of the weights of each parameter leaf, and of all together.

    $\overline{\lvert w \rvert}$ over the entries of a leaf. Rows are named after the paths of leaves; the row `""` is
    the mean over the entries of all of them, in which larger leaves weigh more.

    Args:
        wiring: not needed: the whole tree is measured.
        leaves: `kernels`: those with at least two axes; `all`: biases, norms and running statistics in the tree, too.

    Signals:
        params: the parameters.

    Raises:
        ValueError: for another choice of leaves.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024: kernels in its permuted MNIST and Ant experiments, all parameters in class-incremental CIFAR-100.
    """
    del wiring
    require_one_of("leaves", leaves, get_args(Leaves))

    def measure(*, params: Params, **signals) -> dict[str, Array]:
        del signals
        by_path = weights(params, leaves)
        means = {path: jnp.abs(leaf).mean() for path, leaf in by_path.items()}
        return with_average(means, {path: leaf.size for path, leaf in by_path.items()})

    return measure
