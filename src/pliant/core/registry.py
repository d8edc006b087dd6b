"""The file name is the name: what there is, found without importing its neighbours.

Problems, agents and recipes are modules of their packages; methods and diagnostics are the public functions of theirs.
"""

import ast
import difflib
import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["problems", "agents", "methods", "diagnostics", "recipes"]


class UnknownNameError(ValueError):
    """A name that nothing has."""


def names(kind: Kind) -> list[str]:
    """The names of one kind, in alphabetical order."""
    return sorted(_summaries(kind))


def summaries(kind: Kind) -> dict[str, str]:
    """The names of one kind, each with the first line of its docstring; nothing is imported."""
    return dict(sorted(_summaries(kind).items()))


def find(kind: Kind, name: str) -> Any:
    """The module (problem, agent, recipe) or function (method, diagnostic) of a name.

    Raises:
        UnknownNameError: with the nearest names.
    """
    check(kind[:-1], name, names(kind))
    if kind in ("methods", "diagnostics"):
        return getattr(importlib.import_module(f"pliant.{kind}"), name)
    return importlib.import_module(f"pliant.{kind}.{name}")


def check(what: str, name: str, allowed: Iterable[str]) -> None:
    """Raises an `UnknownNameError` of one line, with the nearest names, unless the name is allowed."""
    allowed = list(allowed)
    if name not in allowed:
        near = difflib.get_close_matches(name, allowed, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(allowed) or 'none'}"
        raise UnknownNameError(f"unknown {what} {name!r}; {hint}")


@functools.cache
def _summaries(kind: Kind) -> dict[str, str]:
    folder = _folder(kind)
    found = {}
    for module in pkgutil.iter_modules([str(folder)]):
        name = module.name.lstrip("_")
        is_function = kind in ("methods", "diagnostics")
        if module.name.startswith("_") != is_function:
            continue
        tree = ast.parse((folder / f"{module.name}.py").read_text(encoding="utf-8"))
        if is_function:
            functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
            docstring = ast.get_docstring(functions[0]) if functions else None
            if not functions:
                continue  # a file of helpers
        else:
            docstring = ast.get_docstring(tree)
        found[name] = (docstring or "").split("\n")[0]
    return found


def _folder(kind: Kind) -> Path:
    spec = importlib.util.find_spec(f"pliant.{kind}")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"pliant.{kind} is missing: the installation is damaged")
    return Path(spec.origin).parent


def presets(problem: str) -> dict[str, dict[str, Any]]:
    """The named configurations of a problem; none if nobody wrote any."""
    if importlib.util.find_spec(f"pliant.presets.{problem}") is None:
        return {}
    return importlib.import_module(f"pliant.presets.{problem}").PRESETS
