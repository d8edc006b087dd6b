"""Puts groups of units together from the notes of a network.

A label that one weight makes and another weight reads runs over a group of hidden units. Its weights, its vectors and
its activations are all axes with this label.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from pliant.core.base import Array
from pliant.core.units import Group, Incoming, Outgoing, Vector, module_of

from .carries import Carries
from .errors import TracingError, refuse, refuse_one_step
from .labels import (
    Atom,
    Mismatch,
    Positions,
    Product,
    Term,
    atoms,
    flattened,
    fuse,
    neighbours,
    of_slices,
    positions,
    resolve,
    size,
)
from .values import Contraction, Notes


@dataclasses.dataclass(frozen=True)
class Tap:
    """The place of a feature.

    Args:
        variable: of the program.
        axis: the axis of the variable that the units lie along.
        indices: which entries along `axis` each unit owns; `None`: unit `i` owns entry `i`.
    """

    variable: Any
    axis: int
    indices: Positions | None

    def __call__(self, array: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """The feature, `(*samples, units)` or `(*samples, positions, units)`."""
        last = jnp.moveaxis(array, self.axis, -1)
        return last if self.indices is None else last[..., self.indices]


_FLATTEN = "Give it one axis of units, and reshape the data that it makes."


class Assembly:
    """Puts groups together from the notes of a network.

    Attributes:
        taps: the place of each feature; complete after `groups`.
    """

    def __init__(self, notes: Notes):
        self._notes = notes
        self._contractions = notes.contractions
        self._terms = {(path, k): resolve(term) for path, axes in notes.leaves.items() for k, term in enumerate(axes)}
        self._fusions: list[tuple[tuple[type, Atom, Atom], Atom]] = []
        self.taps: dict[str, Tap] = {}
        self._mark_outputs()
        self._leave_out_windows_over_units()
        self._leave_out_units_in_two_groups()

    def groups(self) -> dict[str, Group]:
        """The groups in the order in which data meets them.

        Raises:
            TracingError: if a group cannot be described, and may not be left out.
        """
        while True:
            groups: dict[str, Group] = {}
            self.taps = {}
            units = self._units()
            for unit in (unit for unit in units if not unit.output):
                try:
                    self._add_group(groups, unit)
                except TracingError as error:
                    self._notes.leave_out(error, [unit])
            if not any(unit.refusal for unit in units):
                return groups

    def leave_out_carries(self, inputs: tuple[Any, ...], output: Any) -> None:
        """Leaves out the units of a recurrent network whose readers one step does not show.

        Args:
            inputs: the arguments of the network, trees of `Value`.
            output: what it returns, a tree of `Value`.

        Raises:
            TracingError: if there are such units, and they are not to be left out.
        """
        units = set(self._units())
        of_units, of_inputs = (
            {axis for k in self._contractions if k.operand.active == active for axis in _kernel_axes(k, k.reads)}
            for active in (True, False)
        )
        read = {atom for axis in of_inputs - of_units for atom in atoms(self._terms[axis])}
        for term in Carries(self._fused, units, read).unread(inputs, output):
            self._notes.leave_out(refuse_one_step({atom.maker for atom in atoms(term) if atom.maker}), [term])

    def _add_group(self, groups: dict[str, Group], unit: Atom) -> None:
        incoming, outgoing = self._incoming(unit), self._outgoing(unit)
        name = _unique(module_of(incoming[0].path), groups)
        readers = self._with_features(name, unit, outgoing)
        groups[name] = Group(name, unit.size, incoming, self._vectors(unit), readers, unit.coupled)

    def _units(self) -> list[Atom]:
        """The labels that a weight makes and a weight reads.

        The parts of a split label (the groups of a GroupNorm, two halves) are fused again where all weights and vectors
        keep them side by side.
        """

        def found(axes: Iterable[tuple[str, int]]) -> dict[Atom, None]:
            return dict.fromkeys(atom for axis in axes for atom in atoms(self._terms[axis]))

        def units() -> list[Atom]:
            read = found(axis for k in self._contractions if k.operand.active for axis in _kernel_axes(k, k.reads))
            made = found(axis for k in self._contractions if not k.channelwise for axis in _kernel_axes(k, k.makes))
            return [atom for atom in made if atom in read and not _is_place(atom)]

        self._spread_refusals()
        while pair := self._inseparable(set(units())):
            kind, first, second = pair
            length = first.size * second.size if kind is Product else first.size + second.size
            whole = Atom(length)
            whole.mark(first)
            whole.mark(second)
            self._fusions.append((pair, whole))
            self._terms = {axis: fuse(term, pair, whole) for axis, term in self._terms.items()}
        for unit in units():
            if unit.refusal:
                self._notes.leave_out(unit.refusal, [unit], self._makers(unit))
        return [unit for unit in units() if not unit.refusal]

    def _makers(self, unit: Atom) -> set[str]:
        made = {axis for k in self._contractions for axis in _kernel_axes(k, k.makes)}
        return {path for path, k in made if unit in atoms(self._terms[path, k])}

    def _inseparable(self, units: set[Atom]) -> tuple[type, Atom, Atom] | None:
        occurrences = Counter(atom for term in self._terms.values() for atom in atoms(term))
        pairs = Counter(pair for term in self._terms.values() for pair in neighbours(term))
        for pair, count in pairs.items():
            _, first, second = pair
            if first is not second and {first, second} <= units and count == occurrences[first] == occurrences[second]:
                return pair
        return None

    def _mark_outputs(self) -> None:
        """Marks units that come out of the network themselves: a fresh unit would change what comes out.

        The units of the only output are not hidden. Those of one output among several may be there to be looked at.
        Statistics and carries come out as they go in.
        """
        leaves = [self._labels(axes) for axes in self._notes.leaves.values()]
        inputs = [self._labels(value.axes) for value in self._notes.inputs]
        go_in = [*leaves, *(inputs if len(inputs) > 1 else [])]
        outputs = [value for value in self._notes.outputs if self._labels(value.axes) not in go_in]
        for atom in (atom for value in outputs for term in value.axes for atom in atoms(term)):
            if len(outputs) == 1:
                atom.output = True
            else:
                atom.coupled = True

    def _labels(self, axes: Iterable[Term]) -> list[Term]:
        return [of_slices(term) for term in axes]

    def _leave_out_windows_over_units(self) -> None:
        for contraction in self._contractions:
            for axis in _kernel_axes(contraction, contraction.makes):
                term = self._terms[axis]
                if size(term) > 1 and all(atom.spatial for atom in atoms(term)):
                    why = "its window slides along the units of this weight"
                    self._notes.leave_out(refuse("conv_general_dilated", [axis[0]], why), [term])

    def _leave_out_units_in_two_groups(self) -> None:
        units = set(self._units())
        for contraction in self._contractions:
            for path in contraction.kernels:
                made = [self._terms[axis] for axis in _kernel_axes(contraction, contraction.makes) if axis[0] == path]
                if sum(not units.isdisjoint(atoms(term)) for term in made) > 1:
                    why = "its units lie along two of its axes"
                    self._notes.leave_out(refuse("dot_general", [path], why, _FLATTEN), made)
                for kind, first, second in itertools.chain.from_iterable(map(neighbours, made)):
                    if kind is Product and {first, second} <= units:
                        why = "one weight reads its units as a whole, another along one axis of a reshape"
                        self._notes.leave_out(refuse("reshape", [path], why), [first, second])

    def _spread_refusals(self) -> None:
        """Refuses the units that are flattened together with refused ones."""
        flat = [axis for term in self._terms.values() for axis in flattened(term)]
        flat = [[atom for atom in axis if atom.maker and not _is_place(atom)] for axis in flat]
        while partly := [axis for axis in flat if len({atom.refusal is None for atom in axis}) == 2]:
            for axis in partly:
                refusal = next(atom.refusal for atom in axis if atom.refusal)
                for atom in axis:
                    atom.refusal = atom.refusal or refusal

    def _slot(self, axis: tuple[str, int], unit: Atom) -> dict[str, Any] | None:
        """Path, axis and indices of a slot, or `None` if the units do not lie along this axis of a leaf."""
        path, k = axis
        entries = self._entries(self._terms[axis], unit, path)
        return None if entries is None else {"path": path, "axis": k, "indices": _or_none(entries, self._terms[axis])}

    def _entries(self, term: Term, unit: Atom, path: str) -> Positions | None:
        try:
            return positions(self._fused(term), unit)
        except Mismatch as mismatch:
            raise refuse("reshape", [path], str(mismatch)) from mismatch

    def _fused(self, term: Term) -> Term:
        for pair, whole in self._fusions:
            term = fuse(term, pair, whole)
        return resolve(term)

    def _incoming(self, unit: Atom) -> tuple[Incoming, ...]:
        slots: dict[tuple[str, int], Incoming] = {}
        for number, contraction in enumerate(self._contractions):
            for axis in _kernel_axes(contraction, contraction.makes):
                slot = self._slot(axis, unit)
                if slot is not None and axis not in slots:
                    fan_in, fan_out = self._fans(axis[0], number)
                    slots[axis] = Incoming(**slot, order=number, fan_in=fan_in, fan_out=fan_out)
        return tuple(slots.values())

    def _fans(self, path: str, number: int) -> tuple[int, int]:
        contraction = self._contractions[number]
        fan_in = fan_out = 1
        for k, length in enumerate(map(size, self._notes.leaves[path])):
            read, made = (path, k) in contraction.reads, (path, k) in contraction.makes
            if made and contraction.channelwise:
                continue
            if self._places(path, number, k):
                length = len(set().union(*(self._places(path, other, k) for other in self._added_to(number))))
            window = not (read or made) or all(atom.window for atom in atoms(self._terms[path, k]))
            fan_in *= length if read or window else 1
            fan_out *= length if made or window else 1
        return fan_in, fan_out

    def _places(self, path: str, number: int, axis: int) -> set[int | None]:
        """The places of the entries along an axis of a leaf that a contraction takes, if it does not take them all."""
        return {place for p, k, place in self._contractions[number].picked if (p, k) == (path, axis)}

    def _added_to(self, number: int) -> set[int]:
        """The contractions with parts of the same data that compute one sum with this one, itself included."""
        numbers = {number}.union(*(numbers for numbers in self._notes.sums if number in numbers))
        return {other for other in numbers if self._data(other) is self._data(number)}

    def _data(self, number: int) -> Any:
        operand = self._contractions[number].operand
        return operand.variable if operand.whole is None else operand.whole

    def _check_same_layer(self, path: str, first: int, other: int) -> None:
        """Refuses a leaf whose entries are weights of several layers, each with activations of its own.

        Raises:
            TracingError: for such a leaf.
        """
        if self._entries_for(path, self._data(first)) != self._entries_for(path, self._data(other)):
            why = "its entries along one axis are weights of several layers"
            raise refuse("slice", [path], why, "Give each layer parameters of its own.")

    def _check_same_units(self, path: str, first: int, other: int) -> None:
        """Refuses a leaf that makes units of inputs by some of its entries, and of these units others by the rest.

        Raises:
            TracingError: for such a leaf.
        """
        if self._units_for(path, self._data(first)).isdisjoint(self._units_for(path, self._data(other))):
            why = "some of its entries are weights of inputs, and the others of the units that these make"
            raise refuse("slice", [path], why, "Give each layer parameters of its own.")

    def _units_for(self, path: str, data: Any) -> set[Atom]:
        """The units that a leaf makes of the same data."""
        contractions = (k for number, k in enumerate(self._contractions) if self._data(number) is data)
        return {atom for k in contractions if path in k.kernels for term in k.made for atom in atoms(self._fused(term))}

    def _entries_for(self, path: str, data: Any) -> set[frozenset[Any]]:
        """The entries of a leaf that are weights of the same data."""
        contractions = (k for number, k in enumerate(self._contractions) if self._data(number) is data)
        return {frozenset(taken for taken in k.picked if taken[0] == path) for k in contractions if path in k.kernels}

    def _vectors(self, unit: Atom) -> tuple[Vector, ...]:
        kernels = {axis for k in self._contractions for axis in _kernel_axes(k, k.reads | k.makes)}
        vectors = []
        for axis in self._terms:
            if axis not in kernels and axis[0] in self._notes.meetings:
                slot = self._slot(axis, unit)
                if slot is not None:
                    path = axis[0]
                    order = self._notes.meetings[path][0].after
                    vectors.append(Vector(**slot, order=order, neutral=self._notes.neutral(path)))
        return tuple(vectors)

    def _outgoing(self, unit: Atom) -> dict[tuple[str, int], tuple[dict[str, Any], int]]:
        """For each axis of a kernel that reads the units: its slot, and the number of its first contraction."""
        readers: dict[tuple[str, int], tuple[dict[str, Any], int]] = {}
        of_inputs: list[tuple[tuple[str, int], int]] = []
        for number, contraction in enumerate(self._contractions):
            for axis in _kernel_axes(contraction, contraction.reads):
                slot = self._slot(axis, unit)
                if slot is None:
                    continue
                if not contraction.operand.active:
                    of_inputs.append((axis, number))
                elif axis in readers:
                    self._check_same_layer(axis[0], readers[axis][1], number)
                else:
                    fan_in, fan_out = self._fans(axis[0], number)
                    readers[axis] = {**slot, "fan_in": fan_in, "fan_out": fan_out}, number
        for axis, number in of_inputs:
            if axis in readers:
                self._check_same_layer(axis[0], number, readers[axis][1])
                self._check_same_units(axis[0], number, readers[axis][1])
        return readers

    def _with_features(
        self, name: str, unit: Atom, readers: Mapping[tuple[str, int], tuple[dict[str, Any], int]]
    ) -> tuple[Outgoing, ...]:
        """Names the activations that are read; readers of one array share one feature."""
        taps = {axis: self._tap(self._contractions[number], unit) for axis, (_, number) in readers.items()}
        keys = {axis: (tap.variable, tap.axis, plain(tap.indices)) for axis, tap in taps.items()}
        alone = len(set(keys.values())) == 1
        names: dict[Any, str] = {}
        for axis, key in keys.items():
            if key not in names:
                names[key] = name if alone else _unique(f"{name}@{module_of(axis[0])}", self.taps)
                self.taps[names[key]] = taps[axis]
        return tuple(
            Outgoing(**slot, order=number, feature=names[keys[axis]], bias=self._notes.biases.get(number))
            for axis, (slot, number) in readers.items()
        )

    def _tap(self, contraction: Contraction, unit: Atom) -> Tap:
        operand, [path, *_] = contraction.operand, contraction.kernels
        found = [(k, self._entries(operand.axes[k], unit, path)) for k in contraction.axes]
        found = [(k, entries) for k, entries in found if entries is not None]
        if len(found) != 1:
            raise refuse("dot_general", contraction.kernels, "it sums over the same units along two axes")
        [(k, entries)] = found
        return Tap(operand.variable, k, _or_none(entries, operand.axes[k]))


def _is_place(atom: Atom) -> bool:
    return atom.spatial or atom.samples or atom.window


def _kernel_axes(contraction: Contraction, axes: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(axis for axis in axes if axis[0] in contraction.kernels)


def _or_none(entries: Positions, term: Term) -> Positions | None:
    """`None` if the units are the whole axis: unit `i` owns entry `i`."""
    return None if np.array_equal(entries, np.arange(size(term))[None]) else entries


def _unique(name: str, taken: Iterable[str]) -> str:
    candidates = itertools.chain([name], (f"{name}_{k}" for k in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate not in taken)


def plain(value: Any) -> Any:
    """Slots, groups and taps as plain data, for comparison."""
    if isinstance(value, np.ndarray):
        return (value.shape, value.tobytes())
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if dataclasses.is_dataclass(value):
        return tuple(plain(getattr(value, field.name)) for field in dataclasses.fields(value))
    return value
