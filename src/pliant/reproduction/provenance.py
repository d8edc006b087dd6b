"""The program, the packages and the machine that computed the runs of a recipe."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pliant.report import Run

_VERSIONS = ("pliant", "jax", "envpool", "gymnasium", "mujoco", "minigrid")
_UNKNOWN = "unknown"


class Provenance(NamedTuple):
    """The provenance of all runs together; if runs differ, each value once.

    Args:
        commit: of the program, with `+` if files of the package were changed.
        date: on which the last of the runs began, `YYYY-MM-DD`.
        seconds: wall time of all runs, one after the other.
        versions: of Python and of the packages on which results depend.
        machine: processor and number of cores.
        runs: the names of their directories.
    """

    commit: str
    date: str
    seconds: float
    versions: str
    machine: str
    runs: tuple[str, ...]


def provenance_of(runs: Iterable[Run]) -> Provenance:
    """Collects the provenance that the runs recorded."""
    different = {run.name: run for run in runs}
    shards = [shard for run in different.values() for shard in run.shards]
    environments = [shard.environment for shard in shards]

    def each_once(text: Callable[[dict[str, Any]], str]) -> str:
        return "; ".join(dict.fromkeys(map(text, environments)))

    return Provenance(
        commit=each_once(lambda of: of.get("git") or _UNKNOWN),
        date=max(of.get("started", "")[:10] for of in environments) or _UNKNOWN,
        seconds=sum(shard.status.get("seconds", 0.0) for shard in shards),
        versions=each_once(_versions),
        machine=each_once(lambda of: f"{of.get('cpu', _UNKNOWN)}, {of.get('cores', _UNKNOWN)} cores"),
        runs=tuple(different),
    )


def _versions(environment: dict[str, Any]) -> str:
    versions = environment.get("versions", {})
    packages = [f"{name} {versions[name]}" for name in _VERSIONS if name in versions]
    return ", ".join([f"Python {environment.get('python', _UNKNOWN)}", *packages])
