"""Stable rank: a rank that small singular values hardly change, by two definitions."""

from typing import Literal, TypeAlias, get_args

import jax.numpy as jnp

from pliant.core.base import Array, Features
from pliant.core.diagnostic import Diagnostic, Layers, at_layers, matrices, singular_values
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring

Definition: TypeAlias = Literal["cumulative", "frobenius"]


def stable_rank_of(matrix: Array, definition: Definition = "cumulative", proportion: float = 0.99) -> Array:
    """The stable rank of a matrix; see `stable_rank`.

    Args:
        matrix: `(samples, units)`.
        definition, proportion: as in `stable_rank`.

    Returns:
        `()`, in [1, min(samples, units)], int32 if cumulative and float32 if not; 1 if the matrix is all zero.

    Raises:
        ValueError: if the matrix does not have two axes; for an unknown definition.
    """
    require_one_of("definition", definition, get_args(Definition))
    sigma = singular_values(matrix)
    if definition == "frobenius":
        largest = jnp.where(sigma[0] == 0, 1.0, sigma[0])
        # The sum is at least 1 unless the matrix is all zero.
        return jnp.maximum(((sigma / largest) ** 2).sum(), 1.0)
    cumulative = jnp.cumsum(sigma)
    return (cumulative < proportion * cumulative[-1]).sum(dtype=jnp.int32) + 1


def stable_rank(
    wiring: Wiring, *, layers: Layers = "all", definition: Definition = "cumulative", proportion: float = 0.99
) -> Diagnostic:
    r"""Stable rank of each group's features: the least number of singular values with 99 % of their sum.

    Two different numbers have this name:

    | definition | stable rank |
    |---|---|
    | `cumulative` | $\min \{ k : \sum_{i \le k} \sigma_i / \sum_i \sigma_i \ge \pi \}$, as plotted by Dohare et al. |
    | `frobenius` | $\lVert M \rVert_F^2 / \lVert M \rVert_2^2 = \sum_i \sigma_i^2 / \sigma_1^2$, as in linear algebra |

    of the matrix $M$ of samples (batch and space) × units, not centred. Rows are named after features: a group with
    several activations has a row for each. `approximate_rank` is the first with squares.

    Args:
        wiring: whose units to measure.
        layers: `all`, or the `last`: the activation that the output layer reads. The matrix of a convolution's
            activations has a row for each position of each example, and takes long to decompose.
        definition: which of the two.
        proportion: $\pi$, in (0, 1]; for `cumulative` only.

    Signals:
        features: activations of a forward pass (`wiring.apply`).

    Raises:
        ValueError: for an unknown definition or choice of layers, or if the proportion is outside (0, 1].

    References:
        `cumulative`: Kumar et al., `Implicit under-parameterization inhibits data-efficient deep reinforcement learning
        <https://arxiv.org/abs/2010.14498>`_, ICLR 2021; Dohare et al., `Loss of plasticity in deep continual learning
        <https://doi.org/10.1038/s41586-024-07711-7>`_, Nature 2024. `frobenius`: Rudelson and Vershynin, `Sampling from
        large matrices <https://arxiv.org/abs/math/0503442>`_, Journal of the ACM 2007.

    Example:
        >>> import jax, numpy as np
        >>> from pliant import Group, Outgoing, Wiring
        >>> from pliant.diagnostics import stable_rank
        >>> wiring = Wiring({"h": Group("h", 2, (), (), (Outgoing("out", 0, feature="h"),))})
        >>> rows = jax.jit(stable_rank(wiring))(features={"h": np.array([[1.0, 0.0], [0.0, 10.0]])})
        >>> float(rows["h"])
        2.0
    """
    require_one_of("definition", definition, get_args(Definition))
    if not 0 < proportion <= 1:
        raise ValueError(f"stable_rank(proportion={proportion}): write a proportion of the sum, in (0, 1]")

    measured = at_layers(wiring, layers)

    def measure(*, features: Features, **signals) -> dict[str, Array]:
        del signals
        return {
            feature: stable_rank_of(matrix, definition, proportion)
            for group in measured.values()
            for feature, matrix in matrices(features, group).items()
        }

    return measure
