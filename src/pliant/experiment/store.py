"""A run is a directory: what is written there, in an order that a kill at any moment cannot spoil.

    config.yaml                              the configuration; `pliant run` takes the file
    environment.json                         versions, git revision, command, machine
    status.json                              how far the run is
    metrics/<first>-<last>-<sha>.parquet     rows of the steps first < step <= last; sha begins the file's SHA-256
    checkpoints/<step>/                      orbax checkpoint, and MANIFEST.json with the SHA-256 of its files
    lock                                     held by the process that is working here

A part of the metrics is written first, then the checkpoint, then the status. So whatever a kill leaves behind, the
newest checkpoint has all its metrics; parts beyond it are dropped when the run goes on, and made anew.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pyarrow as pa
import pyarrow.parquet as pq

logger = logging.getLogger(__name__)

_KEEP = 2  # checkpoints
_PART = re.compile(r"(\d{12})-(\d{12})-([0-9a-f]{16})\.parquet")


class StoreError(RuntimeError):
    """A run directory that cannot be used as it is: one line that says why, and what to do."""


class Store:
    """One run's directory, as its one writer sees it.

    Args:
        path: the directory; made if it is not there.
        config: the text of `config.yaml`.
        environment: what goes into `environment.json`.

    Raises:
        StoreError: if the directory cannot be written, or belongs to another configuration.
    """

    def __init__(self, path: Path, config: str, environment: dict[str, Any]):
        self.path = path
        with self._writing():
            for folder in (path, path / "metrics", path / "checkpoints"):
                folder.mkdir(parents=True, exist_ok=True)
            file = path / "config.yaml"
            if not file.exists():
                _write_atomically(file, config.encode())
                _write_atomically(path / "environment.json", json.dumps(environment, indent=2).encode())
            elif file.read_text() != config:
                raise StoreError(f"{path} holds a run of another configuration; choose another directory or delete it")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the directory for this process; the system lets go of it when the process ends, however it ends.

        Raises:
            StoreError: if another process holds it.
        """
        with self._writing(), open(self.path / "lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise StoreError(f"another process ({file.read().strip()}) is working on {self.path}") from None
            file.truncate(0)
            file.write(f"pid {os.getpid()}")
            file.flush()
            yield

    @property
    def status(self) -> dict[str, Any]:
        """What `status.json` says; empty before the first checkpoint, or if it is damaged."""
        try:
            return json.loads((self.path / "status.json").read_text())
        except (OSError, ValueError):
            return {}

    def is_finished(self) -> bool:
        """Whether the run is complete, all its metrics being there as they were written."""
        status = self.status
        return status.get("state") == "finished" and self._good_until() >= status["steps"]

    def clear(self) -> None:
        """Forgets all results."""
        with self._writing():
            (self.path / "status.json").unlink(missing_ok=True)
            for folder in ("metrics", "checkpoints"):
                shutil.rmtree(self.path / folder)
                (self.path / folder).mkdir()

    def save(self, first: int, last: int, steps: int, rows: pa.Table, state: Sequence[np.ndarray], **status: Any) -> None:
        """Writes the metrics of the steps after `first` up to `last`, and the state after `last`.

        Args:
            first, last: the stretch.
            steps: of the whole run.
            rows: the metrics.
            state: all arrays of the population, in a fixed order.
            status: more facts for `status.json`.

        Raises:
            StoreError: if the disk is full or cannot be written; what was saved before stays as it is.
        """
        with self._writing():
            self._write_part(first, last, rows)
            self._write_checkpoint(last, state)
            state_word = "finished" if last >= steps else "running"
            facts = {"state": state_word, "step": last, "steps": steps, **status}
            _write_atomically(self.path / "status.json", json.dumps(facts, indent=2).encode())

    def resume(self, like: Sequence[jax.ShapeDtypeStruct]) -> tuple[int, list[np.ndarray]] | None:
        """The newest good checkpoint with all its metrics, as `(step, state)`; parts of metrics beyond it are dropped.

        Args:
            like: shapes and types that the state must have.

        Returns:
            `None` if there is nothing to go on from.
        """
        good = self._good_until()
        for folder in sorted((self.path / "checkpoints").iterdir(), reverse=True):
            step = int(folder.name) if folder.name.isdigit() else -1
            state = self._read_checkpoint(folder, like) if 0 <= step <= good else None
            if state is not None:
                self._drop_beyond(step)
                return step, state
            if step > good:
                logger.warning("checkpoint %s lacks metrics before it: going back", folder)
            with self._writing():
                shutil.rmtree(folder)
        self._drop_beyond(0)
        return None

    # -- metrics

    def _write_part(self, first: int, last: int, rows: pa.Table) -> None:
        buffer = pa.BufferOutputStream()
        pq.write_table(rows, buffer, compression="zstd")
        data = buffer.getvalue().to_pybytes()
        digest = hashlib.sha256(data).hexdigest()[:16]
        _write_atomically(self.path / "metrics" / f"{first:012d}-{last:012d}-{digest}.parquet", data)

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
            if _sha256(file)[:16] != digest:
                logger.warning("%s is damaged: its steps will be run again", file)
                continue
            end = last
        return end

    def _drop_beyond(self, step: int) -> None:
        end = 0
        with self._writing():
            for first, last, digest, file in self._parts():
                if first == end and last <= step and _sha256(file)[:16] == digest:
                    end = last
                else:
                    file.unlink()

    # -- checkpoints

    def _write_checkpoint(self, step: int, state: Sequence[np.ndarray]) -> None:
        folder = self.path / "checkpoints" / f"{step:012d}"
        unfinished = folder.with_suffix(".unfinished")
        for stale in (folder, unfinished):
            shutil.rmtree(stale, ignore_errors=True)
        arrays = {f"{i:06d}": array for i, array in enumerate(state) if array.size}  # orbax refuses empty arrays
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(unfinished.resolve(), arrays)
        except ValueError as error:  # how orbax's storage layer reports a full disk
            raise OSError(str(error).splitlines()[0]) from error
        manifest = {str(file.relative_to(unfinished)): _sha256(file) for file in _files(unfinished)}
        _write_atomically(unfinished / "MANIFEST.json", json.dumps(manifest, indent=2).encode())
        unfinished.rename(folder)
        _sync(folder.parent)
        kept = sorted(f for f in folder.parent.iterdir() if f.name.isdigit())
        for old in kept[:-_KEEP]:
            shutil.rmtree(old)

    def _read_checkpoint(self, folder: Path, like: Sequence[jax.ShapeDtypeStruct]) -> list[np.ndarray] | None:
        try:
            manifest = json.loads((folder / "MANIFEST.json").read_text())
            damaged = [name for name, digest in manifest.items() if _sha256(folder / name) != digest]
        except (OSError, ValueError):
            damaged = ["MANIFEST.json"]
        if damaged:
            logger.warning("checkpoint %s is damaged (%s): falling back to the one before", folder, damaged[0])
            return None
        wanted = {f"{i:06d}": shape for i, shape in enumerate(like) if shape.size}
        with ocp.StandardCheckpointer() as checkpointer:
            arrays = checkpointer.restore(folder.resolve(), jax.tree.map(lambda s: np.empty(s.shape, s.dtype), wanted))
        return [np.asarray(arrays.get(f"{i:06d}", np.zeros(s.shape, s.dtype))) for i, s in enumerate(like)]

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(f"cannot write {self.path}: {reason}; what was saved before can still be read") from error


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _write_atomically(file: Path, data: bytes) -> None:
    """Writes a file so that it is there whole or not at all, also after a loss of power."""
    unfinished = file.with_name(file.name + ".unfinished")
    try:
        with open(unfinished, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.rename(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    _sync(file.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
