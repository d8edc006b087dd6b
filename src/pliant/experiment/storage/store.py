"""Writes the files of a shard, in an order that keeps them valid when the process is killed at any moment.

    RUN/config.yaml                              the configuration without seeds; `pliant run` takes the file
    RUN/sources/<digest>/<file>.py               the files of the user's own components, see `sources`
    RUN/shards/<seeds>/
      environment.json                           versions, git revision, command, machine
      status.json                                the progress of the shard
      metrics/<first>-<last>-<sha>.parquet       see `metrics`
      checkpoints/<step>/                        see `checkpoints`
      lock, owner.json                           see `lock`

A file of metrics is written first, then the checkpoint, then the status; then old checkpoints are deleted. So after a
kill the newest checkpoint has all its metrics, and the checkpoint that the status calls the best is there. When the
shard is resumed, metrics beyond the newest checkpoint and whatever is damaged are set aside (see `aside`), and computed
again.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa

from pliant.experiment.errors import StoreError

from .aside import set_aside
from .checkpoints import clear_checkpoints, drop_checkpoints, newest_checkpoint, write_checkpoint
from .files import read_json, write_atomically
from .lock import check_owner
from .metrics import clear_metrics, complete_until, keep_metrics_until, read_metric, write_metrics
from .numerics import ENVIRONMENT, amended

_STATUS = {"state": str, "step": int, "steps": int, "seconds": int | float, "tasks": list}


class Store:
    """A shard's directory, for the process that holds the shard (see `claimed`); for others: `read_checkpoint`.

    Args:
        path: the directory of the shard.
        steps: of the whole run.
        kept: steps whose checkpoints stay; of the others, the newest two do.
        config: digest of the configuration, which metrics and checkpoints get.
    """

    def __init__(self, path: Path, steps: int, kept: Iterable[int] = (), config: str = ""):
        self.path = path
        self.steps = steps
        self._config = config
        self._kept = frozenset(kept)

    def prepare(self, environment: Mapping[str, Any]) -> None:
        """Makes the folders, sets damaged files aside, and writes or amends `environment.json`.

        Args:
            environment: versions, command and machine, which a reader needs to get the same numbers. Those of a later
                process are added to the first if packages or platform changed.

        Raises:
            StoreError: if the directory cannot be written.
        """
        with writing(self.path):
            for folder in (self.path / "metrics", self.path / "checkpoints"):
                folder.mkdir(parents=True, exist_ok=True)
            for name, types in (("environment.json", ENVIRONMENT), ("status.json", _STATUS)):
                if (self.path / name).exists() and not read_json(self.path / name, types):
                    set_aside(self.path / name, self.path, "is damaged")
            now = amended(read_json(self.path / "environment.json"), environment)
            write_atomically(self.path / "environment.json", json.dumps(now, indent=2).encode())

    @property
    def status(self) -> dict[str, Any]:
        """The contents of `status.json`; empty before the first checkpoint, or if the file is damaged."""
        return read_json(self.path / "status.json", _STATUS)

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
            write_metrics(self.path, first, last, rows, self._config)
            write_checkpoint(self.path, last, state, self._config)
            self._write_status(last, facts if best is None else {**facts, "best": best})
            drop_checkpoints(self.path, {*self._kept, best})

    def begin(self, state: Mapping[str, np.ndarray]) -> None:
        """Writes the state before the first step.

        Args:
            state: all arrays of the population, by name.

        Raises:
            StoreError: as `save`.
        """
        check_owner(self.path)
        with writing(self.path):
            write_checkpoint(self.path, 0, state, self._config)

    def resume(self, like: Mapping[str, jax.ShapeDtypeStruct]) -> tuple[int, dict[str, np.ndarray]] | None:
        """Goes back to the newest good checkpoint with all its metrics; sets aside all results beyond it.

        Args:
            like: names, shapes and types that the state must have.

        Returns:
            The steps before it, and the state; `None` if there is nothing to resume.

        Raises:
            StoreError: if the checkpoint is good but holds another kind of state.
        """
        with writing(self.path):
            resumed = newest_checkpoint(self.path, like, complete_until(self.path), self._config)
            step = 0 if resumed is None else resumed[0]
            keep_metrics_until(self.path, step)
            if step:
                self._write_status(step, self.status)
            else:
                (self.path / "status.json").unlink(missing_ok=True)
        return resumed

    def read(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a metric, `(rows,)` steps and values; `resume` has checked them."""
        return read_metric(self.path, metric)

    def _write_status(self, step: int, facts: Mapping[str, Any]) -> None:
        state = "finished" if step >= self.steps else "running"
        facts = {**facts, "state": state, "step": step, "steps": self.steps}
        write_atomically(self.path / "status.json", json.dumps(facts, indent=2).encode())


def is_finished(shard: Path) -> bool:
    """Whether a shard has completed all steps of its run; its files may be damaged."""
    return read_json(shard / "status.json", _STATUS).get("state") == "finished"


def clear(shard: Path) -> None:
    """Deletes all results of a shard; other files stay."""
    (shard / "status.json").unlink(missing_ok=True)
    clear_metrics(shard)
    clear_checkpoints(shard)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns errors of the disk into a `StoreError`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"cannot write {path}: {reason}; what was saved before can still be read") from error
