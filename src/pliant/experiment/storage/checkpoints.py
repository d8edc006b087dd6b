"""Checkpoints of a shard: `checkpoints/<step>/`, written by orbax, with the SHA-256 of their files in MANIFEST.json."""

import contextlib
import json
import logging
import os
import re
import shutil
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

import jax
import numpy as np

from pliant._neighbours import unchanged
from pliant.experiment.errors import ConfigError, StoreError

from .aside import set_aside
from .files import read_json, sha256, sync, write_atomically

with unchanged():  # orbax logs by functions of `logging` that add a handler to the root logger
    import orbax.checkpoint as ocp

logger = logging.getLogger(__name__)

_KEEP = 2  # the newest
_MANIFEST = "MANIFEST.json"
_CONFIG = "config.sha256"  # of the configuration
_UNFINISHED = re.compile(r"\d{12}\.unfinished.*")  # our name, and what orbax adds to it


def _run(path: Path) -> Path:
    """The directory of the run that a shard belongs to."""
    return path.parent.parent


def _command(path: Path) -> str:
    """What computes the checkpoints of a shard: a finished run is computed again by force alone."""
    is_finished = read_json(path / "status.json").get("state") == "finished"
    return f"pliant run {_run(path)}{' --force' if is_finished else ''}"


def _folder(path: Path, step: int) -> Path:
    return path / "checkpoints" / f"{step:012d}"


def checkpoints(path: Path) -> list[int]:
    """The steps at which a shard has checkpoints, in order; another process may be working on the shard."""
    folders = (path / "checkpoints").glob("*/")
    return sorted(int(folder.name) for folder in folders if folder.name.isdigit())


def write_checkpoint(path: Path, step: int, state: Mapping[str, np.ndarray], config: str = "") -> None:
    """Writes a checkpoint atomically.

    Args:
        path: the directory of the shard.
        step: steps before it.
        state: all arrays of the population, by name.
        config: digest of the configuration to which it belongs.

    Raises:
        OSError: if the disk is full or cannot be written; no file stays then.
    """
    folder = _folder(path, step)
    unfinished = folder.with_suffix(".unfinished")
    arrays = {name: array for name, array in state.items() if array.size}  # orbax refuses empty arrays
    try:
        with _errors_raised_alone(), _writer() as checkpointer:
            checkpointer.save(unfinished.resolve(), arrays, force=True)
        (unfinished / _CONFIG).write_text(config)
        digests = _digests(unfinished)
        for name in digests:
            sync(unfinished / name)
        write_atomically(unfinished / _MANIFEST, json.dumps(digests, indent=2).encode())
    except (OSError, ValueError) as error:
        for left in folder.parent.glob(f"{unfinished.name}*"):
            shutil.rmtree(left, ignore_errors=True)
        # Orbax's storage layer reports a full disk as a ValueError with the system's number in its text.
        number = re.search(r"os_error_code='(\d+)'", str(error))
        raise (OSError(int(number[1]), os.strerror(int(number[1]))) if number else error) from error
    unfinished.rename(folder)
    sync(folder.parent)


def drop_checkpoints(path: Path, kept: Container[int | None]) -> None:
    """Deletes the checkpoints that are neither kept nor among the newest two."""
    for old in checkpoints(path)[:-_KEEP]:
        if old not in kept:
            # A process that reads it meanwhile finds it whole, or not at all.
            dropped = _folder(path, old).with_suffix(".unfinished")
            _folder(path, old).rename(dropped)
            shutil.rmtree(dropped)


def newest_checkpoint(
    path: Path, like: Mapping[str, jax.ShapeDtypeStruct], until: int, config: str = ""
) -> tuple[int, dict[str, np.ndarray]] | None:
    """Reads the newest good checkpoint, and sets aside all later ones; deletes unfinished files of a killed process.

    Args:
        path: the directory of the shard, which this process holds.
        like: shapes and types of all arrays.
        until: the step up to which there are metrics.
        config: digest of the configuration of the run; empty: any.

    Returns:
        The steps before it, and the state; `None` if there is none.

    Raises:
        StoreError: if the checkpoint is good but holds another kind of state.
    """
    for folder in sorted((path / "checkpoints").glob("*/"), reverse=True):
        if _UNFINISHED.fullmatch(folder.name):
            shutil.rmtree(folder)
        elif not folder.name.isdigit():
            set_aside(folder, path, "is no checkpoint")
        elif int(folder.name) > until:
            set_aside(folder, path, "lacks metrics before it")
        elif (damage := _damage(folder)) is not None:
            set_aside(folder, path, f"is damaged ({damage})")
        elif not _belongs(folder, config):
            set_aside(folder, path, "belongs to another configuration")
        else:
            return int(folder.name), load_checkpoint(folder, like, exactly=True)
    return None


def config_of(path: Path) -> str:
    """The digest of the configuration to which the newest checkpoint of a shard belongs; empty if none says it."""
    said = (_folder(path, step) / _CONFIG for step in reversed(checkpoints(path)))
    return next((file.read_text(encoding="utf-8") for file in said if file.is_file()), "")


def _belongs(checkpoint: Path, config: str) -> bool:
    """Whether a good checkpoint belongs to a configuration; true for one without a digest (earlier versions)."""
    file = checkpoint / _CONFIG
    return not config or not file.exists() or file.read_text(encoding="utf-8") == config


def clear_checkpoints(path: Path) -> None:
    """Deletes all checkpoints of a shard."""
    for folder in (path / "checkpoints").glob("*/"):
        if folder.name.isdigit() or _UNFINISHED.fullmatch(folder.name):
            shutil.rmtree(folder)


def best_checkpoint(path: Path) -> int:
    """The step of the best checkpoint of a shard that is evaluated while it learns.

    Raises:
        ConfigError: if there is none.
    """
    best, there = read_json(path / "status.json").get("best"), checkpoints(path)
    if best not in there:
        raise ConfigError(
            f"step=best: {path} has no best checkpoint, but only a run with evaluate_every, once it was evaluated; "
            f"there are the steps: {', '.join(map(str, there)) or 'none yet'}"
        )
    return best


def read_checkpoint(
    path: Path, like: Mapping[str, jax.ShapeDtypeStruct], step: int | None = None, config: str = ""
) -> tuple[int, dict[str, np.ndarray]]:
    """Reads a checkpoint and changes nothing; another process may be working on the shard.

    Args:
        path: the directory of the shard.
        like: shapes and types of the arrays that must be there; further arrays may be there.
        step: of the checkpoint; `None`: the newest good one.
        config: digest of the configuration of the run; empty: any.

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
            raise StoreError(f"{path} has no checkpoint yet; wait for its first, or resume it: {_command(path)}")
        if step is not None and step not in there:
            raise ConfigError(f"step={step}: {path} has no such checkpoint; there are: {', '.join(map(str, there))}")
        left = [other for other in there if other not in damaged and step in (None, other)]
        if not left:
            raise StoreError(f"{path} has no good checkpoint; compute it again: {_command(path)}")
        newest, folder = left[-1], _folder(path, left[-1])
        try:
            damage = _damage(folder)
            if damage is None and not _belongs(folder, config):
                raise StoreError(
                    f"checkpoint {folder} belongs to another configuration: {_run(path) / 'config.yaml'} was edited or "
                    "replaced; undo that"
                )
            if damage is None:
                return newest, load_checkpoint(folder, like)
        except (OSError, ValueError) as error:
            damage = str(error)
        if newest not in checkpoints(path):
            continue  # not damaged: the run has continued and deleted it
        if step is not None:
            raise StoreError(f"checkpoint {folder} is damaged ({damage}); without a step the newest good one is taken")
        logger.warning("checkpoint %s is damaged (%s): falling back to the one before", folder, damage)
        damaged.add(newest)


def _damage(checkpoint: Path) -> str | None:
    """The first file of a checkpoint that differs from what was written; `None` if there is none."""
    digests, manifest = _digests(checkpoint), read_json(checkpoint / _MANIFEST)
    if not manifest:
        return _MANIFEST
    return next((name for name in sorted({*digests, *manifest}) if digests.get(name) != manifest.get(name)), None)


def _digests(checkpoint: Path) -> dict[str, str]:
    files = (file for file in checkpoint.rglob("*") if file.is_file())
    return {str(file.relative_to(checkpoint)): sha256(file) for file in files if file.name != _MANIFEST}


@contextlib.contextmanager
def _errors_raised_alone() -> Iterator[None]:
    """Keeps orbax's threads from logging tracebacks of errors, which they raise as exceptions, too."""
    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        absl.setLevel(level)


def _writer() -> ocp.Checkpointer:
    """Writes arrays without a copy and without compression, which would double the memory.

    Compression saves little with random numbers, as in weights and replays.
    """
    types = ocp.type_handlers
    handlers = types.create_type_handler_registry(
        (np.ndarray, types.NumpyHandler(deepcopy_host_arrays=False)), (jax.Array, types.ArrayHandler())
    )
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_compression=False, type_handler_registry=handlers))


def load_checkpoint(
    folder: Path, like: Mapping[str, jax.ShapeDtypeStruct], *, exactly: bool = False
) -> dict[str, np.ndarray]:
    """The state in a good checkpoint, by name.

    Args:
        folder: of the checkpoint.
        like: shapes and types of the arrays that must be there.
        exactly: whether to refuse further arrays.

    Raises:
        StoreError: if it holds another kind of state.
    """
    with ocp.StandardCheckpointer() as checkpointer:
        found = checkpointer.restore(folder.resolve())
    arrays = {name: np.empty(x.shape, x.dtype) for name, x in like.items() if not x.size} | found
    # Orbax would cut or pad an array of another shape.
    fits = all(
        name in arrays and (arrays[name].shape, arrays[name].dtype) == (x.shape, x.dtype) for name, x in like.items()
    )
    if not fits or (exactly and set(arrays) != set(like)):
        raise StoreError(
            f"checkpoint {folder} was written by another version of the program; run it again with --force"
        )
    return arrays
