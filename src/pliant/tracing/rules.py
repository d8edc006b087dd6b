"""What each primitive does to the labels of array axes; contractions are in `contractions`, cuts and joins in
`pieces`.

A rule takes `(notes, equation, *operands)` and returns a `Value`, or a list of them. A primitive that mixes units in an
unknown way does not stop the reading. It leaves a `Taint`, and a weight that reads tainted data raises the error. So
the outputs of a network may be sampled, sorted or put into losses.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from .contractions import conv_general_dilated, dot_general
from .errors import refuse
from .inlining import subjaxprs
from .labels import Origin, atoms, regroup, size
from .pieces import (
    concatenate,
    dynamic_update_slice,
    pad,
    pick,
    slice_,
    split,
    stack,
    tile,
    unstack,
)
from .values import ELEMENTWISE, Meeting, Notes, Value, derive, fresh, is_made, join, reshaped, tainted

Rule: TypeAlias = Callable[..., Value | list[Value]]
AnyRule = TypeVar("AnyRule", bound=Rule)

RULES: dict[str, Rule] = {
    "concatenate": concatenate,
    "conv_general_dilated": conv_general_dilated,
    "dot_general": dot_general,
    "dynamic_slice": pick,
    "dynamic_update_slice": dynamic_update_slice,
    "gather": pick,
    "pad": pad,
    "slice": slice_,
    "split": split,
    "stack": stack,
    "tile": tile,
    "unstack": unstack,
}


def rule(*names: str) -> Callable[[AnyRule], AnyRule]:
    """Registers a rule for the primitives with these names."""

    def register(function: AnyRule) -> AnyRule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


_NUMPY: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "exp": np.exp,
    "log1p": np.log1p, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "square": np.square, "max": np.maximum,
    "tanh": np.tanh, "logistic": lambda x: 1 / (1 + np.exp(-x)),
}  # fmt: skip


# Functions that are 0 where their first operand is.
_ZERO_AT_ZERO = """
abs asin asinh atan atanh cbrt ceil convert_element_type copy copy_p div erf expm1 floor imag log1p name neg real
reduce_precision round sign sin sinh sqrt square stop_gradient tan tanh
"""


@rule(*ELEMENTWISE - {"device_put", "optimization_barrier"})
def elementwise(notes: Notes, equation: Any, *operands: Value) -> Value:
    """A function of entries in the same place: axes of all operands are equal; what is added may be a bias."""
    axes, origins = [], []
    for k, length in enumerate(equation.outvars[0].aval.shape):
        full = [operand for operand in operands if operand.axes and size(operand.axes[k]) == length]
        for operand in full[1:]:
            join(full[0].axes[k], operand.axes[k])
        axes.append(full[0].axes[k])
        origins.append(frozenset().union(*(operand.origins[k] for operand in full)))
    _refuse_product_written_out(notes, equation, operands)
    _meet(notes, equation, operands)
    return derive(
        operands,
        axes,
        origins,
        **_scaled(equation, operands),
        zeros=_kept_zeros(equation, operands),
        constant=operands[0].constant if equation.primitive.name == "convert_element_type" else None,
        sums=_summed(notes, equation, operands),
        variance=_is_variance(notes, equation, operands),
    )


def _refuse_product_written_out(notes: Notes, equation: Any, operands: Sequence[Value]) -> None:
    """Refuses a weight that meets units along one axis where a sum over this axis will make it a contraction.

    That is so if the weight has a new axis besides, or if the products are used in such sums alone.

    Raises:
        TracingError: for such a weight.
    """
    data = [operand for operand in operands if operand.active and operand.axes]
    for weight in (operand for operand in operands if operand.weight and data and equation.primitive.name == "mul"):
        spread = [n > 1 and all(other.shape[k] == 1 for other in data) for k, n in enumerate(weight.shape)]
        shared = [n > 1 and any(is_made(other.axes[k]) for other in data) for k, n in enumerate(weight.shape)]
        summed = [units and notes.only_summed(equation.outvars[0], k) for k, units in enumerate(shared)]
        if any(summed) or (any(spread) and any(units and not new for new, units in zip(spread, shared))):
            raise refuse(
                "mul",
                weight.leaves,
                "it looks like a matrix product written as multiplication and sum",
                "Write it with jnp.matmul or jnp.einsum.",
            )


def _meet(notes: Notes, equation: Any, operands: Sequence[Value]) -> None:
    """Notes the weights that meet data element by element."""
    multiplies = equation.primitive.name in ("mul", "div")
    for operand in operands:
        others = [other for other in operands if other is not operand]
        meets = any(
            other.active or other.lookup or (other.data and not operand.data and max(other.shape, default=1) > 1)
            for other in others
        )
        if not operand.weight or not meets:
            continue
        for path, (zero, one) in operand.leaves.items():
            neutral = float(multiplies and not abs(zero - 1) < abs(one - 1))
            variance, after = any(other.variance for other in others), max(other.after for other in others)
            notes.meetings[path].append(Meeting(neutral, variance, after, equation.outvars[0]))


def _scaled(equation: Any, operands: Sequence[Value]) -> dict[str, Any]:
    """The values of a function of one leaf and numbers, for a leaf of zeros and for a leaf of ones."""
    function = _NUMPY.get(equation.primitive.name)
    changing = [operand for operand in operands if operand.leaves]
    known = all(operand.leaves or operand.constant is not None for operand in operands)
    if function is None or len(changing) != 1 or changing[0].active or not known:
        return {}

    def become(at: float) -> float:
        with np.errstate(all="ignore"):
            return float(function(*(at if operand.leaves else operand.constant for operand in operands)))

    return {"leaves": {path: (become(zero), become(one)) for path, (zero, one) in changing[0].leaves.items()}}


def _kept_zeros(equation: Any, operands: Sequence[Value]) -> Origin:
    """The axes of leaves along which entries of 0 stay 0."""
    name, params = equation.primitive.name, equation.params
    if any(operand.active for operand in operands):
        return frozenset()
    if name in _ZERO_AT_ZERO.split() or (name == "integer_pow" and params["y"] > 0):
        return operands[0].zeros
    if name == "mul":
        return operands[0].zeros | operands[1].zeros
    if name not in ("add", "add_any", "sub", "max", "min", "select_n"):
        return frozenset()
    # All summands or cases have to be 0 at once.
    operands = [operand for operand in operands[name == "select_n" :] if operand.constant != 0]
    kept = frozenset()
    for k, length in enumerate(equation.outvars[0].aval.shape):
        along = [operand.origins[k] & operand.zeros for operand in operands if operand.shape[k : k + 1] == (length,)]
        if len(along) == len(operands) and all(along):
            kept = kept.union(*along)
    return kept


def _summed(notes: Notes, equation: Any, operands: Sequence[Value]) -> frozenset[int]:
    """The contractions whose plain sum the result is; notes the bias that is added to such a sum."""
    waiting = frozenset().union(*(operand.sums for operand in operands))
    name = equation.primitive.name
    if not waiting or len(operands) == 1:
        return waiting if name in ("convert_element_type", "copy", "name", "reduce_precision") else frozenset()
    if name not in ("add", "add_any"):
        return frozenset()
    operands = [operand for operand in operands if operand.constant != 0]  # where Python's `sum` begins
    if all(operand.sums for operand in operands):
        notes.sums.append(waiting)
        return waiting
    [other], [plain] = ([operand for operand in operands if bool(operand.sums) == summed] for summed in (False, True))
    if _is_bias(notes, other, plain):
        for k in waiting:
            notes.biases.setdefault(k, next(iter(other.leaves)))
    return frozenset()


def _is_bias(notes: Notes, other: Value, plain: Value) -> bool:
    """Whether an array that is added to the plain sum of a weight is one leaf with a number for each output."""
    if not other.weight or other.data or len(other.leaves) > 1:
        return False
    [path] = other.leaves
    numbers = [size(term) for term in notes.leaves[path] if size(term) > 1]
    outputs = math.prod(size(term) for term in plain.axes if is_made(term))
    # It may have been repeated over the batch, as in haiku: axes that stem from no axis of the leaf do not count.
    along = [k for k, n in enumerate(other.shape) if n > 1 and other.origins[k] and is_made(plain.axes[k])]
    return len(numbers) <= 1 and numbers == [other.shape[k] for k in along] and math.prod(numbers) == outputs


def _is_variance(notes: Notes, equation: Any, operands: Sequence[Value]) -> bool:
    """Whether the result is a mean of squares, up to further factors and summands."""
    name = equation.primitive.name
    squares = (
        name == "square"
        or (name == "integer_pow" and equation.params["y"] == 2)
        or (name == "mul" and operands[0].variable is not None and operands[0].variable is operands[1].variable)
    )
    if squares:
        return notes.only_summed(equation.outvars[0])
    if name in ("add", "max", "convert_element_type", "clamp", "select_n"):
        return any(operand.variance for operand in operands)
    if name in ("sub", "mul", "div"):
        factors_only = name == "sub" or sum(operand.active for operand in operands) == 1
        return factors_only and (operands[0].variance or (name == "mul" and operands[1].variance))
    return False


@rule("device_put", "optimization_barrier")
def each_for_itself(notes: Notes, equation: Any, *operands: Value) -> list[Value]:
    """Returns its operands as they are."""
    del notes, equation
    return list(operands)


@rule("pvary", "pcast", "psum", "psum_invariant", "pmax", "pmin")
def across_devices(notes: Notes, equation: Any, *operands: Value) -> list[Value]:
    """Sums over the devices of a mesh, or says that an array differs between them: units stay in their places.

    Under `vmap` the axis of the members has a place instead of a name, and is summed away.
    """
    del notes
    name, axes = equation.primitive.name, equation.params["axes"]
    if name in ("pvary", "pcast"):
        return list(operands)
    gone = [axis for axis in axes if isinstance(axis, int)]
    return [_summed_away(operand, gone, is_sum=name.startswith("psum")) for operand in operands]


@rule("transpose")
def transpose(notes: Notes, equation: Any, operand: Value) -> Value:
    """Puts axes in another order."""
    del notes
    order = equation.params["permutation"]
    return reshaped(operand, [operand.axes[k] for k in order], [operand.origins[k] for k in order])


@rule("squeeze")
def squeeze(notes: Notes, equation: Any, operand: Value) -> Value:
    """Drops axes of size 1."""
    del notes
    kept = [k for k in range(len(operand.axes)) if k not in equation.params["dimensions"]]
    return reshaped(operand, [operand.axes[k] for k in kept], [operand.origins[k] for k in kept])


@rule("broadcast_in_dim")
def broadcast_in_dim(notes: Notes, equation: Any, operand: Value, *_: Value) -> Value:
    """Adds axes, and repeats entries along axes of size 1: these have no units."""
    del notes
    target = fresh(equation.outvars[0])
    axes, origins = list(target.axes), list(target.origins)
    for k, new in enumerate(equation.params["broadcast_dimensions"]):
        if size(operand.axes[k]) == size(axes[new]):
            axes[new], origins[new] = operand.axes[k], operand.origins[k]
    return dataclasses.replace(reshaped(operand, axes, origins), constant=operand.constant)


@rule("reshape")
def reshape(notes: Notes, equation: Any, operand: Value, *_: Value) -> Value:
    """Splits and flattens axes, see `regroup`; what no label describes is tainted."""
    del notes
    axes, lost = regroup(list(zip(operand.axes, operand.origins, strict=True)), equation.outvars[0].aval.shape)
    result = reshaped(operand, [term for term, _ in axes], [origin for _, origin in axes])
    return tainted(result, equation, lost, "the reshape does not keep units together", operand.leaves if lost else ())


@rule("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor")
def reduce(notes: Notes, equation: Any, operand: Value) -> Value:
    """Sums axes away, or takes the largest of each: units along these axes are coupled."""
    del notes
    return _summed_away(operand, equation.params["axes"], is_sum=equation.primitive.name == "reduce_sum")


def _summed_away(operand: Value, gone: Sequence[int], is_sum: bool) -> Value:
    if operand.data or operand.active:
        for atom in (atom for k in gone for atom in atoms(operand.axes[k])):
            atom.coupled |= atom.maker is not None and atom.size > 1
    kept = [k for k in range(len(operand.axes)) if k not in gone]
    result = reshaped(operand, [operand.axes[k] for k in kept], [operand.origins[k] for k in kept])
    mixed = operand.mixed.union(*(operand.origins[k] for k in gone))
    return dataclasses.replace(
        result, mixed=mixed, sums=frozenset(), variance=operand.variance and is_sum, constant=None
    )


@rule("argmax", "argmin")
def arg_reduce(notes: Notes, equation: Any, operand: Value) -> Value:
    """Finds the largest entry along some axes: an index among units is tainted."""
    gone = [operand.axes[k] for k in equation.params["axes"]]
    return tainted(reduce(notes, equation, operand), equation, gone, "it picks among units")


@rule("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "sort", "rev", "fft")
def along_axes(notes: Notes, equation: Any, *operands: Value) -> list[Value]:
    """Mixes entries along some axes, and may change their length: units along them are tainted."""
    del notes
    params, rank = equation.params, len(operands[0].axes)
    if "fft_lengths" in params:
        mixed = range(rank - len(params["fft_lengths"]), rank)
    else:
        mixed = params["dimensions"] if "dimensions" in params else [params.get("axis", params.get("dimension"))]
    for operand in operands[1:]:
        for a, b in zip(operands[0].axes, operand.axes, strict=True):
            join(a, b)
    results = []
    for variable in equation.outvars:
        target = fresh(variable)
        axes = [
            new if k in mixed else old for k, (new, old) in enumerate(zip(target.axes, operands[0].axes, strict=True))
        ]
        origins = [frozenset() if k in mixed else origin for k, origin in enumerate(operands[0].origins)]
        # A kernel may well be flipped in space; were it flipped along units, its contraction would refuse.
        weights = [operand for operand in operands if not operand.lookup and equation.primitive.name != "rev"]
        paths = {path for operand in weights for path in operand.leaves}
        result = derive(operands, axes, origins)
        results.append(tainted(result, equation, [operands[0].axes[k] for k in mixed], "it mixes units", paths))
    return results


@rule("reduce_window_max", "reduce_window_min", "reduce_window_sum", "reduce_window")
def reduce_window(notes: Notes, equation: Any, operand: Value, *others: Value) -> Value:
    """Pools: axes with a window of 1 stay; units along other axes are tainted."""
    del notes
    params = equation.params
    target = fresh(equation.outvars[0])
    axes, origins, slid = list(target.axes), list(target.origins), []
    for k, window in enumerate(params["window_dimensions"]):
        if window == params["window_strides"][k] == 1 and size(axes[k]) == size(operand.axes[k]):
            axes[k], origins[k] = operand.axes[k], operand.origins[k]
        else:
            slid.append(operand.axes[k])
    return tainted(derive([operand, *others], axes, origins), equation, slid, "its window slides along units")


def unknown(notes: Notes, equation: Any, *operands: Value) -> list[Value]:
    """A primitive without a rule: it taints its results if an operand has units or is a parameter.

    Raises:
        TracingError: if the primitive runs a function on parameters: a loop, a branch.
    """
    del notes
    paths = {path for operand in operands if operand.weight for path in operand.leaves}
    if paths and equation.primitive.name in ("shard_map", "xla_pmap"):
        instead = "Trace inside of it, or trace the function of one device and pass axis_name to pliant.plastic."
        raise refuse(equation.primitive.name, paths, "it maps a function over devices", instead)
    if paths and any(subjaxprs(equation)):
        raise refuse(
            equation.primitive.name,
            paths,
            "it runs a function on parameters (a loop, a branch, a recurrent cell), and the tracer does not read it",
        )
    results = [fresh(variable) for variable in equation.outvars]
    why = "no rule says what it does to units"
    terms = [term for operand in operands for term in operand.axes]
    return [tainted(derive(operands, target.axes, target.origins), equation, terms, why, paths) for target in results]
