"""Weight magnitude: the mean size of the weights."""

from typing import get_args

import jax.numpy as jnp

from pliant.core.base import Array, Params
from pliant.core.diagnostic import Diagnostic, Leaves, weights, with_average
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring


def weight_magnitude(wiring: Wiring, *, leaves: Leaves = "kernels") -> Diagnostic:
    r"""Mean magnitude of the weights of each parameter leaf, and (row `""`) of all of them.

    $\overline{\lvert w \rvert}$ over the entries of a leaf. Rows are named after the paths of leaves. The row `""` is
    the mean over all entries, so larger leaves have more weight.

    Args:
        wiring: unused: the whole tree is measured.
        leaves: `kernels`: leaves with at least two axes; `all`: biases and norms as well.

    Signals:
        params: the parameters.

    Raises:
        ValueError: for another choice of leaves.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024: kernels in its permuted MNIST and Ant experiments, all parameters in class-incremental CIFAR-100.

    Example:
        >>> import jax, numpy as np
        >>> from pliant import Wiring
        >>> from pliant.diagnostics import weight_magnitude
        >>> params = {"layer": {"kernel": np.array([[1.0, 0.0, -3.0, 0.0]])}}
        >>> rows = jax.jit(weight_magnitude(Wiring({})))(params=params)
        >>> float(rows["layer/kernel"])
        1.0
    """
    del wiring
    require_one_of("leaves", leaves, get_args(Leaves))

    def measure(*, params: Params, **signals) -> dict[str, Array]:
        del signals
        by_path = weights(params, leaves)
        means = {path: jnp.abs(leaf).mean() for path, leaf in by_path.items()}
        return with_average(means, {path: leaf.size for path, leaf in by_path.items()})

    return measure
