"""Makes the components of a member from a configuration."""

import dataclasses
import fnmatch
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from pliant.core import registry
from pliant.core.agent import Agent, Context, Learner
from pliant.core.base import Method, Topology
from pliant.core.continual import Continual, ContinualContext, ContinualFor
from pliant.core.diagnostic import Diagnostic
from pliant.core.notes import Note, collected
from pliant.core.problem import ActorCritic, Network, Problem, Stream
from pliant.core.settings import Whole
from pliant.core.timing import each_task, restart
from pliant.core.units import Group, Wiring
from pliant.experiment.errors import ConfigError, echo

from .components import Components
from .config import ComponentSpec, RunConfig


def make_problem(config: RunConfig) -> Problem:
    """Makes the problem, with its data.

    Raises:
        ConfigError: if the problem refuses a setting.
    """
    module = config.problem.found
    try:
        problem = module.make(module.Config(**config.problem.settings))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(problem, Problem):
        raise ConfigError(
            f"problem={config.problem.name} returns a {type(problem).__name__}; write a function that returns a "
            "Stream, an Environment or a HostEnvironment"
        )
    if isinstance(problem, Stream) and not Whole(1).allows(problem.steps):
        raise ConfigError(
            f"problem={config.problem.name} has steps={echo(problem.steps)}; write a whole number, at least 1"
        )
    return problem if config.network is None else with_network(problem, config.network)


def with_network(problem: Problem, network: ComponentSpec) -> Problem:
    """The problem with another network.

    The factory of a network receives what its arguments name: for a stream `inputs`, the shape and type of a batch of
    inputs, and `outputs`, those of the outputs; for environments their `spec`.

    Raises:
        ConfigError: if the factory needs what the problem has not, or returns another kind of network than the problem
            has, or one of other outputs.
    """
    if isinstance(problem, Stream):
        kind, known = Network, dict(zip(("inputs", "outputs"), _shapes(problem)))
    else:
        kind, known = ActorCritic, {"spec": problem.spec}
    try:
        made = _call(network, known)
    except ValueError as error:
        raise ConfigError(f"network={network.name}: {error}") from error
    if not isinstance(made, kind):
        raise ConfigError(
            f"network={network.name} returns a {type(made).__name__}: this problem needs a {kind.__name__}"
        )
    changed = problem._replace(network=made)
    if isinstance(changed, Stream) and (outputs := _shapes(changed)[1].shape) != known["outputs"].shape:
        raise ConfigError(
            f"network={network.name} has outputs of shape {outputs}, and {known['outputs'].shape} is that of this "
            "problem's network; write one with as many outputs as `outputs` says"
        )
    return changed


def _shapes(stream: Stream) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Shape and type of a batch of inputs, and of the outputs of the stream's network for it."""
    x = stream.batches().x
    x = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
    outputs = jax.eval_shape(lambda key, x: stream.network.apply(stream.network.init(key), x), jax.random.key(0), x)
    return x, outputs


def build(config: RunConfig, problem: Problem) -> Components:
    """Makes the agent and the diagnostics of one member; numbers of the configuration may be traced.

    Args:
        config: what to make.
        problem: from `make_problem` and the same configuration.

    Raises:
        ConfigError: if a component refuses its settings.
    """
    groups: dict[str, Group] = {}  # of all networks of the agent
    notes: list[Note] = []

    def methods_for(wiring: Wiring, network: Network | ActorCritic, updates: int) -> tuple[Method, ...]:
        groups.update(wiring)
        wiring = dataclasses.replace(wiring, initializer=network.initializer)
        with collected() as of_methods:  # now, and whenever the agent makes its initial state
            context = Context(wiring, network.init, network.activation, updates, problem.tasks)
            methods = _methods(config, context)
        notes.extend(of_methods)
        return methods

    def continual_for(**of_network: Any) -> Continual:
        assert config.continual is not None
        with collected() as of_method:
            made = _call(config.continual, ContinualContext(**of_network, tasks=problem.tasks)._asdict())
        notes.extend(of_method)
        if not isinstance(made, Continual):
            raise ValueError(
                f"continual={config.continual.name} returns a {type(made).__name__}; a continual method is a Continual"
            )
        return made

    try:
        agent = config.agent.found
        more = {} if config.continual is None else {"continual_for": _continual(config, problem, continual_for)}
        made = agent.make(agent.Config(**config.agent.settings), problem, methods_for, **more)
        whole = Wiring(groups)
        for pattern in (pattern for component in config.methods for pattern in _patterns(component)):
            whole.only(*(_matching(pattern, whole) or [pattern]))  # refuses a pattern without a group
        diagnostics = make_diagnostics(config.diagnostics, whole)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return Components(problem, _traced_once(made), diagnostics, tuple(dict.fromkeys(notes)))


def _traced_once(agent: Learner | Agent) -> Learner | Agent:
    """The agent whose beginning and learning are traced once, in however many programs they are."""
    if isinstance(agent, Learner):
        return agent._replace(init=jax.jit(agent.init, inline=True))
    return agent._replace(init=jax.jit(agent.init, inline=True), learn=jax.jit(agent.learn, inline=True))


def _continual(config: RunConfig, problem: Problem, continual_for: ContinualFor) -> ContinualFor:
    """What the agent makes its continual method with.

    Raises:
        ValueError: if the problem has no tasks, or the agent takes no continual method.
    """
    assert config.continual is not None
    if not problem.tasks:
        raise ValueError(
            f"continual={config.continual.name}: {config.problem.name} has no tasks; leave it out, or write a problem "
            "with tasks, such as permuted_mnist or crl_halfcheetah"
        )
    agent = config.agent.found
    if not _takes_continual(agent):
        of_its_kind = {
            name: found
            for name, found in registry.available("agents").items()
            if found.LEARNS_FROM == agent.LEARNS_FROM
        }
        fitting = [name for name, found in of_its_kind.items() if _takes_continual(found)]
        raise ValueError(
            f"continual={config.continual.name}: agent {config.agent.name} takes no continual method; "
            f"write agent {' or '.join(fitting)}"
        )
    return continual_for


def _takes_continual(agent: Any) -> bool:
    """Whether the module of an agent makes agents with continual methods."""
    return "continual_for" in inspect.signature(agent.make).parameters


def make_diagnostics(components: Sequence[ComponentSpec], wiring: Wiring) -> dict[str, Diagnostic]:
    """The diagnostics of a network, by name.

    Raises:
        ValueError: if one refuses its settings.
    """
    return {component.name: _call(component, {"wiring": wiring}) for component in components}


def build_with(config: RunConfig, values: Mapping[str, Any], problem: Problem) -> Components:
    """The components with some settings replaced, by dotted name; the values may be traced.

    The problem is made again only if one of them is a setting of the problem or its network.

    Raises:
        ConfigError: if a component refuses its settings.
    """
    config = config.with_values(values)
    with collected() as notes:
        if any(name.startswith(("problem.", "network.")) for name in values):
            problem = make_problem(config)
    components = build(config, problem)
    return components._replace(notes=(*notes, *components.notes))


def first_member(config: RunConfig) -> RunConfig:
    """The configuration with the first of all swept values."""
    return config.with_values({name: values[0] for name, values in config.sweep.items()})


def _methods(config: RunConfig, context: Context) -> tuple[Method, ...]:
    """The methods of a run for one network."""
    methods, masked = [], {}  # path -> the topology that masks it
    for component in config.methods:
        patterns = _patterns(component)
        names = [name for pattern in patterns for name in _matching(pattern, context.wiring)]
        if patterns and not names:
            continue  # the method changes another network
        here = context._replace(wiring=context.wiring.only(*names)) if patterns else context
        method = _method(component, here, config.problem.name)
        if isinstance(method, Topology):
            _check_masks(component, here.wiring, masked)
        methods.append(method)
    return tuple(methods)


def _patterns(component: ComponentSpec) -> list[str]:
    """Names or patterns of the groups that a method changes; an empty list stands for all groups."""
    only = component.settings.get("groups", "")
    return [pattern.strip() for pattern in only.split(",")] if only else []


def _matching(pattern: str, wiring: Wiring) -> list[str]:
    return [name for name in wiring if name == pattern or fnmatch.fnmatchcase(name, pattern)]


def _check_masks(component: ComponentSpec, wiring: Wiring, masked: dict[str, str]) -> None:
    """Refuses weights that another topology masks, and adds those that this topology masks."""
    slots = (slot for group in wiring.values() for slot in (*group.incoming, *group.outgoing))
    for path in dict.fromkeys(slot.path for slot in slots):
        other = masked.setdefault(path, component.name)
        if other != component.name:
            raise ValueError(
                f"{other} and {component.name} both mask the weights of {path}; write groups that have no layer in "
                "common"
            )


def _method(component: ComponentSpec, context: Context, problem: str) -> Method:
    """Makes a method for one network and applies the settings that all methods have.

    Args:
        component: the method.
        context: of the network.
        problem: the name of the problem.
    """
    settings = dict(component.settings)
    settings.pop("groups", "")
    on_new_task = settings.pop("on_new_task")
    method = _call(dataclasses.replace(component, settings=settings), context._asdict())
    if not isinstance(method, tuple):  # as all three are
        raise ValueError(
            f"method={component.name} returns a {type(method).__name__}; write a function that returns a "
            "pliant.Surgery, a pliant.Topology, an optax.GradientTransformation, or a tuple of them"
        )
    if on_new_task == "keep":
        return method
    setting = f"{component.name}.on_new_task={on_new_task}"
    if not context.tasks:
        raise ValueError(f"{setting}: {problem} has no tasks; leave on_new_task out")
    if on_new_task == "reset":
        return restart([task.until for task in context.tasks[:-1]], method)
    try:
        return each_task(method)
    except ValueError as error:
        raise ValueError(f"{setting}: {error}") from error


def _call(component: ComponentSpec, known: Mapping[str, Any]) -> Any:
    """Calls a factory with its settings, and with the known values that its arguments name."""
    parameters = inspect.signature(component.factory).parameters
    usual = [p.name for p in parameters.values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    missing = [name for name in usual if name not in known and name not in component.settings]
    if missing:
        raise ValueError(f"it asks for {', '.join(missing)}, and can have {', '.join(known)} here")
    asked = {name: value for name, value in known.items() if name in parameters}
    return component.factory(**asked, **component.settings)
