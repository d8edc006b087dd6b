"""Facts about each array of a program, and the notes that reading the program takes."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import jax.extend.core as jex

from .errors import TracingError
from .inlining import Program
from .labels import Atom, Mismatch, Origin, Term, atoms, size, unify

# Functions of entries in the same place.
_NAMES = """
abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp clz complex conj
convert_element_type copy copy_p cos cosh device_put digamma div eq eq_to erf erf_inv erfc exp exp2 expm1 floor ge gt
igamma igammac imag integer_pow is_finite le le_to lgamma log log1p log2 logistic lt lt_to max min mul name ne neg
nextafter not one_minus_square optimization_barrier or polygamma population_count pow real reduce_precision rem round
rsqrt select_n sharding_constraint shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square
stop_gradient sub tan tanh xor zeta
"""
ELEMENTWISE = frozenset(_NAMES.split())


Picked: TypeAlias = frozenset[tuple[str, int, int | None]]  # path, axis, and place along the axis


@dataclasses.dataclass(frozen=True)
class Taint:
    """The first primitive after which the units of an array cannot be told apart, the parameters concerned, and why.

    Args:
        primitive, paths, why: for the error.
        units: the labels of all units that this and later such primitives have mixed.
    """

    primitive: str
    paths: frozenset[str]
    why: str
    units: frozenset[Atom] = frozenset()

    def and_units(self, other: "Taint | None") -> "Taint":
        """This taint, with the units of another."""
        return self if other is None else dataclasses.replace(self, units=self.units | other.units)


@dataclasses.dataclass(frozen=True)
class Value:
    """What is known of one array.

    Args:
        axes: a label for each axis.
        origins: for each axis, the axes of parameter leaves that it stems from; empty for an active array.
        leaves: the parameter leaves that the array is computed from, each with the array's value for a leaf of zeros
            and for a leaf of ones; empty for an active array.
        mixed: the axes of leaves that were summed over; empty for an active array.
        zeros: the axes of leaves along which entries of 0 stay 0; empty for an active array.
        picked: the axes of leaves of which one entry was taken, with its place (`None`: the inputs tell); empty for an
            active array.
        data: whether the array depends on the inputs.
        active: whether the array depends on an output of a weight.
        sums: the contractions whose sum this array is, as long as a bias may still be added.
        after: number of the last contraction that this array is computed from; -1 for none.
        variance: whether the array is a mean of squares, and the squares have no other use.
        constant: the number, for a scalar known beforehand.
        taint: the first step on the way to this array after which its units cannot be told apart.
        variable: the first variable of the program that holds this array.
        whole: the variable that this array is a slice of, along axes without units; `None` for no slice.
    """

    axes: tuple[Term, ...]
    origins: tuple[Origin, ...]
    leaves: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    mixed: Origin = frozenset()
    zeros: Origin = frozenset()
    picked: Picked = frozenset()
    data: bool = False
    active: bool = False
    sums: frozenset[int] = frozenset()
    after: int = -1
    variance: bool = False
    constant: float | None = None
    taint: Taint | None = None
    variable: Any = None
    whole: Any = None

    @property
    def weight(self) -> bool:
        """Whether the array can be a weight: computed from parameters, perhaps with noise, and not active."""
        return bool(self.leaves) and not self.active

    @property
    def lookup(self) -> bool:
        """Whether the array can be data as well as a weight: entries of parameters that the inputs have picked."""
        return self.weight and self.data and any(place is None for _, _, place in self.picked)

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return tuple(map(size, self.axes))


@dataclasses.dataclass(frozen=True)
class Contraction:
    """A weight meets data along an axis of each.

    Args:
        kernels: the leaves that have both an axis in `reads` and one in `makes`.
        reads, makes: the axes of leaves that are summed over, and that the output runs over.
        operand: the data.
        axes: the axes of `operand` that are summed over.
        made: the labels of the weight's axes that the output runs over.
        picked: the axes of leaves of which the weight is one entry: a head per task, the rows of an embedding. See
            `Value`.
        channelwise: whether each output has one input, the same unit (a depthwise convolution), so that the weight
            makes no units of its own.
    """

    kernels: tuple[str, ...]
    reads: Origin
    makes: Origin
    operand: Value
    axes: tuple[int, ...] = ()
    made: tuple[Term, ...] = ()
    picked: Picked = frozenset()
    channelwise: bool = False


@dataclasses.dataclass(frozen=True)
class Meeting:
    """A parameter leaf meets data element by element.

    Args:
        neutral: the value of the leaf that leaves the data as it is: 0 or 1.
        variance: whether the data is a mean of squares.
        after: number of the last contraction that the data is computed from; -1 for none.
        variable: the result.
    """

    neutral: float
    variance: bool
    after: int
    variable: Any


def paths_of(value: Value) -> set[str]:
    """The parameters that an error about this array names: its leaves, and the makers of the units along its axes."""
    return {*value.leaves, *(atom.maker for term in value.axes for atom in atoms(term) if atom.maker)}


def is_made(term: Term) -> bool:
    """Whether units lie along an axis: a weight has made it."""
    return any(atom.maker for atom in atoms(term))


class Notes:
    """The notes of a program.

    Attributes:
        leaves: path of each parameter leaf, and the labels of its axes.
        contractions: in the order of the program.
        biases: number of each contraction with a bias, and the path of the bias.
        meetings: path of each leaf that meets data element by element, and its meetings.
        sums: numbers of contractions whose results are added, as those of a convolution that is written out are.
        skipped: paths of weights whose units are left out, and why.
        inputs, outputs: the arrays that go in as data, and those that come out.
    """

    def __init__(self, program: Program, skip: bool = False):
        self.leaves: dict[str, tuple[Term, ...]] = {}
        self.contractions: list[Contraction] = []
        self.biases: dict[int, str] = {}
        self.meetings: dict[str, list[Meeting]] = defaultdict(list)
        self.sums: list[frozenset[int]] = []
        self.skipped: dict[str, str] = {}
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self._skip = skip
        self._uses = _uses(program)

    def leave_out(self, error: TracingError, terms: Iterable[Term], paths: Iterable[str] = ()) -> None:
        """Leaves the units along some axes out, and the units that are found to be the same later.

        Args:
            error: why.
            terms: the labels of the axes.
            paths: weights that make such units, besides those that the labels know.

        Raises:
            TracingError: the error, if nothing is to be left out.
        """
        if not self._skip:
            raise error
        for atom in (atom for term in terms for atom in atoms(term)):
            atom.refusal = atom.refusal or error
            paths = [*paths, *([atom.maker] if atom.maker else [])]
        for path in paths:
            self.skipped.setdefault(path, error.reason)

    def neutral(self, path: str) -> float:
        """The value of a leaf that leaves data as it is.

        A running variance (neutral: 1) differs from a running mean (neutral: 0) by the squares in its moving average.
        In training mode, the statistics may meet data only there, and the average is only returned.
        """
        meetings = self.meetings[path]
        used = (meeting for meeting in meetings if not self.only_reaches_outputs(meeting.variable))
        meeting = next(used, meetings[0])
        return float(meeting.variance or meeting.neutral)

    def only_reaches_outputs(self, variable: Any) -> bool:
        """Whether there are only element-wise functions between a variable and the outputs."""
        return variable in self._uses and all(
            equation.primitive.name in ELEMENTWISE and all(map(self.only_reaches_outputs, equation.outvars))
            for equation in self._uses[variable]
        )

    def only_summed(self, variable: Any, axis: int | None = None) -> bool:
        """Whether all uses of a variable are sums; with an axis, sums over it."""
        uses = self._uses.get(variable, ())
        names = ("reduce_sum", "psum", "psum_invariant") if axis is None else ("reduce_sum",)
        return bool(uses) and all(
            equation.primitive.name in names and (axis is None or axis in equation.params["axes"]) for equation in uses
        )


def _uses(program: Program) -> dict[Any, list[Any]]:
    """For each variable, the equations that read it; an output that nothing reads has none."""
    uses: dict[Any, list[Any]] = {atom: [] for atom in program.outputs if isinstance(atom, jex.Var)}
    for equation in program.equations:
        for atom in equation.invars:
            if isinstance(atom, jex.Var):
                uses.setdefault(atom, []).append(equation)
        for variable in equation.outvars:
            uses.setdefault(variable, [])
    return uses


def fresh(variable: Any) -> Value:
    """An array with a known shape and nothing else."""
    shape = getattr(variable.aval, "shape", ())
    return Value(tuple(map(Atom, shape)), (frozenset(),) * len(shape))


def derive(operands: Sequence[Value], axes: Sequence[Term], origins: Sequence[Origin], **changes: Any) -> Value:
    """An array computed from several arrays.

    Args:
        operands: the arrays.
        axes: a label for each axis of the result.
        origins: see `Value`.
        changes: fields of the `Value` that are known better.
    """
    active = any(operand.active for operand in operands)
    value = Value(
        axes=tuple(axes),
        origins=(frozenset(),) * len(axes) if active else tuple(origins),
        leaves={} if active else {path: at for operand in operands for path, at in operand.leaves.items()},
        mixed=frozenset() if active else frozenset().union(*(operand.mixed for operand in operands)),
        zeros=frozenset() if active else frozenset().union(*(operand.zeros for operand in operands)),
        picked=frozenset() if active else frozenset().union(*(operand.picked for operand in operands)),
        data=any(operand.data for operand in operands),
        active=active,
        after=max((operand.after for operand in operands), default=-1),
        taint=functools.reduce(_joint, (operand.taint for operand in operands), None),
    )
    return dataclasses.replace(value, **changes)


def _joint(a: Taint | None, b: Taint | None) -> Taint | None:
    return b if a is None else a.and_units(b)


def reshaped(value: Value, axes: Sequence[Term], origins: Sequence[Origin]) -> Value:
    """The same numbers along other axes."""
    origins = (frozenset(),) * len(axes) if value.active else tuple(origins)
    return dataclasses.replace(value, axes=tuple(axes), origins=origins)


def join(a: Term, b: Term) -> None:
    """Makes two labels equal; a mismatch matters only where there are units.

    Raises:
        Mismatch: if the labels differ, and units lie along one of them.
    """
    try:
        unify(a, b)
    except Mismatch:
        if is_made(a) or is_made(b):
            raise


def tainted(value: Value, equation: Any, terms: Iterable[Term], why: str, paths: Iterable[str] = ()) -> Value:
    """Adds a taint to an array, unless no units and no parameters are concerned.

    Args:
        value: the array.
        equation: whose primitive the error will name.
        terms: the labels of axes that are mixed: their units become coupled.
        why: the reason for the error.
        paths: further parameters concerned.
    """
    concerned = [atom for term in terms for atom in atoms(term) if atom.maker]
    for atom in concerned:
        atom.coupled = True
    paths = {*paths, *(atom.maker for atom in concerned if atom.maker)}
    if not paths:
        return value
    taint = Taint(equation.primitive.name, frozenset(paths), why, frozenset(concerned))
    return dataclasses.replace(value, taint=_joint(value.taint, taint))
