"""`pliant completion`: the script that completes commands, names and flags in a shell."""

import contextlib
import importlib
from collections.abc import Sequence
from pathlib import Path

from pliant.core import registry, sources

from ._arguments import Parser
from ._main import COMMANDS

_DESCRIPTION = """\
Prints the script that completes commands, problems, presets, methods, runs and
flags. For bash, in ~/.bashrc; for zsh, in ~/.zshrc after compinit:

  eval "$(pliant completion bash)"
  eval "$(pliant completion zsh)"

For fish, in ~/.config/fish/config.fish:

  pliant completion fish | source"""

_BASH = """\
_pliant() {
    local words line
    words=$(pliant completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    COMPREPLY=()
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}")
}
complete -o default -F _pliant pliant"""
_SCRIPTS = {
    "bash": _BASH,
    "zsh": f"autoload -U +X bashcompinit && bashcompinit\n{_BASH}",
    "fish": (
        'complete -c pliant -a "(pliant completion words -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)"'
    ),
}
_OF_RUNS = ("analyze", "compare", "evaluate", "report", "run", "visualize")  # commands that take the directory of a run
_KINDS = {
    "--method": "methods",
    "--agent": "agents",
    "--continual": "continual",
    "--network": "networks",
    "--diagnostics": "diagnostics",
}


def command(arguments: list[str]) -> None:
    """Prints the script of a shell, or what may stand for the last of some words."""
    if arguments[:2] == ["words", "--"]:
        print("\n".join(words(arguments[2:-1], arguments[-1] if arguments[2:] else "")))
        return
    parser = Parser("pliant completion", _DESCRIPTION)
    parser.add_argument("shell", metavar="SHELL", help=f"one of: {', '.join(_SCRIPTS)}")
    shell = parser.parse_args(arguments).shell
    registry.check("shell", shell, _SCRIPTS)
    print(_SCRIPTS[shell])


def words(before: Sequence[str], current: str) -> list[str]:
    """What may stand for the current word.

    Args:
        before: the words after `pliant`.
        current: the beginning of the current word.
    """
    if not before:
        return [*COMMANDS, "--help", "--version"]
    name, last = before[0], before[-1]
    if name == "list":
        return [*registry.KINDS, "presets"]
    if name == "reproduce":
        return _of_reproduce(last, current)
    if name == "completion":
        return [*_SCRIPTS]
    if name not in _OF_RUNS:
        return []
    if last in _KINDS and name in ("run", "analyze"):
        name, slash, _ = current.partition("/")
        presets = [f"{name}/{preset}" for preset in registry.presets(name)] if slash and last == "--method" else []
        return [*registry.names(_KINDS[last]), *presets]
    if name != "run":
        module = f"{__package__}._{name}"  # imports JAX, matplotlib or both
        return importlib.import_module(module).parser().flags if current.startswith("-") else _runs()
    if last == "--preset":
        return [*registry.presets(before[1])]
    if current.startswith("-"):
        return _flags(before[1:])
    if len(before) > 1:
        return []
    problem, slash, _ = current.partition("/")
    presets = [f"{problem}/{preset}" for preset in registry.presets(problem)] if slash else []
    return [*registry.names("problems"), *presets, *_runs()]


def _of_reproduce(last: str, current: str) -> list[str]:
    if last.startswith("--"):
        from ._recipe_options import options

        option = options().get(last.removeprefix("--"))
        if option is not None:
            return [*option.choices]
    if current.startswith("-"):
        from . import _reproduce  # imports JAX and matplotlib

        return _reproduce.parser().flags
    return registry.names("recipes")


def _runs() -> list[str]:
    return [str(file.parent) for file in sorted(Path("runs").glob("*/config.yaml"))]


def _flags(words: Sequence[str]) -> list[str]:
    """The flags of `pliant run` after these words; without a known target, those of some run.

    A file of the user's own is not executed: to press a key is not to name it.
    """
    from . import _run  # imports JAX, for the settings of problem and methods

    if not any(map(sources.names_file, words)):
        with contextlib.suppress(ValueError, OSError):
            return _run.flags(list(words))
    return _run.flags([registry.names("problems")[0]])
