"""Effective rank: the number of directions in use, by the entropy of the singular values."""

import jax.numpy as jnp
from jax.scipy.special import xlogy

from pliant.core.base import Array, Features
from pliant.core.diagnostic import Diagnostic, Layers, at_layers, matrices, singular_values
from pliant.core.units import Wiring


def effective_rank_of(matrix: Array) -> Array:
    """The effective rank of a matrix; see `effective_rank`.

    Args:
        matrix: `(samples, units)`.

    Returns:
        `()` float32, in [1, min(samples, units)]; 1 if the matrix is all zero.

    Raises:
        ValueError: if the matrix does not have two axes.
    """
    sigma = singular_values(matrix)
    total = sigma.sum()
    p = sigma / jnp.where(total == 0, 1.0, total)
    return jnp.exp(-xlogy(p, p).sum())


def effective_rank(wiring: Wiring, *, layers: Layers = "all") -> Diagnostic:
    r"""Effective rank of each group's features: the exponential of the entropy of their singular values.

    $$\exp\Big(-\sum_i p_i \ln p_i\Big), \qquad p_i = \sigma_i \Big/ \sum_k \sigma_k,$$

    of the matrix of samples (batch and space) × units, not centred. It is $k$ if $k$ singular values are equal and the
    others zero. Rows are named after features: a group with several activations has a row for each.

    Args:
        wiring: whose units to measure.
        layers: `all`, or the `last`: the activation that the output layer reads. The matrix of a convolution's
            activations has a row for each position of each example, and takes long to decompose.

    Signals:
        features: activations of a forward pass (`wiring.apply`).

    Raises:
        ValueError: for another choice of layers.

    References:
        Roy and Vetterli, `The effective rank: a measure of effective dimensionality`, EUSIPCO 2007.

    Example:
        >>> import jax, numpy as np
        >>> from pliant import Group, Outgoing, Wiring
        >>> from pliant.diagnostics import effective_rank
        >>> wiring = Wiring({"h": Group("h", 2, (), (), (Outgoing("out", 0, feature="h"),))})
        >>> rows = jax.jit(effective_rank(wiring))(features={"h": np.array([[1.0, 0.0], [0.0, 1.0]])})
        >>> round(float(rows["h"]), 4)
        2.0
    """
    measured = at_layers(wiring, layers)

    def measure(*, features: Features, **signals) -> dict[str, Array]:
        del signals
        return {
            feature: effective_rank_of(matrix)
            for group in measured.values()
            for feature, matrix in matrices(features, group).items()
        }

    return measure
