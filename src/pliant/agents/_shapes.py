"""The checks on the first lines of the losses."""

from pliant.core.base import Array


def require_rank(rank: int, **arrays: Array) -> None:
    """Refuses arrays of another rank, or of different shapes, instead of broadcasting them silently.

    Args:
        rank: number of axes; the axes that `vmap` adds do not count.
        arrays: by their names in the error.

    Raises:
        ValueError: naming all arrays and their shapes.
    """
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    if any(len(shape) != rank for shape in shapes.values()) or len(set(shapes.values())) > 1:
        came = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{came}: pass arrays of one shape, with {rank} {'axis' if rank == 1 else 'axes'} each")
