"""Measures the networks of a run of a stream, from its checkpoints.

for each checkpoint, for each member:
    on the next task, and on the tasks before: diagnostics that need examples
    without examples: the other diagnostics
    on the test split: the accuracy, of all examples and of each class
"""

import io
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pliant.experiment.configuration.config import ComponentSpec
from pliant.experiment.configuration.reading import components
from pliant.experiment.errors import ConfigError
from pliant.experiment.progress import OnProgress
from pliant.experiment.storage.files import write_atomically
from pliant.experiment.storage.store import writing

from .network_measures import EXAMPLES as EXAMPLES
from .network_measures import NetworkMeasures
from .restore import stored

logger = logging.getLogger(__name__)

# As published for class-incremental CIFAR-100.
DIAGNOSTICS: Mapping[str, Mapping[str, Any]] = {
    "inactive_fraction": {"threshold": 0.01, "count": "activations"},
    "effective_rank": {"layers": "last"},
    "stable_rank": {"layers": "last"},
    "weight_magnitude": {"leaves": "all"},
}
FILE = "analysis.parquet"
METADATA = b"pliant.analysis"  # key of the settings of the analysis


def read_diagnostics(given: Sequence[Any] | None = None) -> tuple[ComponentSpec, ...]:
    """The diagnostics of an analysis.

    Args:
        given: names, with the published settings where there are some, or mappings as in a configuration; `None`: the
            published diagnostics.

    Raises:
        ConfigError, UnknownNameError: one line that names the diagnostic and what is allowed.
    """
    return components(
        "diagnostics",
        [
            {"name": one, **DIAGNOSTICS[one]} if isinstance(one, str) and one in DIAGNOSTICS else one
            for one in ([*DIAGNOSTICS] if given is None else given)
        ],
    )


def analyze(
    path: Path,
    diagnostics: Sequence[ComponentSpec],
    *,
    steps: Collection[int] | None = None,
    seeds: Collection[int] | None = None,
    examples: int = 0,
    train_mode: bool = False,
    on_progress: OnProgress = lambda done, total: None,
) -> pd.DataFrame:
    """Measures each member of a run of a stream at each of its checkpoints; changes no file.

    At the end of a task a checkpoint has the network after its last update, with the parameters that early stopping
    took back, and before anything that the next task resets. After the last task there are no examples of a next task,
    unless the stream goes on.

    Args:
        path: the run's directory.
        diagnostics: which numbers.
        steps: of the checkpoints; `None`: all that there are.
        seeds: of the members; `None`: all seeds.
        examples: on which diagnostics are measured, evenly spaced in the splits `next_task` and `previous_tasks`; 0:
            1000. A stream without these splits gives its next examples; 0: as many as its own diagnostics take.
        train_mode: whether norms use the statistics of the batch, as while learning, or the running statistics.
        on_progress: is called with the number of networks that were measured, and that of all.

    Returns:
        One row per number: `seed`, the swept settings, `step`, `task` (tasks before the checkpoint), `examples` (the
        name of a split; `""`: the number needs none), `metric`, `group`, `value`. The metric `accuracy` has a group for
        each class; in class-incremental problems these are numbered in the order of introduction. Members that had
        diverged are left out.

    Raises:
        ConfigError: if the directory is no run of a stream; if a checkpoint or a seed is missing; if a diagnostic needs
            two times of a run, or another mode is asked for than there is.
        StoreError: if there is no good checkpoint, or another version of the program wrote it.
    """
    shards = stored(path, seeds, has_episodes=False)
    first = shards[0].plan
    if first.tasks and not first.kept:
        logger.info("%s kept its newest checkpoints alone; --keep-checkpoints tasks makes a run that keeps more", path)
    analysis = NetworkMeasures(first, diagnostics, examples, train_mode)
    chosen = [
        (shard, step, np.flatnonzero(np.isin(shard.plan.members.seeds, list(seeds or shard.plan.config.seed_list))))
        for shard in shards
        for step in (steps if steps is not None else shard.steps or [None])  # `None`: says how to get the first
    ]
    for shard, step, _ in chosen:
        if step not in shard.steps:
            shard.read(step)  # refuses it, before the work for others is done
    total, done, tables = sum(len(members) for *_, members in chosen), 0, []
    on_progress(0, total)
    for shard, step, members in chosen:
        trained = shard.read(step)
        for member in members:
            if trained.diverged[member] < 0:
                tables.append(analysis.table(trained, member))
            done += 1
            on_progress(done, total)
    if not tables:
        raise ConfigError(f"{path}: all of the members diverged before these checkpoints: there is nothing to measure")
    return pd.concat(tables, ignore_index=True)


def write(path: Path, table: pd.DataFrame, **how: Any) -> Path:
    """Writes `analysis.parquet` into the directory of a run, in place of an earlier one; returns its path.

    Args:
        path: the run's directory.
        table: from `analyze`.
        how: settings of the analysis, which become metadata of the file.

    Raises:
        StoreError: if the file cannot be written.
    """
    rows = pa.Table.from_pandas(table, preserve_index=False)
    buffer = io.BytesIO()
    pq.write_table(rows.replace_schema_metadata({METADATA: json.dumps(how)}), buffer, compression="zstd")
    with writing(path):
        write_atomically(path / FILE, buffer.getvalue())
    return path / FILE
