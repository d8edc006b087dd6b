"""Makes a configuration from plain data, such as a YAML file, and checks it."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from pliant.core import registry, sources
from pliant.experiment.errors import ConfigError, echo
from pliant.presets.continual_names import PUBLISHED_NAMES

from .config import DEFAULT_DIAGNOSTICS, RUN_SETTINGS, ComponentSpec, RunConfig
from .seeds import read_seeds
from .settings import Setting
from .yaml_file import parse

_GYMNASIUM = re.compile(r"([\w.-]+[:/])*[\w-]+-v\d+")  # as in CartPole-v1, ALE/Pong-v5, my_module:MyEnv-v0


def from_mapping(given: Any) -> RunConfig:
    """Makes and checks a configuration from plain data; a field that is left out has its default.

    Raises:
        ConfigError, UnknownNameError: one line that names the field and what is allowed.
    """
    given = _mapping("a configuration", given)
    for key in given:
        registry.check("field of a configuration", key, [field.name for field in dataclasses.fields(RunConfig)])
    if "problem" not in given:
        raise ConfigError("a configuration needs a problem: write problem: {name: ...}")

    problem = _component("problems", given["problem"])
    module = problem.found
    agents, usual_run = module.AGENTS, getattr(module, "RUN", {})
    usual = next(iter(agents))
    wanted = {"name": usual, **_named("agent", given.get("agent", {}))}
    agent = _component("agents", {**agents.get(_name("agents", wanted["name"]), {}), **wanted})
    _check_kind(problem, usual, agent)
    config = RunConfig(
        problem=problem,
        agent=agent,
        methods=components("methods", given.get("methods", ())),
        diagnostics=components("diagnostics", given.get("diagnostics", DEFAULT_DIAGNOSTICS)),
        sweep={},
        network=None if given.get("network") is None else _component("networks", given["network"]),
        continual=None if given.get("continual") is None else _continual(problem, given["continual"]),
        **{
            name: setting.read(given.get(name, usual_run.get(name, setting.default)))
            for name, setting in RUN_SETTINGS.items()
        },
    )
    read_seeds(config.seeds)
    for name in ("evaluate_every", "evaluate_tasks"):
        if getattr(config, name) and agent.found.LEARNS_FROM == "stream":
            raise ConfigError(
                f"{name}={getattr(config, name)}: {problem.name} is a stream of examples, without episodes; write 0, "
                "or leave it out"
            )
    return dataclasses.replace(config, sweep=_sweep(config, given.get("sweep", {})))


def from_yaml(text: str) -> RunConfig:
    """Reads a configuration file.

    Raises:
        ConfigError, UnknownNameError: if the text is not YAML, or not a configuration.
    """
    return from_mapping(parse(text))


def named(name: str, what: str = "problem") -> dict[str, Any]:
    """The plain data of a problem, or of `PROBLEM/PRESET`, for `from_mapping`.

    Args:
        name: of the problem.
        what: all that the name may stand for, for the error.

    Raises:
        UnknownNameError: with the nearest names.
    """
    problem, slash, preset = name.partition("/")
    known = registry.names("problems")
    if problem not in known and _GYMNASIUM.fullmatch(name):
        raise registry.UnknownNameError(
            f"unknown {what} {echo(name)}; an environment of gymnasium is a setting: write pliant run gymnasium --env "
            f"{echo(name)}, or pliant.run('gymnasium', problem={{'env': '{echo(name)}'}})"
        )
    registry.check(what, problem, known)
    if not slash:
        return {"problem": problem}
    presets = registry.presets(problem)
    registry.check(f"preset of {problem}", preset, presets)
    return presets[preset]


def resolve(config: RunConfig, name: str) -> tuple[str, Setting]:
    """Finds a setting by its dotted name (`agent.learning_rate`) or by its last word alone.

    Returns:
        The dotted name, and the setting.

    Raises:
        ConfigError, UnknownNameError: if no setting or several settings have the name.
    """
    name = name.replace("-", "_")
    if len(config.methods) == 1:  # its settings have short names; long ones are read, too
        name = name.replace(f"method.{config.methods[0].name}.", "method.")
    known = {
        f"{where}.{key}": setting
        for where, component in config.components().items()
        if component.kind != "diagnostics"
        for key, setting in component.schema.items()
    }
    matches = [dotted for dotted in known if dotted == name or dotted.endswith(f".{name}")]
    if not matches:
        registry.check("setting", name, known if "." in name else dict.fromkeys(d.rpartition(".")[2] for d in known))
    if len(matches) > 1:
        raise ConfigError(f"{name} can mean {' or '.join(matches)}; write one of these names")
    return matches[0], known[matches[0]]


def _mapping(what: str, given: Any) -> Mapping[Any, Any]:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{what} is a mapping of names to values, not {echo(repr(given))}")
    return given


def _list(what: str, given: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(given, list | tuple):
        raise ConfigError(f"{what} is a list, not {echo(repr(given))}")
    return given


def _named(what: str, given: Any) -> dict[Any, Any]:
    """The mapping of a component; its name alone stands for a mapping."""
    return {"name": given} if isinstance(given, str) else dict(_mapping(what, given))


def _component(kind: registry.Kind, given: Any) -> ComponentSpec:
    settings = _named(registry.singular(kind), given)
    if "name" not in settings:
        there_are = ", ".join(registry.names(kind))
        raise ConfigError(f"{registry.singular(kind)}: write {{name: ...}}; there are: {there_are}")
    name, source = _name(kind, settings.pop("name")), _source(kind, settings.pop("source", ""))
    if kind == "methods" and "/" in name and not (source or sources.names_file(name)):
        name, preset = _method_preset(name)
        settings = {**preset, **settings}
    component = ComponentSpec(kind, name, {}, source)
    if not component.source and sources.names_file(component.name):
        raise ConfigError(
            f"{registry.singular(kind)} {component.name}: a file is executed only if you name it on the command line "
            f"or in a call; write --source {component.name.partition(':')[0]}, and here the name and the source as in "
            "config.yaml"
        )
    schema = component.schema
    for key in settings:
        registry.check(f"setting of {component.name}", key, schema)
    values = {
        key: setting.read(settings[key], f"{component.name}.{key}") if key in settings else setting.default
        for key, setting in schema.items()
    }
    return dataclasses.replace(component, settings=values)


def _continual(problem: ComponentSpec, given: Any) -> ComponentSpec:
    """A continual method, also by its published name; the problem may have settings of its own for it.

    Raises:
        ConfigError, UnknownNameError: one line that names the method and what is allowed.
    """
    settings = _named("continual", given)
    if settings.get("source"):  # the user's own, whatever its name is
        return _component("continual", settings)
    name = settings.get("name")
    if isinstance(name, str) and name in PUBLISHED_NAMES:
        settings = {**PUBLISHED_NAMES[name], **{key: value for key, value in settings.items() if key != "name"}}
    usual = getattr(problem.found, "continual_settings", lambda settings: {})(problem.settings)
    return _component("continual", {**usual.get(settings.get("name"), {}), **settings})


def _method_preset(name: str) -> tuple[str, dict[str, Any]]:
    """`METHOD` and the preset's settings for `METHOD/PRESET`; a label stays: `METHOD@LABEL` for `METHOD/PRESET@LABEL`.

    Raises:
        UnknownNameError: with the nearest names.
    """
    name, at, label = name.partition("@")
    method, _, preset = name.partition("/")
    registry.check("method", method, registry.names("methods"))
    presets = registry.presets(method)
    registry.check(f"preset of {method}", preset, presets)
    return method + at + label, presets[preset]


def _name(kind: registry.Kind, given: Any) -> str:
    if not isinstance(given, str):
        registry.check(registry.singular(kind), given, registry.names(kind))
    return given


def _source(kind: registry.Kind, given: Any) -> str:
    if not isinstance(given, str):
        raise ConfigError(
            f"{registry.singular(kind)}: a source is a text, not {echo(given)}; write it as in config.yaml"
        )
    return given


def components(kind: registry.Kind, given: Any) -> tuple[ComponentSpec, ...]:
    """The components of a list of names, or of mappings with a name and settings; others have their defaults.

    Raises:
        ConfigError, UnknownNameError: one line that names the component and what is allowed.
    """
    found = tuple(_component(kind, one) for one in _list(kind, given))
    names = [component.name for component in found]
    for name in names:
        if names.count(name) > 1:
            labels = (
                f", or each with a label: {name}@first, {name}@second" if kind == "methods" and "@" not in name else ""
            )
            raise ConfigError(f"{kind}: {name} is listed {names.count(name)} times; write it once{labels}")
    return found


def _check_kind(problem: ComponentSpec, usual: str, agent: ComponentSpec) -> None:
    """Refuses an agent for another kind of problem; `usual` is the default agent of the problem."""
    kind = registry.find("agents", usual).LEARNS_FROM
    if kind != agent.found.LEARNS_FROM:
        agents = registry.available("agents")
        fitting = " or ".join(name for name, found in agents.items() if kind == found.LEARNS_FROM)
        what = {"stream": "a stream", "environment": "an environment"}[kind]
        raise ConfigError(
            f"agent={agent.name} learns from a problem of another kind: {problem.name} is {what}; write agent {fitting}"
        )


def _sweep(config: RunConfig, given: Any) -> dict[str, tuple[Any, ...]]:
    sweep: dict[str, tuple[Any, ...]] = {}
    for name, listed in _mapping("sweep", given).items():
        dotted, setting = resolve(config, str(name))
        values = tuple(setting.read(value, f"sweep {dotted}") for value in _list(f"sweep {dotted}", listed))
        if dotted in sweep or not values or len(set(values)) < len(values):
            raise ConfigError(f"sweep {dotted}: write it once, with at least one value, and each value once")
        sweep[dotted] = values
    return sweep
