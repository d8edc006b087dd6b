"""How sparse the layers of a network are: which leaves can miss weights, and how many weights each leaf keeps."""

import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array
from pliant.core.settings import is_traced
from pliant.core.units import Wiring, find, is_statistic

from .masks import largest, ordered


def erdos_renyi(shapes: Sequence[tuple[int, ...]], sparsity: float | Array, whole: int = 0) -> Array | np.ndarray:
    r"""The sparsity of each layer for a given sparsity of the network: small layers keep more of their weights.

    The density of a layer with $n$ weights and axes of lengths $a, b, \dots$ is

    $$d = \min(1, \epsilon \, p), \qquad p = (a + b + \dots) / n,$$

    with the one $\epsilon$ that gives the layers and the `whole` weights together the density 1 - sparsity.

    Args:
        shapes: shapes of the layers' weights.
        sparsity: in [0, 1), of the network; may be traced.
        whole: number of further weights that are never missing.

    Returns:
        The sparsity of each layer, `(layers,)` in [0, 1]: float64 of NumPy, or float32 where the sparsity is traced.

    Raises:
        ValueError: if the whole weights alone exceed the density.

    Example:
        >>> erdos_renyi([(4, 5), (5, 1)], 0.62)
        array([0.715, 0.24 ])

    References:
        Mocanu et al., `Scalable training of artificial neural networks with adaptive sparse connectivity
        <https://arxiv.org/abs/1707.04780>`_, 2018. Evci et al., `Rigging the lottery: making all tickets winners
        <https://arxiv.org/abs/1911.11134>`_, ICML 2020.
    """
    n = np.array([math.prod(shape) for shape in shapes])
    ends = np.array([sum(shape) for shape in shapes])
    p, total = ends / n, n.sum() + whole
    if not is_traced(sparsity) and whole > (1 - sparsity) * total:
        raise ValueError(
            f"sparsity={sparsity}: {whole} of {total} weights belong to norms, which are never missing; "
            f"write at most {math.floor(1000 * (1 - whole / total)) / 1000}"
        )
    # The layers with the largest p are full: the fewest layers with which the others fit.
    levels = np.unique(p)[::-1]
    full = p[None] > levels[:, None]  # (levels, layers)
    left = (1 - sparsity) * total - whole - (full * n).sum(1)
    epsilon = left / (~full * ends).sum(1)  # (levels,)
    level = (epsilon * levels <= 1).argmax()
    numpy = np if isinstance(epsilon, np.ndarray) else jnp
    return 1 - numpy.where(numpy.asarray(full)[level], 1.0, epsilon[level] * p)


def layers(wiring: Wiring, weights: Mapping[str, Array]) -> list[str]:
    """Paths of the weights with at least two axes that make or read units, in the order of the forward pass.

    Args:
        wiring: the groups.
        weights: the leaves by path.
    """
    slots = [slot for group in wiring.values() for slot in (*group.incoming, *group.outgoing)]
    return list(dict.fromkeys(slot.path for slot in slots if find(weights, slot).ndim > 1))


def scales(wiring: Wiring, weights: Mapping[str, Array]) -> list[Array]:
    """The scales of norms over the units, which count as weights and are never missing.

    Running variances are no weights.

    Args:
        wiring: the groups.
        weights: the leaves by path.
    """
    vectors = [vector for group in wiring.values() for vector in group.vectors]
    vectors = [vector for vector in vectors if vector.neutral == 1 and not is_statistic(vector.path)]
    return list({vector.path: find(weights, vector) for vector in vectors}.values())


def allotment(wiring: Wiring, weights: Mapping[str, Array], sparsity: float | Array) -> dict[str, Array | np.int32]:
    """How many weights each layer keeps, by path; see `erdos_renyi`.

    Args:
        wiring: the groups.
        weights: the leaves by path.
        sparsity: in [0, 1), of all layers and scales together; may be traced.
    """
    paths = layers(wiring, weights)
    whole = sum(scale.size for scale in scales(wiring, weights))
    sparsities = erdos_renyi([weights[path].shape for path in paths], sparsity, whole)
    # The published program rounds the number of missing weights down.
    return {path: weights[path].size - (s * weights[path].size).astype(np.int32) for path, s in zip(paths, sparsities)}


def initial_mask(wiring: Wiring, weights: Mapping[str, Array], sparsity: float | Array) -> dict[str, Array]:
    """The masks that keep the largest weights of each layer, as many as its `allotment`; `{path: like the leaf}` bool.

    Args:
        wiring: the groups.
        weights: the leaves by path.
        sparsity: in [0, 1), of all layers and scales together; may be traced.
    """
    kept = allotment(wiring, weights, sparsity)
    return {path: largest(ordered(jnp.abs(weights[path])) + 1, count, seed=0) for path, count in kept.items()}
