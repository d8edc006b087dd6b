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
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import ConfigError, StoreError

logger = logging.getLogger(__name__)

_KEEP = 2  # checkpoints
_MANIFEST = "MANIFEST.json"
_PART = re.compile(r"(\d{12})-(\d{12})-([0-9a-f]{16})\.parquet")


class Store:
    """One run's directory, as its one writer sees it: everything but `locked` is for whoever holds the lock.

    For others there are `checkpoints` and `read_checkpoint`.

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
        if not _read_json(self.path / "environment.json"):
            _write_atomically(self.path / "environment.json", json.dumps(environment, indent=2).encode())
        file = self.path / "config.yaml"
        if not file.exists():
            _write_atomically(file, config.encode())
        elif file.read_bytes() != config.encode():
            raise StoreError(
                f"{file} was edited or cut short: it is not the configuration that its directory is named after; "
                f"delete {file} to have it written anew"
            )

    @property
    def status(self) -> dict[str, Any]:
        """What `status.json` says; empty before the first checkpoint, or if it is damaged."""
        return _read_json(self.path / "status.json")

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
            self._write_checkpoint(last, state)
            self._write_status(last, facts if best is None else {**facts, "best": best})
            self._drop_old({*self._kept, best})

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
                elif step is not None and _is_whole(folder):
                    state = _read_checkpoint(folder, like)
                    self._drop_beyond(step)
                    self._write_status(step, self.status)
                    return step, state
                shutil.rmtree(folder)
        self.clear()
        return None

    def _write_status(self, step: int, facts: Mapping[str, Any]) -> None:
        state = "finished" if step >= self.steps else "running"
        facts = {**facts, "state": state, "step": step, "steps": self.steps}
        _write_atomically(self.path / "status.json", json.dumps(facts, indent=2).encode())

    # -- metrics

    def _write_part(self, first: int, last: int, rows: pa.Table) -> None:
        buffer = pa.BufferOutputStream()
        pq.write_table(rows, buffer, compression="zstd")
        data = buffer.getvalue().to_pybytes()
        digest = hashlib.sha256(data).hexdigest()[:16]
        _write_atomically(self.path / "metrics" / f"{first:012d}-{last:012d}-{digest}.parquet", data)

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
            if _sha256(file)[:16] != digest:
                logger.warning("%s is damaged: its steps will be run again", file)
                continue
            end = last
        return end

    def _drop_beyond(self, step: int) -> None:
        end = 0
        for first, last, digest, file in self._parts():
            if first == end and last <= step and _sha256(file)[:16] == digest:
                end = last
            else:
                file.unlink()
        for left in (self.path / "metrics").glob("*.unfinished"):
            left.unlink()

    # -- checkpoints

    def _write_checkpoint(self, step: int, state: Sequence[np.ndarray]) -> None:
        folder = _folder(self.path, step)
        unfinished = folder.with_suffix(".unfinished")
        arrays = {_array_name(i): array for i, array in enumerate(state) if array.size}  # orbax refuses empty arrays
        try:
            with _writer() as checkpointer:
                checkpointer.save(unfinished.resolve(), arrays, force=True)
            digests = _digests(unfinished)
            for name in digests:
                _sync(unfinished / name)
            _write_atomically(unfinished / _MANIFEST, json.dumps(digests, indent=2).encode())
        except (OSError, ValueError) as error:
            for left in folder.parent.glob(f"{unfinished.name}*"):
                shutil.rmtree(left, ignore_errors=True)
            # Orbax's storage layer reports a full disk as a ValueError with the system's number in its text.
            number = re.search(r"os_error_code='(\d+)'", str(error))
            raise (OSError(int(number[1]), os.strerror(int(number[1]))) if number else error) from error
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
        _sync(folder.parent)

    def _drop_old(self, kept: Container[int | None]) -> None:
        for old in checkpoints(self.path)[:-_KEEP]:
            if old not in kept:
                # For whoever reads it meanwhile it is there whole or not at all.
                dropped = _folder(self.path, old).with_suffix(".unfinished")
                _folder(self.path, old).rename(dropped)
                shutil.rmtree(dropped)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(f"cannot write {self.path}: {reason}; what was saved before can still be read") from error


def _folder(path: Path, step: int) -> Path:
    return path / "checkpoints" / f"{step:012d}"


def checkpoints(path: Path) -> list[int]:
    """The steps at which a run has checkpoints, in order; whether or not a process is working there."""
    folders = (path / "checkpoints").glob("*/")
    return sorted(int(folder.name) for folder in folders if folder.name.isdigit())


def best_checkpoint(path: Path) -> int:
    """The step of the best checkpoint of a run that is evaluated while it learns.

    Raises:
        ConfigError: if there is none.
    """
    best, there = _read_json(path / "status.json").get("best"), checkpoints(path)
    if best not in there:
        raise ConfigError(
            f"step=best: {path} has no best checkpoint, but only a run with evaluate_every, once it was evaluated; "
            f"there are the steps: {', '.join(map(str, there)) or 'none yet'}"
        )
    return best


def read_checkpoint(
    path: Path, like: Sequence[jax.ShapeDtypeStruct], step: int | None = None
) -> tuple[int, list[np.ndarray]]:
    """Reads a checkpoint and changes nothing; another process may be working on the run.

    Args:
        path: the run's directory.
        like: shapes and types that the state must have.
        step: which; `None`: the newest good one.

    Returns:
        The steps before it, and the state.

    Raises:
        ConfigError: if there is none at `step`.
        StoreError: if there is no good one, or it holds another kind of state.
    """
    damaged: set[int] = set()
    while True:
        there = checkpoints(path)
        if not there:
            raise StoreError(f"{path} has no checkpoint yet; wait for its first, or go on with pliant run {path}")
        if step is not None and step not in there:
            raise ConfigError(f"step={step}: {path} has no such checkpoint; there are: {', '.join(map(str, there))}")
        left = [other for other in there if other not in damaged and step in (None, other)]
        if not left:
            raise StoreError(f"{path} has no good checkpoint; pliant run {path} makes it anew")
        newest, folder = left[-1], _folder(path, left[-1])
        try:
            damage = _damage(folder)
            if damage is None:
                return newest, _read_checkpoint(folder, like)
        except (OSError, ValueError) as error:
            damage = str(error)
        if newest not in checkpoints(path):
            continue  # it is not damaged: the run has gone on, and dropped it
        if step is not None:
            raise StoreError(f"checkpoint {folder} is damaged ({damage}); without a step the newest good one is taken")
        _say_damaged(folder, damage)
        damaged.add(newest)


def _is_whole(checkpoint: Path) -> bool:
    """Whether the files of a checkpoint are those that were written; says so if not."""
    damage = _damage(checkpoint)
    if damage is not None:
        _say_damaged(checkpoint, damage)
    return damage is None


def _damage(checkpoint: Path) -> str | None:
    """The first file of a checkpoint that is not as it was written; `None` if all are."""
    digests, manifest = _digests(checkpoint), _read_json(checkpoint / _MANIFEST)
    if not manifest:
        return _MANIFEST
    return next((name for name in sorted({*digests, *manifest}) if digests.get(name) != manifest.get(name)), None)


def _say_damaged(checkpoint: Path, damage: str) -> None:
    logger.warning("checkpoint %s is damaged (%s): falling back to the one before", checkpoint, damage)


def _digests(checkpoint: Path) -> dict[str, str]:
    files = (file for file in checkpoint.rglob("*") if file.is_file())
    return {str(file.relative_to(checkpoint)): _sha256(file) for file in files if file.name != _MANIFEST}


def _writer() -> ocp.Checkpointer:
    """Writes arrays from where they lie: neither copied before nor compressed, which would need as much memory again.

    Of random numbers, as in weights and replays, compression saves little.
    """
    types = ocp.type_handlers
    handlers = types.create_type_handler_registry(
        (np.ndarray, types.NumpyHandler(deepcopy_host_arrays=False)), (jax.Array, types.ArrayHandler())
    )
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_compression=False, type_handler_registry=handlers))


def _read_checkpoint(folder: Path, like: Sequence[jax.ShapeDtypeStruct]) -> list[np.ndarray]:
    with ocp.StandardCheckpointer() as checkpointer:
        found = checkpointer.restore(folder.resolve())
    names = [_array_name(i) for i in range(len(like))]
    arrays = [found.get(name, np.empty(x.shape, x.dtype)) for name, x in zip(names, like)]
    # Orbax would cut or fill up an array of another shape.
    fits = all(array.shape == x.shape and array.dtype == x.dtype for array, x in zip(arrays, like))
    if not fits or set(found) != {name for name, x in zip(names, like) if x.size}:
        raise StoreError(f"checkpoint {folder} was written by another version of the program; run anew with --force")
    return arrays


def _array_name(index: int) -> str:
    return f"{index:06d}"


def _read_json(file: Path) -> dict[str, Any]:
    """What a file of ours holds; empty if it is missing or damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


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


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, would outlast a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
