"""`pliant runs`: what lies in a folder of runs."""

from pathlib import Path

from rich.console import Console

from pliant import report

from ._arguments import Parser

_DESCRIPTION = """\
Lists the runs in a folder: the settings in which they differ from the other
runs of the same problem, seeds, state, step and last value (the return, or
else the loss; the mean over seeds)."""


def command(arguments: list[str]) -> None:
    """Prints the table."""
    parser = Parser("pliant runs", _DESCRIPTION)
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="?", default=Path("runs"), help="[default runs]")
    given = parser.parse_args(arguments)
    report.overview(given.folder).to_terminal(Console(highlight=False))
