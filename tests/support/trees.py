"""Trees of arrays in NumPy: what tests draw, edit and compare is not compiled."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
    from pliant.core.units import Slot


def key(seed: int) -> jax.Array:
    """`jax.random.key(seed)` for seeds below 2^32, made without a program."""
    return jax.random.wrap_key_data(np.array([0, seed], np.uint32))


def keys(seeds: Iterable[int]) -> jax.Array:
    """The keys of some seeds, `(seeds,)`."""
    return jax.random.wrap_key_data(np.array([[0, seed] for seed in seeds], np.uint32))


def numpy(tree: Any) -> Any:
    """The same tree with NumPy's arrays, those of keys with their data."""

    def leaf(x):
        is_key = isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x)

    return jax.tree.map(leaf, tree)


def random_like(tree: Any, seed: int = 0, scale: float = 1.0) -> Any:
    """A tree of normal numbers in the shapes and dtypes of another, which may be one of `jax.ShapeDtypeStruct`."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda x: (scale * generator.normal(size=x.shape)).astype(x.dtype), tree)


def normal(seed: int, *shape: int) -> np.ndarray:
    """An array of normal numbers, float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of one structure as one, with a leading axis of them."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(numpy, trees))


def at(tree: Any, index: Any) -> Any:
    """Each leaf at an index of its leading axes."""
    return jax.tree.map(lambda leaf: leaf[index], numpy(tree))


def finite(tree: Any) -> bool:
    """Whether all numbers are."""
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(numpy(tree)))


def same(a: Any, b: Any) -> bool:
    """Whether two trees hold the same, bit for bit."""
    pairs = zip(jax.tree.leaves(numpy(a)), jax.tree.leaves(numpy(b)), strict=True)
    return all(x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in pairs)


def differs(a: Any, b: Any, rtol: float = 1e-4, atol: float = 1e-5) -> bool:
    """Whether any number of two trees differs by more than rounding."""
    pairs = zip(jax.tree.leaves(numpy(a)), jax.tree.leaves(numpy(b)), strict=True)
    return any(not np.allclose(x, y, rtol=rtol, atol=atol) for x, y in pairs)


def assert_close(a: Any, b: Any, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Checks that two trees hold the same but for rounding."""
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), numpy(a), numpy(b))


def assert_equal(a: Any, b: Any) -> None:
    """Checks that two trees hold the same numbers."""
    jax.tree.map(np.testing.assert_array_equal, numpy(a), numpy(b))


def changed(tree: Any, path: str, function: Callable[[np.ndarray], np.ndarray]) -> Any:
    """The same tree but for one leaf, whose path is written `a/b`; the function may write into its copy of the leaf."""

    from pliant.core.units import path_of  # after the hook that checks types

    def replace(keys, leaf):
        return function(np.array(leaf)) if path_of(keys) == path else leaf

    return jax.tree_util.tree_map_with_path(replace, tree)


def edited(params: Any, slots: "Iterable[Slot]", function: Callable[[np.ndarray], Any], units: Any) -> Any:
    """Weights of which some units' entries in some slots went through a function."""
    for slot in slots:
        entries = units if slot.indices is None else np.asarray(slot.indices)[:, units]
        index = (slice(None),) * slot.axis + (entries,)

        def edit(leaf, index=index):
            leaf[index] = function(leaf[index])
            return leaf

        params = changed(params, slot.path, edit)
    return params


def reordered(params: Any, slots: "Iterable[Slot]", order: np.ndarray) -> Any:
    """Weights of which the units in some slots are in another order, once for each axis of a leaf."""
    for slot in {(slot.path, slot.axis): slot for slot in slots}.values():
        rows = np.arange(len(order))[None] if slot.indices is None else np.asarray(slot.indices)

        def move(leaf, axis=slot.axis, rows=rows):
            last = np.moveaxis(leaf, axis, -1)
            last[..., rows] = last[..., rows[:, order]]
            return leaf

        params = changed(params, slot.path, move)
    return params
