"""The flag `--source`: files with components of one's own that a run already has."""

import argparse

from pliant.core import sources

from ._arguments import Parser


def add_source(parser: Parser) -> None:
    """Adds `--source`."""
    parser.add_argument(
        "--source",
        metavar="FILE",
        action="append",
        default=[],
        help="a Python file with components of the run, unchanged since; it is executed; may be given several times",
    )


def add_sources(given: argparse.Namespace) -> None:
    """Allows the components of the files that the flag names."""
    for file in given.source:
        sources.add_file(file)
