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

    An analysis of the same checkpoints is not made again.

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
    file = directory / FILE
    if _made(file) == how:
        table = pd.read_parquet(file)
        on_progress(1, 1)
    else:
        table = analyze(directory, read_diagnostics(), seeds=seeds, train_mode=train_mode, on_progress=on_progress)
        write(directory, table, **how)
    rows = of_whole_networks(table)
    rows = rows[rows["examples"] == _EXAMPLES]
    rows = rows.assign(step=rows["step"] + 1, metric=OF_NEXT_TASK + rows["metric"], group="")
    joined = pd.concat([run.metrics, rows[run.metrics.columns]], ignore_index=True)
    return dataclasses.replace(run, metrics=joined.astype({"metric": "category", "group": "category"}))


def _made(file: Path) -> dict[str, Any] | None:
    """The settings of the analysis in a file; `None` without one."""
    if not file.is_file():
        return None
    return json.loads((pq.read_schema(file).metadata or {}).get(METADATA, b"null"))
