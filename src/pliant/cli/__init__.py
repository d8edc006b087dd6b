"""The command line: `pliant list | run | reproduce | report`."""

from ._main import main as main
