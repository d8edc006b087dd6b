"""The file name is the name: finds one component without importing its neighbours.

Problems, agents and recipes are the modules of their packages, methods and diagnostics the public functions of their
packages. Other packages add components by entry points: `pliant.methods`, `pliant.problems` and so on. Names of this
package come first.
"""

import ast
import contextlib
import difflib
import functools
import importlib
import importlib.util
import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

Kind: TypeAlias = Literal["problems", "agents", "methods", "continual", "diagnostics", "networks", "recipes"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_FUNCTIONS = ("methods", "continual", "diagnostics")
_ONLY_OTHERS = ("networks",)  # the package's own networks are parts of its problems and agents
# What a module has; the other kinds are functions.
_PARTS = {"problems": (), "agents": ("Config", "make", "LEARNS_FROM"), "recipes": ("make",)}
_LISTED = 20  # names in an error
_ECHOED = 60  # characters of a name in an error


class UnknownNameError(ValueError):
    """A name without a component."""


def names(kind: Kind) -> list[str]:
    """The names of one kind, in alphabetical order."""
    return list(_summaries(kind))


def singular(kind: Kind) -> str:
    """The word for one component of a kind, such as `method`, or `continual method`."""
    return "continual method" if kind == "continual" else kind.removesuffix("s")


def summaries(kind: Kind) -> dict[str, str]:
    """The names of one kind in alphabetical order, each with the first line of its docstring; imports none of them."""
    return dict(_summaries(kind))


def find(kind: Kind, name: Any) -> Any:
    """The module (problem, agent, recipe) or function (method, diagnostic) of a name.

    Raises:
        UnknownNameError: with the nearest names; or if another package offers the name, and lacks the component.
    """
    check(singular(kind), name, names(kind))
    if name not in _files(kind) and name in _others(kind):
        return _loaded(kind, _others(kind)[name])
    if kind in _FUNCTIONS:
        return getattr(importlib.import_module(f"pliant.{kind}"), name)
    family = _families(kind).get(name)
    return importlib.import_module(".".join(filter(None, ["pliant", kind, family, name])))


def available(kind: Kind) -> dict[str, Any]:
    """All components of one kind that can be imported, by name: those of another package may be broken."""
    found = {}
    for name in names(kind):
        with contextlib.suppress(UnknownNameError):
            found[name] = find(kind, name)
    return found


def presets(name: str) -> dict[str, dict[str, Any]]:
    """The named configurations of a problem, or the named settings of a method; empty if there are none."""
    if importlib.util.find_spec(f"pliant.presets.{name}") is None:
        return {}
    return importlib.import_module(f"pliant.presets.{name}").PRESETS


def check(what: str, name: Any, allowed: Iterable[str]) -> None:
    """Raises an `UnknownNameError` of one line, with the nearest names, unless the name is allowed."""
    allowed = list(allowed)
    if name not in allowed:
        shown = name if len(str(name)) <= _ECHOED else f"{str(name)[:_ECHOED]}…"
        more = f", ... ({len(allowed)} in all)" if len(allowed) > _LISTED else ""
        there_are = f"{', '.join(allowed[:_LISTED]) or 'none'}{more}"
        raise UnknownNameError(f"unknown {what} {shown!r}; {hint(str(shown), allowed, f'there are: {there_are}')}")


def hint(name: str, allowed: Iterable[str], otherwise: str) -> str:
    """The names nearest to one that is unknown, `did you mean A or B?`; without any, other words."""
    near = difflib.get_close_matches(name, list(allowed), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def plain(docstring: str) -> str:
    """A piece of a docstring as one line for a terminal: `$\\rho$` is rho."""
    return " ".join(re.sub(r"\$\\?([^$]+)\$", r"\1", docstring).split())


@functools.cache
def _families(kind: Kind) -> dict[str, str]:
    """The family's folder of each name that has one, such as `mujoco` of `ant`."""
    return {name: file.parent.name for name, file in _files(kind).items() if file.parent != _folder(kind)}


@functools.cache
def _files(kind: Kind) -> dict[str, Path]:
    """The files of one kind by name, in alphabetical order: in its folder, or in a family's folder inside it."""
    if kind in _ONLY_OTHERS:
        return {}
    folder = _folder(kind)
    pattern = "_[!_]*.py" if kind in _FUNCTIONS else "[!_]*.py"
    files = [*folder.glob(pattern), *folder.glob(f"*/{pattern}")]
    return {file.stem.removeprefix("_"): file for file in sorted(files, key=lambda file: file.stem.removeprefix("_"))}


@functools.cache
def _summaries(kind: Kind) -> dict[str, str]:
    found = {}
    for name, file in _files(kind).items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        if kind in _FUNCTIONS:  # a file without a function of its name holds helpers
            nodes = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
        else:
            nodes = [tree]
        for node in nodes:
            found[name] = plain((ast.get_docstring(node) or "").split("\n")[0])
    others = {name: _package_of(point) for name, point in _others(kind).items()}
    return dict(sorted((others | found).items()))


@functools.cache
def _others(kind: Kind) -> dict[str, EntryPoint]:
    """The components of other packages by name."""
    return {point.name: point for point in entry_points(group=f"pliant.{kind}")}


def _loaded(kind: Kind, point: EntryPoint) -> Any:
    of_package = _package_of(point).removesuffix(".").replace("Of", "of", 1)
    what = f"{singular(kind)} {point.name!r} {of_package}"
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        raise UnknownNameError(f"{what}: {error}") from error
    except Exception as error:  # whatever the code of another package raises
        raise UnknownNameError(f"{what}: {type(error).__name__}: {error}") from error
    missing = [part for part in _PARTS.get(kind, ()) if not hasattr(found, part)]
    if missing:
        raise UnknownNameError(f"{what}: {point.value} has no {', '.join(missing)}; write a module that has")
    if kind not in _PARTS and not callable(found):
        raise UnknownNameError(f"{what}: {point.value} is no function")
    return found


def _package_of(point: EntryPoint) -> str:
    """The package of an entry point in words."""
    return f"Of the package {point.dist.name} {point.dist.version}." if point.dist else f"Of the module {point.module}."


def _folder(kind: Kind) -> Path:
    spec = importlib.util.find_spec(f"pliant.{kind}")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"pliant.{kind} is missing: the installation is damaged")
    return Path(spec.origin).parent
