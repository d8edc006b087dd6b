"""Which command; what every command shares: devices, the compilation cache, errors of one line."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pliant.core.registry import UnknownNameError

USAGE = """\
usage: pliant COMMAND ...

  list                what there is: problems, agents, methods, diagnostics, recipes, presets
  run PROBLEM         run a problem: any method, any seeds, any sweep; or a preset, or a configuration file
  reproduce RECIPE    a published figure: its runs, its table and figure, the paper's numbers beside ours
  report RUN          curves and a table of a run's directory

pliant COMMAND --help explains each."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, 2 for what cannot be done, 130 for a run that was asked to stop."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    command, *rest = arguments
    commands = ("list", "run", "reproduce", "report")
    if command not in commands:
        return _fail(UnknownNameError(f"unknown command {command!r}; write one of: {', '.join(commands)}"))
    _say_what_methods_say()
    if command in ("run", "reproduce"):
        _prepare_jax()

    # Each command imports what it needs and no more: `pliant list` does not wait for JAX.
    if command == "list":
        from ._list import command as go
    elif command == "run":
        from ._run import command as go
    elif command == "reproduce":
        from ._reproduce import command as go
    else:
        from ._report import command as go
    return _guarded(go, rest)


def _guarded(go, arguments: list[str]) -> int:
    from pliant.experiment.run import Interrupted
    from pliant.experiment.store import StoreError

    try:
        go(arguments)
    except Interrupted as stopped:
        print(f"pliant: {stopped}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("pliant: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (ValueError, StoreError) as error:
        return _fail(error)
    except BrokenPipeError:  # `pliant list | head`
        sys.stderr.close()
    return 0


def _fail(error: Exception) -> int:
    if os.environ.get("PLIANT_TRACEBACK"):
        raise error
    print(f"pliant: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def _prepare_jax() -> None:
    """All cores as devices, and programs kept on disk from one run to the next; the user's own settings win."""
    import jax

    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    if jax.config.jax_compilation_cache_dir is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pliant" / "jax"
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


class _Once(logging.Filter):
    """Lets a message pass once: a method that is made for each value of a sweep says the same each time."""

    def __init__(self):
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in self._seen
        self._seen.add(message)
        return new


class _ToConsole(logging.Handler):
    """Shows messages above a progress bar that may be on the screen."""

    def __init__(self):
        super().__init__()
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.addFilter(_Once())

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        self._console.print(record.getMessage(), style=style, markup=False)


def _say_what_methods_say() -> None:
    logger = logging.getLogger("pliant")
    if not any(isinstance(handler, _ToConsole) for handler in logger.handlers):
        logger.addHandler(_ToConsole())
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.getLogger("absl").setLevel(logging.ERROR)
