"""Writes the files of a shard, in an order that keeps them valid when the process is killed at any moment.

    RUN/config.yaml                              the configuration without seeds; `pliant run` takes the file
    RUN/shards/<seeds>/
      environment.json                           versions, git revision, command, machine
      status.json                                the progress of the shard
      metrics/<first>-<last>-<sha>.parquet       see `metrics`
      checkpoints/<step>/                        see `checkpoints`
      lock, owner.json                           see `lock`

A file of metrics is written first, then the checkpoint, then the status; then old checkpoints are deleted. So after a
kill the newest checkpoint has all its metrics, and the checkpoint that the status calls the best is there. Metrics
beyond the newest checkpoint are deleted when the shard is resumed, and computed again.
"""

import contextlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa

from pliant.experiment.errors import StoreError

from .checkpoints import drop_checkpoints, is_whole, load_checkpoint, write_checkpoint
from .files import read_json, write_atomically
from .lock import check_owner
from .metrics import complete_until, drop_metrics_beyond, read_metric, write_metrics

logger = logging.getLogger(__name__)


class Store:
    """A shard's directory, for the process that holds the shard (see `claimed`); for others: `read_checkpoint`.

    Args:
        path: the directory of the shard.
        steps: of the whole run.
        kept: steps whose checkpoints stay; of the others, the newest two do.
    """

    def __init__(self, path: Path, steps: int, kept: Iterable[int] = ()):
        self.path = path
        self.steps = steps
        self._kept = frozenset(kept)

    def prepare(self, environment: Mapping[str, Any]) -> None:
        """Makes the folders, and writes `environment.json` if it is missing or damaged.

        Args:
            environment: versions, command and machine, which a reader needs to get the same numbers.

        Raises:
            StoreError: if the directory cannot be written.
        """
        with writing(self.path):
            for folder in (self.path / "metrics", self.path / "checkpoints"):
                folder.mkdir(parents=True, exist_ok=True)
            if not read_json(self.path / "environment.json"):
                write_atomically(self.path / "environment.json", json.dumps(environment, indent=2).encode())

    @property
    def status(self) -> dict[str, Any]:
        """The contents of `status.json`; empty before the first checkpoint, or if the file is damaged."""
        return read_json(self.path / "status.json")

    def save(
        self,
        first: int,
        last: int,
        rows: pa.Table,
        state: Mapping[str, np.ndarray],
        best: int | None = None,
        **facts: Any,
    ) -> None:
        """Writes the metrics of the steps after `first` up to `last`, and the state after `last`.

        Args:
            first: steps before the chunk.
            last: steps after it.
            rows: the metrics.
            state: all arrays of the population, by name.
            best: the step of the best checkpoint so far, which is kept, too; `None`: there is none.
            facts: further entries of `status.json`.

        Raises:
            StoreError: if the disk is full or cannot be written, or another process has taken the shard over; earlier
                files stay unchanged.
        """
        check_owner(self.path)
        with writing(self.path):
            write_metrics(self.path, first, last, rows)
            write_checkpoint(self.path, last, state)
            self._write_status(last, facts if best is None else {**facts, "best": best})
            drop_checkpoints(self.path, {*self._kept, best})

    def resume(self, like: Mapping[str, jax.ShapeDtypeStruct]) -> tuple[int, dict[str, np.ndarray]] | None:
        """Goes back to the newest good checkpoint with all its metrics; deletes all results beyond it.

        Args:
            like: names, shapes and types that the state must have.

        Returns:
            The steps before it, and the state; `None` if there is nothing to resume.

        Raises:
            StoreError: if the checkpoint is good but holds another kind of state.
        """
        good = complete_until(self.path)
        with writing(self.path):
            for folder in sorted((self.path / "checkpoints").glob("*/"), reverse=True):
                step = int(folder.name) if folder.name.isdigit() else None  # None: a kill left it unfinished
                if step is not None and step > good:
                    logger.warning("checkpoint %s lacks metrics before it: going back", folder)
                elif step is not None and is_whole(folder):
                    state = load_checkpoint(folder, like, exactly=True)
                    drop_metrics_beyond(self.path, step)
                    self._write_status(step, self.status)
                    return step, state
                shutil.rmtree(folder)
            clear(self.path)
        return None

    def read(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a metric, `(rows,)` steps and values; `resume` has checked them."""
        return read_metric(self.path, metric)

    def _write_status(self, step: int, facts: Mapping[str, Any]) -> None:
        state = "finished" if step >= self.steps else "running"
        facts = {**facts, "state": state, "step": step, "steps": self.steps}
        write_atomically(self.path / "status.json", json.dumps(facts, indent=2).encode())


def is_finished(shard: Path, steps: int) -> bool:
    """Whether a shard has completed all `steps` of its run, and its metrics are unchanged."""
    return read_json(shard / "status.json").get("state") == "finished" and complete_until(shard) >= steps


def clear(shard: Path) -> None:
    """Deletes all results of a shard."""
    (shard / "status.json").unlink(missing_ok=True)
    for folder in (shard / "metrics", shard / "checkpoints"):
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns errors of the disk into a `StoreError`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"cannot write {path}: {reason}; what was saved before can still be read") from error
