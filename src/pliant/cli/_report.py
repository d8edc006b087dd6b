"""`pliant report`: curves and a table of any run."""

from pathlib import Path

from rich.console import Console

from pliant import report

from ._arguments import Parser
from ._summary import add_all, add_reference, print_summary

_DESCRIPTION = """\
Draws the curves of every metric of a run (PNG and PDF) and writes its table
(Markdown, CSV). Shows what pliant analyze measured, too. Of a run on a
sequence of tasks: also the matrix of returns, forgetting, forward transfer
and memory; with --reference normalized by another run on the same tasks.

  pliant report runs/crl_ant-ewc-1a2b3c4d \\
      --reference runs/crl_ant-from_scratch-5e6f7a8b"""


def command(arguments: list[str]) -> None:
    """Writes the report of a run."""
    given = parser().parse_args(arguments)
    update = report.tensorboard() if given.tensorboard else lambda path: None
    run = report.load(given.run)
    reference = None if given.reference is None else report.load(given.reference)
    written = report.write(run, given.out or given.run / "report", reference)
    update(given.run)
    console = Console()
    print_summary(run, console, given.all)
    tables = report.continual_tables([run], reference) if report.learns_sequence(run) else []
    for table in [*tables, *report.analysis(given.run, given.all)]:
        console.print()
        table.to_terminal(console)
    console.print(written, soft_wrap=True, markup=False, highlight=False)


def parser() -> Parser:
    """The arguments."""
    parser = Parser("pliant report", _DESCRIPTION)
    parser.add_argument("run", metavar="RUN", type=Path, help="a run's directory")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="folder of the report [default RUN/report]")
    parser.add_argument(
        "--tensorboard", action="store_true", help="write TensorBoard's event files, too, to RUN/tensorboard"
    )
    add_reference(parser)
    add_all(parser)
    return parser
