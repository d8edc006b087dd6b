"""Components of one's own: named by their file, or found in a run, whose files the flag `--source` allows."""

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


def named_component(name: str) -> str | dict[str, str]:
    """The name of a component; of one in a file also its source."""
    return sources.in_file(name) if sources.names_file(name) else name
