"""Settings with which each method acts within a few steps, so that a test of any method sees something change."""

import inspect
from collections.abc import Callable
from typing import Any

from pliant.core import registry
from pliant.core.base import Topology

# Wherever a method has a setting of this name. Other whole numbers of at least 2 are 2, such as a maturity.
BUSY = {"period": 2, "replacement_rate": 0.2, "threshold": 0.5}


def settings(method: Callable[..., Any], context: dict[str, Any]) -> dict[str, Any]:
    """The context that the method asks for, and settings with which it acts at the second step."""
    parameters = inspect.signature(method).parameters
    given = {**BUSY, **context}
    return {name: given.get(name, _small(p.default)) for name, p in parameters.items()}


def _small(default: Any) -> Any:
    return min(default, 2) if type(default) is int else default


def nothing_changed(name: str) -> str:
    """What to tell an author whose new method did nothing."""
    return f"{name} changed no weight; give a setting of it a value that does, in BUSY of tests/support/busy.py"


def that_go_together() -> list[list[str]]:
    """The methods: each topology alone, as no two can decide about the same weights, and all others at once."""
    names = registry.names("methods")
    alone = [n for n in names if inspect.signature(registry.find("methods", n)).return_annotation is Topology]
    return [[name] for name in alone] + [[name for name in names if name not in alone]]
