"""`pliant run`: any method on any problem, with any seeds and any sweep."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from pliant import report
from pliant.core import registry
from pliant.experiment import config as configs
from pliant.experiment.config import RUN_SETTINGS, ConfigError, RunConfig, Setting, settings_of
from pliant.experiment.run import run, split

from ._arguments import Parser
from ._progress import progress

_DESCRIPTION = """\
Runs a problem with all its seeds and swept values at once, and goes on where it was stopped.

TARGET is a problem (pliant list problems), PROBLEM/PRESET (pliant list presets), or a configuration file or run
directory, such as every run leaves behind. Flags change what the target says. With a target, --help shows the flags
of its parts alone.

  pliant run slowly_changing_regression --method continual_backprop --seeds 100 --sweep step_size=0.01,0.003
  pliant run slowly_changing_regression/sgd/bp/relu --seeds 0-9,20
  pliant run runs/slowly_changing_regression-sgd-1a2b3c4d/config.yaml --force"""

_Group = tuple[str, dict[str, tuple[str, Setting]]]  # heading, flag -> (where the value goes, setting)


def command(arguments: list[str]) -> None:
    """Parses, runs, and prints a table for each run."""
    named = _words(argparse.ArgumentParser(add_help=False, allow_abbrev=False)).parse_known_args(arguments)[0]
    if named.target is None or named.target.startswith("-"):
        _parser(_all_groups()).parse_args(arguments)
        raise ConfigError(f"run what? write a problem: {', '.join(registry.names('problems'))} (see pliant run --help)")
    base = _base(named)
    given = _parser(_groups(configs.from_mapping(base))).parse_args(arguments)
    config = _with_flags(base, vars(given))

    directories = []
    runs = split(config)
    for number, one in enumerate(runs, 1):
        title = one.name if len(runs) == 1 else f"{one.name} ({number} of {len(runs)})"
        with progress(title) as tell:
            directories.append(run(one, given.out, force=given.force, tell=tell))
    console = Console()
    for directory in directories:
        report.summary(report.load(directory)).to_terminal(console)
        console.print(f"{directory} (curves: pliant report {directory})", soft_wrap=True, markup=False, highlight=False)


def _words(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Adds the arguments that decide which other flags there are."""
    names = {kind: " | ".join(registry.names(kind)) for kind in ("agents", "methods", "diagnostics")}
    parser.add_argument("target", nargs="?", metavar="TARGET", help="a problem, PROBLEM/PRESET, or a configuration file")
    parser.add_argument("--preset", metavar="NAME", help="a preset of the problem: the same as PROBLEM/NAME")
    parser.add_argument("--agent", metavar="NAME", help=f"who learns [{names['agents']}; default: the problem's]")
    parser.add_argument(
        "--method",
        metavar="NAME",
        action="append",
        help=f"a plasticity method; may stand several times [{names['methods']} | none; default none]",
    )
    parser.add_argument(
        "--diagnostics",
        metavar="NAME,...",
        help=f"what is measured [{names['diagnostics']} | none; default {','.join(configs.DEFAULT_DIAGNOSTICS)}]",
    )
    return parser


def _parser(groups: list[_Group]) -> Parser:
    parser = Parser("pliant run", _DESCRIPTION)
    _words(parser)
    parser.add_argument(
        "--sweep",
        metavar="NAME=V1,V2,...",
        action="append",
        default=[],
        help="values of a setting, all of them run side by side; may stand several times",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path("runs"), help="where runs lie [default runs]")
    parser.add_argument("--force", action="store_true", help="run anew what is finished")
    for heading, flags in groups:
        group = parser.add_argument_group(heading)
        for flag, (dest, setting) in flags.items():
            parser.add_setting(group, flag, dest, setting)
    return parser


def _groups(config: RunConfig) -> list[_Group]:
    """The flags of one run: problem and agent by their bare names, methods and diagnostics with a prefix."""
    groups: list[_Group] = [("run", {name: (name, setting) for name, setting in RUN_SETTINGS.items()})]
    for where, part in {**config.parts(), **{f"diagnostic.{p.name}": p for p in config.diagnostics}}.items():
        prefix = "" if where in ("problem", "agent") else f"{where}."
        flags = {f"{prefix}{key}": (f"{where}.{key}", s) for key, s in settings_of(part.source).items()}
        groups.append((f"{where.partition('.')[0]} {part.name}", flags))
    return groups


def _all_groups() -> list[_Group]:
    """The flags of everything there is, for the help without a target."""
    groups: list[_Group] = [("run", {name: (name, setting) for name, setting in RUN_SETTINGS.items()})]
    for kind in ("problems", "agents", "methods", "diagnostics"):
        for name in registry.names(kind):
            prefix = {"methods": "method.", "diagnostics": f"diagnostic.{name}."}.get(kind, "")
            flags = {f"{prefix}{key}": (key, s) for key, s in settings_of(configs.Part(kind, name, {}).source).items()}
            groups.append((f"{kind[:-1]} {name}", flags))
    return groups


def _base(named: argparse.Namespace) -> dict[str, Any]:
    """The configuration before single settings: preset, file or defaults, with the parts that were named instead."""
    base = _target(named.target, named.preset)
    if named.agent and named.agent != base["agent"]["name"]:
        base["agent"] = {"name": named.agent}
    for key, names in (("methods", named.method), ("diagnostics", named.diagnostics and named.diagnostics.split(","))):
        if names:
            kept = {part["name"]: part for part in base[key]}
            base[key] = [kept.get(name, {"name": name}) for name in map(str.strip, names) if name != "none"]
    # What was swept in a part that is not there any more goes with it.
    parts = {**configs.from_mapping({**base, "sweep": {}}).parts()}
    base["sweep"] = {k: v for k, v in base["sweep"].items() if _has(parts, k)}
    return base


def _has(parts: dict[str, configs.Part], dotted: str) -> bool:
    where, _, key = dotted.rpartition(".")
    return where in parts and key in parts[where].settings


def _target(target: str, preset: str | None) -> dict[str, Any]:
    path = Path(target)
    if path.suffix in (".yaml", ".yml") or (path / "config.yaml").is_file():
        file = path / "config.yaml" if path.is_dir() else path
        try:
            return configs.from_yaml(file.read_text(encoding="utf-8")).to_mapping()
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    problem, _, name = target.partition("/")
    registry.check("problem", problem, registry.names("problems"))
    name = name or preset or ""
    presets = registry.presets(problem)
    if name:
        registry.check(f"preset of {problem}", name, presets)
    return configs.from_mapping(presets[name] if name else {"problem": problem}).to_mapping()


def _with_flags(base: dict[str, Any], given: dict[str, Any]) -> RunConfig:
    """The configuration that the flags make of the base."""
    config = configs.from_mapping({**base, "sweep": {}})
    run_settings = {name: given[name] for name in RUN_SETTINGS if name in given}
    values = {name: value for name, value in given.items() if "." in name}
    sweep = dict(base["sweep"])
    for text in given["sweep"]:
        name, equals, listed = text.partition("=")
        if not equals or not listed.strip(","):
            raise ConfigError(f"--sweep {text}: write --sweep NAME=V1,V2,...")
        sweep[configs.resolve(config, name)[0]] = [value for value in listed.split(",") if value]
    fixed = [name for name in values if name in sweep and name not in base["sweep"]]
    if fixed:
        raise ConfigError(f"{fixed[0]} is both set and swept; write one of the two")
    sweep = {name: listed for name, listed in sweep.items() if name not in values}
    config = config.with_values({name: value for name, value in values.items()})
    return configs.from_mapping({**config.to_mapping(), **run_settings, "sweep": sweep})
