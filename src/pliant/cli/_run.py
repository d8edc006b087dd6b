"""`pliant run`: any method on any problem, with any seeds and any sweep."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from pliant import report
from pliant.core import registry
from pliant.experiment import config as configs
from pliant.experiment.config import RUN_SETTINGS, RunConfig
from pliant.experiment.errors import ConfigError
from pliant.experiment.run import run, split
from pliant.experiment.settings import Setting, settings_of

from ._arguments import Parser
from ._progress import progress

_DESCRIPTION = """\
Runs a problem with all its seeds and swept values at once, and goes on where
it was stopped.

TARGET is a problem (see pliant list problems), PROBLEM/PRESET (see pliant list
presets), a configuration file, or the directory of a run. Flags change what
the target says; --help after a target and its methods shows their flags alone.

  pliant run slowly_changing_regression --seeds 100 \\
      --method continual_backprop --sweep step_size=0.01,0.003
  pliant run slowly_changing_regression/sgd/bp/relu --seeds 0-9,20
  pliant run runs/slowly_changing_regression-sgd-1a2b3c4d --force"""

_Flag = tuple[tuple[str, ...], str, Setting]  # what it may be called, where its value goes, what it sets
_Group = tuple[str, list[_Flag]]  # heading and flags


def command(arguments: list[str]) -> None:
    """Parses, runs, and prints a table for each run."""
    if not arguments or arguments[0] in ("-h", "--help"):
        _parser(_all_groups()).parse_args(arguments)
    if not arguments or arguments[0].startswith("-"):
        raise ConfigError("write first what to run: pliant run TARGET [flags] (see pliant run --help)")
    named = _words(argparse.ArgumentParser(add_help=False, allow_abbrev=False)).parse_known_args(arguments)[0]
    base = _base(named)
    given = _parser(_groups(base)).parse_args(arguments)
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
    agents, methods, diagnostics = (" | ".join(registry.names(k)) for k in ("agents", "methods", "diagnostics"))
    default = ",".join(configs.DEFAULT_DIAGNOSTICS)
    parser.add_argument("target", metavar="TARGET", help="a problem, PROBLEM/PRESET, a configuration file, or a run")
    parser.add_argument("--agent", metavar="NAME", help=f"who learns [{agents}; default: the problem's]")
    parser.add_argument(
        "--method",
        metavar="NAME",
        action="append",
        help=f"a plasticity method; may stand several times [{methods} | none; default none]",
    )
    parser.add_argument(
        "--diagnostics", metavar="NAME,...", help=f"what is measured [{diagnostics} | none; default {default}]"
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
    for heading, flags in [("run", [((name,), name, s) for name, s in RUN_SETTINGS.items()]), *groups]:
        group = parser.add_argument_group(heading)
        for names, dest, setting in flags:
            parser.add_setting(group, names, dest, setting)
    return parser


def _groups(config: RunConfig) -> list[_Group]:
    """The flags of one run: problem and agent by their bare names, methods and diagnostics with a prefix."""
    return [
        (f"{part.kind[:-1]} {part.name}", [(_flags(part, key), f"{where}.{key}", s) for key, s in _settings(part)])
        for where, part in config.parts().items()
    ]


def _all_groups() -> list[_Group]:
    """The flags of everything there is, for the help without a target."""
    parts = [
        configs.Part(kind, name, {})
        for kind in ("problems", "agents", "methods", "diagnostics")
        for name in registry.names(kind)
    ]
    ...
