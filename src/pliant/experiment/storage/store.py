"""A run is a directory: what is written there, in an order that a kill at any moment cannot spoil.

    config.yaml                              the configuration; `pliant run` takes the file
    environment.json                         versions, git revision, command, machine
    status.json                              how far the run is
    metrics/<first>-<last>-<sha>.parquet     rows of the steps first < step <= last; sha begins the file's SHA-256;
                                             what was evaluated before the first step is in the first of them
    checkpoints/<step>/                      orbax checkpoint, and MANIFEST.json with the SHA-256 of its files
    lock                                     held by the process that is working here

A part of the metrics is written first, then the checkpoint, then the status; then old checkpoints go. So whatever a
kill leaves behind, the newest checkpoint has all its metrics, and the one that the status calls the best is there;
parts beyond the newest checkpoint are dropped when the run goes on, and made anew.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pliant.experiment.errors import StoreError

from .checkpoints import drop_checkpoints, is_whole, load_checkpoint, write_checkpoint
from .files import read_json, sha256, write_atomically

logger = logging.getLogger(__name__)

_PART = re.compile(r"(\d{12})-(\d{12})-([0-9a-f]{16})\.parquet")


class Store:
    """One run's directory, as its one writer sees it: everything but `locked` is for whoever holds the lock.

    For others there is `read_checkpoint`.

    Args:
        path: the directory.
        steps: of the whole run.
        kept: steps whose checkpoints stay; of the others, the newest two do.
    """

    def __init__(self, path: Path, steps: int, kept: Iterable[int] = ()):
        self.path = path
        self.steps = steps
        self._kept = frozenset(kept)

    @contextlib.contextmanager
    def locked(self, config: str, environment: Mapping[str, Any]) -> Iterator[None]:
        """Makes the directory if need be, and holds it; the system lets go of it whichever way the process ends.

        Args:
            config: the text of `config.yaml`.
            environment: what goes into `environment.json`.

        Raises:
            StoreError: if the directory cannot be written, another process holds it, or its `config.yaml` is not this.
        """
        with contextlib.ExitStack() as held:
            with self._writing():
                for folder in (self.path, self.path / "metrics", self.path / "checkpoints"):
                    folder.mkdir(parents=True, exist_ok=True)
                lock = held.enter_context(open(self.path / "lock", "a+"))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    lock.seek(0)
                    raise StoreError(f"another process ({lock.read()}) is working on {self.path}") from None
                lock.truncate(0)
                lock.write(f"pid {os.getpid()}")
                lock.flush()
                self._describe(config, environment)
            yield

    def _describe(self, config: str, environment: Mapping[str, Any]) -> None:
        if not read_json(self.path / "environment.json"):
            write_atomically(self.path / "environment.json", json.dumps(environment, indent=2).encode())
        file = self.path / "config.yaml"
        if not file.exists():
            write_atomically(file, config.encode())
        elif file.read_bytes() != config.encode():
            raise StoreError(
                f"{file} was edited or cut short: it is not the configuration that its directory is named after; "
                f"delete {file} to have it written anew"
            )

    @property
    def status(self) -> dict[str, Any]:
        """What `status.json` says; empty before the first checkpoint, or if it is damaged."""
        return read_json(self.path / "status.json")

    def is_finished(self) -> bool:
        """Whether the run is complete, all its metrics being there as they were written."""
        return self.status.get("state") == "finished" and self._good_until() >= self.steps

    def clear(self) -> None:
        """Forgets all results."""
        with self._writing():
            (self.path / "status.json").unlink(missing_ok=True)
            for folder in (self.path / "metrics", self.path / "checkpoints"):
                shutil.rmtree(folder)
                folder.mkdir()

    def save(
        self,
        first: int,
        last: int,
        rows: pa.Table,
        state: Sequence[np.ndarray],
        best: int | None = None,
        **facts: Any,
    ) -> None:
        """Writes the metrics of the steps after `first` up to `last`, and the state after `last`.

        Args:
            first: steps before the stretch.
            last: steps after it.
            rows: the metrics.
            state: all arrays of the population, in a fixed order.
            best: the step of the best checkpoint so far, which stays, too; `None`: there is none.
            facts: more for `status.json`.

        Raises:
            StoreError: if the disk is full or cannot be written; what was saved before stays as it is.
        """
        with self._writing():
            self._write_part(first, last, rows)
            write_checkpoint(self.path, last, state)
            self._write_status(last, facts if best is None else {**facts, "best": best})
            drop_checkpoints(self.path, {*self._kept, best})

    def resume(self, like: Sequence[jax.ShapeDtypeStruct]) -> tuple[int, list[np.ndarray]] | None:
        """Goes back to the newest good checkpoint with all its metrics; what lies beyond it is dropped.

        Args:
            like: shapes and types that the state must have.

        Returns:
            The steps before it, and the state; `None` if there is nothing to go on from.

        Raises:
            StoreError: if the checkpoint is good but holds another kind of state.
        """
        good = self._good_until()
        with self._writing():
            for folder in sorted((self.path / "checkpoints").glob("*/"), reverse=True):
                step = int(folder.name) if folder.name.isdigit() else None  # None: a kill left it unfinished
                if step is not None and step > good:
                    logger.warning("checkpoint %s lacks metrics before it: going back", folder)
                elif step is not None and is_whole(folder):
                    state = load_checkpoint(folder, like)
                    self._drop_beyond(step)
                    self._write_status(step, self.status)
                    return step, state
                shutil.rmtree(folder)
        self.clear()
        return None

    def _write_status(self, step: int, facts: Mapping[str, Any]) -> None:
        state = "finished" if step >= self.steps else "running"
        facts = {**facts, "state": state, "step": step, "steps": self.steps}
        write_atomically(self.path / "status.json", json.dumps(facts, indent=2).encode())

    # -- metrics

    def _write_part(self, first: int, last: int, rows: pa.Table) -> None:
        buffer = pa.BufferOutputStream()
        pq.write_table(rows, buffer, compression="zstd")
        data = buffer.getvalue().to_pybytes()
        digest = hashlib.sha256(data).hexdigest()[:16]
        write_atomically(self.path / "metrics" / f"{first:012d}-{last:012d}-{digest}.parquet", data)

    def read(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a metric in all parts, `(rows,)` steps and values; after `resume` these are good."""
        tables = [
            pq.read_table(file, columns=["step", "value"], filters=[("metric", "==", metric)])
            for *_, file in self._parts()
        ]
        rows = pa.concat_tables(tables) if tables else pa.table({"step": [], "value": []})
        return rows["step"].to_numpy(), rows["value"].to_numpy()

    def _parts(self) -> list[tuple[int, int, str, Path]]:
        parts = []
        for file in sorted((self.path / "metrics").iterdir()):
            match = _PART.fullmatch(file.name)
            if match:
                parts.append((int(match[1]), int(match[2]), match[3], file))
        return parts

    def _good_until(self) -> int:
        """The step up to which the metrics are complete and as they were written."""
        end = 0
        for first, last, digest, file in self._parts():
            if first != end:
                continue
            if sha256(file)[:16] != digest:
                logger.warning("%s is damaged: its steps will be run again", file)
                continue
            end = last
        return end

    def _drop_beyond(self, step: int) -> None:
        end = 0
        for first, last, digest, file in self._parts():
            if first == end and last <= step and sha256(file)[:16] == digest:
                end = last
            else:
                file.unlink()
        for left in (self.path / "metrics").glob("*.unfinished"):
            left.unlink()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(f"cannot write {self.path}: {reason}; what was saved before can still be read") from error
