"""Rank: the number of linearly independent directions of the features."""

import jax.numpy as jnp

from pliant.core.base import Array, Features
from pliant.core.diagnostic import Diagnostic, Layers, at_layers, matrices, singular_values
from pliant.core.units import Wiring


def rank_of(matrix: Array, tolerance: float = 1.0) -> Array:
    """The numerical rank of a matrix; see `rank`.

    Args:
        matrix: `(samples, units)`.
        tolerance: as in `rank`.

    Returns:
        `()` int32, in [0, min(samples, units)]; 0 if the matrix is all zero.

    Raises:
        ValueError: if the matrix does not have two axes.
    """
    sigma = singular_values(matrix)
    noise = sigma[0] * (max(matrix.shape) * float(jnp.finfo(sigma.dtype).eps))
    return (sigma > tolerance * noise).sum(dtype=jnp.int32)


def rank(wiring: Wiring, *, layers: Layers = "all", tolerance: float = 1.0) -> Diagnostic:
    r"""Number of singular values of each group's features above the rounding noise.

    $$\lvert \{ i : \sigma_i > t \, \max(N, n) \, \epsilon \, \sigma_1 \} \rvert$$

    of the matrix of $N$ samples (batch and space) × $n$ units, not centred, with the machine epsilon of float32; with
    $t = 1$ it is `numpy.linalg.matrix_rank`. Rows are named after features: a group with several activations has a row
    for each.

    Args:
        wiring: whose units to measure.
        layers: `all`, or the `last`: the activation that the output layer reads. The matrix of a convolution's
            activations has a row for each position of each example, and takes long to decompose.
        tolerance: $t$, at least 0, in multiples of the rounding noise. 0 counts all singular values that are not
            exactly zero.

    Signals:
        features: activations of a forward pass (`wiring.apply`).

    Raises:
        ValueError: if the tolerance is negative, or for another choice of layers.

    Differs from the authors' code: Dohare et al. count all singular values that are not exactly zero, the rounding
    noise included, as `tolerance=0` does.

    Example:
        >>> import jax, numpy as np
        >>> from pliant import Group, Outgoing, Wiring
        >>> from pliant.diagnostics import rank
        >>> wiring = Wiring({"h": Group("h", 2, (), (), (Outgoing("out", 0, feature="h"),))})
        >>> rows = jax.jit(rank(wiring))(features={"h": np.array([[1.0, 2.0], [2.0, 4.0]])})
        >>> float(rows["h"])
        1.0
    """
    if tolerance < 0:
        raise ValueError(f"rank(tolerance={tolerance}): write 0 (exactly non-zero) or more, in multiples of the noise")

    measured = at_layers(wiring, layers)

    def measure(*, features: Features, **signals) -> dict[str, Array]:
        del signals
        return {
            feature: rank_of(matrix, tolerance)
            for group in measured.values()
            for feature, matrix in matrices(features, group).items()
        }

    return measure
