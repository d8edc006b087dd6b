"""The configuration of a run, from the command line or a YAML file, checked.

problem: {name: slowly_changing_regression, activation: relu}
agent: {name: sgd, learning_rate: 0.01}
methods: [{name: continual_backprop, replacement_rate: 0.0001}]  # a second one of a kind: continual_backprop@LABEL
diagnostics: [{name: dormant_fraction}]
seeds: 0-99
sweep: {agent.learning_rate: [0.01, 0.003, 0.001]}
record_every: 10000
seed_axis: auto
evaluate_every: 0
evaluate_episodes: 10

What is left out has its default. A problem may have its own defaults for the settings of the run as a whole: `RUN` in
its module.
"""

import dataclasses
import hashlib
import inspect
import itertools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import yaml

from pliant.core import registry
from pliant.core.settings import AtLeast
from pliant.experiment.errors import ConfigError

from .settings import Setting, settings_of

DEFAULT_DIAGNOSTICS = ("dormant_fraction", "weight_magnitude", "replacements")

_MOST_SEEDS = 1_000_000


@dataclasses.dataclass(frozen=True)
class ComponentSpec:
    """A problem, an agent, a method or a diagnostic with its settings.

    Args:
        kind: the family, such as `"methods"`.
        name: in the family; of a method also `NAME@LABEL`, so that a run may have it several times.
        settings: by name.
    """

    kind: registry.Kind
    name: str
    settings: Mapping[str, Any]

    @property
    def source(self) -> Any:
        """The `Config` dataclass or the factory that the settings belong to."""
        found = registry.find(self.kind, _without_label(self.name) if self.kind == "methods" else self.name)
        return found.Config if self.kind in ("problems", "agents") else found

    @property
    def schema(self) -> dict[str, Setting]:
        """The settings by name: those of the source, and of a method also those that any method has."""
        schema = settings_of(self.source)
        if self.kind == "methods":
            schema |= OF_ANY_METHOD
            if "wiring" not in inspect.signature(self.source).parameters:
                schema.pop("groups")
        return schema


OF_ANY_METHOD = {
    "groups": Setting(
        "groups",
        str,
        "",
        "Groups of units that the method changes: names or shell patterns (critic_*/*), comma-separated; empty: all.",
    ),
    "on_new_task": Setting(
        "on_new_task",
        Literal["keep", "reset"],
        "keep",
        "Whether the method keeps its state, such as the units' ages, when a new task begins, or resets it.",
    ),
}


RUN_SETTINGS = {
    "seeds": Setting("seeds", str, "1", "Seeds of the members: a number of them (100), or a list of ranges (0-9,20)."),
    "record_every": Setting(
        "record_every", int, 0, "Steps between two rows of metrics; 0: a hundredth of the run.", AtLeast(0)
    ),
    "seed_axis": Setting(
        "seed_axis",
        Literal["auto", "vmap", "map"],
        "auto",
        "How members advance: at once (vmap), or one after another, equal to the bit to a member alone (map); "
        "auto: map for convolutions, vmap for others.",
    ),
    "evaluate_every": Setting(
        "evaluate_every",
        int,
        0,
        "Steps between two evaluations, in separate environments with the same start states each time; greedy actions, "
        "or sampled ones where the problem asks for them; metrics have a row there, too; 0: never.",
        AtLeast(0),
    ),
    "evaluate_episodes": Setting(
        "evaluate_episodes", int, 10, "Episodes that each member plays in an evaluation.", AtLeast(1)
    ),
}


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes; the hash of all but its seeds names the run's directory."""

    problem: ComponentSpec
    agent: ComponentSpec
    methods: tuple[ComponentSpec, ...]
    diagnostics: tuple[ComponentSpec, ...]
    seeds: str
    sweep: Mapping[str, tuple[Any, ...]]
    record_every: int
    seed_axis: Literal["auto", "vmap", "map"]
    evaluate_every: int
    evaluate_episodes: int

    def components(self) -> dict[str, ComponentSpec]:
        """The components by the names that flags, sweeps and columns use.

        These are `problem`, `agent`, `method`, or `method.redo` (`method.redo@often`) if there are several, and
        `diagnostic.rank`.
        """
        return {
            self._place(component): component
            for component in (self.problem, self.agent, *self.methods, *self.diagnostics)
        }

    def _place(self, component: ComponentSpec) -> str:
        if component.kind in ("problems", "agents") or (component.kind == "methods" and len(self.methods) == 1):
            return component.kind[:-1]
        return f"{component.kind[:-1]}.{component.name}"

    def with_values(self, values: Mapping[str, Any]) -> "RunConfig":
        """The same run with some settings, by dotted name, replaced; the values may be traced."""
        now = self.components()
        for dotted, value in values.items():
            where, _, key = dotted.rpartition(".")
            now[where] = dataclasses.replace(now[where], settings={**now[where].settings, key: value})
        return dataclasses.replace(
            self,
            problem=now[self._place(self.problem)],
            agent=now[self._place(self.agent)],
            methods=tuple(now[self._place(method)] for method in self.methods),
            diagnostics=tuple(now[self._place(diagnostic)] for diagnostic in self.diagnostics),
        )

    def to_mapping(self) -> dict[str, Any]:
        """Plain data, as in the YAML file."""

        def plain(component: ComponentSpec) -> dict[str, Any]:
            return {"name": component.name, **component.settings}

        return {
            "problem": plain(self.problem),
            "agent": plain(self.agent),
            "methods": [plain(method) for method in self.methods],
            "diagnostics": [plain(diagnostic) for diagnostic in self.diagnostics],
            "seeds": self.seeds,
            "sweep": {name: list(values) for name, values in self.sweep.items()},
            **{name: getattr(self, name) for name in RUN_SETTINGS if name != "seeds"},
        }

    def to_yaml(self) -> str:
        """The file that `pliant run FILE` takes."""
        return yaml.safe_dump(self.to_mapping(), sort_keys=False)

    def to_yaml_without_seeds(self) -> str:
        """The file in the directory of a run, which any seeds may be added to."""
        return yaml.safe_dump(self._without_seeds(), sort_keys=False)

    def _without_seeds(self) -> dict[str, Any]:
        return {name: value for name, value in self.to_mapping().items() if name != "seeds"}

    @property
    def name(self) -> str:
        """`problem-methods-hash`: the same for the same configuration, whatever its seeds."""
        digest = hashlib.sha256(json.dumps(self._without_seeds(), sort_keys=True).encode()).hexdigest()[:8]
        methods = "+".join(method.name for method in self.methods) or self.agent.name
        return f"{self.problem.name}-{methods}-{digest}"

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return read_seeds(self.seeds)


def from_mapping(given: Any) -> RunConfig:
    """Makes and checks a configuration from plain data; what it leaves out has its default.

    Raises:
        ConfigError, UnknownNameError: one line that names the field and what is allowed.
    """
    given = _mapping("a configuration", given)
    for key in given:
        registry.check("field of a configuration", key, [field.name for field in dataclasses.fields(RunConfig)])
    if "problem" not in given:
        raise ConfigError("a configuration needs a problem: write problem: {name: ...}")

    problem = _component("problems", given["problem"])
    module = registry.find("problems", problem.name)
    agents, usual_run = module.AGENTS, getattr(module, "RUN", {})
    usual = next(iter(agents))
    wanted = {"name": usual, **_named("agent", given.get("agent", {}))}
    agent = _component("agents", {**agents.get(wanted["name"], {}), **wanted})
    _check_kind(problem, usual, agent)
    config = RunConfig(
        problem=problem,
        agent=agent,
        methods=_components("methods", given.get("methods", ())),
        diagnostics=_components("diagnostics", given.get("diagnostics", DEFAULT_DIAGNOSTICS)),
        sweep={},
        **{
            name: setting.read(given.get(name, usual_run.get(name, setting.default)))
            for name, setting in RUN_SETTINGS.items()
        },
    )
    read_seeds(config.seeds)
    if config.evaluate_every and registry.find("agents", usual).LEARNS_FROM == "stream":
        raise ConfigError(
            f"evaluate_every={config.evaluate_every}: {problem.name} is a stream of examples, in which there are no "
            "episodes; write 0, or leave it out"
        )
    return dataclasses.replace(config, sweep=_sweep(config, given.get("sweep", {})))


def from_yaml(text: str) -> RunConfig:
    """Reads a configuration file.

    Raises:
        ConfigError, UnknownNameError: if it is no YAML, or no configuration.
    """
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"this is no YAML: {' '.join(str(error).split())}") from None
    return from_mapping(given)


def named(name: str) -> dict[str, Any]:
    """The plain data of a problem, or of `PROBLEM/PRESET`, for `from_mapping`.

    Raises:
        UnknownNameError: with the nearest names.
    """
    problem, slash, preset = name.partition("/")
    registry.check("problem", problem, registry.names("problems"))
    if not slash:
        return {"problem": problem}
    presets = registry.presets(problem)
    registry.check(f"preset of {problem}", preset, presets)
    return presets[preset]


def _mapping(what: str, given: Any) -> Mapping[Any, Any]:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{what} is a mapping of names to values, not {given!r}")
    return given


def _list(what: str, given: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(given, list | tuple):
        raise ConfigError(f"{what} is a list, not {given!r}")
    return given


def _named(what: str, given: Any) -> dict[Any, Any]:
    """The mapping of a component; its name alone will do."""
    return {"name": given} if isinstance(given, str) else dict(_mapping(what, given))


def _component(kind: registry.Kind, given: Any) -> ComponentSpec:
    settings = _named(kind[:-1], given)
    if "name" not in settings:
        raise ConfigError(f"{kind[:-1]}: write {{name: ...}}; there are: {', '.join(registry.names(kind))}")
    component = ComponentSpec(kind, settings.pop("name"), {})
    schema = component.schema
    for key in settings:
        registry.check(f"setting of {component.name}", key, schema)
    values = {
        key: setting.read(settings[key], f"{component.name}.{key}") if key in settings else setting.default
        for key, setting in schema.items()
    }
    return dataclasses.replace(component, settings=values)


def _without_label(name: Any) -> Any:
    """The method's name, of `NAME` or `NAME@LABEL`."""
    source, at, label = str(name).partition("@")
    if not at:
        return name
    if not re.fullmatch(r"\w+", label, re.ASCII):
        raise ConfigError(f"method {name}: a label is of letters, digits and _; write a name such as {source}@first")
    return source


def _check_kind(problem: ComponentSpec, usual: str, agent: ComponentSpec) -> None:
    """Refuses an agent for streams in an environment, and the reverse; `usual` is the problem's own agent."""
    kinds = {name: registry.find("agents", name).LEARNS_FROM for name in (*registry.names("agents"), usual, agent.name)}
    if kinds[agent.name] != kinds[usual]:
        fitting = " or ".join(name for name, kind in kinds.items() if kind == kinds[usual])
        what = {"stream": "a stream", "environment": "an environment"}[kinds[usual]]
        raise ConfigError(
            f"agent={agent.name} learns from a problem of another kind: {problem.name} is {what}; write agent {fitting}"
        )


def _components(kind: registry.Kind, given: Any) -> tuple[ComponentSpec, ...]:
    components = tuple(_component(kind, one) for one in _list(kind, given))
    names = [component.name for component in components]
    for name in names:
        if names.count(name) > 1:
            labels = (
                f", or each with a label: {name}@first, {name}@second" if kind == "methods" and "@" not in name else ""
            )
            raise ConfigError(f"{kind}: {name} stands there {names.count(name)} times; write it once{labels}")
    return components


def _sweep(config: RunConfig, given: Any) -> dict[str, tuple[Any, ...]]:
    sweep: dict[str, tuple[Any, ...]] = {}
    for name, listed in _mapping("sweep", given).items():
        dotted, setting = resolve(config, str(name))
        values = tuple(setting.read(value, f"sweep {dotted}") for value in _list(f"sweep {dotted}", listed))
        if dotted in sweep or not values or len(set(values)) < len(values):
            raise ConfigError(f"sweep {dotted}: write it once, with one value or more, each of them once")
        sweep[dotted] = values
    return sweep


def resolve(config: RunConfig, name: str) -> tuple[str, Setting]:
    """Finds a setting by its dotted name (`agent.learning_rate`) or by its last word alone.

    Returns:
        The dotted name, and the setting.

    Raises:
        ConfigError, UnknownNameError: if no setting or several settings have the name.
    """
    name = name.replace("-", "_")
    if len(config.methods) == 1:  # its settings have short names, but the long ones will do
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
        raise ConfigError(f"{name} can mean {' or '.join(matches)}; write which")
    return matches[0], known[matches[0]]


def read_seeds(text: str) -> tuple[int, ...]:
    """The seeds of `100` (0 to 99), `0-9,20` (0 to 9, and 20), or `20,` (20 alone).

    Raises:
        ConfigError: for anything else, or no seed at all.
    """
    wrong = ConfigError(
        f"seeds={text}: write a number of seeds (100), or ranges from low to high (0-9,20) in which each stands once"
    )
    ranges = [re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", piece) for piece in text.removesuffix(",").split(",")]
    bounds = [(int(match[1]), int(match[2] or match[1])) for match in ranges if match]
    if len(bounds) < len(ranges):
        raise wrong
    if text.strip().isdigit():
        bounds = [(0, int(text) - 1)]
    if sum(high - low + 1 for low, high in bounds) > _MOST_SEEDS or max(high for _, high in bounds) >= 2**31:
        raise ConfigError(f"seeds={text}: at most {_MOST_SEEDS:,} seeds, each below 2,147,483,648")
    seeds = tuple(seed for low, high in bounds for seed in range(low, high + 1))
    if any(high < low for low, high in bounds) or len(set(seeds)) < len(seeds):
        raise wrong
    return seeds


def expand(config: RunConfig, together: Callable[[RunConfig, str], bool]) -> list[RunConfig]:
    """Splits a run whose sweep cannot be one program into several.

    Args:
        config: a run with any sweep.
        together: `(config, dotted name) -> whether` the values of that setting can share one program.

    Returns:
        A run for each combination of the values that cannot; what is left in their sweeps can.
    """
    apart = [name for name in config.sweep if not together(config, name)]
    rest = {name: values for name, values in config.sweep.items() if name not in apart}
    combinations = itertools.product(*(config.sweep[name] for name in apart))
    return [dataclasses.replace(config.with_values(dict(zip(apart, c))), sweep=rest) for c in combinations]
