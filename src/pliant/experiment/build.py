"""From a configuration to the parts that a loop runs."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pliant.core import registry
from pliant.core.base import Key, Method, Params
from pliant.core.diagnostic import Diagnostic
from pliant.core.units import Wiring

from . import loops
from .config import CONTEXT, ConfigError, Part, RunConfig, settings_of


def build(config: RunConfig) -> loops.Parts:
    """Makes problem, learner and diagnostics for one member; its numbers may be traced.

    Raises:
        ConfigError: if a part refuses its settings.
    """
    try:
        problem = registry.find("problems", config.problem.name)
        stream = problem.make(problem.Config(**config.problem.settings))
        agent = registry.find("agents", config.agent.name)
        diagnostics: dict[str, Diagnostic] = {}

        def methods_for(wiring: Wiring, initialize: Callable[[Key], Params]) -> tuple[Method, ...]:
            context = {"wiring": wiring, "initialize": initialize, "activation": stream.network.activation}
            for part in config.diagnostics:
                diagnostics[part.name] = _call(part, context)
            return tuple(_call(part, context) for part in config.methods)

        learner = agent.make(agent.Config(**config.agent.settings), stream, methods_for)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return loops.Parts(stream, learner, diagnostics)


def _call(part: Part, context: dict[str, Any]) -> Any:
    parameters = inspect.signature(part.source).parameters
    return part.source(**{name: context[name] for name in CONTEXT if name in parameters}, **part.settings)


def steps_of(config: RunConfig) -> int:
    """How many steps a whole run has."""
    problem = registry.find("problems", config.problem.name)
    return problem.make(problem.Config(**config.problem.settings)).steps


def can_be_traced(config: RunConfig, dotted: str) -> bool:
    """Whether the values of a setting can be swept inside one program: whether the program's shape does not depend on it.

    Floating-point numbers can, unless the code needs to know them; whole numbers are tried in methods only, because those of
    problems and agents are sizes.
    """
    where, _, key = dotted.rpartition(".")
    setting = settings_of(config.parts()[where].source)[key]
    if setting.type is not float and not (setting.type is int and where.startswith("method")):
        return False

    def program(seed, value):
        parts = build(config.with_values({dotted: value}))
        return loops.advance(parts, loops.begin(parts, seed), jnp.zeros((), jnp.int32), 2)

    dtype = jnp.float32 if setting.type is float else jnp.int32
    try:
        jax.eval_shape(program, jax.ShapeDtypeStruct((), jnp.uint32), jax.ShapeDtypeStruct((), dtype))
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
        return False
    return True


def has_convolutions(config: RunConfig) -> bool:
    """Whether the program has convolutions, which XLA runs slower for many members at once than one after another."""

    def program(seed):
        parts = build(config)
        return loops.advance(parts, loops.begin(parts, seed), jnp.zeros((), jnp.int32), 2)

    return "conv_general_dilated" in str(jax.make_jaxpr(program)(jnp.zeros((), jnp.uint32)))
