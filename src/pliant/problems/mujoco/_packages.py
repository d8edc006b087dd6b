"""Chooses the package that simulates a task."""

import functools
import importlib
import importlib.util
from typing import Any, Literal, TypeAlias, get_args

from pliant.core.registry import hint
from pliant.core.settings import require_one_of

from ._simulator import Description

Backend: TypeAlias = Literal["auto", "envpool", "gymnasium"]
Package: TypeAlias = Literal["envpool", "gymnasium"]

_NEEDS: dict[Package, tuple[str, ...]] = {"envpool": ("envpool",), "gymnasium": ("gymnasium", "mujoco")}
_INSTALL = "pip install -e '.[envs]'"


def choose(backend: Backend, num_envs: int, task: str | None = None) -> Package:
    """The package for a backend: `auto` takes gymnasium for a single environment, where envpool's threads are slower.

    Args:
        backend: of the settings.
        num_envs: environments of all members together.
        task: name of the task with the version; `None`: a task that all packages have.

    Raises:
        ValueError: if there is no such backend or task, or the package is not installed.
    """
    require_one_of("backend", backend, get_args(Backend))
    order: tuple[Package, ...] = ("gymnasium", "envpool") if num_envs == 1 else ("envpool", "gymnasium")
    allowed = order if backend == "auto" else (backend,)
    installed = [package for package in allowed if is_installed(package)]
    if not installed:
        needed = ", or ".join(" and ".join(_NEEDS[package]) for package in sorted(allowed))
        raise ValueError(f"backend={backend!r} needs {needed}: {_INSTALL}")
    for package in installed:
        if task is None or task in tasks(package):
            return package
    raise ValueError(_unknown(str(task), backend))


def is_installed(package: Package) -> bool:
    """Whether a package can be imported; does not import it."""
    return all(importlib.util.find_spec(name) for name in _NEEDS[package])


@functools.cache
def tasks(package: Package) -> list[str]:
    """Names of a package's tasks of MuJoCo; imports the package."""
    return _module(package).tasks()


@functools.cache
def describe(package: Package, task: str) -> Description:
    """A package's description of a task; imports the package."""
    return _module(package).describe(task)


def _module(package: Package) -> Any:
    return importlib.import_module(f"._{package}", __package__)


def _unknown(task: str, backend: Backend) -> str:
    """The error for a task that a backend does not have, with what to write instead."""
    having = [package for package in _NEEDS if is_installed(package)]
    for package in having:
        if task in tasks(package):
            return f"env={task!r} is not a task of {backend}: write backend={package!r}"
    if any(task in _module(package).others() for package in having):
        usual = "one of MuJoCo such as HalfCheetah-v4, DogRun-v1 or MetaWorld/CoffeePull-v3"
        return f"env={task!r} has no continuous actions, or no limits of them, or is not MuJoCo's: write {usual}"
    names = sorted({name for package in having for name in tasks(package)})
    more = "" if "envpool" in having else f"; envpool has more: {_INSTALL}"
    return f"unknown env {task!r}; {hint(task, names, f'there are {len(names)}, such as HalfCheetah-v4')}{more}"
