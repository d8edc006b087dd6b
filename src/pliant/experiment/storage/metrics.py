"""Metrics of a shard: `metrics/<first>-<last>-<sha>.parquet`, the rows of the steps first < step <= last.

`sha` is the first 16 hexadecimal digits of the file's SHA-256. The first file also has the evaluation before the first
step.
"""

import hashlib
import logging
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .files import sha256, write_atomically

logger = logging.getLogger(__name__)

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


def write_metrics(shard: Path, first: int, last: int, rows: pa.Table) -> None:
    """Writes the rows of the steps after `first` up to `last`."""
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
    """The step up to which the metrics are complete and unchanged."""
    end = 0
    for file in _files(shard):
        if file.first != end:
            continue
        if not file.is_whole():
            logger.warning("%s is damaged: its steps will be run again", file.path)
            continue
        end = file.last
    return end


def drop_metrics_beyond(shard: Path, step: int) -> None:
    """Deletes the rows of later steps, and damaged or unfinished files."""
    end = 0
    for file in _files(shard):
        if file.first == end and file.last <= step and file.is_whole():
            end = file.last
        else:
            file.path.unlink()
    for left in (shard / "metrics").glob("*.unfinished"):
        left.unlink()


def _files(shard: Path) -> list[MetricsFile]:
    named = [(_NAME.fullmatch(path.name), path) for path in sorted((shard / "metrics").glob("*"))]
    return [MetricsFile(path, int(name[1]), int(name[2]), name[3]) for name, path in named if name]
