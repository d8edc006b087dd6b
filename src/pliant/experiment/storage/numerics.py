"""Checks what numbers depend on beside the configuration: data, settings of JAX, packages, XLA, the platform.

A run refuses data and settings of JAX that differ from its earlier ones, because a user can bring them back. Packages
and platforms often cannot be set back. They and the flags of XLA change the last digits only: they are recorded in
`environment.json`, and a change in the middle of a shard is logged.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pliant.experiment.errors import StoreError

from .files import read_json

logger = logging.getLogger(__name__)

ENVIRONMENT = {  # types in `environment.json`
    "versions": dict, "platform": str, "xla_flags": str, "numerics": dict, "data": str, "resumed": list,
}  # fmt: skip
_RECORDED = ("versions", "platform", "xla_flags")  # keys whose change is logged


def check_numerics(shards: Iterable[Path], environment: Mapping[str, Any]) -> None:
    """Refuses to compute with other settings of JAX than those of a run's shards.

    Args:
        shards: directories of the shards.
        environment: of this process; its `numerics` are the settings by name.

    Raises:
        StoreError: if a setting differs.
    """
    now = environment.get("numerics", {})
    for shard in shards:
        before = read_json(shard / "environment.json", ENVIRONMENT).get("numerics", {})
        for name, value in before.items():
            if name in now and now[name] != value:
                raise StoreError(
                    f"{shard} was computed with {name}={value}, and this process has {name}={now[name]}: the numbers "
                    f"of one run would differ; set {name.upper()}={value}, or write another --out"
                )


def check_data(shards: Iterable[Path], digest: str | None) -> None:
    """Refuses to go on with other data than those of a run's shards.

    Args:
        shards: directories of the shards.
        digest: of the data that the problem has now; `None`: it has none.

    Raises:
        StoreError: if the data differ.
    """
    for shard in shards:
        before = read_json(shard / "environment.json", ENVIRONMENT).get("data")
        if before is not None and before != digest:
            raise StoreError(
                f"{shard} was computed with other data than the problem has now; put the old files back, or write "
                "another --out"
            )


def amended(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of `environment.json`: of the first process, with those of later ones under `resumed`.

    Args:
        before: the old contents; empty if there are none.
        now: of this process.
    """
    if not before:
        return dict(now)
    resumed = [one for one in before.get("resumed", []) if isinstance(one, dict)]
    latest = resumed[-1] if resumed else before
    changes = [change for key in _RECORDED for change in _changes(key, latest.get(key), now.get(key))]
    if not changes:
        return dict(before)
    logger.warning("resumed with %s: from here on numbers may differ in their last digits", ", ".join(changes))
    return {**before, "resumed": [*resumed, dict(now)]}


def _changes(key: str, before: Any, now: Any) -> list[str]:
    """The differences in words: `jax 0.10.1 instead of 0.10.0`. Versions that were not recorded are left out."""
    if before is None or before == now:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(name for name in before.keys() & now.keys() if before[name] != now[name])
        return [f"{name} {now[name]} instead of {before[name]}" for name in names]
    return [f"{key} {now or 'none'} instead of {before or 'none'}"]
