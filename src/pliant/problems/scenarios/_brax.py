"""Imports `brax.v1`, the old engine of Brax, which needs a small repair to run with today's JAX.

Brax 0.12.3 is the last release that has it. Its physics is that of Brax 0.0.14, with which the scenarios were
published.
"""

import contextlib
import functools
import importlib
import importlib.util
import io
import warnings
from pathlib import Path
from typing import Any

import jax

_INSTALL = "pip install -e '.[brax-v1]'"


@functools.cache
def load(module: str) -> Any:
    """A module of `brax.v1`, such as `envs.ant`.

    Raises:
        ValueError: if Brax is not installed, does not have the old engine, or cannot be imported.
    """
    package = importlib.util.find_spec("brax")
    if package is None:
        raise ValueError(f"engine='v1' needs brax 0.12.3: {_INSTALL}, or write engine='mujoco'")
    if not any((Path(folder) / "v1").is_dir() for folder in package.submodule_search_locations or ()):
        raise ValueError(f"engine='v1' needs brax 0.12.3, and this brax lacks it: {_INSTALL}, or write engine='mujoco'")
    try:
        # The engine and what it imports warn of their age, and of optional packages.
        with (
            warnings.catch_warnings(action="ignore"),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            _repair()
            return importlib.import_module(f"brax.v1.{module}")
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"engine='v1' needs brax 0.12.3, which jax {jax.__version__} cannot import ({error}): write engine='mujoco'"
        ) from error


def _repair() -> None:
    """Gives the engine what it looks for in places where JAX no longer has it."""
    batching, inside = (importlib.import_module(f"jax.{name}") for name in ("interpreters.batching", "_src"))
    if not hasattr(batching, "BatchTracer"):
        batching.BatchTracer = inside.interpreters.batching.BatchTracer
    jumpy = importlib.import_module("brax.v1.jumpy")
    jumpy._in_jit = lambda: jax.config.jax_disable_jit or inside.core.unsafe_am_i_under_a_jit()
