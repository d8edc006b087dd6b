"""Reads and checks one shard of a run.

    runs/<name>-<hash>/shards/<seeds>/         a block of seeds that one program computed: 0-9, or 10-19,25-25
      environment.json                         versions, git revision, command, machine
      status.json                              {"state": "running" | "finished", "step": int, "steps": int}
      metrics/<first>-<last>-<sha>.parquet     rows of the steps first < step <= last; in the first one also of step 0

The files of `metrics/` are named after their range (12 digits each) and the first 16 hexadecimal digits of their
SHA-256, which reveal a file that was cut short, edited, renamed or lost.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

COLUMNS = {"seed": pa.int32(), "step": pa.int64(), "metric": pa.string(), "group": pa.string(), "value": pa.float64()}

_FILE = re.compile(r"(\d{12})-(\d{12})-([0-9a-f]{16})\.parquet")
_SHARD = re.compile(r"\d{1,10}-\d{1,10}(,\d{1,10}-\d{1,10})*")
_STATUS = {
    "state": str, "step": int, "steps": int, "members": int, "seconds": int | float, "tasks": list, "best": int,
    "num_envs": int,
}  # fmt: skip
_ENVIRONMENT = {"command": list | str, "versions": dict, "python": str}
_MOST_SEEDS = 1_000_000
_REPAIR = "run the same command again, with --force if the run is finished"


class DamagedRunError(ValueError):
    """A file of a run directory is missing, cut short or edited."""


class MetricsFile(NamedTuple):
    """A file of metrics, described by its name: the rows of the steps first < step <= last."""

    path: Path
    first: int
    last: int
    digest: str


class Shard(NamedTuple):
    """A block of seeds that one program computed."""

    name: str  # the seeds: 0-9, or 10-19,25-25
    environment: dict[str, Any]  # versions, git revision, command and machine
    status: dict[str, Any]  # `state`, `step` and `steps`


def shards_of(run_dir: Path) -> list[Path]:
    """The folders of a run's shards with results, sorted by their first seeds.

    Raises:
        ValueError: if two shards hold the same seed.
    """
    named = (
        folder for folder in (run_dir / "shards").glob("*/") if _SHARD.fullmatch(folder.name) and _is_small(folder)
    )
    begun = [f for f in named if (f / "status.json").exists() or any((f / "metrics").glob("*.parquet"))]
    folders = sorted(begun, key=lambda folder: min(seeds_of(folder)))
    holder: dict[int, Path] = {}
    for folder in folders:
        for seed in seeds_of(folder):
            if seed in holder:
                raise ValueError(
                    f"{holder[seed]} and {folder} both hold seed {seed}; move one of the two out of {folder.parent}"
                )
            holder[seed] = folder
    return folders


def _is_small(shard: Path) -> bool:
    """Whether a folder is named after a number of seeds that a run can have."""
    bounds = [text.split("-") for text in shard.name.split(",")]
    return all(0 <= int(high) - int(low) < _MOST_SEEDS for low, high in bounds)


def seeds_of(shard: Path) -> set[int]:
    """The seeds of a shard, from the name of its folder."""
    bounds = [text.split("-") for text in shard.name.split(",")]
    return {seed for low, high in bounds for seed in range(int(low), int(high) + 1)}


def read_mapping(file: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Reads a file that holds a mapping.

    Raises:
        DamagedRunError: if the file is missing, or does not hold a mapping.
    """
    try:
        content = parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedRunError(f"{file} is missing; {_REPAIR}") from None
    except (ValueError, RecursionError, yaml.YAMLError):
        raise DamagedRunError(f"{file} cannot be read, it was cut short or edited; {_REPAIR}") from None
    if not isinstance(content, dict):
        raise DamagedRunError(f"{file} does not hold a mapping, it was cut short or edited; {_REPAIR}")
    return content


def read_shard(folder: Path, config: Mapping[str, Any]) -> tuple[Shard, pa.Table]:
    """A shard and all its rows.

    Args:
        folder: of the shard.
        config: the configuration of the run.

    Raises:
        DamagedRunError: if a file is missing, was changed after writing, or belongs to another configuration.
    """
    status = _read_typed(folder / "status.json", _STATUS)
    if "step" not in status:
        raise DamagedRunError(f"{folder / 'status.json'} does not say at which step the shard is; {_REPAIR}")
    environment = _read_typed(folder / "environment.json", _ENVIRONMENT)
    rows = _read_metrics(folder, status["step"], _digest(config))
    others = set(pc.unique(rows["seed"]).to_pylist()) - seeds_of(folder)
    if others:
        raise DamagedRunError(f"{folder} has rows of seed {min(others)}, which its name denies: it was renamed")
    return Shard(folder.name, environment, status), rows


def _digest(config: Mapping[str, Any]) -> str:
    """The SHA-256 of a configuration without its seeds, which the files of metrics have as metadata."""
    plain = {name: value for name, value in config.items() if name != "seeds"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def _read_typed(file: Path, types: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a JSON file with a mapping, and checks the types of its values."""
    content = read_mapping(file, json.loads)
    for name, kind in types.items():
        value = content.get(name)
        if name in content and (not isinstance(value, kind) or isinstance(value, bool)):
            raise DamagedRunError(f"{file} has {name}={str(value)[:60]}, it was edited; {_REPAIR}")
    for task in content.get("tasks", []) if "tasks" in types else []:
        if not (isinstance(task, dict) and isinstance(task.get("name"), str) and isinstance(task.get("until"), int)):
            raise DamagedRunError(f"{file} has the task {str(task)[:60]}, it was edited; {_REPAIR}")
    return content


def files_of(shard: Path) -> list[MetricsFile]:
    """The files of a shard's metrics, in the order of their steps; checks their names without reading them.

    Raises:
        DamagedRunError: if a file is missing or was renamed.
    """
    directory = shard / "metrics"
    files: list[MetricsFile] = []
    reached = 0
    # A file with another ending is an unfinished file of a killed run.
    for path in sorted(directory.glob("*.parquet")):
        name = _FILE.fullmatch(path.name)
        if name is None:
            raise DamagedRunError(f"{path} is not named <first>-<last>-<sha>.parquet, it was renamed; {_REPAIR}")
        first, last = int(name[1]), int(name[2])
        if first > reached:
            raise DamagedRunError(f"{directory} lacks the steps {reached} to {first}, before {path}; {_REPAIR}")
        if first < reached or last <= first:
            raise DamagedRunError(f"{path} overlaps the file before it, which ends at step {reached}; {_REPAIR}")
        files.append(MetricsFile(path, first, last, name[3]))
        reached = last
    return files


def _read_metrics(shard: Path, step: int, config: str) -> pa.Table:
    """The rows of all files, after a check that they are unchanged, complete up to `step` and of this configuration."""
    found, directory = files_of(shard), shard / "metrics"
    tables = [read_file(file) for file in found]
    for file, table in zip(found, tables):
        if (table.schema.metadata or {}).get(b"pliant.config", config.encode()) != config.encode():
            raise DamagedRunError(
                f"{file.path} belongs to another configuration: {shard.parent.parent / 'config.yaml'} was edited or "
                "replaced; undo that"
            )
    reached = found[-1].last if found else 0
    if reached < step:
        raise DamagedRunError(f"{directory} lacks the steps {reached} to {step}; {_REPAIR}")
    names = tables[0].column_names if tables else list(COLUMNS)
    for table in tables:
        if table.column_names != names:
            raise DamagedRunError(f"the files of {directory} differ in their columns; {_REPAIR}")
    return pa.concat_tables(tables) if tables else pa.schema(COLUMNS).empty_table()


def read_file(file: MetricsFile) -> pa.Table:
    """The rows of one file.

    Raises:
        DamagedRunError: if the file was changed after writing.
    """
    path, first, last, digest = file
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()[:16]
    if found != digest:
        raise DamagedRunError(
            f"{path} is damaged, it was cut short or edited: its SHA-256 begins with {found}, not {digest}; {_REPAIR}"
        )
    try:
        table = pq.read_table(pa.BufferReader(content))
        schema = pa.schema([(name, COLUMNS.get(name, pa.float64())) for name in table.column_names])
        table = table.cast(schema.with_metadata(table.schema.metadata))
    except pa.ArrowException as error:
        raise DamagedRunError(f"{path} is no table of metrics ({error}); {_REPAIR}") from None
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise DamagedRunError(f"{path} has no column {missing[0]!r}; {_REPAIR}")
    empty = [name for name in table.column_names if name != "value" and table[name].null_count]
    if empty:
        raise DamagedRunError(f"{path} has rows without a {empty[0]}, it was edited; {_REPAIR}")
    steps = table["step"].to_numpy()
    earliest = first + 1 if first else 0  # the first file has the evaluation before the first step
    if steps.size and not (earliest <= steps.min() and steps.max() <= last):
        raise DamagedRunError(
            f"{path} holds steps {steps.min()} to {steps.max()}, which its name denies, it was renamed; {_REPAIR}"
        )
    return table
