"""Finds the hidden units of a network by reading its jaxpr.

    wiring = trace(lambda params, x: model.apply(params, x), params, x)
    print(wiring.describe())
    output, features = wiring.apply(params, x)

Reading a network takes four steps:

1. `inlining` writes the nested calls of the jaxpr out.
2. `reading` walks over the equations once. Each axis of each array has a label (`labels`). The rule of each primitive
   (`rules`, `contractions`) makes labels equal, and notes where weights meet data (`values`).
3. A label that one weight makes and another weight reads runs over a group of hidden units. This module puts the groups
   together from the notes.
4. The jaxpr gets the groups' activations as further outputs: that is the wiring's function.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Shaped

from pliant.core.base import Array, Features, Params
from pliant.core.units import Group, Incoming, Outgoing, Vector, Wiring, path_of

from .inlining import inline
from .labels import Atom, Mismatch, Positions, Product, Term, atoms, fuse, neighbours, positions, resolve, size
from .reading import read
from .values import Contraction, Notes, refuse
from .values import TracingError as TracingError


def trace(apply: Callable[..., Any], params: Params, *inputs: Any) -> Wiring:
    """Finds the groups of hidden units of a network, and where their weights and activations are.

    Works on any function that JAX can trace: flax, equinox, haiku, plain functions; several networks in one function;
    batch normalization in both modes; residual streams, flattened images, joined branches. Nothing is computed.

    A weight that is applied several times (a network called on two inputs, a layer used twice) is described by its
    first use. Units that are split and joined again in the same order (the groups of a GroupNorm, two halves) are one
    group. Units that the network pairs (the halves of a gated unit) are one unit. A single channel that is flattened
    into an image of one channel is not a group.

    Trace a recurrent network over two steps that are written out: the carry of the first step is an input of the
    second. A single step does not show which weights read the carry.

    Args:
        apply: `(params, *inputs) -> output`, any pytree. Close over values that are not arrays. Close over random keys,
            or pass them as inputs.
        params: a pytree of arrays or of `jax.ShapeDtypeStruct`, running statistics included.
        *inputs: pytrees of arrays or of `jax.ShapeDtypeStruct`: examples of shape and type. `wiring.apply` takes other
            batch sizes too.

    Returns:
        The wiring; its `function` is set. It can be copied, and pickled where `apply` can.

    Raises:
        TypeError: if the first argument is not a function.
        TracingError: if units pass through a primitive without a rule: `scan` and other loops over parameters,
            grouped convolutions, attention, embedding lookups, sorting. The error names primitive and parameters. The
            outputs of the network may pass through any primitive.

    Example:
        >>> def apply(params, x):
        ...     return jax.nn.relu(x @ params["w0"]) @ params["w1"]
        >>> wiring = trace(apply, {"w0": jnp.ones((3, 5)), "w1": jnp.ones((5, 2))}, jnp.ones((1, 3)))
        >>> [reader.path for reader in wiring["w0"].outgoing]
        ['w1']
    """
    if not callable(apply):
        raise TypeError(
            f"trace got an object of type {type(apply).__name__} as the network's function; "
            "write pliant.trace(apply, params, x), the function first"
        )
    network = _Network(apply)
    return Wiring(network.read(params, inputs).groups, network)


@dataclasses.dataclass(frozen=True)
class _Tap:
    """Where a feature is found.

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


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The groups of a network for inputs of one shape, and how to run it with their features.

    Args:
        groups: by name.
        taps: where each feature is found, by its name.
        consts: the first inputs of the jaxpr.
        jaxpr: returns the network's outputs, and then the variables of the taps.
        structure: of the network's output.
    """

    groups: Mapping[str, Group]
    taps: Mapping[str, _Tap]
    consts: Sequence[Any]
    jaxpr: jex.ClosedJaxpr
    structure: Any

    def run(self, params: Params, inputs: tuple[Any, ...]) -> tuple[Any, Features]:
        values = jex.jaxpr_as_fun(self.jaxpr)(*self.consts, *jax.tree.leaves((params, inputs)))
        number = self.structure.num_leaves
        features = {name: tap(array) for (name, tap), array in zip(self.taps.items(), values[number:], strict=True)}
        return jax.tree.unflatten(self.structure, values[:number]), features


class _Network:
    """The function of a traced `Wiring`; it reads the network once for each shape of its inputs."""

    def __init__(self, apply: Callable[..., Any]):
        self._apply = apply
        self._plans: dict[Any, _Plan] = {}
        self._first: Mapping[str, Group] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For copies, and for other processes: programs of JAX cannot be copied, so each copy makes its plans again."""
        return {**self.__dict__, "_plans": {}}

    def __call__(self, params: Params, *inputs: Any) -> tuple[Any, Features]:
        return self.read(params, inputs).run(params, inputs)

    def read(self, params: Params, inputs: tuple[Any, ...]) -> _Plan:
        """The plan for arguments of these shapes.

        Raises:
            TracingError: if the network cannot be read, or has other groups than the first plan.
        """
        leaves, structure = jax.tree.flatten_with_path((params, inputs))
        key = (structure, tuple(_type_of(path, leaf) for path, leaf in leaves))
        if key in self._plans:
            return self._plans[key]
        paths = [path_of(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
        closed, shape = jax.make_jaxpr(self._apply, return_shape=True)(params, *inputs)
        program = inline(closed)
        assembly = _Assembly(read(program, paths))
        groups = assembly.groups()
        variables = [tap.variable for tap in assembly.taps.values()]
        jaxpr = program.with_outputs(variables)
        plan = _Plan(groups, assembly.taps, program.consts, jaxpr, jax.tree.structure(shape))
        if self._first is None:
            self._first = groups
        elif _facts(groups) != _facts(self._first):
            raise TracingError(
                "with these inputs the network has other groups of units than those it was traced with; "
                "call pliant.trace again with inputs of this shape"
            )
        # A constant that is itself being traced, by a vmap or jit around the caller, must not outlive this call.
        if not any(isinstance(const, Tracer) for const in program.consts):
            self._plans[key] = plan
        return plan


def _type_of(path: Any, leaf: Any) -> tuple[Any, ...]:
    name = path_of(path[1:])
    try:
        aval = leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)
    except TypeError as error:
        raise TracingError(
            f"{name!r} is a {type(leaf).__name__}, not an array; keep only arrays in parameters and inputs, "
            "as equinox.partition(model, equinox.is_array) does, and close over the rest"
        ) from error
    return aval.shape, aval.dtype, getattr(aval, "weak_type", False)


def _facts(groups: Mapping[str, Group]) -> Any:
    """Groups as plain data, for comparison."""
    return {name: _plain(group) for name, group in groups.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return (value.shape, value.tobytes())
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if dataclasses.is_dataclass(value):
        return tuple(_plain(getattr(value, field.name)) for field in dataclasses.fields(value))
    return value


_FLATTEN = "Give it one axis of units, and reshape the data that it makes."


class _Assembly:
    """Puts groups together from the notes of a network.

    Attributes:
        taps: where each feature is found; complete after `groups`.
    """

    def __init__(self, notes: Notes):
        self._notes = notes
        self._contractions = notes.contractions
        self._terms = {(path, k): resolve(term) for path, axes in notes.leaves.items() for k, term in enumerate(axes)}
        self._fusions: list[tuple[tuple[type, Atom, Atom], Atom]] = []
        self.taps: dict[str, _Tap] = {}
        self._refuse_windows_over_units()
        self._atoms = self._units()
        self._refuse_units_in_two_groups()

    def groups(self) -> dict[str, Group]:
        """The groups in the order in which data meets them."""
        groups: dict[str, Group] = {}
        for unit in self._atoms:
            incoming, outgoing = self._incoming(unit), self._outgoing(unit)
            name = _unique(_module(incoming[0].path), groups)
            groups[name] = Group(
                name, unit.size, incoming, self._vectors(unit), self._with_features(name, unit, outgoing), unit.coupled
            )
        return groups

    def _units(self) -> list[Atom]:
        """The labels that a weight makes and a weight reads.

        The parts of a split label (the groups of a GroupNorm, two halves) are fused again where all weights and vectors
        keep them side by side.
        """

        def found(axes: Iterable[tuple[str, int]]) -> dict[Atom, None]:
            return dict.fromkeys(atom for axis in axes for atom in atoms(self._terms[axis]))

        def units() -> list[Atom]:
            read = found(axis for k in self._contractions if k.operand.active for axis in _kernel_axes(k, k.reads))
            made = found(axis for k in self._contractions for axis in _kernel_axes(k, k.makes))
            return [atom for atom in made if atom in read and not atom.spatial and not atom.window]

        while pair := self._inseparable(set(units())):
            kind, first, second = pair
            length = first.size * second.size if kind is Product else first.size + second.size
            whole = Atom(length)
            whole.mark(first)
            whole.mark(second)
            self._fusions.append((pair, whole))
            self._terms = {axis: fuse(term, pair, whole) for axis, term in self._terms.items()}
        return units()

    def _inseparable(self, units: set[Atom]) -> tuple[type, Atom, Atom] | None:
        occurrences = Counter(atom for term in self._terms.values() for atom in atoms(term))
        pairs = Counter(pair for term in self._terms.values() for pair in neighbours(term))
        for pair, count in pairs.items():
            _, first, second = pair
            if first is not second and {first, second} <= units and count == occurrences[first] == occurrences[second]:
                return pair
        return None

    def _refuse_windows_over_units(self) -> None:
        for contraction in self._contractions:
            for axis in _kernel_axes(contraction, contraction.makes):
                term = self._terms[axis]
                if size(term) > 1 and all(atom.spatial for atom in atoms(term)):
                    raise refuse("conv_general_dilated", [axis[0]], "its window slides along the units of this weight")

    def _refuse_units_in_two_groups(self) -> None:
        for contraction in self._contractions:
            for path in contraction.kernels:
                made = [self._terms[axis] for axis in _kernel_axes(contraction, contraction.makes) if axis[0] == path]
                if sum(any(unit in self._atoms for unit in atoms(term)) for term in made) > 1:
                    raise refuse("dot_general", [path], "its units lie along two of its axes", _FLATTEN)
                for kind, first, second in itertools.chain.from_iterable(map(neighbours, made)):
                    if kind is Product and {first, second} <= set(self._atoms):
                        why = "one weight reads its units as a whole, another along one axis of a reshape"
                        raise refuse("reshape", [path], why)

    def _slot(self, axis: tuple[str, int], unit: Atom) -> dict[str, Any] | None:
        """Path, axis and indices of a slot, or `None` if the units do not lie along this axis of a leaf."""
        path, k = axis
        entries = self._entries(self._terms[axis], unit, path)
        return None if entries is None else {"path": path, "axis": k, "indices": _or_none(entries, self._terms[axis])}

    def _entries(self, term: Term, unit: Atom, path: str) -> Positions | None:
        for pair, whole in self._fusions:
            term = fuse(term, pair, whole)
        try:
            return positions(term, unit)
        except Mismatch as mismatch:
            raise refuse("reshape", [path], str(mismatch)) from mismatch

    def _incoming(self, unit: Atom) -> tuple[Incoming, ...]:
        slots: dict[tuple[str, int], Incoming] = {}
        for contraction in self._contractions:
            for axis in _kernel_axes(contraction, contraction.makes):
                slot = self._slot(axis, unit)
                if slot is not None and axis not in slots:
                    fan_in, fan_out = self._fans(axis[0], contraction)
                    slots[axis] = Incoming(**slot, fan_in=fan_in, fan_out=fan_out)
        return tuple(slots.values())

    def _fans(self, path: str, contraction: Contraction) -> tuple[int, int]:
        fan_in = fan_out = 1
        for k, length in enumerate(map(size, self._notes.leaves[path])):
            read, made = (path, k) in contraction.reads, (path, k) in contraction.makes
            window = not (read or made) or all(atom.window for atom in atoms(self._terms[path, k]))
            fan_in *= length if read or window else 1
            fan_out *= length if made or window else 1
        return fan_in, fan_out

    def _vectors(self, unit: Atom) -> tuple[Vector, ...]:
        kernels = {axis for k in self._contractions for axis in _kernel_axes(k, k.reads | k.makes)}
        vectors = []
        for axis in self._terms:
            if axis not in kernels and axis[0] in self._notes.meetings:
                slot = self._slot(axis, unit)
                if slot is not None:
                    vectors.append(Vector(**slot, neutral=self._notes.neutral(axis[0])))
        return tuple(vectors)

    def _outgoing(self, unit: Atom) -> dict[tuple[str, int], tuple[dict[str, Any], int]]:
        """For each axis of a kernel that reads the units: its slot, and the number of its first contraction."""
        readers: dict[tuple[str, int], tuple[dict[str, Any], int]] = {}
        for number, contraction in enumerate(self._contractions):
            if contraction.operand.active:
                for axis in _kernel_axes(contraction, contraction.reads):
                    slot = self._slot(axis, unit)
                    if slot is not None and axis not in readers:
                        fan_in, fan_out = self._fans(axis[0], contraction)
                        readers[axis] = {**slot, "fan_in": fan_in, "fan_out": fan_out}, number
        return readers

    def _with_features(
        self, name: str, unit: Atom, readers: Mapping[tuple[str, int], tuple[dict[str, Any], int]]
    ) -> tuple[Outgoing, ...]:
        """Names the activations that are read; readers of one array share one feature."""
        taps = {axis: self._tap(self._contractions[number], unit) for axis, (_, number) in readers.items()}
        keys = {axis: (tap.variable, tap.axis, _plain(tap.indices)) for axis, tap in taps.items()}
        alone = len(set(keys.values())) == 1
        names: dict[Any, str] = {}
        for axis, key in keys.items():
            if key not in names:
                names[key] = name if alone else _unique(f"{name}@{_module(axis[0])}", self.taps)
                self.taps[names[key]] = taps[axis]
        return tuple(
            Outgoing(**slot, feature=names[keys[axis]], bias=self._notes.biases.get(number))
            for axis, (slot, number) in readers.items()
        )

    def _tap(self, contraction: Contraction, unit: Atom) -> _Tap:
        operand, [path, *_] = contraction.operand, contraction.kernels
        found = [(k, self._entries(operand.axes[k], unit, path)) for k in contraction.axes]
        found = [(k, entries) for k, entries in found if entries is not None]
        if len(found) != 1:
            raise refuse("dot_general", contraction.kernels, "it sums over the same units along two axes")
        [(k, entries)] = found
        return _Tap(operand.variable, k, _or_none(entries, operand.axes[k]))


def _kernel_axes(contraction: Contraction, axes: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(axis for axis in axes if axis[0] in contraction.kernels)


def _or_none(entries: Positions, term: Term) -> Positions | None:
    """`None` where the units are the whole axis: unit `i` owns entry `i`."""
    return None if np.array_equal(entries, np.arange(size(term))[None]) else entries


def _module(path: str) -> str:
    """The module that a parameter belongs to: its path without the last key."""
    *modules, last = path.removeprefix("params/").split("/")
    return "/".join(modules) or last


def _unique(name: str, taken: Iterable[str]) -> str:
    candidates = itertools.chain([name], (f"{name}_{k}" for k in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate not in taken)
