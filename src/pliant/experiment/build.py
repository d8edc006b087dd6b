"""From a configuration to the parts that a loop runs."""

import contextlib
import inspect
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from pliant.core import registry
from pliant.core.base import Key, Method, Params
from pliant.core.diagnostic import Diagnostic
from pliant.core.problem import Stream
from pliant.core.units import Wiring

from . import loops
from .config import Part, RunConfig
from .errors import ConfigError
from .settings import CONTEXT, settings_of


def build(config: RunConfig) -> loops.Parts:
    """Makes problem, learner and diagnostics for one member; its numbers may be traced.

    Raises:
        ConfigError: if a part refuses its settings.
    """
    try:
        stream = stream_of(config)
        agent = registry.find("agents", config.agent.name)
        diagnostics: dict[str, Diagnostic] = {}

        def methods_for(wiring: Wiring, initialize: Callable[[Key], Params]) -> tuple[Method, ...]:
            context = {"wiring": wiring, "initialize": initialize, "activation": stream.network.activation}
            for part in config.diagnostics:
                diagnostics[part.name] = _call(part, context)
            return tuple(_call(part, context) for part in config.methods)

        learner = agent.make(agent.Config(**config.agent.settings), stream, methods_for)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return loops.Parts(stream, learner, diagnostics)


def stream_of(config: RunConfig) -> Stream:
    """Makes the problem alone."""
    problem = registry.find("problems", config.problem.name)
    return problem.make(problem.Config(**config.problem.settings))


def _call(part: Part, context: dict[str, Any]) -> Any:
    parameters = inspect.signature(part.source).parameters
    return part.source(**{name: context[name] for name in CONTEXT if name in parameters}, **part.settings)


def build_each(config: RunConfig) -> None:
    """Makes the parts with each combination of swept values, which checks them, and lets methods say what they will do.

    Raises:
        ConfigError: if a part refuses a value.
    """
    for values in itertools.product(*config.sweep.values()):
        build(config.with_values(dict(zip(config.sweep, values))))


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keeps parts that are made to look at them, and not to be run, from saying what they will do."""
    ours = logging.getLogger("pliant")
    level = ours.level
    ours.setLevel(logging.WARNING)
    try:
        yield
    finally:
        ours.setLevel(level)


def can_be_traced(config: RunConfig, dotted: str) -> bool:
    """Whether the values of a setting can be swept inside one program, whose shape must not depend on them.

    Floating-point numbers can, unless the code needs to know them. Whole numbers are tried in methods only: those of
    problems and agents are sizes.
    """
    where, _, key = dotted.rpartition(".")
    part = config.parts()[where]
    kind = settings_of(part.source)[key].type
    if kind is not float and not (kind is int and part.kind == "methods"):
        return False
    value = jax.ShapeDtypeStruct((), jnp.float32 if kind is float else jnp.int32)
    try:
        jax.eval_shape(lambda seed, value: _two_steps(config.with_values({dotted: value}), seed), _SEED, value)
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
        return False
    return True


def has_convolutions(config: RunConfig) -> bool:
    """Whether the program has convolutions, which XLA runs slower for many members at once than one after another."""
    return "conv_general_dilated" in str(jax.make_jaxpr(lambda seed: _two_steps(config, seed))(_SEED))


_SEED = jax.ShapeDtypeStruct((), jnp.uint32)


def _two_steps(config: RunConfig, seed: jax.Array) -> tuple[loops.Member, loops.Metrics]:
    """All that a program does, in short."""
    with quietly():
        parts = build(config)
        return loops.advance(parts, loops.begin(parts, seed), jnp.zeros((), jnp.int32), 2)
