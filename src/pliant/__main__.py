"""The program `pliant`, which is also `python -m pliant`."""

import importlib.util
import signal
import sys

from pliant.experiment.stopping import exit_at_once, watched

_OF_THE_SUITE = ("rich", "yaml", "docstring_parser", "pandas", "orbax", "scipy", "matplotlib", "flax")


def main() -> int:
    """Runs one command. Ctrl-C ends the process with one line, also while packages are imported."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, exit_at_once)
    missing = next((package for package in _OF_THE_SUITE if importlib.util.find_spec(package) is None), None)
    if missing is not None:
        print(
            f"pliant: the command line is part of the suite, which needs {missing}: pip install -e '.[suite]'",
            file=sys.stderr,
        )
        return 2
    with watched(lambda count: exit_at_once()):
        from pliant.cli import main as command

        return command()


if __name__ == "__main__":
    sys.exit(main())
