"""The networks of a run at the beginnings of its tasks, as rows beside those that the run recorded."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from pliant.experiment.evaluation.analyze import FILE, METADATA, analyze, read_diagnostics, write
from pliant.experiment.progress import OnProgress
from pliant.experiment.storage.checkpoints import checkpoints
from pliant.report import Run
from pliant.report.analysis import of_whole_networks
from pliant.report.recipe import OF_NEXT_TASK

_EXAMPLES = "next_task"


def with_networks(run: Run, directory: Path, *, train_mode: bool, on_progress: OnProgress) -> Run:
    """The run with what its networks are at the beginning of each task, measured on examples of the task.

    An analysis of the same checkpoints is not made again. Any other analysis in the directory is replaced.

    Args:
        run: the finished run, of a stream whose checkpoints of tasks were kept.
        directory: of the run; its `analysis.parquet` is written.
        train_mode: as in `analyze`.
        on_progress: is called with the number of networks that were measured, and that of all.

    Returns:
        The run; further metrics are those of whole networks, with `next_task/` before their names, at the first step of
        each task.
    """
    seeds = sorted({int(seed) for seed in run.metrics["seed"]})
    steps = {shard.name: checkpoints(directory / "shards" / shard.name) for shard in run.shards}
    how = {"examples": 0, "train_mode": train_mode, "seeds": seeds, "steps": steps}
    table = _read(directory / FILE, how)
    if table is None:
        table = analyze(directory, read_diagnostics(), seeds=seeds, train_mode=train_mode, on_progress=on_progress)
        write(directory, table, **how)
    rows = of_whole_networks(table)
    rows = rows[rows["examples"] == _EXAMPLES]
    rows = rows.assign(step=rows["step"] + 1, metric=OF_NEXT_TASK + rows["metric"], group="")
    joined = pd.concat([run.metrics, rows[run.metrics.columns]], ignore_index=True)
    return dataclasses.replace(run, metrics=joined.astype({"metric": "category", "group": "category"}))


def _read(file: Path, how: dict[str, Any]) -> pd.DataFrame | None:
    """The analysis in a file; `None` if there is none, another one, or a damaged file, which is written again."""
    try:
        rows = pq.read_table(file)
        is_same = json.loads((rows.schema.metadata or {}).get(METADATA, b"null")) == how
    except (OSError, ValueError):
        return None
    return rows.to_pandas() if is_same else None
