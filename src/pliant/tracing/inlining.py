"""Writes the nested calls of a jaxpr out, and gives a jaxpr further outputs."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax.extend.core as jex

CONTRACTIONS = frozenset({"dot_general", "conv_general_dilated"})

_CALLS = frozenset({"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"})
_CUSTOM = frozenset({"custom_jvp_call", "custom_vjp_call"})


@dataclasses.dataclass(frozen=True)
class Program:
    """A flat jaxpr. Its constants are ordinary inputs, ahead of the others.

    Args:
        consts: the values of the first inputs.
        inputs: the variables of constants and arguments.
        outputs: the variables of the results.
        equations: the equations that an output needs, in order.
        source: the jaxpr before its calls were written out.
    """

    consts: Sequence[Any]
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    equations: Sequence[Any]
    source: Any

    def with_outputs(self, extra: Sequence[Any]) -> jex.ClosedJaxpr:
        """The program as a jaxpr of `(*consts, *inputs)` that also returns the variables `extra`."""
        return jex.ClosedJaxpr(
            jex.Jaxpr(
                constvars=[],
                invars=list(self.inputs),
                outvars=[*self.outputs, *extra],
                eqns=list(self.equations),
                effects=self.source.effects,
                # The names of arguments and results in it no longer fit.
                debug_info=self.source.debug_info._replace(arg_names=None, result_paths=None),
            ),
            [],
        )


def body(equation: Any) -> tuple[Any, Sequence[Any]] | None:
    """The jaxpr and the constants of a nested call with the equation's operands; `None` for other primitives."""
    if equation.primitive.name not in _CALLS | _CUSTOM:
        return None
    inner = equation.params["call_jaxpr"] if "call_jaxpr" in equation.params else equation.params["jaxpr"]
    return getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())


def subjaxprs(equation: Any) -> Iterator[Any]:
    """The jaxprs among the parameters of an equation: bodies of calls, loops and branches."""
    for value in equation.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, jex.Jaxpr | jex.ClosedJaxpr):
                yield getattr(item, "jaxpr", item)


def contracts(jaxpr: Any) -> bool:
    """Whether a jaxpr, or a jaxpr inside it, has a matrix product or a convolution."""
    return any(
        equation.primitive.name in CONTRACTIONS or any(map(contracts, subjaxprs(equation))) for equation in jaxpr.eqns
    )


def inline(closed: Any) -> Program:
    """Writes out the nested calls of a jaxpr.

    Functions with a custom derivative, and rematerialized functions, stay calls unless they contract arrays: a ReLU
    written out as `max(x, 0)` would have another derivative at 0.
    """
    equations: list[Any] = []

    def stays(equation: Any, jaxpr: Any) -> bool:
        return equation.primitive.name not in {"jit", "pjit", "closed_call", "core_call"} and not contracts(jaxpr)

    def visit(jaxpr: Any, consts: Sequence[Any], operands: Sequence[Any]) -> list[Any]:
        names = dict(zip(jaxpr.invars, operands, strict=True))
        for variable, value in zip(jaxpr.constvars, consts, strict=True):
            names[variable] = jex.Var(variable.aval)
            constants[names[variable]] = value

        def read(atom: Any) -> Any:
            return atom if isinstance(atom, jex.Literal) else names[atom]

        for equation in jaxpr.eqns:
            arguments = [read(atom) for atom in equation.invars]
            inner = body(equation)
            if inner is not None and not stays(equation, inner[0]):
                results = visit(*inner, arguments)
            else:
                results = [jex.Var(variable.aval) for variable in equation.outvars]
                equations.append(equation.replace(invars=arguments, outvars=results))
            names.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    constants: dict[Any, Any] = {}
    inputs = [jex.Var(variable.aval) for variable in closed.jaxpr.invars]
    outputs = visit(closed.jaxpr, closed.consts, inputs)
    return Program(tuple(constants.values()), [*constants, *inputs], outputs, _needed(equations, outputs), closed.jaxpr)


def _needed(equations: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
    needed = {atom for atom in outputs if isinstance(atom, jex.Var)}
    kept = []
    for equation in reversed(equations):
        if equation.effects or not needed.isdisjoint(equation.outvars):
            kept.append(equation)
            needed.update(atom for atom in equation.invars if isinstance(atom, jex.Var))
    return kept[::-1]
