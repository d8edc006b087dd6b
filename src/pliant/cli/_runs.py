"""`pliant runs`: what lies in a folder of runs."""

from pathlib import Path

from rich.console import Console

from pliant import report
from pliant.report import Table

from ._arguments import Parser

_DESCRIPTION = """\
Lists the runs in a folder: the settings in which they differ from the other
runs of the same problem, seeds, state, step and last value (the return, or
else the loss; the mean over seeds). In a narrow terminal names are cut in
the middle, and columns are left out; a file or a pipe gets all."""

_CUT = ("run", "settings")
_LEFT_OUT = ("seeds", "step", "settings", "metric", "value")  # one after another, until the table fits


def command(arguments: list[str]) -> None:
    """Prints the table."""
    parser = Parser("pliant runs", _DESCRIPTION)
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="?", default=Path("runs"), help="[default runs]")
    given = parser.parse_args(arguments)
    table, console = report.overview(given.folder), Console(highlight=False)
    (_fitted(table, console.width) if console.is_terminal else table).to_terminal(console)


def _fitted(table: Table, width: int) -> Table:
    """The table as a terminal of this width can show it, each run in one line."""
    short = table.shortened(width, _CUT)
    gone = next((column for column in _LEFT_OUT if column in table.columns), None)
    return short if short.width <= width or gone is None else _fitted(table.without(gone), width)
