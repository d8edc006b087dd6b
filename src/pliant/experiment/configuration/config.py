"""The configuration of a run, from the command line or a YAML file, checked.

problem: {name: slowly_changing_regression, activation: relu}
network: {name: my_network, source: my_networks.py@<SHA-256>}  # in place of the problem's; most runs have none
agent: {name: sgd, learning_rate: 0.01}
methods: [{name: continual_backprop, replacement_rate: 0.0001}]  # a second one: continual_backprop@LABEL
continual: {name: ewc, strength: 1.0}  # of problems with tasks; most runs have none
diagnostics: [{name: dormant_fraction}]
seeds: 0-99
sweep: {agent.learning_rate: [0.01, 0.003, 0.001]}
record_every: 10000
seed_axis: auto
acting: auto
evaluate_every: 0
evaluate_episodes: 10
evaluate_tasks: 0
keep_checkpoints: auto

A field that is left out has its default. A method `METHOD/PRESET` has the settings of that preset. `RUN` in the module
of a problem replaces defaults of the run: of `seeds`, `record_every` and so on.
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

from pliant.core import registry, sources
from pliant.core.continual import ContinualContext
from pliant.core.settings import AtLeast, Between
from pliant.experiment.errors import ConfigError

from .own import as_problem
from .seeds import read_seeds
from .settings import CONTEXT, Setting, settings_of

# Arguments of factories that the run fills in, by kind.
_FILLED_IN = {
    "problems": (),
    "networks": ("inputs", "outputs", "spec"),
    "continual": ContinualContext._fields,
}

DEFAULT_DIAGNOSTICS = ("dormant_fraction", "weight_magnitude", "replacements")


_MODULES = ("problems", "agents")  # families whose members are modules


@dataclasses.dataclass(frozen=True)
class ComponentSpec:
    """A problem, an agent, a method or a diagnostic with its settings.

    Args:
        kind: the family, such as `"methods"`.
        name: in the family. A method that a run has several times has labels: `NAME@LABEL`.
        settings: by name.
        source: of a component that is not installed, see `pliant.core.sources`; empty for others.
    """

    kind: registry.Kind
    name: str
    settings: Mapping[str, Any]
    source: str = ""

    @property
    def found(self) -> Any:
        """The module of a problem or an agent, or the factory of another component.

        Raises:
            UnknownNameError: if there is none of this name.
            SourceError: if its file was not named by the user, or fails.
        """
        name = _without_label(self.name) if self.kind == "methods" else self.name
        may_be_module = self.kind in _MODULES
        found = (
            sources.component(name, self.source, may_be_module=may_be_module)
            if self.source
            else registry.find(self.kind, name)
        )
        return as_problem(found, name) if self.kind == "problems" else found

    @property
    def factory(self) -> Any:
        """The `Config` dataclass or the function that the settings belong to."""
        return self.found.Config if self.kind in _MODULES else self.found

    @property
    def schema(self) -> dict[str, Setting]:
        """The settings by name: those of the factory, and for a method also those that all methods have."""
        schema = settings_of(self.factory, _FILLED_IN.get(self.kind, CONTEXT))
        for reserved in ("name", "source"):  # as in `to_mapping`
            if reserved in schema:
                raise ConfigError(f"{self.name} has a setting {reserved!r}, a word of pliant's; give it another name")
        if self.kind == "methods":
            schema |= OF_ANY_METHOD
            wiring = inspect.signature(self.factory).parameters.get("wiring")
            if wiring is None or wiring.default is not wiring.empty:  # it acts on more than the units of a wiring
                schema.pop("groups")
        return schema

    def to_mapping(self) -> dict[str, Any]:
        """Plain data, as in the YAML file."""
        source = {"source": self.source} if self.source else {}
        return {"name": self.name, **source, **self.settings}


OF_ANY_METHOD = {
    "groups": Setting(
        "groups",
        str,
        "",
        "Groups of units that the method changes: names or shell patterns (critic_*/*), comma-separated; empty: all.",
    ),
    "on_new_task": Setting(
        "on_new_task",
        Literal["keep", "reset", "act"],
        "keep",
        "When a new task begins: keep the method's state, such as the units' ages; reset it; or act then, and at no "
        "other time.",
    ),
}


MOST_KEPT = 100  # tasks whose checkpoints stay without being asked for: a disk may hold as many networks

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
    "acting": Setting(
        "acting",
        Literal["auto", "compiled"],
        "auto",
        "What chooses actions for environments outside of the device: the compiled program, or, of a small network "
        "between two updates, the same program in NumPy, equal up to rounding (auto).",
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
        "evaluate_episodes", int, 10, "Episodes that each member plays in an evaluation.", Between(1, 1_000_000)
    ),
    "evaluate_tasks": Setting(
        "evaluate_tasks",
        int,
        0,
        "Episodes that each member plays in each task, before training and at the end of each task; 0: none.",
        Between(0, 1_000_000),
    ),
    "keep_checkpoints": Setting(
        "keep_checkpoints",
        Literal["auto", "tasks", "newest"],
        "auto",
        "Checkpoints that stay beside the newest two and the best: those at the ends of tasks, of a stream with tasks "
        f"also one before training (tasks); or none (newest); auto: tasks, if there are at most {MOST_KEPT} of them.",
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
    acting: Literal["auto", "compiled"]
    evaluate_every: int
    evaluate_episodes: int
    evaluate_tasks: int
    keep_checkpoints: Literal["auto", "tasks", "newest"]
    network: ComponentSpec | None = None  # in place of the problem's
    continual: ComponentSpec | None = None  # what the network keeps of earlier tasks

    def components(self) -> dict[str, ComponentSpec]:
        """The components by the names that flags, sweeps and columns use.

        The names are `problem`, `agent`, `continual` and `diagnostic.rank`. A single method is `method`; several are
        `method.redo` and `method.redo@often`.
        """
        return {
            self._place(component): component
            for component in (self.problem, self.network, self.agent, self.continual, *self.methods, *self.diagnostics)
            if component is not None
        }

    def _place(self, component: ComponentSpec) -> str:
        place = component.kind.removesuffix("s")
        if component.kind in ("problems", "networks", "agents", "continual") or (
            component.kind == "methods" and len(self.methods) == 1
        ):
            return place
        return f"{place}.{component.name}"

    def with_values(self, values: Mapping[str, Any]) -> "RunConfig":
        """The same run with some settings, by dotted name, replaced; the values may be traced."""
        now = self.components()
        for dotted, value in values.items():
            where, _, key = dotted.rpartition(".")
            now[where] = dataclasses.replace(now[where], settings={**now[where].settings, key: value})
        return dataclasses.replace(
            self,
            problem=now[self._place(self.problem)],
            network=None if self.network is None else now[self._place(self.network)],
            agent=now[self._place(self.agent)],
            continual=None if self.continual is None else now[self._place(self.continual)],
            methods=tuple(now[self._place(method)] for method in self.methods),
            diagnostics=tuple(now[self._place(diagnostic)] for diagnostic in self.diagnostics),
        )

    def to_mapping(self) -> dict[str, Any]:
        """Plain data, as in the YAML file."""
        return {
            "problem": self.problem.to_mapping(),
            **({} if self.network is None else {"network": self.network.to_mapping()}),
            "agent": self.agent.to_mapping(),
            "methods": [method.to_mapping() for method in self.methods],
            **({} if self.continual is None else {"continual": self.continual.to_mapping()}),
            "diagnostics": [diagnostic.to_mapping() for diagnostic in self.diagnostics],
            "seeds": self.seeds,
            "sweep": {name: list(values) for name, values in self.sweep.items()},
            **{name: getattr(self, name) for name in RUN_SETTINGS if name != "seeds"},
        }

    def to_yaml(self) -> str:
        """The text of a file that `pliant run FILE` reads."""
        return yaml.safe_dump(self.to_mapping(), sort_keys=False)

    def to_yaml_without_seeds(self) -> str:
        """The text of the file in the directory of a run; further commands add seeds to the directory."""
        return yaml.safe_dump(self._without_seeds(), sort_keys=False)

    def _without_seeds(self) -> dict[str, Any]:
        return {name: value for name, value in self.to_mapping().items() if name != "seeds"}

    @property
    def digest(self) -> str:
        """See `digest_of`."""
        return digest_of(self.to_mapping())

    @property
    def name(self) -> str:
        """`problem-methods-hash`: the same for the same configuration, whatever its seeds."""
        kept = () if self.continual is None else (self.continual.name,)
        methods = "+".join([*kept, *(method.name for method in self.methods)]) or self.agent.name
        return f"{self.problem.name}-{methods}-{self.digest[:8]}"

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return read_seeds(self.seeds)


def _without_label(name: Any) -> Any:
    """The `NAME` in `NAME` or `NAME@LABEL`."""
    source, at, label = str(name).partition("@")
    if not at:
        return name
    if not re.fullmatch(r"\w+", label, re.ASCII):
        raise ConfigError(f"method {name}: a label has only letters, digits and _; write a name such as {source}@first")
    return source


def digest_of(configuration: Mapping[str, Any]) -> str:
    """The SHA-256 of the plain data of a configuration without its seeds, in hexadecimal digits.

    The name of a run, its metrics and its checkpoints have it.
    """
    plain = {name: value for name, value in configuration.items() if name != "seeds"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def expand(config: RunConfig, together: Callable[[RunConfig, str], bool]) -> list[RunConfig]:
    """Splits a run into several if its sweep cannot be one program.

    Args:
        config: a run with any sweep.
        together: `(config, dotted name) -> whether` the values of that setting can share one program.

    Returns:
        One run for each combination of the values that cannot share a program; all other settings stay swept.
    """
    apart = [name for name in config.sweep if not together(config, name)]
    rest = {name: values for name, values in config.sweep.items() if name not in apart}
    combinations = itertools.product(*(config.sweep[name] for name in apart))
    return [dataclasses.replace(config.with_values(dict(zip(apart, c))), sweep=rest) for c in combinations]
