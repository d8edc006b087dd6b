"""`pliant run`: any method on any problem, with any seeds and any sweep."""

import argparse
import contextlib
import dataclasses
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from pliant import report
from pliant.core import registry, sources
from pliant.core.notes import log_once
from pliant.core.settings import AtLeast
from pliant.experiment.configuration import config as configs
from pliant.experiment.configuration import published, published_words
from pliant.experiment.configuration.config import RUN_SETTINGS, RunConfig
from pliant.experiment.configuration.reading import from_mapping, named, resolve
from pliant.experiment.configuration.settings import Setting
from pliant.experiment.configuration.yaml_file import read_text
from pliant.experiment.errors import ConfigError, echo
from pliant.experiment.loops.plan import Plan
from pliant.experiment.loops.planning import plans
from pliant.experiment.progress import Work
from pliant.experiment.run import run
from pliant.experiment.storage.shards import shards_of
from pliant.reproduction.time_left import TimeLeft

from ._arguments import Flag, Heading, Parser, component_flags
from ._progress import progress
from ._sources import add_source, add_sources, named_component
from ._summary import add_all, print_summary

_DESCRIPTION = """\
Runs a problem with all seeds and swept values at once; a stopped run resumes.

TARGET is a problem (see pliant list problems), PROBLEM/PRESET (see pliant list
presets), a configuration file, the directory of a run, or a problem of your
own: FILE.py or FILE.py:NAME. Flags replace settings of the target; --help after
a target and its methods shows only their flags. Configuration files of the
published program are read, too (docs/coming_from/loss_of_plasticity.md), and
the words scenario=halfcheetah/forgetting -cn=ft_l2 of the published suite of
continual reinforcement learning (docs/coming_from/rewire_neuron.md).

  pliant run slowly_changing_regression --seeds 100 \\
      --method continual_backprop --sweep learning_rate=0.01,0.003
  pliant run slowly_changing_regression/sgd/bp/relu --seeds 0-9,20
  pliant run ant --preset cbp --seed 0
  pliant run --config cfg/ant/cbp.yml -s 0
  pliant run my_problem.py --method my_methods.py:my_method --seeds 10
  pliant run runs/slowly_changing_regression-sgd-1a2b3c4d --force"""

logger = logging.getLogger(__name__)

_SEED = Setting("seed", int, 0, "One seed.", AtLeast(0))

_FOLDER = Path("runs")

_IMPORTANCE = (
    "problem",
    "network",
    "method",
    "continual",
    "run",
    "agent",
    "diagnostic",
)  # first words of the groups in the help, in order


def flags(arguments: list[str]) -> list[str]:
    """The flags that may follow the arguments: a target, and flags that name components."""
    *_, parser = _read_target(published_words.translated(arguments))
    return parser.flags


def command(arguments: list[str]) -> None:
    """Parses, runs, and prints a table for each run."""
    arguments = published_words.translated(arguments)
    arguments, is_file, named, base, parser = _read_target(arguments)
    given = parser.parse_args(arguments)
    config = _with_flags(base, vars(given))
    on_save = report.tensorboard() if given.tensorboard else lambda path: None

    home = None if given.out is not None else _run_directory(named.target, is_file)
    target = None if home is None else _of_run(home)

    runs = plans(config)
    log_once(note for plan in runs for note in plan.notes)
    directories, time_left = [], _time_left(runs)
    for number, plan in enumerate(runs, 1):
        name = plan.config.name
        title = name if len(runs) == 1 else f"{number}/{len(runs)} {name}{_apart(config, plan.config)}"
        with progress(title, plan.work.unit) as on_progress:
            on_progress = time_left.watch(plan.work.amount, on_progress)
            # A run stays in its directory, however that is called, unless flags made another run of it.
            directory = home if target is not None and target.digest == plan.config.digest else None
            path = run(
                plan,
                given.out or _FOLDER,
                directory=directory,
                force=given.force,
                on_progress=on_progress,
                on_save=on_save,
            )
            directories.append(path)
    console = Console(highlight=False)
    for one, directory in zip((plan.config for plan in runs), directories):
        print_summary(report.load(directory, one.seed_list), console, given.all)
        console.print(
            f"{directory}{_apart(config, one)}; curves: pliant report {shlex.quote(str(directory))}\n",
            soft_wrap=True,
            markup=False,
        )


def _read_target(arguments: list[str]) -> tuple[list[str], bool, argparse.Namespace, RunConfig, Parser]:
    """The arguments with the target first, whether it must be a file, its words, its configuration, and all flags."""
    arguments, is_file = _target_first(arguments)
    named = _words(Parser("pliant run", add_help=False)).parse_known_args(arguments)[0]
    add_sources(named)
    base = _base(named, is_file)
    groups = [component_flags(component, where) for where, component in base.components().items()]
    return arguments, is_file, named, base, _parser(groups, vars(base))


def _time_left(runs: Sequence[Plan]) -> TimeLeft:
    """Prints the duration of the runs as soon as it is known, if it is long."""
    unit = next((plan.work.unit for plan in runs), "")
    return TimeLeft(Work(sum(plan.work.amount for plan in runs), unit), logger.info)


def _target_first(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments with the target before all flags, and whether it must be a file, as after `--config`."""
    parser = _config(Parser("pliant run", add_help=False))
    given, rest = parser.parse_known_args(arguments)
    has_target = bool(rest) and not rest[0].startswith("-")
    if given.config is None:
        if not has_target:
            _without_target(arguments)
        return arguments, False
    if has_target:
        parser.error(f"{rest[0]} and --config {given.config}: write one of the two")
    return [given.config, *rest], True


def _apart(config: RunConfig, one: RunConfig) -> str:
    """The values in which one of several runs differs from the others: ` (activation=relu)`."""
    values = []
    for name in config.sweep:
        where, _, key = name.rpartition(".")
        if name not in one.sweep:
            values.append(f"{key}={one.components()[where].settings[key]}")
    return f" ({', '.join(values)})" if values else ""


def _without_target(arguments: list[str]) -> NoReturn:
    """Shows the help with all flags, or asks for the target."""
    parser = _parser([], {})
    for kind in ("problems", "agents", "methods", "continual", "diagnostics"):
        for name in registry.names(kind):
            component, place = configs.ComponentSpec(kind, name, {}), kind.removesuffix("s")
            where = f"{place}.{name}" if kind in ("methods", "diagnostics") else place
            with contextlib.suppress(ValueError):  # a component of another package may be broken
                parser.explain(*component_flags(component, where))
    if not {"-h", "--help"}.isdisjoint(arguments):
        parser.parse_args(["--help"])
    parser.error("write first what to run: pliant run TARGET [flags]")


def _words(parser: Parser) -> Parser:
    """Adds the arguments that decide which other flags there are."""
    agents, methods, diagnostics = (" | ".join(registry.names(kind)) for kind in ("agents", "methods", "diagnostics"))
    continual, networks = " | ".join(registry.names("continual")), registry.names("networks")
    default = ",".join(configs.DEFAULT_DIAGNOSTICS)
    parser.add_argument(
        "target", metavar="TARGET", help="a problem, PROBLEM/PRESET, a configuration file, a run, or FILE.py:NAME"
    )
    parser.add_argument("--preset", metavar="NAME", help="a preset of the problem TARGET")
    parser.add_argument("--agent", metavar="NAME", help=f"the learning agent [{agents}; default: the problem's]")
    parser.add_argument(
        "--method",
        metavar="NAME",
        action="append",
        help="a plasticity method, or METHOD/PRESET; may be given several times; one method twice as NAME@LABEL, with "
        f"the flags --method.NAME@LABEL.SETTING [{methods} | FILE.py:NAME | none; default none]",
    )
    parser.add_argument(
        "--continual",
        metavar="NAME",
        help="a continual method, of problems with tasks: what the network keeps of earlier tasks; published names, "
        f"such as ft_l2, are read, too [{continual} | FILE.py:NAME | none; default none]",
    )
    parser.add_argument(
        "--network",
        metavar="NAME",
        help=f"a network in place of the problem's [{' | '.join([*networks, 'FILE.py:NAME'])} | none; default none]",
    )
    parser.add_argument(
        "--diagnostics", metavar="NAME,...", help=f"metrics to compute [{diagnostics} | none; default {default}]"
    )
    add_source(parser)
    return parser


def _config(parser: Parser) -> Parser:
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="a configuration file instead of TARGET; -c for short [default none]"
    )
    return parser


def _parser(groups: list[Heading], of_run: Mapping[str, Any]) -> Parser:
    """The parser of all flags: of components, and of the run, with the target's settings as defaults."""
    parser = _config(_words(Parser("pliant run", _DESCRIPTION)))
    parser.add_argument(
        "--sweep",
        metavar="NAME=V1,V2,...",
        action="append",
        default=[],
        help="values of a setting, which run side by side; may be given several times",
    )
    parser.add_argument("-s", "--seed", metavar="N", help="one seed, the same as --seeds N-N; -s for short")
    now = {
        name: dataclasses.replace(setting, default=of_run.get(name, setting.default))
        for name, setting in RUN_SETTINGS.items()
    }
    of_run_itself = ("run", [Flag((name,), name, setting) for name, setting in now.items()])
    for heading, flags in sorted([of_run_itself, *groups], key=lambda group: _IMPORTANCE.index(group[0].split()[0])):
        parser.add_settings(heading, flags)
    output = parser.add_argument_group("files and output")
    output.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        help=f"folder of new runs [default: {_FOLDER}]; a run TARGET stays where it is",
    )
    output.add_argument("--force", action="store_true", help="compute finished runs again")
    output.add_argument(
        "--tensorboard",
        action="store_true",
        help="write TensorBoard's event files, too, to RUN/tensorboard; for a finished run all at once",
    )
    add_all(output)
    return parser


def _base(named: argparse.Namespace, is_file: bool) -> RunConfig:
    """The configuration of the target with the components that flags name, before flags of single settings."""
    target = _target(named.target, named.preset, is_file)
    base = target.to_mapping()
    if named.agent is not None and named.agent != target.agent.name:
        base["agent"] = named_component(named.agent)
    if named.network is not None:
        base["network"] = None if named.network == "none" else named_component(named.network)
    if named.continual is not None and (target.continual is None or named.continual != target.continual.name):
        base["continual"] = None if named.continual == "none" else named_component(named.continual)
    for kind, names in (("methods", named.method), ("diagnostics", named.diagnostics and named.diagnostics.split(","))):
        if names is not None:
            known = {component["name"]: component for component in base[kind]}
            base[kind] = [known.get(name, named_component(name)) for name in names if name != "none"]
    # Sweeps over settings of a component that was replaced are dropped.
    now = {
        (component.kind, component.name): where
        for where, component in from_mapping({**base, "sweep": {}}).components().items()
    }
    base["sweep"] = {}
    for dotted, values in target.sweep.items():
        where, _, key = dotted.rpartition(".")
        component = target.components()[where]
        if (component.kind, component.name) in now:
            base["sweep"][f"{now[component.kind, component.name]}.{key}"] = values
    return from_mapping(base)


def _target(target: str, named_preset: str | None, is_file: bool) -> RunConfig:
    path = Path(target)
    problem, _, preset = target.partition("/")
    looks_like_file = os.path.isdir(path) or path.suffix in (".yaml", ".yml") or sources.names_file(target)
    if is_file or (problem not in registry.names("problems") and looks_like_file):
        if named_preset is not None:
            raise ConfigError(f"--preset {named_preset}: only a problem has presets, and {target} is a file or a run")
        if sources.names_file(target):
            return from_mapping({"problem": sources.in_file(target)})
        directory = _run_directory(target, is_file)
        return _from_file(path) if directory is None else _of_run(directory)
    if preset and named_preset not in (None, preset):
        raise ConfigError(f"{target} and --preset {named_preset}: write one of the two")
    preset = preset or named_preset
    return from_mapping(named(f"{problem}/{preset}" if preset else problem, "problem or path"))


def _run_directory(target: str, is_file: bool) -> Path | None:
    """The directory of the run that the target is; `None` if it is something else."""
    path = Path(target)
    if path.name == "config.yaml" and (path.parent / "shards").is_dir():
        return path.parent
    is_problem = not is_file and target.partition("/")[0] in registry.names("problems")
    return path if os.path.isdir(path) and not is_problem else None


def _of_run(path: Path) -> RunConfig:
    """The configuration of a run, with all its seeds."""
    config = _from_file(path / "config.yaml")
    seeds = [shard.text for shard in shards_of(path)]
    return dataclasses.replace(config, seeds=",".join(seeds)) if seeds else config


def _from_file(file: Path) -> RunConfig:
    try:
        return published.read(read_text(file))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from error


def _with_flags(base: RunConfig, given: dict[str, Any]) -> RunConfig:
    """The configuration with the settings of the flags."""
    values = {name: value for name, value in given.items() if "." in name}
    swept: dict[str, list[str]] = {}
    for text in given["sweep"]:
        name, _, listed = text.partition("=")
        dotted, _ = resolve(base, name)
        if not listed or dotted in swept:
            raise ConfigError(f"--sweep {echo(text)}: write --sweep NAME=V1,V2,..., once for a setting")
        if dotted in values:
            raise ConfigError(f"--sweep {echo(text)}: {dotted} is set by a flag, too; write one of the two")
        swept[dotted] = [value.strip() for value in listed.split(",")]
    kept = {name: listed for name, listed in base.sweep.items() if name not in values}
    run_settings = {name: given[name] for name in RUN_SETTINGS if name in given}
    if given["seed"] is not None:
        if "seeds" in given:
            raise ConfigError(f"--seed {given['seed']} and --seeds {given['seeds']}: write one of the two")
        seed = _SEED.read(given["seed"], "--seed")
        run_settings["seeds"] = f"{seed}-{seed}"
    return from_mapping({**base.with_values(values).to_mapping(), **run_settings, "sweep": {**kept, **swept}})
