"""Command, program, packages and machine of a run, for its `environment.json`."""

import hashlib
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.problem import Problem, Stream

_PACKAGES = ("pliant", "jax", "jaxlib", "optax", "flax", "numpy")
_NUMERICS = (  # settings of JAX that change numbers, and can be set back
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)
_SIMULATORS = ("envpool", "gymnasium", "mujoco", "minigrid")  # where they are installed


def environment(problem: Problem | None = None) -> dict[str, Any]:
    """Plain data, for `environment.json`, with the digest of a problem's data."""
    digest = None if problem is None else data_digest(problem)
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
        **({} if digest is None else {"data": digest}),
    }


def data_digest(problem: Problem) -> str | None:
    """The SHA-256 of the data of a stream; `None` for a problem without data."""
    leaves = jax.tree.leaves(problem.data) if isinstance(problem, Stream) else []
    arrays = [np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for leaf in leaves]
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return digest.hexdigest() if arrays else None


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


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
