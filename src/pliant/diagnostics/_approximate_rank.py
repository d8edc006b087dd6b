"""Approximate rank: the number of directions with nearly all of the features' squared magnitude."""

import jax.numpy as jnp

from pliant.core.base import Array, Features
from pliant.core.diagnostic import Diagnostic, Layers, at_layers, matrices, singular_values
from pliant.core.units import Wiring


def approximate_rank_of(matrix: Array, proportion: float = 0.99) -> Array:
    """The approximate rank of a matrix; see `approximate_rank`.

    Args:
        matrix: `(samples, units)`.
        proportion: as in `approximate_rank`.

    Returns:
        `()` int32, in [1, min(samples, units)]; 1 if the matrix is all zero.

    Raises:
        ValueError: if the matrix does not have two axes.
    """
    sigma = singular_values(matrix)
    cumulative = jnp.cumsum(sigma**2)
    return (cumulative < proportion * cumulative[-1]).sum(dtype=jnp.int32) + 1


def approximate_rank(wiring: Wiring, *, layers: Layers = "all", proportion: float = 0.99) -> Diagnostic:
    r"""Least number of singular values of each group's features with 99 % of the sum of squares.

    $$\min \Big\{ k : \sum_{i \le k} \sigma_i^2 \Big/ \sum_i \sigma_i^2 \ge \pi \Big\}$$

    of the matrix of samples (batch and space) × units, not centred. Rows are named after features: a group with several
    activations has a row for each. `stable_rank` is the same without squares.

    Args:
        wiring: whose units to measure.
        layers: `all`, or the `last`: the activation that the output layer reads. The matrix of a convolution's
            activations has a row for each position of each example, and takes long to decompose.
        proportion: $\pi$, in (0, 1].

    Signals:
        features: activations of a forward pass (`wiring.apply`).

    Raises:
        ValueError: if the proportion is outside (0, 1], or for another choice of layers.

    References:
        Yang et al., `Harnessing structures for value-based planning and reinforcement learning
        <https://arxiv.org/abs/1909.12255>`_, ICLR 2020.

    Example:
        >>> import jax, numpy as np
        >>> from pliant import Group, Outgoing, Wiring
        >>> from pliant.diagnostics import approximate_rank
        >>> wiring = Wiring({"h": Group("h", 2, (), (), (Outgoing("out", 0, feature="h"),))})
        >>> rows = jax.jit(approximate_rank(wiring))(features={"h": np.array([[1.0, 0.0], [0.0, 10.0]])})
        >>> float(rows["h"])
        1.0
    """
    if not 0 < proportion <= 1:
        raise ValueError(f"approximate_rank(proportion={proportion}): write a proportion of the sum, in (0, 1]")

    measured = at_layers(wiring, layers)

    def measure(*, features: Features, **signals) -> dict[str, Array]:
        del signals
        return {
            feature: approximate_rank_of(matrix, proportion)
            for group in measured.values()
            for feature, matrix in matrices(features, group).items()
        }

    return measure
