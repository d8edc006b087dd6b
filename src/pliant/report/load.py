"""Reads a run directory: the rows of all its seeds, without damaged shards.

runs/<name>-<hash>/
  config.yaml        the configuration without seeds
  shards/<seeds>/    see `shards`
"""

import dataclasses
import functools
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from .episodes import Begun, begun
from .shards import COLUMNS, DamagedRunError, Shard, read_mapping, read_shard, seeds_of, shards_of

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Run:
    """The contents of a run directory.

    Args:
        config: the configuration without seeds, a nested mapping.
        shards: the blocks of seeds of the rows, sorted by their first seeds.
        metrics: one row per measurement, or per episode at the step of its end. Its columns are `seed`, one for each
            swept setting (`agent.learning_rate`), `step` (from 1; 0 for what was measured before training), `metric`,
            `group` (`""`: the whole network; both are categories) and `value`. After its divergence a member has NaN
            values and no episodes, and one row of the metric `diverged`, whose value is the step.
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
        """The progress of the run: `finished` if all shards are finished, otherwise the step of the slowest shard.

        `members` and `seconds` are sums over all shards; `best` is left out if shards differ in it.
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
        return tuple(column for column in self.metrics.columns if column not in COLUMNS)

    @property
    def short_names(self) -> dict[str, str]:
        """Names for labels: `learning rate` for `agent.learning_rate`, unless another setting ends in the same word."""
        ends = [setting.rpartition(".")[2] for setting in self.settings]
        return {
            setting: (end if ends.count(end) == 1 else setting).replace("_", " ")
            for setting, end in zip(self.settings, ends, strict=True)
        }

    @property
    def label(self) -> str:
        """The name in legends: of the continual method and the methods, or of the agent if there is neither."""
        components = [self.config["continual"]] if self.config.get("continual") else []
        names = [component["name"] for component in (*components, *self.config.get("methods", []))]
        agent = self.config.get("agent", {}).get("name", self.name)
        return " + ".join(names or [agent]).replace("_", " ")

    @functools.cached_property
    def members(self) -> pd.DataFrame:
        """The members: `seed`, a column for each swept setting, and `diverged`, the step of divergence or NaN."""
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
    def num_envs(self) -> int | None:
        """The number of environments of a member, whose steps are added up; `None` if the run has none."""
        recorded = self.status.get("num_envs", self.config.get("problem", {}).get("num_envs"))
        return None if recorded is None else int(recorded)

    @functools.cached_property
    def begun(self) -> Begun | None:
        """The episodes by the steps at which they began; `None` if the run has none, or did not record lengths."""
        if self.num_envs is None or "length" not in self.of_episodes:
            return None
        return begun(self.metrics, self.of_episodes, ["seed", *self.settings], self.num_envs, self.members)

    @property
    def tasks(self) -> dict[int, str]:
        """The steps at which tasks of the problem begin, and their names; empty if it has fewer than two tasks."""
        tasks = self.status.get("tasks", [])
        begins = [0, *self.ends_of_tasks]
        return {step: task["name"] for step, task in zip(begins, tasks)} if len(tasks) > 1 else {}

    @property
    def ends_of_tasks(self) -> tuple[int, ...]:
        """The last step of each task of the problem; empty if it has no tasks."""
        return tuple(task["until"] for task in self.status.get("tasks", []))

    @property
    def last_step(self) -> int:
        """The largest number of steps of a shard."""
        # A shard may have been killed between writing its metrics and its status.
        steps = [int(shard.status["step"]) for shard in self.shards]
        return max([*steps, 0 if self.metrics.empty else int(self.metrics["step"].max())])


def load(path: str | os.PathLike[str], seeds: Collection[int] | None = None) -> Run:
    """Reads a run directory, finished or still running.

    Args:
        path: the directory `runs/<name>-<hash>`.
        seeds: of the rows; `None`: all seeds of the run. A damaged shard is then left out with a warning, unless there
            is no other.

    Returns:
        The run. Its rows are in the order of the shards, and in a shard in the order of writing.

    Raises:
        DamagedRunError: if a file is missing or was changed after writing.
        ValueError: if the directory is not a run, has no such seed, or two of its shards hold the same seed.
    """
    directory = Path(path)
    if not (directory / "config.yaml").is_file():
        raise ValueError(_no_run(directory))
    config = read_mapping(directory / "config.yaml", yaml.safe_load)
    shards, tables, damaged = _read_all(_chosen(directory, seeds), config)
    if damaged and (seeds is not None or not shards):
        raise damaged[0]
    for damage in damaged:
        logger.warning("left out: %s", damage)
    rows = pa.concat_tables(tables)
    if seeds is not None:
        rows = rows.filter(pc.is_in(rows["seed"], pa.array(sorted(seeds), pa.int32())))
    return Run(config, tuple(shards), _to_pandas(rows), directory.resolve().name, tuple(map(str, damaged)))


def _chosen(directory: Path, seeds: Collection[int] | None) -> list[Path]:
    """The folders of the shards that hold these seeds."""
    folders = shards_of(directory)
    if not folders:
        raise ValueError(f"{directory} has no results yet; wait for its first, or write pliant run {directory}")
    missing = set(seeds or ()).difference(*map(seeds_of, folders))
    if missing:
        there = " and ".join(folder.name for folder in folders)
        raise ValueError(f"{directory} has no seed {min(missing)}; it has those of {there}")
    return [folder for folder in folders if seeds is None or not seeds_of(folder).isdisjoint(seeds)]


def _read_all(
    folders: Iterable[Path], config: Mapping[str, Any]
) -> tuple[list[Shard], list[pa.Table], list[DamagedRunError]]:
    """The good shards, their rows, and the errors of the others."""
    shards: list[Shard] = []
    tables: list[pa.Table] = []
    damaged: list[DamagedRunError] = []
    for folder in folders:
        try:
            shard, rows = read_shard(folder, config)
        except DamagedRunError as error:
            damaged.append(error)
            continue
        if tables and rows.column_names != tables[0].column_names:
            damaged.append(DamagedRunError(f"{folder} has other columns than {shards[0].name}; run it again"))
            continue
        shards.append(shard)
        tables.append(rows)
    return shards, tables, damaged


def _no_run(directory: Path) -> str:
    if not directory.is_dir():
        return f"there is no directory {directory}; give the path of a run, such as runs/<name>-<hash>"
    if directory.parent.name == "shards":
        return f"{directory} is a shard of a run; give the run: {directory.parent.parent}"
    runs = sorted(child.parent.name for child in directory.glob("*/config.yaml"))
    if runs:
        return f"{directory} is not a run, but it holds {len(runs)}: give one of them, such as {directory / runs[0]}"
    return f"{directory} is not a run: it has no config.yaml; give the path of a run, such as runs/<name>-<hash>"


def _to_pandas(rows: pa.Table) -> pd.DataFrame:
    # A few names are repeated in millions of rows: as categories they are small and quick to select.
    for column in ("metric", "group"):
        rows = rows.set_column(rows.column_names.index(column), column, rows[column].dictionary_encode())
    return rows.to_pandas()
