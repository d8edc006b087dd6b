"""`pliant analyze`: the networks of a run, measured at its checkpoints."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pliant import report
from pliant.core import registry
from pliant.core.settings import AtLeast
from pliant.experiment.configuration.config import ComponentSpec
from pliant.experiment.configuration.seeds import read_seeds
from pliant.experiment.configuration.settings import Setting
from pliant.experiment.evaluation.analyze import DIAGNOSTICS, EXAMPLES, analyze, read_diagnostics, write

from ._arguments import Flag, Parser, component_flags
from ._progress import progress
from ._sources import add_source, add_sources, named_component
from ._summary import add_all

_DESCRIPTION = """\
Measures the networks of a run of a stream at its checkpoints: before training
and at the end of each task, if the run kept them (--keep-checkpoints of pliant
run). Diagnostics are measured on examples of the task that begins at the
checkpoint and, where the problem has them, of the tasks before; the accuracy
on the test set, also of each class. At the end of a task a checkpoint has the
parameters that early stopping took back, before anything is reset.

The numbers of all members are written to RUN/analysis.parquet, in place of
those of an earlier analysis, and pliant report shows them. The run is only
read, and may continue meanwhile.

  pliant analyze runs/permuted_mnist-sgd-1a2b3c4d
  pliant analyze runs/incremental_cifar-sgd-1a2b3c4d --train-mode"""

_STEP = Setting("step", int, 0, "", AtLeast(0))
_EXAMPLES = Setting(
    "examples",
    int,
    0,
    f"Examples on which diagnostics are measured; 0: {EXAMPLES} of the splits next_task and previous_tasks of the "
    "problem; without these splits as many as while learning.",
    AtLeast(0),
)


def command(arguments: list[str]) -> None:
    """Measures, writes the file and prints its tables."""
    named = _diagnostics(Parser("pliant analyze", add_help=False)).parse_known_args(arguments)[0]
    specs = read_diagnostics(
        None if named.diagnostics is None else [*map(named_component, named.diagnostics.split(","))]
    )
    given = parser(specs).parse_args(arguments)
    add_sources(given)
    steps = None if given.step is None else [_STEP.read(step.strip(), "--step") for step in given.step.split(",")]
    how = {"examples": getattr(given, "examples", _EXAMPLES.default), "train_mode": given.train_mode}
    with progress(given.run.resolve().name, "networks") as on_progress:
        table = analyze(
            given.run,
            [_with_flags(spec, vars(given)) for spec in specs],
            steps=steps,
            seeds=None if given.seeds is None else read_seeds(given.seeds),
            on_progress=on_progress,
            **how,
        )
    written = write(given.run, table, **how)
    console = Console(highlight=False)
    for shown in report.analysis(given.run, given.all):
        shown.to_terminal(console)
        console.print()
    console.print(f"all numbers: {written}", soft_wrap=True, markup=False)


def _diagnostics(parser: Parser) -> Parser:
    """Adds the argument that decides which other flags there are."""
    names, default = " | ".join(registry.names("diagnostics")), ",".join(DIAGNOSTICS)
    parser.add_argument("--diagnostics", metavar="NAME,...", help=f"metrics to compute [{names}; default {default}]")
    return parser


def _with_flags(spec: ComponentSpec, given: Mapping[str, Any]) -> ComponentSpec:
    """A diagnostic with the settings of the flags."""
    where = f"diagnostic.{spec.name}."
    flags = {key.removeprefix(where): value for key, value in given.items() if key.startswith(where)}
    return dataclasses.replace(spec, settings={**spec.settings, **flags})


def parser(specs: Sequence[ComponentSpec] = ()) -> Parser:
    """The arguments, with the settings of the diagnostics."""
    parser = Parser("pliant analyze", _DESCRIPTION)
    parser.add_argument("run", metavar="RUN", type=Path, help="a run's directory")
    add_source(_diagnostics(parser))
    parser.add_argument("--step", metavar="N,...", help="steps of the checkpoints [default all that there are]")
    parser.add_argument("--seeds", metavar="SEEDS", help="which of the run's seeds: 3 (0 to 2), 0-9,20 [default all]")
    parser.add_argument(
        "--train-mode",
        action="store_true",
        help="norms use the statistics of the examples, as while learning, not the running statistics; as published "
        "for incremental CIFAR-100",
    )
    add_all(parser)
    parser.add_settings("how much", [Flag(("examples",), "examples", _EXAMPLES)])
    for spec in specs:
        parser.add_settings(*component_flags(spec, f"diagnostic.{spec.name}"))
    return parser
