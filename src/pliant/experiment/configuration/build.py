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
from pliant.core.problem import Environment, HostEnvironment, Network, Stream
from pliant.core.timing import restart
from pliant.core.units import Group, Wiring
from pliant.experiment.errors import ConfigError
from pliant.experiment.loops import device as device_loop
from pliant.experiment.loops import stream as stream_loop
from pliant.experiment.loops.components import Components

from .config import ComponentSpec, RunConfig
from .settings import CONTEXT


def build(config: RunConfig) -> Components:
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
            for component in config.methods:
                patterns = _patterns(component)
                names = [name for pattern in patterns for name in _matching(pattern, wiring)]
                if patterns and not names:
                    continue  # it works on another network
                here = dataclasses.replace(wiring.only(*names) if patterns else wiring, initializer=network.initializer)
                context = {
                    "wiring": here,
                    "initialize": network.init,
                    "activation": network.activation,
                    "updates": updates,
                }
                method = _method(component, context, config.problem.name, problem)
                if isinstance(method, Topology):
                    _decide(component, here, decides)
                methods.append(method)
            return tuple(methods)

        made = agent.make(agent.Config(**config.agent.settings), problem, methods_for)
        whole = Wiring(groups)
        for pattern in (pattern for component in config.methods for pattern in _patterns(component)):
            whole.only(*(_matching(pattern, whole) or [pattern]))  # refuses what none of the networks has
        diagnostics: dict[str, Diagnostic] = {
            component.name: _call(component, {"wiring": whole}) for component in config.diagnostics
        }
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return Components(problem, made, diagnostics)


def problem_of(config: RunConfig) -> Stream | Environment | HostEnvironment:
    """Makes the problem alone."""
    problem = registry.find("problems", config.problem.name)
    return problem.make(problem.Config(**config.problem.settings))


def _patterns(component: ComponentSpec) -> list[str]:
    """The groups that a method is to work on, by name or pattern; none stands for all."""
    only = component.settings.get("groups", "")
    return [pattern.strip() for pattern in only.split(",")] if only else []


def _matching(pattern: str, wiring: Wiring) -> list[str]:
    return [name for name in wiring if name == pattern or fnmatch.fnmatchcase(name, pattern)]


def _decide(component: ComponentSpec, wiring: Wiring, decides: dict[str, str]) -> None:
    """Notes for which weights a topology decides whether they are there, and refuses those for which another does."""
    slots = (slot for group in wiring.values() for slot in (*group.incoming, *group.outgoing))
    for path in dict.fromkeys(slot.path for slot in slots):
        other = decides.setdefault(path, component.name)
        if other != component.name:
            raise ValueError(
                f"{other} and {component.name} both decide which weights of {path} there are; write groups (only) that "
                "have no layer in common"
            )


def _method(
    component: ComponentSpec, context: dict[str, Any], name: str, problem: Stream | Environment | HostEnvironment
) -> Method:
    """A method of a run for one network, with what can be said of any method.

    Args:
        component: the method.
        context: what the network tells it.
        name: of the problem.
        problem: which may have tasks.
    """
    settings = dict(component.settings)
    settings.pop("groups", "")
    on_new_task = settings.pop("on_new_task")
    method = _call(dataclasses.replace(component, settings=settings), context)
    if on_new_task == "keep":
        return method
    tasks = () if isinstance(problem, Stream) else problem.tasks
    if not tasks:
        raise ValueError(f"{component.name}.on_new_task=reset: {name} has no tasks; leave on_new_task out")
    return restart([task.until for task in tasks[:-1]], method)


def _call(component: ComponentSpec, context: dict[str, Any]) -> Any:
    parameters = inspect.signature(component.source).parameters
    return component.source(**{name: context[name] for name in CONTEXT if name in parameters}, **component.settings)


def build_each(config: RunConfig) -> None:
    """Makes the parts with each combination of swept values, which checks them, and lets methods say what they will do.

    Raises:
        ConfigError: if a part refuses a value, or what the agent begins with cannot be made of it.
    """
    for values in itertools.product(*config.sweep.values()):
        components = build(config.with_values(dict(zip(config.sweep, values))))
        try:
            jax.eval_shape(components.agent.init, jax.random.key(0))
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
    component = config.components()[where]
    kind = component.schema[key].type
    if kind is not float and not (kind is int and component.kind == "methods"):
        return False
    if component.kind == "problems" and isinstance(problem_of(config), HostEnvironment):
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
        components = build(config)
        if isinstance(components.problem, HostEnvironment):
            state = components.agent.init(jax.random.key(seed))
            return _Short(*components.agent.learn(state, some_transitions(components), jnp.int32(0)))
        if isinstance(components.problem, Environment):
            return device_loop.advance(
                components, device_loop.begin(components, seed), jnp.int32(0), components.steps_at_once
            )[0]
        return stream_loop.advance(components, stream_loop.begin(components, seed), jnp.int32(0), 2)[0]


class _Short(NamedTuple):
    agent: Any
    metrics: Any


def some_transitions(components: Components) -> Transitions:
    """Transitions of a round as zeros, where the arena itself is not asked."""
    environment, agent = components.problem, components.agent
    T, E = agent.horizon, environment.num_envs
    observation = jnp.zeros((E, *environment.spec.observation.shape), environment.spec.observation.dtype)

    def act() -> tuple[Any, Any]:
        key = jax.random.key(0)
        return agent.act(agent.policy(agent.init(key)), agent.initial_carry(E), observation, jnp.ones(E, bool), key)[1:]

    action, extras = jax.tree.map(lambda x: jnp.zeros((T, *x.shape), x.dtype), jax.eval_shape(act))
    nothing = jnp.zeros((T, E), bool)
    seen = jnp.broadcast_to(observation, (T, *observation.shape))
    return Transitions(seen, action, extras, jnp.zeros((T, E)), nothing, nothing, seen)
