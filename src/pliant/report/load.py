"""Reads a run directory back: the rows of all its seeds, without the shards that are damaged.

    runs/<name>-<hash>/
      config.yaml            the configuration without seeds
      shards/<seeds>/        a block of seeds that was computed together: 0-9, or 10-19,25-25
        environment.json     versions, git revision, command, machine
        status.json          {"state": "running" | "finished", "step": int, "steps": int}
        metrics/<first>-<last>-<sha>.parquet   rows of the steps first < step <= last; in the first one also of step 0

The files of `metrics/` are named after their range (12 digits each) and the first 16 hexadecimal digits of their
SHA-256, so a file that was cut short, edited, renamed or lost is noticed.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

logger = logging.getLogger(__name__)

_FILE = re.compile(r"(\d{12})-(\d{12})-([0-9a-f]{16})\.parquet")
_SHARD = re.compile(r"\d+-\d+(,\d+-\d+)*")
_COLUMNS = {"seed": pa.int32(), "step": pa.int64(), "metric": pa.string(), "group": pa.string(), "value": pa.float64()}
_REPAIR = "run the same command again"


class DamagedRunError(ValueError):
    """A file of a run directory is missing, cut short or edited."""


class MetricsFile(NamedTuple):
    """A file of metrics, as its name tells: the rows of the steps first < step <= last."""

    path: Path
    first: int
    last: int
    digest: str


class Shard(NamedTuple):
    """A block of seeds that was computed together."""

    name: str  # the seeds: 0-9, or 10-19,25-25
    environment: dict[str, Any]  # versions, git revision, command and machine
    status: dict[str, Any]  # `state`, `step` and `steps`


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run directory holds.

    Args:
        config: the configuration without seeds, a nested mapping.
        shards: the blocks of seeds that the rows come from, by their first seeds.
        metrics: one row a measurement, or an episode at the step where it ended, in the columns `seed`, one for each
            swept setting (`agent.learning_rate`), `step` (from 1; 0 for an evaluation before training), `metric`,
            `group` (`""`: the whole network; both are categories) and `value`. A member that diverged has NaN values
            from then on, no episodes, and one row of the metric `diverged` whose value is the step.
        name: the name of the directory.
        damaged: shards that are left out, as lines that name the damage.
    """

    config: dict[str, Any]
    shards: tuple[Shard, ...]
    metrics: pd.DataFrame
    name: str = "run"
    damaged: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, git revision, command and machine of the first shard; others may come from other machines."""
        return self.shards[0].environment if self.shards else {}

    @property
    def status(self) -> dict[str, Any]:
        """How far the run is: `finished` if all shards are, and otherwise the step of the one that is least far.

        `members` and `seconds` are those of all shards together; `best` is left out if shards differ in it.
        """
        shards = [shard.status for shard in self.shards]
        first = min(shards, key=lambda status: status["step"], default={"step": 0})
        finished = bool(shards) and all(status.get("state") == "finished" for status in shards)
        joined = {**first, "state": "finished" if finished else "running"}
        joined |= {name: sum(status[name] for status in shards) for name in ("members", "seconds") if name in first}
        if len({status.get("best") for status in shards}) > 1:
            joined.pop("best", None)
        return joined

    @property
    def settings(self) -> tuple[str, ...]:
        """The swept settings, by their dotted names. A member of the run is a seed together with a value of each."""
        return tuple(column for column in self.metrics.columns if column not in _COLUMNS)

    @property
    def short_names(self) -> dict[str, str]:
        """What people call the settings: `learning rate` for `agent.learning_rate`, unless another one ends so too."""
        ends = [setting.rpartition(".")[2] for setting in self.settings]
        return {
            setting: (end if ends.count(end) == 1 else setting).replace("_", " ")
            for setting, end in zip(self.settings, ends, strict=True)
        }

    @functools.cached_property
    def members(self) -> pd.DataFrame:
        """The members, by `seed` and a column for each swept setting, and the step at which they `diverged` or NaN."""
        keys = ["seed", *self.settings]
        ends = self.metrics.loc[self.metrics["metric"] == "diverged", [*keys, "value"]]
        everyone = self.metrics.drop_duplicates(keys).sort_values(by=keys)[keys]
        return everyone.merge(ends.rename(columns={"value": "diverged"}), how="left", on=keys)

    @functools.cached_property
    def of_episodes(self) -> tuple[str, ...]:
        """The metrics with a row for each episode, the return first; none if the run had no episodes."""
        metrics = self.metrics
        ended = metrics.loc[metrics["metric"] == "return", "step"].to_numpy()
        if not ended.size:
            return ()
        counts = metrics["metric"].value_counts()
        others = (name for name in counts.index if name != "return" and counts[name] == ended.size)
        same = (name for name in others if np.array_equal(metrics.loc[metrics["metric"] == name, "step"], ended))
        return ("return", *sorted(same))

    @property
    def tasks(self) -> dict[int, str]:
        """The steps at which tasks of the problem begin, and their names; none if it has none, or a single one."""
        tasks = self.status.get("tasks", [])
        begins = [0, *(task["until"] for task in tasks)]
        return {step: task["name"] for step, task in zip(begins, tasks)} if len(tasks) > 1 else {}

    @property
    def last_step(self) -> int:
        """How many steps the shard that is furthest has made."""
        # One that was killed between writing metrics and writing its status has made the steps of these.
        steps = [int(shard.status["step"]) for shard in self.shards]
        return max([*steps, 0 if self.metrics.empty else int(self.metrics["step"].max())])


def load(path: str | os.PathLike[str], seeds: Collection[int] | None = None) -> Run:
    """Reads a run directory, finished or still running.

    Args:
        path: the directory `runs/<name>-<hash>`.
        seeds: those whose rows are wanted; `None`: all that the run has. Then a shard that is damaged is left out with
            a warning, unless there is no other.

    Returns:
        The run. Its rows are ordered by shards, and in a shard as they were written.

    Raises:
        DamagedRunError: if a file is missing or is not what it was when it was written.
        ValueError: if the directory is not a run, has no such seed, or two of its shards hold the same seed.
    """
    directory = Path(path)
    if not (directory / "config.yaml").is_file():
        raise ValueError(_no_run(directory))
    config = _read(directory / "config.yaml", yaml.safe_load)
    folders = shards_of(directory)
    if not folders:
        raise ValueError(f"{directory} has no results yet; wait for its first, or write pliant run {directory}")
    holder = {seed: folder for folder in folders for seed in seeds_of(folder)}
    for seed in sorted(seeds or ()):
        if seed not in holder:
            raise ValueError(f"{directory} has no seed {seed}; it has those of {' and '.join(f.name for f in folders)}")
    tables, shards, damaged = [], [], []
    for folder in folders:
        if seeds is None or not seeds_of(folder).isdisjoint(seeds):
            try:
                shard, rows = _read_shard(folder)
                if tables and rows.column_names != tables[0].column_names:
                    raise DamagedRunError(f"{folder} has other columns than the shards before it; {_REPAIR}")
            except DamagedRunError as error:
                damaged.append(error)
            else:
                shards.append(shard)
                tables.append(rows)
    if damaged and (seeds is not None or not shards):
        raise damaged[0]
    for error in damaged:
        logger.warning("left out: %s", error)
    rows = pa.concat_tables(tables)
    if seeds is not None:
        rows = rows.filter(pc.is_in(rows["seed"], pa.array(sorted(seeds), pa.int32())))
    return Run(config, tuple(shards), _to_pandas(rows), directory.resolve().name, tuple(map(str, damaged)))


def shards_of(run_dir: Path) -> list[Path]:
    """The folders of a run's shards in which something was saved, by their first seeds.

    Raises:
        ValueError: if two of them hold the same seed.
    """
    named = (folder for folder in (run_dir / "shards").glob("*/") if _SHARD.fullmatch(folder.name))
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


def seeds_of(shard: Path) -> set[int]:
    """The seeds of a shard, by the name of its folder."""
    bounds = [text.split("-") for text in shard.name.split(",")]
    return {seed for low, high in bounds for seed in range(int(low), int(high) + 1)}


def _no_run(directory: Path) -> str:
    if not directory.is_dir():
        return f"there is no directory {directory}; give the path of a run, such as runs/<name>-<hash>"
    if directory.parent.name == "shards":
        return f"{directory} is a shard of a run; give the run: {directory.parent.parent}"
    runs = sorted(child.parent.name for child in directory.glob("*/config.yaml"))
    if runs:
        return f"{directory} is not a run, but it holds {len(runs)}: give one of them, such as {directory / runs[0]}"
    return f"{directory} is not a run: it has no config.yaml; give the path of a run, such as runs/<name>-<hash>"


def _read(file: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        content = parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedRunError(f"{file} is missing; {_REPAIR}") from None
    except (ValueError, yaml.YAMLError):
        raise DamagedRunError(f"{file} cannot be read, it was cut short or edited; {_REPAIR}") from None
    if not isinstance(content, dict):
        raise DamagedRunError(f"{file} does not hold a mapping, it was cut short or edited; {_REPAIR}")
    return content


def _read_shard(folder: Path) -> tuple[Shard, pa.Table]:
    status = _read(folder / "status.json", json.loads)
    if not isinstance(status.get("step"), int):
        raise DamagedRunError(f"{folder / 'status.json'} does not say at which step the shard is; {_REPAIR}")
    rows = _read_metrics(folder, status["step"])
    others = set(pc.unique(rows["seed"]).to_pylist()) - seeds_of(folder)
    if others:
        raise DamagedRunError(f"{folder} has rows of seed {min(others)}, which its name denies: it was renamed")
    return Shard(folder.name, _read(folder / "environment.json", json.loads), status), rows


def files_of(shard: Path) -> list[MetricsFile]:
    """The files of a shard's metrics by their names, which follow one another; nothing is read.

    Raises:
        DamagedRunError: if one is missing or was renamed.
    """
    directory = shard / "metrics"
    files: list[MetricsFile] = []
    reached = 0
    # A file under another ending is one that a killed run had not finished writing.
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


def _read_metrics(shard: Path, step: int) -> pa.Table:
    """The rows of all files, after a check that the files are whole and follow one another up to `step`."""
    found, directory = files_of(shard), shard / "metrics"
    tables = [read_file(file) for file in found]
    reached = found[-1].last if found else 0
    if reached < step:
        raise DamagedRunError(f"{directory} lacks the steps {reached} to {step}; {_REPAIR}")
    names = tables[0].column_names if tables else list(_COLUMNS)
    for table in tables:
        if table.column_names != names:
            raise DamagedRunError(f"the files of {directory} differ in their columns; {_REPAIR}")
    return pa.concat_tables(tables) if tables else pa.schema(_COLUMNS).empty_table()


def _to_pandas(rows: pa.Table) -> pd.DataFrame:
    # A few names repeated in millions of rows: categories keep them small and quick to select.
    for column in ("metric", "group"):
        rows = rows.set_column(rows.column_names.index(column), column, rows[column].dictionary_encode())
    return rows.to_pandas()


def read_file(file: MetricsFile) -> pa.Table:
    """The rows of one file.

    Raises:
        DamagedRunError: if the file is not what it was when it was written.
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
        schema = pa.schema([(name, _COLUMNS.get(name, pa.float64())) for name in table.column_names])
        table = table.cast(schema)
    except pa.ArrowException as error:
        raise DamagedRunError(f"{path} is no table of metrics ({error}); {_REPAIR}") from None
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise DamagedRunError(f"{path} has no column {missing[0]!r}; {_REPAIR}")
    steps = table["step"].to_numpy()
    earliest = first + 1 if first else 0  # what was evaluated before the first step is in the first file
    if steps.size and not (earliest <= steps.min() and steps.max() <= last):
        raise DamagedRunError(
            f"{path} holds steps {steps.min()} to {steps.max()}, which its name denies, it was renamed; {_REPAIR}"
        )
    return table
