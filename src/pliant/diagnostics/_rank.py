"""Rank: how many linearly independent directions the features have."""

import jax.numpy as jnp

from pliant.core.base import Array, Features
from pliant.core.diagnostic import Diagnostic, matrices, singular_values
from pliant.core.units import Wiring


def rank_of(matrix: Array, tolerance: float = 1.0) -> Array:
    """The numerical rank of a matrix; see `rank`.

    Args:
        matrix: `(samples, units)`.
        tolerance: as in `rank`.

    Returns:
        `()` int32, in [0, min(samples, units)]; 0 if the matrix is all zero.

    Raises:
        ValueError: if the matrix has not two axes.
    """
    sigma = singular_values(matrix)
    noise = sigma[0] * (max(matrix.shape) * float(jnp.finfo(sigma.dtype).eps))
    return (sigma > tolerance * noise).sum(dtype=jnp.int32)


def rank(wiring: Wiring, *, tolerance: float = 1.0) -> Diagnostic:
    r"""Number of singular values of each group's features that stand out of the rounding noise.

    $$\lvert \{ i : \sigma_i > t \, \max(N, n) \, \epsilon \, \sigma_1 \} \rvert$$

    of the matrix of $N$ samples (batch and space) × $n$ units, not centred, with the machine epsilon of float32; with
    $t = 1$ it is `numpy.linalg.matrix_rank`. Rows are named after features: a group that is read through several
    activations has one for each.

    Args:
        wiring: whose units to measure.
        tolerance: $t$, at least 0, in multiples of the rounding noise. 0 counts what is not exactly zero.

    Signals:
        features: activations of a forward pass (`wiring.apply`).

    Raises:
        ValueError: if the tolerance is negative.

    Differs from the authors' code: Dohare et al. count the singular values that are not exactly zero, and so the
    noise, too; `tolerance=0` does so.
    """
    if tolerance < 0:
        raise ValueError(f"rank(tolerance={tolerance}): write 0 (exactly non-zero) or more, in multiples of the noise")

    def measure(*, features: Features, **signals) -> dict[str, Array]:
        del signals
        return {
            feature: rank_of(matrix, tolerance)
            for group in wiring.values()
            for feature, matrix in matrices(features, group).items()
        }

    return measure
