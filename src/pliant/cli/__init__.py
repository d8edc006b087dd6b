"""The command line: `pliant list | run | runs | reproduce | report | compare | evaluate | visualize`."""

from ._main import main as main
