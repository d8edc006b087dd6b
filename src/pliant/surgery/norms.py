"""Norm layers: which parameters and running statistics are theirs, and methods that leave them alone."""

from collections.abc import Callable, Collection
from typing import Any, Literal, TypeAlias

import jax

from pliant.core.base import Array, Params
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring, is_statistic, path_of

Norms: TypeAlias = Literal["keep", "skip"]  # whether a method acts on norm layers as on other parameters, or not at all


def parameters_of_norms(wiring: Wiring) -> frozenset[str]:
    """Paths of the scales, shifts and running statistics of the norm layers over hidden units.

    A norm layer is a module with a vector that multiplies or divides units, and without a kernel. Where a network keeps
    all parameters in one module, scales are found, and shifts are not told from biases.

    Args:
        wiring: of the whole network.
    """
    vectors = [vector for group in wiring.values() for vector in group.vectors]
    kernels = [slot for group in wiring.values() for slot in (*group.incoming, *group.outgoing)]
    scales = {vector.path for vector in vectors if vector.neutral == 1}
    norms = set(map(_module, scales)) - {_module(kernel.path) for kernel in kernels}
    return frozenset(scales | {vector.path for vector in vectors if _module(vector.path) in norms})


def left_alone(norms: Norms, wiring: Wiring | None, method: str) -> frozenset[str]:
    """Paths of the parameters on which a method with the setting `norms` does not act.

    Args:
        norms: `keep`: none; `skip`: those of norm layers.
        wiring: of the whole network; needed for `skip`.
        method: the method's name, for errors.

    Raises:
        ValueError: for another setting, or for `skip` without a wiring.
    """
    require_one_of("norms", norms, ("keep", "skip"))
    if norms == "keep":
        return frozenset()
    if wiring is None:
        raise ValueError(
            f"norms='skip': {method} finds the norms in a wiring; "
            f"write pliant.{method}(..., norms='skip', wiring=pliant.trace(apply, params, x))"
        )
    return parameters_of_norms(wiring)


def map_except(function: Callable[..., Array], alone: Collection[str], tree: Params, *rest: Params) -> Params:
    """As `jax.tree.map`, but for running statistics and the leaves at some paths, which stay those of the first tree.

    Args:
        function: of the leaves at one place.
        alone: the paths.
        tree, rest: trees like the parameters.
    """

    def of_leaf(keys: Any, leaf: Array, *others: Any) -> Array:
        path = path_of(keys)
        return leaf if path in alone or is_statistic(path) else function(leaf, *others)

    return jax.tree_util.tree_map_with_path(of_leaf, tree, *rest)


def _module(path: str) -> str:
    return path.rpartition("/")[0]
