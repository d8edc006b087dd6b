"""The command line: `pliant list | run | reproduce | report | evaluate`."""

from ._main import main as main
