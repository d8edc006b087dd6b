"""From a configuration to the parts that a loop runs."""

import contextlib
import dataclasses
import fnmatch
import inspect
import itertools
import logging
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pliant.core import registry
from pliant.core.agent import Transitions
from pliant.core.base import Method, Topology
from pliant.core.diagnostic import Diagnostic
from pliant.core.problem import Arena, HostArena, Network, Stream
from pliant.core.timing import anew
from pliant.core.units import Group, Wiring

from . import arena_loop, stream_loop
from .config import Part, RunConfig
from .errors import ConfigError
from .parts import Parts
from .settings import CONTEXT


def build(config: RunConfig) -> Parts:
    """Makes problem, agent and diagnostics for one member; its numbers may be traced.

    Raises:
        ConfigError: if a part refuses its settings.
    """
    try:
        problem = problem_of(config)
        agent = registry.find("agents", config.agent.name)
        groups: dict[str, Group] = {}  # of all networks of the agent

        def methods_for(wiring: Wiring, network: Network, updates: int) -> tuple[Method, ...]:
            groups.update(wiring)
            methods, decides = [], {}  # who decides which weights there are, by path
            for part in config.methods:
                patterns = _patterns(part)
                names = [name for pattern in patterns for name in _matching(pattern, wiring)]
                if patterns and not names:
                    continue  # it works on another network
                here = wiring.only(*names) if patterns else wiring
                context = {
                    "wiring": here,
                    "initialize": network.init,
                    "activation": network.activation,
                    "updates": updates,
                }
                method = _method(part, context, config.problem.name, problem)
                if isinstance(method, Topology):
                    _decide(part, here, decides)
                methods.append(method)
            return tuple(methods)

        made = agent.make(agent.Config(**config.agent.settings), problem, methods_for)
        whole = Wiring(groups)
        for pattern in (pattern for part in config.methods for pattern in _patterns(part)):
            whole.only(*(_matching(pattern, whole) or [pattern]))  # refuses what none of the networks has
        diagnostics: dict[str, Diagnostic] = {part.name: _call(part, {"wiring": whole}) for part in config.diagnostics}
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return Parts(problem, made, diagnostics)


def problem_of(config: RunConfig) -> Stream | Arena | HostArena:
    """Makes the problem alone."""
    problem = registry.find("problems", config.problem.name)
    return problem.make(problem.Config(**config.problem.settings))


def _patterns(part: Part) -> list[str]:
    """The groups that a method is to work on, by name or pattern; none stands for all."""
    only = part.settings.get("only", "")
    return [pattern.strip() for pattern in only.split(",")] if only else []


def _matching(pattern: str, wiring: Wiring) -> list[str]:
    return [name for name in wiring if name == pattern or fnmatch.fnmatchcase(name, pattern)]


def _decide(part: Part, wiring: Wiring, decides: dict[str, str]) -> None:
    """Notes for which weights a topology decides whether they are there, and refuses those for which another does."""
    slots = (slot for group in wiring.values() for slot in (*group.incoming, *group.outgoing))
    for path in dict.fromkeys(slot.path for slot in slots):
        other = decides.setdefault(path, part.name)
        if other != part.name:
            raise ValueError(
                f"{other} and {part.name} both decide which weights of {path} there are; write groups (only) that "
                "have no layer in common"
            )


def _method(part: Part, context: dict[str, Any], name: str, problem: Stream | Arena | HostArena) -> Method:
    """A method of a run for one network, with what can be said of any method.

    Args:
        part: the method.
        context: what the network tells it.
        name: of the problem.
        problem: which may have stages.
    """
    settings = dict(part.settings)
    settings.pop("only", "")
    at_stage = settings.pop("at_stage")
    method = _call(dataclasses.replace(part, settings=settings), context)
    if at_stage == "keep":
        return method
    stages = () if isinstance(problem, Stream) else problem.stages
    if not stages:
        raise ValueError(f"{part.name}.at_stage=forget: {name} has no stages; leave at_stage out")
    return anew([stage.until for stage in stages[:-1]], method)


def _call(part: Part, context: dict[str, Any]) -> Any:
    parameters = inspect.signature(part.source).parameters
    return part.source(**{name: context[name] for name in CONTEXT if name in parameters}, **part.settings)


def build_each(config: RunConfig) -> None:
    """Makes the parts with each combination of swept values, which checks them, and lets methods say what they will do.

    Raises:
        ConfigError: if a part refuses a value, or what the agent begins with cannot be made of it.
    """
    for values in itertools.product(*config.sweep.values()):
        parts = build(config.with_values(dict(zip(config.sweep, values))))
        try:
            jax.eval_shape(parts.agent.init, jax.random.key(0))
        except ValueError as error:
            raise ConfigError(str(error)) from error


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
    kind = part.schema[key].type
    if kind is not float and not (kind is int and part.kind == "methods"):
        return False
    if part.kind == "problems" and isinstance(problem_of(config), HostArena):
        return False  # what lies outside of the device takes no traced numbers
    value = jax.ShapeDtypeStruct((), jnp.float32 if kind is float else jnp.int32)
    try:
        jax.eval_shape(lambda seed, value: _in_short(config.with_values({dotted: value}), seed), _SEED, value)
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
        return False
    return True


def suits_map(config: RunConfig) -> bool:
    """Whether a CPU computes many members faster one after another than at once.

    So it is with convolutions, and where a member alone fills the cache; but not where it is so large, because of what
    it keeps to learn from, that copying it in and out of a loop takes longer than what it computes.
    """
    program, after = jax.make_jaxpr(lambda seed: _in_short(config, seed), return_shape=True)(_SEED)
    size = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(after.agent))
    return "conv_general_dilated" in str(program) or _CACHE_BYTES < size < _LARGE_BYTES


_SEED = jax.ShapeDtypeStruct((), jnp.uint32)
_CACHE_BYTES = 512 * 1024
_LARGE_BYTES = 64 * 1024 * 1024


def _in_short(config: RunConfig, seed: jax.Array) -> Any:
    """All that a program does, in as few steps as possible: the member after them."""
    with quietly():
        parts = build(config)
        if isinstance(parts.problem, HostArena):
            state = parts.agent.init(jax.random.key(seed))
            return _Short(*parts.agent.learn(state, some_transitions(parts), jnp.int32(0)))
        if isinstance(parts.problem, Arena):
            return arena_loop.advance(parts, arena_loop.begin(parts, seed), jnp.int32(0), parts.steps_at_once)[0]
        return stream_loop.advance(parts, stream_loop.begin(parts, seed), jnp.int32(0), 2)[0]


class _Short(NamedTuple):
    agent: Any
    metrics: Any


def some_transitions(parts: Parts) -> Transitions:
    """Transitions of a round as zeros, where the arena itself is not asked."""
    arena, agent = parts.problem, parts.agent
    T, E = agent.horizon, arena.environments
    observation = jnp.zeros((E, *arena.spec.observation.shape), arena.spec.observation.dtype)

    def act() -> tuple[Any, Any]:
        key = jax.random.key(0)
        return agent.act(agent.policy(agent.init(key)), agent.remember(E), observation, jnp.ones(E, bool), key)[1:]

    action, said = jax.tree.map(lambda x: jnp.zeros((T, *x.shape), x.dtype), jax.eval_shape(act))
    nothing = jnp.zeros((T, E), bool)
    seen = jnp.broadcast_to(observation, (T, *observation.shape))
    return Transitions(seen, action, said, jnp.zeros((T, E)), nothing, nothing, seen)
