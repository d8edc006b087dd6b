"""The configuration of a run: what the command line and the YAML file say, checked, and made into the parts of a run.

    problem: {name: slowly_changing_regression, activation: relu}
    agent: {name: sgd, step_size: 0.01}
    methods: [{name: continual_backprop, replacement_rate: 0.0001}]
    diagnostics: [{name: dormant_fraction}]
    seeds: 0-99
    sweep: {agent.step_size: [0.01, 0.003, 0.001]}
    record_every: 10000
    seed_axis: auto

Settings are the fields of the problem's and the agent's `Config`, and the arguments of a method's or diagnostic's factory:
their names, types, defaults, ranges and help come from there and stand nowhere else.
"""

import ast
import dataclasses
import hashlib
import inspect
import itertools
import json
import re
import textwrap
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import docstring_parser
import yaml

from pliant.core import registry
from pliant.core.settings import AtLeast, Range

CONTEXT = ("wiring", "initialize", "activation")  # arguments of a factory that the run fills in


DEFAULT_DIAGNOSTICS = ("dormant_fraction", "weight_magnitude", "replacements")


class ConfigError(ValueError):
    """A configuration that cannot be run: one line that says what came and what is allowed."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting: what the command line, the YAML file and a sweep may say of it.

    Args:
        name: its own name: `step_size`.
        type: `int`, `float`, `bool`, `str`, or a `Literal`.
        default: its value when nobody says anything.
        help: one sentence, with the unit.
        range: what its numbers may be; `None`: anything.
    """

    name: str
    type: Any
    default: Any
    help: str
    range: Range | None = None

    def read(self, value: Any, where: str | None = None) -> Any:
        """The value that a text or a YAML scalar stands for.

        Raises:
            ConfigError: if it is of another type, or out of range.
        """
        where = where or self.name
        choices = typing.get_args(self.type) if typing.get_origin(self.type) is Literal else None
        if choices:
            if str(value) not in map(str, choices):
                registry_hint = ", ".join(map(str, choices))
                raise ConfigError(f"{where}={value}: write one of {registry_hint}")
            return next(choice for choice in choices if str(choice) == str(value))
        if self.type is bool:
            if str(value).lower() not in ("true", "false"):
                raise ConfigError(f"{where}={value}: write true or false")
            return str(value).lower() == "true"
        if self.type is str:
            return str(value)
        number = _number(value)
        if number is None or (self.type is int and not float(number).is_integer()):
            raise ConfigError(f"{where}={value}: write {'a whole number' if self.type is int else 'a number'}")
        if self.range is not None and not self.range.allows(number):
            raise ConfigError(f"{where}={value}: allowed is {self.range}")
        return int(number) if self.type is int else float(number)

    @property
    def kind(self) -> str:
        """Type, range and default in words, for `--help`."""
        choices = typing.get_args(self.type) if typing.get_origin(self.type) is Literal else None
        what = " | ".join(map(str, choices)) if choices else self.type.__name__
        return f"{what}{f', {self.range}' if self.range else ''}; default {self.default}"


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool):
        return None
    text = str(value).replace("_", "")
    thousands = re.fullmatch(r"([0-9.]+)([kM])", text)
    try:
        if thousands:
            return float(thousands[1]) * {"k": 1e3, "M": 1e6}[thousands[2]]
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    except ValueError:
        return None


def settings_of(source: Any) -> dict[str, Setting]:
    """The settings of a `Config` dataclass, or of a method's or diagnostic's factory, by name."""
    annotations = typing.get_type_hints(source, include_extras=True)
    if dataclasses.is_dataclass(source):
        helps = _field_docstrings(source)
        defaults = {field.name: field.default for field in dataclasses.fields(source)}
    else:
        parsed = docstring_parser.parse(inspect.getdoc(source) or "", docstring_parser.DocstringStyle.GOOGLE)
        helps = {}
        for parameter in parsed.params:
            for name in re.split(r",\s*", parameter.arg_name):
                # For a terminal: `$\\rho$` is rho.
                helps[name] = re.sub(r"\$\\?(\w+)\$", r"\1", " ".join((parameter.description or "").split()))
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(source).parameters.items()
            if name not in CONTEXT
        }
    return {name: _setting(name, annotations[name], default, helps.get(name, "")) for name, default in defaults.items()}


def _setting(name: str, annotation: Any, default: Any, help: str) -> Setting:
    range_ = None
    if typing.get_origin(annotation) is Annotated:
        annotation, *extras = typing.get_args(annotation)
        range_ = next((extra for extra in extras if isinstance(extra, Range)), None)
    return Setting(name, annotation, default, help, range_)


def _field_docstrings(dataclass: type) -> dict[str, str]:
    """The docstring under each field."""
    body = ast.parse(textwrap.dedent(inspect.getsource(dataclass))).body[0].body
    return {
        field.target.id: " ".join(doc.value.value.split())
        for field, doc in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant)
    }


@dataclasses.dataclass(frozen=True)
class Part:
    """A problem, an agent, a method or a diagnostic with its settings."""

    kind: registry.Kind
    name: str
    settings: Mapping[str, Any]

    @property
    def source(self) -> Any:
        """The `Config` dataclass or the factory that the settings belong to."""
        found = registry.find(self.kind, self.name)
        return found.Config if self.kind in ("problems", "agents") else found

    def with_values(self, values: Mapping[str, Any]) -> "Part":
        """The same part with some settings replaced."""
        return dataclasses.replace(self, settings={**self.settings, **values})


def part(kind: registry.Kind, name: str, given: Mapping[str, Any] | None = None) -> Part:
    """Makes a part from a name and what is known of its settings; the rest has its default.

    Raises:
        ConfigError, UnknownNameError: for an unknown name or setting, or an impossible value.
    """
    source = Part(kind, name, {}).source
    schema = settings_of(source)
    given = given or {}
    for key in given:
        registry.check(f"setting of {name}", key, schema)
    values = {key: s.read(given[key], f"{name}.{key}") if key in given else s.default for key, s in schema.items()}
    return Part(kind, name, values)


RUN_SETTINGS = {
    "seeds": Setting("seeds", str, "1", "Seeds of the members: a number of them (100), or a list of ranges (0-9,20)."),
    "record_every": Setting(
        "record_every", int, 0, "Steps between two rows of metrics; 0: a hundredth of the run.", AtLeast(0)
    ),
    "seed_axis": Setting(
        "seed_axis",
        Literal["auto", "vmap", "map"],
        "auto",
        "How members advance: at once (vmap), one after another with numbers that do not depend on the others (map), or "
        "as suits the network (auto: map for convolutions).",
    ),
}


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes; its hash names the run's directory."""

    problem: Part
    agent: Part
    methods: tuple[Part, ...]
    diagnostics: tuple[Part, ...]
    seeds: str
    sweep: Mapping[str, tuple[Any, ...]]
    record_every: int
    seed_axis: Literal["auto", "vmap", "map"]

    def parts(self) -> dict[str, Part]:
        """The parts by the names that sweeps and columns use: `agent`, `problem`, `method`, or `method.redo` if several."""
        if len(self.methods) == 1:
            methods = {"method": self.methods[0]}
        else:
            methods = {f"method.{method.name}": method for method in self.methods}
        return {"problem": self.problem, "agent": self.agent, **methods}

    def with_values(self, values: Mapping[str, Any]) -> "RunConfig":
        """The same run with some settings, by dotted name, replaced; the values may be traced."""
        parts = self.parts()
        for dotted, value in values.items():
            where, _, key = dotted.rpartition(".")
            parts[where] = parts[where].with_values({key: value})
        methods = tuple(p for name, p in parts.items() if name not in ("problem", "agent"))
        return dataclasses.replace(self, problem=parts["problem"], agent=parts["agent"], methods=methods)

    def to_mapping(self) -> dict[str, Any]:
        """Plain data, as in the YAML file."""
        plain = lambda p: {"name": p.name, **p.settings}  # noqa: E731
        return {
            "problem": plain(self.problem),
            "agent": plain(self.agent),
            "methods": [plain(p) for p in self.methods],
            "diagnostics": [plain(p) for p in self.diagnostics],
            "seeds": self.seeds,
            "sweep": {name: list(values) for name, values in self.sweep.items()},
            "record_every": self.record_every,
            "seed_axis": self.seed_axis,
        }

    def to_yaml(self) -> str:
        """The file that `pliant run path/config.yaml` takes."""
        return yaml.safe_dump(self.to_mapping(), sort_keys=False)

    @property
    def name(self) -> str:
        """`problem-methods-hash`: the same for the same configuration."""
        digest = hashlib.sha256(json.dumps(self.to_mapping(), sort_keys=True).encode()).hexdigest()[:8]
        methods = "+".join(p.name for p in self.methods) or self.agent.name
        return f"{self.problem.name}-{methods}-{digest}"

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return read_seeds(self.seeds)


def from_mapping(given: Mapping[str, Any]) -> RunConfig:
    """Makes and checks a configuration from plain data; what it leaves out has its default.

    Raises:
        ConfigError, UnknownNameError: one line that names the field and what is allowed.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"a configuration is a mapping of fields, not {type(given).__name__}")
    fields = ("problem", "agent", "methods", "diagnostics", "seeds", "sweep", "record_every", "seed_axis")
    for key in given:
        registry.check("field of a configuration", key, fields)
    if "problem" not in given:
        raise ConfigError("a configuration needs a problem: write problem: {name: ...}")

    problem = _part("problems", given["problem"])
    agent = given.get("agent", {})
    run = {name: s.read(given.get(name, s.default)) for name, s in RUN_SETTINGS.items()}
    config = RunConfig(
        problem=problem,
        agent=_part("agents", {"name": default_agent(problem.name), **_named(agent)}),
        methods=tuple(_part("methods", p) for p in given.get("methods", ())),
        diagnostics=tuple(_part("diagnostics", p) for p in given.get("diagnostics", DEFAULT_DIAGNOSTICS)),
        sweep={},
        **run,
    )
    duplicates = [m.name for i, m in enumerate(config.methods) if m.name in [n.name for n in config.methods[:i]]]
    if duplicates:
        raise ConfigError(f"methods: {duplicates[0]} stands there twice; write each method once")
    read_seeds(config.seeds)
    sweep = {}
    for name, values in (given.get("sweep") or {}).items():
        dotted, setting = resolve(config, name)
        values = values if isinstance(values, list | tuple) else [values]
        sweep[dotted] = tuple(setting.read(value, f"sweep {dotted}") for value in values)
        if len(set(sweep[dotted])) < len(sweep[dotted]):
            raise ConfigError(f"sweep {dotted}: a value stands there twice")
    return dataclasses.replace(config, sweep=sweep)


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


def default_agent(problem: str) -> str:
    """The agent that a problem is made for."""
    return registry.find("problems", problem).AGENT


def _named(given: Any) -> dict[str, Any]:
    return {"name": given} if isinstance(given, str) else dict(given)


def _part(kind: registry.Kind, given: Any) -> Part:
    values = _named(given)
    if "name" not in values:
        raise ConfigError(f"{kind}: write {{name: ...}}; there are: {', '.join(registry.names(kind))}")
    return part(kind, values.pop("name"), values)


def resolve(config: RunConfig, name: str) -> tuple[str, Setting]:
    """The dotted name of a setting (`agent.step_size`) that somebody called by it or by its last word alone.

    Raises:
        ConfigError, UnknownNameError: if no setting, or more than one, is meant.
    """
    name = name.replace("-", "_")
    known = {
        f"{where}.{key}": setting for where, p in config.parts().items() for key, setting in settings_of(p.source).items()
    }
    matches = [dotted for dotted in known if dotted == name or dotted.endswith(f".{name}")]
    if not matches:
        registry.check("setting", name, [*known, *(dotted.rpartition(".")[2] for dotted in known)])
    if len(matches) > 1:
        raise ConfigError(f"{name} can mean {' or '.join(matches)}; write which")
    return matches[0], known[matches[0]]


def read_seeds(text: str) -> tuple[int, ...]:
    """The seeds of `100` (0 to 99) or `0-9,20` (0 to 9, and 20).

    Raises:
        ConfigError: for anything else, or no seed at all.
    """
    text = text.strip()
    wrong = ConfigError(f"seeds={text}: write a number of seeds (100) or ranges from low to high (0-9,20)")
    if re.fullmatch(r"\d+", text):
        seeds = list(range(int(text)))
    else:
        seeds = []
        for piece in text.rstrip(",").split(","):
            match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", piece)
            if not match:
                raise wrong
            low, high = int(match[1]), int(match[2] or match[1])
            if high < low:
                raise wrong
            seeds += range(low, high + 1)
    if not seeds or len(set(seeds)) < len(seeds) or max(seeds) >= 2**31:
        raise wrong
    return tuple(seeds)


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
