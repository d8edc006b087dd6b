"""`pliant list`: all names, each with the first line of its docstring."""

from typing import Any

from rich.console import Console

from pliant.core import registry

from ._arguments import Parser

_DESCRIPTION = """\
Lists problems, agents, methods, diagnostics, recipes, presets: one line each.
Components of other packages follow with the package's name."""

_KINDS = (*registry.KINDS, "presets")


def command(arguments: list[str]) -> None:
    """Prints names and first lines; presets are only counted, unless `KIND` is `presets`."""
    parser = Parser("pliant list", _DESCRIPTION)
    parser.add_argument("kind", nargs="?", metavar="KIND", help=f"one of: {', '.join(_KINDS)} [default: all]")
    chosen = parser.parse_args(arguments).kind
    if chosen is not None:
        registry.check("kind", chosen, _KINDS)
    console = Console(highlight=False)
    for kind in _KINDS if chosen is None else (chosen,):
        if kind != "presets":
            lines = registry.summaries(kind)
        elif chosen is None:
            counts = {problem: len(registry.presets(problem)) for problem in registry.names("problems")}
            counts |= {
                method: len(found) for method in registry.names("methods") if (found := registry.presets(method))
            }
            lines = {problem: f"{count} presets: see pliant list presets" for problem, count in counts.items()}
        else:
            lines = _presets()
        if chosen is None and not lines:
            continue
        console.print(kind, style="bold")
        width = max(map(len, lines), default=0) + 2
        for name, line in lines.items():
            console.print(f"  {name:<{width}}{line}", soft_wrap=True, markup=False)
        console.print()


def _presets() -> dict[str, str]:
    of_problems = {
        f"{problem}/{name}": _in_words(preset)
        for problem in registry.names("problems")
        for name, preset in registry.presets(problem).items()
    }
    of_methods = {
        f"{method}/{name}": " ".join(f"{setting}={value}" for setting, value in preset.items())
        for method in registry.names("methods")
        for name, preset in registry.presets(method).items()
    }
    return of_problems | of_methods


def _in_words(preset: dict[str, Any]) -> str:
    """The settings of a preset, without the names of problem and agent."""
    methods = preset.get("methods", [])
    swept = {name.rpartition(".")[2]: values for name, values in preset.get("sweep", {}).items()}
    owners = ["", "", *(f"{method['name']}." if len(methods) > 1 else "" for method in methods)]
    fixed = {
        owner + name: value
        for owner, component in zip(owners, (preset["problem"], preset["agent"], *methods))
        for name, value in component.items()
        if name != "name" and name not in swept
    }
    words = [method["name"] for method in methods] + [f"{name}={value}" for name, value in fixed.items()]
    sweeps = [f"{name}={','.join(map(str, values))}" for name, values in swept.items()]
    return " ".join([*words, *(["sweeping", *sweeps] if sweeps else [])])
