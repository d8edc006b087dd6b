"""Chooses the command; sets up what all commands share: devices, the compilation cache, errors of one line."""

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from pliant._version import __version__
from pliant.core import registry
from pliant.experiment.errors import Interrupted, StoreError, echo

COMMANDS = ("list", "run", "runs", "reproduce", "report", "compare", "evaluate", "visualize", "analyze", "completion")
_TRAINING = ("run", "reproduce")
_LONGEST_WORD = 200  # characters; longer ones are no paths but input

_USAGE = """\
usage: pliant COMMAND ...

  list                names of problems, agents, methods, diagnostics, recipes and presets
  run PROBLEM         run a problem: any method, any seeds, any sweep; or a preset, or a configuration file
  reproduce RECIPE    a published figure: its runs, its table and figure, the paper's numbers beside ours
  runs                what lies in runs/: settings, seeds, state and last value of each run
  report RUN          curves and a table of a run's directory
  compare RUN RUN     runs side by side: differences paired by seed, and one figure
  evaluate RUN        episodes of a run's agents, from any checkpoint, without learning: success, returns, lengths
  visualize RUN       episodes of a run's agent to watch: in the terminal, or as a film
  analyze RUN         networks of a run of a stream, at its checkpoints: units, ranks, weights, accuracy of classes
  completion SHELL    the script that completes commands, names and flags in bash, zsh or fish

pliant COMMAND --help explains each. pliant --version prints the version."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, 2 after an error, 130 for a run that was stopped."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    if arguments == ["--version"]:
        print(f"pliant {__version__}")
        return 0
    try:
        _command(arguments[0])(arguments[1:])
    except BrokenPipeError:  # `pliant list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes when it ends
    except Interrupted as stopped:
        print(f"pliant: {stopped}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        again = "; the same command goes on from the last checkpoint" if arguments[0] in _TRAINING else ""
        print(f"pliant: stopped{again}", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        message = _in_one_line(error)
        if message is None or os.environ.get("PLIANT_TRACEBACK"):
            raise
        print(f"pliant: {message}", file=sys.stderr)
        return 2
    return 0


def _in_one_line(error: Exception) -> str | None:
    """What went wrong; `None` if it is not the user's affair."""
    words = " ".join(word if len(word) <= _LONGEST_WORD else echo(word) for word in str(error).split())
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in words:
        return f"out of memory ({words[:_LONGEST_WORD]}); write fewer seeds or smaller sizes"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return words if isinstance(error, ValueError | OSError | StoreError) else None


def _command(name: str) -> Callable[[list[str]], None]:
    """The function of a command. Only this command's imports are loaded: `pliant list` does not wait for orbax."""
    registry.check("command", name, COMMANDS)
    _log_to_console()
    if name in (*_TRAINING, "evaluate", "visualize", "analyze"):
        from pliant.experiment.devices import prepare  # imports JAX, which `pliant report` does not need

        prepare()
    return importlib.import_module(f"pliant.cli._{name}").command


class _ToConsole(logging.Handler):
    """Shows messages above a progress bar that may be on the screen."""

    def __init__(self):
        super().__init__()
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        with contextlib.suppress(OSError):  # the terminal may be closed; the run is saved anyway
            self._console.print(record.getMessage(), style=style, markup=False)


def _log_to_console() -> None:
    logger = logging.getLogger("pliant")
    if not any(isinstance(handler, _ToConsole) for handler in logger.handlers):
        logger.addHandler(_ToConsole())
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.getLogger("absl").setLevel(logging.ERROR)
