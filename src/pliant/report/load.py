"""Reads a run directory back, and refuses one that is damaged.

    runs/<name>-<hash>/
      config.yaml        the whole configuration
      environment.json   versions, git revision, command, machine
      status.json        {"state": "running" | "finished", "step": int, "steps": int}
      metrics/<first>-<last>-<sha>.parquet   the rows of steps first < step <= last; in the first one also of step 0

The parts of `metrics/` are named after their range (12 digits each) and the first 16 hexadecimal digits of their
SHA-256, so a part that was cut short, edited, renamed or lost is noticed.
"""

import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

_PART = re.compile(r"(\d{12})-(\d{12})-([0-9a-f]{16})\.parquet")
_COLUMNS = {"seed": pa.int32(), "step": pa.int64(), "metric": pa.string(), "group": pa.string(), "value": pa.float64()}
_REPAIR = "run the same command again"


class DamagedRunError(ValueError):
    """A file of a run directory is missing, cut short or edited."""


class MetricsFile(NamedTuple):
    """A file of metrics, as its name tells: the rows of the steps first < step <= last."""

    file: Path
    first: int
    last: int
    digest: str


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run directory holds.

    Args:
        config: the whole configuration, a nested mapping.
        environment: versions, git revision, command and machine.
        status: `state` (`"running"` or `"finished"`), `step` and `steps`.
        metrics: one row a measurement, or an episode at the step where it ended, in the columns `seed`, one for each
            swept setting (`agent.learning_rate`), `step` (from 1; 0 for an evaluation before training), `metric`,
            `group` (`""`: the whole network; both are categories) and `value`. A member that diverged has NaN values
            from then on, no episodes, and one row of the metric `diverged` whose value is the step.
        name: the name of the directory.
    """

    config: dict[str, Any]
    environment: dict[str, Any]
    status: dict[str, Any]
    metrics: pd.DataFrame
    name: str = "run"

    @property
    def settings(self) -> tuple[str, ...]:
        """The swept settings, by their dotted names. A member of the run is a seed together with a value of each."""
        return tuple(column for column in self.metrics.columns if column not in _COLUMNS)

    @property
    def short_names(self) -> dict[str, str]:
        """What people call the settings: `step size` for `agent.learning_rate`, unless another setting ends so too."""
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
        """How many steps the run has done."""
        # A run that was killed between writing a part and writing its status has done what the part holds.
        return max(int(self.status["step"]), 0 if self.metrics.empty else int(self.metrics["step"].max()))


def load(path: str | os.PathLike[str]) -> Run:
    """Reads a run directory, finished or still running.

    Args:
        path: the directory `runs/<name>-<hash>`.

    Returns:
        The run. Its rows come in the order of their parts.

    Raises:
        DamagedRunError: if a file is missing or is not what it was when it was written.
        ValueError: if the directory is not a run.
    """
    directory = Path(path)
    if not (directory / "config.yaml").is_file():
        raise ValueError(_no_run(directory))
    status = _read(directory / "status.json", json.loads)
    if not isinstance(status.get("step"), int):
        raise DamagedRunError(f"{directory / 'status.json'} does not say at which step the run is; {_REPAIR}")
    return Run(
        config=_read(directory / "config.yaml", yaml.safe_load),
        environment=_read(directory / "environment.json", json.loads),
        status=status,
        metrics=_read_metrics(directory, status["step"]),
        name=directory.resolve().name,
    )


def _no_run(directory: Path) -> str:
    if not directory.is_dir():
        return f"there is no directory {directory}; give the path of a run, such as runs/<name>-<hash>"
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


def parts_of(run_dir: Path) -> list[MetricsFile]:
    """The parts of a run's metrics by their names, which follow one another; nothing is read.

    Raises:
        DamagedRunError: if one is missing or was renamed.
    """
    directory = run_dir / "metrics"
    files: list[MetricsFile] = []
    reached = 0
    # A file under another ending is one that a killed run had not finished writing.
    for file in sorted(directory.glob("*.parquet")):
        name = _PART.fullmatch(file.name)
        if name is None:
            raise DamagedRunError(f"{file} is not named <first>-<last>-<sha>.parquet, it was renamed; {_REPAIR}")
        first, last = int(name[1]), int(name[2])
        if first > reached:
            raise DamagedRunError(f"{directory} lacks the part of steps {reached} to {first}, before {file}; {_REPAIR}")
        if first < reached or last <= first:
            raise DamagedRunError(f"{file} overlaps the part before it, which ends at step {reached}; {_REPAIR}")
        files.append(MetricsFile(file, first, last, name[3]))
        reached = last
    return files


def _read_metrics(run_dir: Path, step: int) -> pd.DataFrame:
    """The rows of all parts, after a check that the parts are whole and follow one another up to `step`."""
    found, directory = parts_of(run_dir), run_dir / "metrics"
    files = [read_part(file) for file in found]
    reached = found[-1].last if found else 0
    if reached < step:
        raise DamagedRunError(f"{directory} lacks the part of steps {reached} to {step}; {_REPAIR}")

    names = files[0].column_names if files else list(_COLUMNS)
    for file in files:
        if file.column_names != names:
            raise DamagedRunError(f"the parts of {directory} differ in their columns; {_REPAIR}")
    table = pa.concat_tables(files) if files else pa.schema(_COLUMNS).empty_table()
    # A few names repeated in millions of rows: categories keep them small and quick to select.
    for column in ("metric", "group"):
        encoded = table[column].dictionary_encode()
        table = table.set_column(table.column_names.index(column), column, encoded)
    return table.to_pandas()


def read_part(file: MetricsFile) -> pa.Table:
    """The rows of one part.

    Raises:
        DamagedRunError: if the file is not what it was when it was written.
    """
    file, first, last, digest = file
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()[:16]
    if found != digest:
        raise DamagedRunError(
            f"{file} is damaged, it was cut short or edited: its SHA-256 begins with {found}, not {digest}; {_REPAIR}"
        )
    try:
        table = pq.read_table(pa.BufferReader(content))
        schema = pa.schema([(name, _COLUMNS.get(name, pa.float64())) for name in table.column_names])
        table = table.cast(schema)
    except pa.ArrowException as error:
        raise DamagedRunError(f"{file} is no table of metrics ({error}); {_REPAIR}") from None
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise DamagedRunError(f"{file} has no column {missing[0]!r}; {_REPAIR}")
    steps = table["step"].to_numpy()
    earliest = first + 1 if first else 0  # what was evaluated before the first step is in the first part
    if steps.size and not (earliest <= steps.min() and steps.max() <= last):
        raise DamagedRunError(
            f"{file} holds steps {steps.min()} to {steps.max()}, which its name denies, it was renamed; {_REPAIR}"
        )
    return table
