"""Where weights meet data: the rules of `dot_general` and `conv_general_dilated`."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from .errors import refuse
from .labels import Atom, Term, atoms, size
from .values import Contraction, Meeting, Notes, Value, derive, join, reshaped, tainted


def dot_general(notes: Notes, equation: Any, left: Value, right: Value) -> Value:
    """A matrix product: both operands lose the summed axes; batch axes are equal.

    Raises:
        TracingError: if an axis of the weight is a batch axis (an ensemble).
    """
    (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
    weight = _weight_of(left, right)
    left, right = (operand if operand is weight else looked_up(notes, operand) for operand in (left, right))
    if weight is not None and any(weight.origins[k] for k in (left_batch if weight is left else right_batch)):
        raise refuse(
            "dot_general",
            weight.leaves,
            "it has a batch axis, so each entry along it is a separate weight (an ensemble)",
            "Trace one member, without that axis, and map the rest: jax.vmap(tx.init) gives each member its own key.",
        )
    for a, b in zip(left_batch, right_batch, strict=True):
        join(left.axes[a], right.axes[b])
    result = _contract(notes, equation, left, right, left_sum, right_sum, weight)
    free = [
        (operand, k)
        for operand, gone in ((left, {*left_sum, *left_batch}), (right, {*right_sum, *right_batch}))
        for k in range(len(operand.axes))
        if k not in gone
    ]
    if weight is not None:
        _mark_samples(operand.axes[k] for operand, k in free if operand is not weight and not operand.active)
    places = [*((left, k) for k in left_batch), *free]
    return _output(result, weight, places)


def conv_general_dilated(notes: Notes, equation: Any, image: Value, kernel: Value) -> Value:
    """A convolution: the kernel sums over the image's channels and makes new ones; axes of space are new.

    The channels of a depthwise convolution are those of the image.

    Raises:
        TracingError: for other grouped convolutions, and for a parameter in the place of the image.
    """
    params, numbers = equation.params, equation.params["dimension_numbers"]
    (batch, channel, *space), (out, into, *_) = numbers.lhs_spec, numbers.rhs_spec
    weight = _weight_of(image, kernel)
    if weight is not None and weight is image:
        raise refuse("conv_general_dilated", weight.leaves, "a parameter is in the place of the image")
    image = looked_up(notes, image)
    groups = params["feature_group_count"]
    depthwise = 1 < groups == size(image.axes[channel]) == size(kernel.axes[out])
    if weight is not None and (params["batch_group_count"] != 1 or (groups != 1 and not depthwise)):
        why = "it is a grouped convolution (or an ensemble under vmap): no weight reads all units"
        raise refuse("conv_general_dilated", weight.leaves, why)
    for atom in (atom for k in space for atom in atoms(image.axes[k])):
        atom.spatial = True
    if weight is not None and not image.active:
        _mark_samples([image.axes[batch]])
    if depthwise and (weight is not None or not (image.leaves or kernel.leaves)):
        join(image.axes[channel], kernel.axes[out])
        result = _each_channel(notes, equation, image, kernel)
    else:
        result = _contract(notes, equation, image, kernel, (channel,), (into,), weight)
    shape = equation.outvars[0].aval.shape
    new_batch, new_channel, *new_space = numbers.out_spec
    places: list[Any] = [None] * len(shape)
    places[new_batch], places[new_channel] = (image, batch), (image, channel) if depthwise else (kernel, out)
    for k in new_space:
        places[k] = Atom(shape[k], spatial=True)
    return _output(result, weight, places)


def _weight_of(left: Value, right: Value) -> Value | None:
    """The operand that is a weight, if there is one.

    If both can be weights, the weight is the operand without data: a noisy weight is data as well, and an input may
    have met a parameter.
    """
    weights = [operand for operand in (left, right) if operand.weight]
    if len(weights) == 2:
        weights = [operand for operand in weights if not operand.data]
    return weights[0] if len(weights) == 1 else None


def _contract(
    notes: Notes,
    equation: Any,
    left: Value,
    right: Value,
    left_sum: Sequence[int],
    right_sum: Sequence[int],
    weight: Value | None,
) -> Value:
    """Sums two arrays over common axes, and notes the contraction if one of them is a weight.

    Args:
        notes: of the program.
        equation: the matrix product or convolution.
        left: the first operand.
        right: the second operand.
        left_sum: the axes of the first operand that are summed over.
        right_sum: the axes of the second operand that are summed over.
        weight: the operand that is a weight, or `None`.

    Returns:
        The result, still without axes.

    Raises:
        TracingError: if the weight or the data is tainted, or no parameter has all axes concerned.
    """
    name = equation.primitive.name
    summed = [*((left, k) for k in left_sum), *((right, k) for k in right_sum)]
    makers = {atom.maker for operand, k in summed for atom in atoms(operand.axes[k]) if atom.maker}
    for a, b in zip(left_sum, right_sum, strict=True):
        join(left.axes[a], right.axes[b])
    if weight is None:
        paths = makers.union(*(operand.leaves for operand in (left, right) if operand.weight))
        result = derive([left, right], (), ())
        mixed = result.mixed.union(*(operand.origins[k] for operand, k in summed))
        why = "it sums over units without a weight (attention, a product of two parameters)"
        terms = [operand.axes[k] for operand, k in summed]
        return tainted(dataclasses.replace(result, mixed=mixed), equation, terms, why, paths)
    data, axes = (right, right_sum) if weight is left else (left, left_sum)
    for taint in (weight.taint, data.taint):
        if taint is not None:
            error = refuse(taint.primitive, taint.paths, f"{taint.why}, and {_listed(weight.leaves)} reads the result")
            if taint is weight.taint:
                raise error
            notes.leave_out(error, [*(data.axes[k] for k in axes), *taint.units])
    gone = {k for operand, k in summed if operand is weight}
    reads = frozenset().union(*(weight.origins[k] for k in gone))
    kept = [k for k in range(len(weight.axes)) if k not in gone]
    if name == "conv_general_dilated":
        kept = [equation.params["dimension_numbers"].rhs_spec[0]]
    makes, made = frozenset().union(*(weight.origins[k] for k in kept)), tuple(weight.axes[k] for k in kept)
    if any(size(weight.axes[k]) > 1 and not weight.origins[k] for k in gone):
        raise refuse(name, weight.leaves, "it sums over an axis that is no longer an axis of the parameter")
    readers, makers = {path for path, _ in reads}, {path for path, _ in makes}
    kernels = tuple(p for p in weight.leaves if (p in readers or not gone) and (p in makers or not makes))
    if not kernels:
        raise refuse(name, weight.leaves, "no parameter has both the axes that it sums over and the axes that it makes")
    _meet(notes, equation, weight, kernels)
    for atom in (atom for path, k in reads - weight.zeros if path in kernels for atom in atoms(notes.leaves[path][k])):
        # Standardized weights: entries of 0 become others, so a unit without outgoing weights is still read.
        atom.coupled = True
    notes.contractions.append(Contraction(kernels, reads, makes, data, tuple(axes), made, weight.picked))
    number = len(notes.contractions) - 1
    return derive(
        [left, right], (), (), active=True, data=True, leaves={}, sums=frozenset({number}), after=number, taint=None
    )


def _meet(notes: Notes, equation: Any, weight: Value, kernels: Sequence[str]) -> None:
    """Records the leaves in a weight that are not kernels: factors of its entries, as in weight normalization."""
    for path in (path for path in weight.leaves if path not in kernels):
        zero, one = weight.leaves[path]
        neutral, after = float(not abs(zero - 1) < abs(one - 1)), len(notes.contractions)
        notes.meetings[path].append(Meeting(neutral, False, after, equation.outvars[0]))


def _each_channel(notes: Notes, equation: Any, image: Value, kernel: Value) -> Value:
    """The result of a depthwise convolution, still without axes; its kernel belongs to the units of the image.

    Raises:
        TracingError: if the kernel is tainted, or no parameter has the axis of the channels.
    """
    out, *_ = equation.params["dimension_numbers"].rhs_spec
    makes = kernel.origins[out]
    kernels = tuple(sorted(path for path, _ in makes if len(notes.leaves[path]) > 1))
    if kernel.taint is not None:
        raise refuse(
            kernel.taint.primitive, kernel.taint.paths, f"{kernel.taint.why}, and a convolution uses the result"
        )
    if not kernels:
        raise refuse("conv_general_dilated", kernel.leaves, "no parameter has the axis of the channels")
    _meet(notes, equation, kernel, kernels)
    notes.contractions.append(Contraction(kernels, frozenset(), makes, image, channelwise=True))
    after = len(notes.contractions) - 1
    return derive([image, kernel], (), (), active=True, data=True, leaves={}, after=after)


def looked_up(notes: Notes, value: Value) -> Value:
    """Entries of parameters that the inputs have picked, once they are used as data: the rows of an embedding.

    The parameters then make units, as a product with one-hot vectors would.
    """
    if not value.lookup:
        return value
    kernels = tuple(sorted({path for path, _, place in value.picked if place is None}))
    makes = frozenset(axis for origin in value.origins for axis in origin if axis[0] in kernels)
    for path, k in makes & value.mixed:
        for atom in atoms(notes.leaves[path][k]):
            atom.coupled = True
    notes.contractions.append(Contraction(kernels, frozenset(), makes, value, picked=value.picked))
    _mark_samples(term for term, origin in zip(value.axes, value.origins, strict=True) if not origin)
    nothing = frozenset()
    after = len(notes.contractions) - 1
    data = dataclasses.replace(value, active=True, leaves={}, mixed=nothing, zeros=nothing, picked=nothing, after=after)
    return reshaped(data, value.axes, ())


def _mark_samples(terms: Iterable[Term]) -> None:
    """Marks the axes of inputs that a weight keeps: whatever mixes them later, they have no units."""
    for atom in (atom for term in terms for atom in atoms(term)):
        atom.samples = True


def _output(result: Value, weight: Value | None, places: Sequence[tuple[Value, int] | Atom]) -> Value:
    """Gives the result of a contraction its axes, and marks the weight's axes as units."""
    axes, origins = [], []
    for place in places:
        if isinstance(place, Atom):
            axes.append(place)
            origins.append(frozenset())
            continue
        operand, k = place
        if weight is not None and operand is weight:
            for atom in atoms(operand.axes[k]):
                atom.maker = atom.maker or next(iter(weight.leaves))
                # Spectral normalization: the weights of one unit shrink those of the others.
                atom.coupled |= not operand.mixed.isdisjoint(operand.origins[k])
        axes.append(operand.axes[k])
        origins.append(operand.origins[k])
    return reshaped(result, axes, origins)


def _listed(paths: Iterable[str]) -> str:
    return ", ".join(map(repr, paths))
