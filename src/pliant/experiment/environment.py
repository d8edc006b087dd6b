"""Command, program, packages and machine of a run, for its `environment.json`."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

_PACKAGES = ("pliant", "jax", "jaxlib", "optax", "flax", "numpy")
_NUMERICS = (  # settings of JAX that change numbers, and can be set back
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)
_SIMULATORS = ("envpool", "gymnasium", "mujoco", "minigrid")  # where they are installed


def environment() -> dict[str, Any]:
    """Plain data, for `environment.json`."""
    return {
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES} | _versions_of(_SIMULATORS),
        "git": revision(),
        "machine": platform.platform(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "devices": [str(device) for device in jax.local_devices()],
        "platform": jax.default_backend(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),  # they choose convolutions, too
        "numerics": {name: getattr(jax.config, name) for name in _NUMERICS},
    }


def revision() -> str | None:
    """The commit of the program, with `+` if files of the package were changed or added; `None` outside a repository.

    Files beside the package, such as results that are written into the repository, do not count.
    """
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + "+" * bool(_git("status", "--porcelain", "--", "."))
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*words: str) -> str:
    package = Path(__file__).parents[1]
    ask = ["git", "-C", str(package), *words]
    return subprocess.run(ask, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _versions_of(packages: tuple[str, ...]) -> dict[str, str]:
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _cpu() -> str:
    """The model of the processor on Linux; elsewhere its name in Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()
