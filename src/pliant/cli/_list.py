"""`pliant list`: what there is, one line each, from the docstrings."""

import typing
from typing import Any

from rich.console import Console
from rich.markup import escape

from pliant.core import registry

from ._arguments import Parser


def command(arguments: list[str]) -> None:
    """Prints names and first lines."""
    kinds = [*typing.get_args(registry.Kind), "presets"]
    parser = Parser("pliant list", __doc__)
    parser.add_argument("kind", nargs="?", metavar="KIND", help=f"one of: {', '.join(kinds)}; default: all of them")
    chosen = parser.parse_args(arguments).kind
    if chosen is not None:
        registry.check("kind", chosen, kinds)
    console = Console(highlight=False)
    for kind in kinds:
        if chosen in (kind, None):
            console.print(f"[bold]{kind}[/bold]")
            lines = _presets() if kind == "presets" else registry.summaries(kind)
            width = max(map(len, lines), default=0) + 2
            for name, line in lines.items():
                console.print(f"  {escape(name):<{width}}{escape(line)}", soft_wrap=True)
            console.print()


def _presets() -> dict[str, str]:
    return {
        f"{problem}/{name}": _in_words(preset)
        for problem in registry.names("problems")
        for name, preset in registry.presets(problem).items()
    }


def _in_words(preset: dict[str, Any]) -> str:
    """What a preset sets, without the names of its parts."""
    methods = preset.get("methods", [])
    settings = [f"{k}={v}" for part in (preset["problem"], preset["agent"], *methods) for k, v in part.items() if k != "name"]
    swept = [f"{k.rpartition('.')[2]}={','.join(map(str, values))}" for k, values in preset.get("sweep", {}).items()]
    names = [method["name"] for method in methods]
    fixed = [s for s in settings if s.partition("=")[0] not in {s.partition("=")[0] for s in swept}]
    return " ".join([*names, *fixed, *(["sweeping", *swept] if swept else [])])
