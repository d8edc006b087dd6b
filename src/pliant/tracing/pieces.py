"""Cutting arrays apart and joining them: the rules of `slice`, `gather`, `concatenate` and their kin."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .contractions import looked_up
from .errors import refuse
from .labels import Atom, atoms, concat, cut, product, resolve, size
from .values import Meeting, Notes, Value, derive, fresh, is_made, join, reshaped, tainted


def slice_(notes: Notes, equation: Any, operand: Value) -> Value:
    """Cuts a piece out of each axis."""
    del notes
    params = equation.params
    strides = params["strides"] or (1,) * len(operand.axes)
    result = reshaped(operand, operand.axes, operand.origins)
    for k, (start, stop, stride) in enumerate(
        zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    ):
        result = _cut_out(result, equation, k, start, stop, stride)
    return result


def split(notes: Notes, equation: Any, operand: Value) -> list[Value]:
    """Cuts one axis into consecutive pieces."""
    del notes
    stops = np.cumsum(equation.params["sizes"]).tolist()
    starts = [0, *stops[:-1]]
    axis = equation.params["axis"]
    return [_cut_out(operand, equation, axis, *bounds, 1) for bounds in zip(starts, stops, strict=True)]


def _cut_out(value: Value, equation: Any, axis: int, start: int, stop: int, stride: int) -> Value:
    """A slice along one axis: units keep their labels; the same slices of batch and space have the same new label."""
    term = value.axes[axis]
    if (start, stop, stride) == (0, size(term), 1):
        return value
    axes = list(value.axes)
    squares = [atom.squares for atom in atoms(term)]
    if not is_made(term) and not value.origins[axis] and not any(squares):
        piece, cut_up = Atom(len(range(start, stop, stride))), resolve(term)
        if stride == 1 and isinstance(cut_up, Atom):
            piece = cut_up.slices.setdefault((start, stop), piece)
        axes[axis] = piece
        whole = value.variable if value.whole is None else value.whole
        return dataclasses.replace(reshaped(value, axes, value.origins), whole=whole)
    if stride == 1:
        axes[axis] = cut(term, [start, stop - start, size(term) - stop])[1]
        taken = {(path, k, start) for path, k in value.origins[axis] if stop == start + 1}
        variance = value.variance or (any(squares) and all(atom.squares for atom in atoms(axes[axis])))
        return dataclasses.replace(reshaped(value, axes, value.origins), picked=value.picked | taken, variance=variance)
    axes[axis] = Atom(len(range(start, stop, stride)))
    paths = {path for path, _ in value.origins[axis]}
    return tainted(reshaped(value, axes, value.origins), equation, [term], "it takes every other unit", paths)


def pad(notes: Notes, equation: Any, operand: Value, *others: Value) -> Value:
    """Pads: units keep their labels between new entries; units spread apart are tainted."""
    del notes
    target = fresh(equation.outvars[0])
    axes, lost = list(operand.axes), []
    for k, padding in enumerate(equation.params["padding_config"]):
        low, high, interior = map(int, padding)  # of NumPy, where jnp.pad computed them
        term = operand.axes[k]
        if low == high == interior == 0:
            continue
        if interior == 0 and low >= 0 and high >= 0 and (is_made(term) or operand.origins[k]):
            axes[k] = concat((Atom(low), term, Atom(high)))
        else:
            axes[k] = target.axes[k]
            lost.append(term)
    return tainted(derive([operand, *others], axes, operand.origins), equation, lost, "it spreads units apart")


def _beside(notes: Notes, equation: Any, operands: Sequence[Value]) -> list[Value]:
    """Concatenates arrays; a parameter beside activations, such as a class token, meets their units."""
    if any(operand.active for operand in operands):
        operands = [looked_up(notes, operand) for operand in operands]
    if any(operand.active or operand.data for operand in operands):
        after = max(operand.after for operand in operands)
        for path in (path for operand in operands if operand.weight for path in operand.leaves):
            notes.meetings[path].append(Meeting(0.0, False, after, equation.outvars[0]))
    return list(operands)


def concatenate(notes: Notes, equation: Any, *operands: Value) -> Value:
    """Joins arrays end to end along one axis; the other axes are equal."""
    operands = tuple(_beside(notes, equation, operands))
    joined = equation.params["dimension"]
    axes, origins = list(operands[0].axes), []
    for k in range(len(axes)):
        origins.append(frozenset().union(*(operand.origins[k] for operand in operands)))
        for operand in operands[1:]:
            if k != joined:
                join(axes[k], operand.axes[k])
    for operand in (operand for operand in operands if operand.variance and operand.shape[joined] == 1):
        for atom in atoms(operand.axes[joined]):  # a new axis, as jnp.stack makes
            atom.squares = True
    axes[joined] = concat(operand.axes[joined] for operand in operands)
    return derive(operands, axes, origins)


def stack(notes: Notes, equation: Any, *operands: Value) -> Value:
    """Joins arrays along a new axis; the other axes are equal."""
    operands = tuple(_beside(notes, equation, operands))
    for operand in operands[1:]:
        for a, b in zip(operands[0].axes, operand.axes, strict=True):
            join(a, b)
    axes = list(operands[0].axes)
    origins = [frozenset().union(*(operand.origins[k] for operand in operands)) for k in range(len(axes))]
    statistics = any(operand.variance for operand in operands)
    parts = [Atom(1, squares=operand.variance) for operand in operands]
    axes.insert(equation.params["axis"], concat(parts) if statistics else Atom(len(operands)))
    origins.insert(equation.params["axis"], frozenset())
    return derive(operands, axes, origins)


def unstack(notes: Notes, equation: Any, operand: Value) -> list[Value]:
    """Takes an array apart along one axis, which has no units; else the parts are tainted."""
    del notes
    axes, origins = list(operand.axes), list(operand.origins)
    gone, _ = axes.pop(equation.params["axis"]), origins.pop(equation.params["axis"])
    result = derive([operand], axes, origins)
    return [tainted(result, equation, [gone], "it takes units apart")] * len(equation.outvars)


def tile(notes: Notes, equation: Any, operand: Value) -> Value:
    """Repeats an array along its axes, each repeated axis a product with the number of copies."""
    del notes
    axes = [product((Atom(copies), term)) for copies, term in zip(equation.params["reps"], operand.axes, strict=True)]
    return derive([operand], axes, operand.origins)


def pick(notes: Notes, equation: Any, operand: Value, *indices: Value) -> Value:
    """Reads windows at given indices: whole axes stay; units that are picked by index are tainted.

    Rows of a parameter stay a weight (a head per task) until they are used as data (an embedding, see `looked_up`). The
    rows themselves are not units, because their places in the parameter matter.
    """
    target, lengths = fresh(equation.outvars[0]), equation.params["slice_sizes"]
    numbers = equation.params.get("dimension_numbers")
    if numbers is None:
        windows = dict(enumerate(range(len(lengths))))
    else:
        gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
        windows = dict(zip([k for k in range(len(lengths)) if k not in gone], numbers.offset_dims, strict=True))
    whole = {old: new for old, new in windows.items() if lengths[old] == size(operand.axes[old])}
    axes, origins = list(target.axes), list(target.origins)
    for old, new in whole.items():
        axes[new], origins[new] = operand.axes[old], operand.origins[old]
    picked = [k for k in range(len(lengths)) if k not in whole]
    result = derive([operand, *indices], axes, origins)
    if not operand.weight or operand.lookup or any(index.leaves for index in indices):
        paths = () if operand.active or operand.lookup else operand.leaves
        return tainted(result, equation, [operand.axes[k] for k in picked], "it picks units by index", paths)
    why = "it picks entries by index along the axis of these units"
    refusal = refuse(equation.primitive.name, operand.leaves, why)
    for atom in (atom for k in picked for atom in atoms(operand.axes[k])):
        atom.refusal = atom.refusal or refusal
    of_data = any(index.data for index in indices)
    if any(lengths[k] > 1 for k in picked) or not of_data:
        return result
    taken = {(path, axis, None) for k in picked for path, axis in operand.origins[k]}
    for k in whole:  # units as soon as the rows are used as data: what mixes them before has to know
        for atom in (atom for atom in atoms(operand.axes[k]) if operand.origins[k]):
            atom.maker = atom.maker or next(iter(operand.leaves))
    return dataclasses.replace(result, picked=result.picked | taken)


def dynamic_update_slice(notes: Notes, equation: Any, operand: Value, update: Value, *indices: Value) -> Value:
    """Overwrites a part: whole axes are equal; units along a shorter axis are tainted."""
    del notes
    moved = []
    for a, b in zip(operand.axes, update.axes, strict=True):
        if size(a) == size(b):
            join(a, b)
        else:
            moved += [a, b]
    result = derive([operand, update, *indices], operand.axes, operand.origins)
    return tainted(result, equation, moved, "it overwrites units by index")
