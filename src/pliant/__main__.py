"""The program `pliant`, which is also `python -m pliant`."""

import signal
import sys

from pliant.experiment.stopping import exit_at_once, watched


def main() -> int:
    """Runs one command. Ctrl-C ends the process with one line, also while packages are imported."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, exit_at_once)
    with watched(lambda count: exit_at_once()):
        from pliant.cli import main as command

        return command()


if __name__ == "__main__":
    sys.exit(main())
