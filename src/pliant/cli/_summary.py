"""The table at the end of a run and of a report, fitted to the terminal."""

from pathlib import Path
from typing import Any

from rich.console import Console

from pliant import report
from pliant.report import Run

_ROWS = 6  # without --all: the return, or the loss, and five more


def add_all(flags: Any) -> None:
    """Adds `--all` to a parser, or to a group of its flags."""
    flags.add_argument(
        "--all", action="store_true", help=f"print the table of all metrics and groups, not its first {_ROWS} rows"
    )


def add_reference(flags: Any) -> None:
    """Adds `--reference` to a parser."""
    flags.add_argument(
        "--reference",
        metavar="RUN",
        type=Path,
        help="a run that learns each task of the sequence by itself, such as one of --continual from_scratch",
    )


def print_summary(run: Run, console: Console, all_rows: bool) -> None:
    """Prints the table of a run; if it is wider than the terminal, without the column of the first tenth."""
    table = report.summary(run, None if all_rows else _ROWS)
    if table.width > console.width and "first tenth" in table.columns:
        table = table.without("first tenth")
    table.to_terminal(console)
