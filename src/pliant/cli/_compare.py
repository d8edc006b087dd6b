"""`pliant compare`: runs side by side."""

from pathlib import Path

from rich.console import Console

from pliant import report

from ._arguments import Parser
from ._summary import add_reference

_DESCRIPTION = """\
Compares runs at their end, and draws their curves in one figure. The first
run is the baseline. Differences to it are paired by seed where the two share
seeds, because members with the same seed meet the same data and environments.
Intervals are of at least five seeds. Runs with the same configuration, as of
several machines, count as one run with the seeds of all. Of runs on a
sequence of tasks: also forgetting, forward transfer and memory.

  pliant compare runs/ant-ppo-1a2b3c4d runs/ant-redo-5e6f7a8b --metric return"""


def command(arguments: list[str]) -> None:
    """Prints the table and writes the figure."""
    given = parser().parse_args(arguments)
    reference = None if given.reference is None else report.load(given.reference)
    comparison = report.compare([report.load(run) for run in given.runs], given.metric, reference)
    figure = comparison.write(given.out)
    console = Console(highlight=False)
    comparison.table.to_terminal(console)
    for table in comparison.continual:
        console.print()
        table.to_terminal(console)
    console.print(f"figure: {figure}", soft_wrap=True, markup=False)


def parser() -> Parser:
    """The arguments."""
    parser = Parser("pliant compare", _DESCRIPTION)
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="directories of runs, the baseline first")
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="which metric [default: the return on all tasks of a sequence, or else the return, or else the loss]",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=Path("comparison"),
        help="folder of figure and table [default comparison]",
    )
    add_reference(parser)
    return parser
