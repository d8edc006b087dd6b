"""Metrics of a shard: `metrics/<first>-<last>-<sha>.parquet`, the rows of the steps first < step <= last.

`sha` is the first 16 hexadecimal digits of the file's SHA-256. The first file also has what was measured before the
first step.
"""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .aside import set_aside
from .files import sha256, write_atomically

_NAME = re.compile(r"(\d{12})-(\d{12})-([0-9a-f]{16})\.parquet")


class MetricsFile(NamedTuple):
    """A file of metrics, described by its name."""

    path: Path
    first: int  # steps before its rows
    last: int
    digest: str

    def is_whole(self) -> bool:
        """Whether the file is as it was written."""
        return sha256(self.path)[:16] == self.digest


def write_metrics(shard: Path, first: int, last: int, rows: pa.Table, config: str = "") -> None:
    """Writes the rows of the steps after `first` up to `last`.

    Args:
        shard: the directory of the shard.
        first, last: steps before and after.
        rows: the metrics.
        config: digest of the configuration that they belong to; the file has it as metadata.
    """
    rows = rows.replace_schema_metadata({"pliant.config": config})
    buffer = pa.BufferOutputStream()
    pq.write_table(rows, buffer, compression="zstd")
    data = buffer.getvalue().to_pybytes()
    digest = hashlib.sha256(data).hexdigest()[:16]
    write_atomically(shard / "metrics" / f"{first:012d}-{last:012d}-{digest}.parquet", data)


def read_metric(shard: Path, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a metric in all files, `(rows,)` steps and values; the files are not checked."""
    tables = [
        pq.read_table(file.path, columns=["step", "value"], filters=[("metric", "==", metric)])
        for file in _files(shard)
    ]
    rows = pa.concat_tables(tables) if tables else pa.table({"step": [], "value": []})
    return rows["step"].to_numpy(), rows["value"].to_numpy()


def complete_until(shard: Path) -> int:
    """The step up to which the metrics are complete and as they were written."""
    return max((file.last for file in _chain(shard)), default=0)


def first_damage(shard: Path, step: int) -> str:
    """A line on the damage of the metrics up to `step`; empty if there is none."""
    end = complete_until(shard)
    if end >= step:
        return ""
    damaged = next((file for file in _files(shard) if file.first == end and not file.is_whole()), None)
    return f"{damaged.path} is damaged" if damaged else f"{shard / 'metrics'} lacks the steps after {end:,}"


def keep_metrics_until(shard: Path, step: int) -> None:
    """Sets aside the rows of later steps and damaged files; deletes unfinished files of a killed process."""
    good = {file.path for file in _chain(shard) if file.last <= step}
    for file in _files(shard):
        if file.path not in good:
            set_aside(file.path, shard, "goes beyond the newest checkpoint" if file.is_whole() else "is damaged")
    for left in (shard / "metrics").glob("*.unfinished"):
        left.unlink()


def clear_metrics(shard: Path) -> None:
    """Deletes all files of metrics."""
    for file in _files(shard):
        file.path.unlink()


def _chain(shard: Path) -> list[MetricsFile]:
    """The files that follow one another from the first step on, as far as they are unchanged."""
    chain: list[MetricsFile] = []
    for file in _files(shard):
        if file.first == (chain[-1].last if chain else 0) and file.is_whole():
            chain.append(file)
    return chain


def _files(shard: Path) -> list[MetricsFile]:
    named = [(_NAME.fullmatch(path.name), path) for path in sorted((shard / "metrics").glob("*"))]
    return [MetricsFile(path, int(name[1]), int(name[2]), name[3]) for name, path in named if name]
