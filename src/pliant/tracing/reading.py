"""Walks over a program once, from inputs to outputs, with a `Value` for each array, and takes notes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.extend.core as jex
import numpy as np

from .errors import TracingError, refuse
from .inlining import Program, body
from .labels import Mismatch
from .rules import RULES, unknown
from .values import Notes, Taint, Value, derive, fresh, paths_of


def read(program: Program, paths: Sequence[str], skip: bool = False) -> Notes:
    """Reads a network.

    Args:
        program: the network. Its inputs are the constants, the parameter leaves, and the data, in this order.
        paths: of the parameter leaves.
        skip: whether units that cannot be followed are left out.

    Returns:
        The notes: weights that meet data, biases, other vectors.

    Raises:
        TracingError: if a weight reads units that have passed through a primitive without a rule, unless `skip`.
    """
    notes = Notes(program, skip)
    values = {variable: dataclasses.replace(fresh(variable), variable=variable) for variable in program.inputs}
    arguments = program.inputs[len(program.consts) :]
    for variable, path in zip(arguments, paths):
        axes = values[variable].axes
        origins = tuple(frozenset({(path, axis)}) for axis in range(len(axes)))
        zeros = frozenset().union(*origins)
        values[variable] = Value(axes, origins, {path: (0.0, 1.0)}, zeros=zeros, variable=variable)
        notes.leaves[path] = axes
    for variable in arguments[len(paths) :]:
        values[variable] = dataclasses.replace(values[variable], data=True)
        notes.inputs.append(values[variable])
    _walk(notes, program.equations, values, {})
    notes.outputs += [_value_of(atom, values) for atom in program.outputs]
    return notes


def _walk(notes: Notes, equations: Sequence[Any], values: dict[Any, Value], same: dict[Any, Any]) -> None:
    """Adds the values of all variables that the equations compute.

    Args:
        notes: of the program; the rules add to them.
        equations: of the program or of a call inside it.
        values: of the variables so far.
        same: for each way to compute an array, the first variable that was computed in this way.
    """
    for equation in equations:
        operands = [_value_of(atom, values) for atom in equation.invars]
        for k, (variable, result) in enumerate(zip(equation.outvars, _apply(notes, equation, operands, same))):
            first = same.setdefault((k, *_key(equation, operands)), variable)
            # One number made of parameters, such as the norm of a kernel, cannot mix up units.
            harmless = result.weight and not result.data and max(result.shape, default=1) == 1
            values[variable] = dataclasses.replace(result, variable=first, taint=None if harmless else result.taint)


def _apply(notes: Notes, equation: Any, operands: list[Value], same: dict[Any, Any]) -> list[Value]:
    call = body(equation)
    if call is not None:
        jaxpr, _ = call
        values = {variable: fresh(variable) for variable in jaxpr.constvars}
        values.update(zip(jaxpr.invars, operands, strict=True))
        _walk(notes, jaxpr.eqns, values, same)
        return [_value_of(atom, values) for atom in jaxpr.outvars]
    try:
        results = RULES.get(equation.primitive.name, unknown)(notes, equation, *operands)
    except Mismatch as mismatch:
        paths = set().union(*map(paths_of, operands))
        error = refuse(equation.primitive.name, paths, f"axes of units that do not fit: {mismatch}")
        return _unread(notes, equation, operands, error)
    except TracingError as error:
        return _unread(notes, equation, operands, error)
    return [results] if isinstance(results, Value) else results


def _unread(notes: Notes, equation: Any, operands: Sequence[Value], error: TracingError) -> list[Value]:
    """The results of an equation without a rule: all units and parameters in it are left out.

    Raises:
        TracingError: the error, if nothing is to be left out.
    """
    parameters = {path for operand in operands for path in operand.leaves}
    units = [atom for operand in operands if operand.taint for atom in operand.taint.units]
    axes = [term for operand in operands for term in operand.axes]
    leaves = [term for path in parameters for term in notes.leaves[path]]
    notes.leave_out(error, [*axes, *units, *leaves], sorted(parameters))
    data, weights = (any(getattr(operand, kind) for operand in operands) for kind in ("data", "weight"))
    active = any(operand.active for operand in operands) or (data and weights)
    paths = frozenset().union(*map(paths_of, operands))
    taint = Taint(equation.primitive.name, paths, "it could not be followed")
    results = [derive(operands, new.axes, new.origins, taint=taint) for new in map(fresh, equation.outvars)]
    return [dataclasses.replace(r, active=active, leaves={} if active else r.leaves) for r in results]


def _value_of(atom: Any, values: dict[Any, Value]) -> Value:
    if not isinstance(atom, jex.Literal):
        return values[atom]
    scalar = np.ndim(atom.val) == 0 and np.isrealobj(atom.val)
    return dataclasses.replace(fresh(atom), constant=float(atom.val) if scalar else None)


def _key(equation: Any, operands: Sequence[Value]) -> tuple[Any, ...]:
    """A key that is equal for two equations that compute the same array."""
    name, parameters = equation.primitive.name, equation.params
    if "call_jaxpr" in parameters:
        parameters = {"call_jaxpr": parameters["call_jaxpr"]}
    if not operands or any(operand.variable is None and operand.constant is None for operand in operands):
        return (name, equation.outvars[0])
    inputs = tuple(operand.constant if operand.variable is None else operand.variable for operand in operands)
    return name, inputs, repr(sorted(parameters.items()))
