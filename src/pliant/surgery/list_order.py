"""Units as a plain list of layers: each layer makes units of its own, and the next layer in the list reads them."""

import dataclasses
import itertools
from collections.abc import Collection

from pliant.core.units import Group, Incoming, Outgoing, Slot, Wiring, module_of


def in_list_order(wiring: Wiring) -> Wiring:
    """The wiring with one group for each kernel, whose only reader is the next kernel in the order of the forward pass.

    Channels that a residual stream adds up are one group of a traced wiring, with all kernels that write into the
    stream and all that read it. Programs that walk through a list of layers know nothing of the stream: a channel is
    made by one convolution, together with the bias and the norm behind it, and read by the next convolution. Of kernels
    whose outputs are added, the one that reads the newest units is in the list; a projection shortcut is not. Where
    each group has one kernel and one reader, nothing changes.

    Args:
        wiring: of the whole network, for a part does not show which kernels are shortcuts; traced, or with the `order`
            of each slot.

    Returns:
        Groups in the order of their kernels. The first kernel of a group keeps the group's name; the group of another
        kernel is called `GROUP@MODULE`, with the module of the kernel. Features and `function` are those of the wiring.

    Raises:
        ValueError: if a slot has no order.

    Example:
        >>> import jax, numpy as np, pliant
        >>> def apply(w, x):
        ...     h = jax.nn.relu(x @ w["stem"])
        ...     h = h + jax.nn.relu(h @ w["a"]) @ w["b"]
        ...     return h @ w["out"]
        >>> shapes = {"stem": (3, 4), "a": (4, 5), "b": (5, 4), "out": (4, 1)}
        >>> params = {name: np.ones(shape) for name, shape in shapes.items()}
        >>> for name, group in in_list_order(pliant.trace(apply, params, np.ones((8, 3)))).items():
        ...     print(name, [reader.path for reader in group.outgoing])
        stem ['a']
        a ['b']
        stem@b ['out']
    """
    shortcuts = {
        kernel.path
        for group in wiring.values()
        for added, _ in _summands(group)
        for kernel in added
        if _newest_read(kernel, wiring) < max(_newest_read(other, wiring) for other in added)
    }
    parts = [part for group in wiring.values() for part in _parts(group, shortcuts)]
    parts.sort(key=lambda part: _order(part.incoming[0]))
    return dataclasses.replace(wiring, groups={part.name: part for part in parts})


def _parts(group: Group, shortcuts: Collection[str]) -> list[Group]:
    """The groups of those kernels of one group that are in the list."""
    orders = {_order(kernel) for kernel in group.incoming}
    parts = []
    for kernels, readers in _summands(group, shortcuts):
        own = {_order(kernel) for kernel in kernels}  # several for branches of the same depth
        # A vector belongs to the kernel before it; one that comes before all kernels belongs to the first.
        vectors = tuple(
            vector
            for vector in group.vectors
            if max(order for order in orders if order <= max(_order(vector), min(orders))) in own
        )
        name = group.name if min(orders) in own else f"{group.name}@{module_of(kernels[0].path)}"
        parts.append(Group(name, group.units, kernels, vectors, readers, group.coupled))
    return parts


def _summands(group: Group, shortcuts: Collection[str] = ()) -> list[tuple[tuple[Incoming, ...], tuple[Outgoing, ...]]]:
    """For each activation of a group: the kernels that were added since the activation before, and its first reader."""
    kernels, readers = (
        [slot for slot in slots if slot.path not in shortcuts] for slots in (group.incoming, group.outgoing)
    )
    orders = sorted({_order(reader) for reader in readers})
    found = []
    for start, end in itertools.pairwise([-1, *orders]):
        added = tuple(kernel for kernel in kernels if start <= _order(kernel) < end)
        if added:  # else it is one more reader of the same activation
            found.append((added, tuple(reader for reader in readers if _order(reader) == end)))
    return found


def _newest_read(kernel: Incoming, wiring: Wiring) -> int:
    """The order of the last kernel that made units which this kernel reads; -1 if it reads inputs."""
    groups = [group for group in wiring.values() if any(reader.path == kernel.path for reader in group.outgoing)]
    made = [_order(other) for group in groups for other in group.incoming]
    return max((order for order in made if order < _order(kernel)), default=-1)


def _order(slot: Slot) -> int:
    if slot.order is None:
        raise ValueError(
            f"{slot.path!r} has no order, so its place in a list of layers is unknown; "
            "trace the network with pliant.trace, or write the order of each slot, as in Incoming(..., order=0)"
        )
    return slot.order
