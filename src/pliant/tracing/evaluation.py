"""Evaluates a traced network, with convolutions, max-pooling and products of few rows that are fast on CPUs.

None of these can be differentiated forwards (`jax.jvp`) on a CPU.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core as jex
from jax import lax

from pliant.core.base import Array

from .convolution import convolution
from .max_pool import max_pool
from .product import is_of_few_rows, product


def evaluate(closed: jex.ClosedJaxpr, *arguments: Array) -> list[Any]:
    """The results of a jaxpr without constants.

    Args:
        closed: the jaxpr; calls in it are evaluated as they are.
        arguments: its inputs.
    """
    values = dict(zip(closed.jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jex.Literal) else values[atom]

    for function, equations in itertools.groupby(closed.jaxpr.eqns, _on_cpus):
        if function is not None:
            for equation in equations:
                values[equation.outvars[0]] = function(equation.params, *map(read, equation.invars))
        else:
            part = _part(closed.jaxpr, list(equations))
            results = jex.jaxpr_as_fun(part)(*map(read, part.jaxpr.invars))
            values.update(zip(part.jaxpr.outvars, results, strict=True))
    return [read(atom) for atom in closed.jaxpr.outvars]


def _part(jaxpr: jex.Jaxpr, equations: list[Any]) -> jex.ClosedJaxpr:
    """Some equations in a row as a jaxpr of their own, which returns all that they make."""
    made = [variable for equation in equations for variable in equation.outvars]
    used = (atom for equation in equations for atom in equation.invars if isinstance(atom, jex.Var))
    inputs = list(dict.fromkeys(variable for variable in used if variable not in set(made)))
    return jex.ClosedJaxpr(
        jex.Jaxpr(
            constvars=[], invars=inputs, outvars=made, eqns=equations, effects=jaxpr.effects,
            debug_info=jaxpr.debug_info._replace(arg_names=None, result_paths=None),
        ),
        [],
    )  # fmt: skip


def _on_cpus(equation: Any) -> Callable[..., Array] | None:
    """The function of parameters and operands that evaluates an equation faster than JAX; `None`: JAX does."""
    if jax.default_backend() != "cpu":
        return None
    settings = equation.params
    if equation.primitive is lax.conv_general_dilated_p:
        return convolution if settings["feature_group_count"] == settings["batch_group_count"] == 1 else None
    if equation.primitive is lax.dot_general_p:
        return product if is_of_few_rows(settings, *(operand.aval for operand in equation.invars)) else None
    if equation.primitive is lax.reduce_window_max_p:
        plain = settings["window_dimensions"] == settings["window_strides"]
        plain &= all(by == 1 for by in (*settings["base_dilation"], *settings["window_dilation"]))
        return max_pool if plain and all(pads == (0, 0) for pads in settings["padding"]) else None
    return None
