"""TensorBoard's event files of a run, made from its metrics.

    RUN/tensorboard/
      seed=3,learning_rate=0.01/events.out.tfevents.<time>   all rows of a member: scalar `metric/group` at its step
      seed=3,learning_rate=0.01,tags=neuroplastic_expansion/events.out.tfevents.<time>   the metrics of the published
                     program of Neuroplastic Expansion, under its tags (`_PUBLISHED_TAGS`), to compare with its curves
      written.json   the files of metrics in the event files, shard by shard, and the lengths of the event files
      lock           held while they are written

An update appends the missing rows to a file, also after a run was stopped, and cuts off a half-written event of a
killed process. If metrics were changed, because seeds were computed again or files were damaged, the event files are
emptied, and new ones take their place.
"""

import contextlib
import importlib.util
import itertools
import json
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from .load import Run
from .shards import DamagedRunError, MetricsFile, files_of, read_file, shards_of

logger = logging.getLogger(__name__)

# Not there on Windows, where the library and reports work.
fcntl: Any = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None

Update = Callable[[Path], None]


# tag -> (metric, pattern of groups): the mean over the groups. For the fraction of active units (FAU) it is the mean
# over units, because the layers of those networks have one width. The published program counts evaluations at `reward`
# and updates at `critic_loss` and `current_nstep`; here all tags are at steps of the environment. Our own `reward` is
# the reward of a training step, so that the published tags need separate files.
_PUBLISHED_TAGS = {
    "reward": ("evaluation_return", ""),
    "success": ("evaluation_success", ""),
    "actor_FAU": ("active_fraction", "actor/.+"),
    "critic_FAU": ("active_fraction", r"critic\w*/.+"),
    "actor_sparsity": ("sparsity", "actor"),
    "critic_sparsity": ("sparsity", r"critic\w*"),
    "buffer_distance": ("replay_distance", ""),
    "buffer_size": ("replay_size", ""),
    "critic_loss": ("critic_loss", ""),
    "current_nstep": ("n_step", ""),
}


class _Written(NamedTuple):
    metrics: dict[str, list[str]]  # names of the files of metrics, by the shard's name
    files: dict[str, int]  # names of the event files, with the folder of their member -> bytes


def tensorboard() -> Update:
    """Makes a function that updates the event files of runs.

    Returns:
        `update(run_dir)`, which appends the missing rows to the event files of a run.

    Raises:
        ValueError: if tensorboardX is not installed.
    """
    try:
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.record_writer import masked_crc32c
    except ImportError:
        raise ValueError("event files need tensorboardX; write pip install -e '.[tensorboard]'") from None

    def record(event: Any) -> bytes:
        """The bytes of an event in a file: its length and the event, each with a checksum."""
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        sums = [struct.pack("<I", masked_crc32c(bytes)) for bytes in (length, data)]
        return b"".join([length, sums[0], data, sums[1]])

    def head(at: float) -> bytes:
        """The first bytes of a file, which make TensorBoard drop the events of an earlier file."""
        start = SessionLog(status=SessionLog.START)
        return record(Event(wall_time=at, file_version="brain.Event:2")) + record(
            Event(wall_time=at, session_log=start)
        )

    def events(rows: pd.DataFrame, at: float) -> Iterator[bytes]:
        """The rows of one member, an event for each step."""
        rows = rows.sort_values("step", kind="stable")
        tags = rows["metric"].where(rows["group"] == "", rows["metric"] + "/" + rows["group"])
        for step, scalars in itertools.groupby(zip(rows["step"], tags, rows["value"]), key=lambda row: row[0]):
            values = [Summary.Value(tag=tag, simple_value=value) for _, tag, value in scalars]
            yield record(Event(wall_time=at, step=step, summary=Summary(value=values)))

    def update(run_dir: Path) -> None:
        folder = run_dir / "tensorboard"
        folder.mkdir(exist_ok=True)
        with open(folder / "lock", "w") as lock:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a network file system may have no locks
                    fcntl.flock(lock, fcntl.LOCK_EX)  # a run may be at work while a report is written
            metrics = {shard.name: _files(shard) for shard in shards_of(run_dir)}
            written = _written(folder, {name: [file.path.name for file in files] for name, files in metrics.items()})
            for shard, files in metrics.items():
                known = written.metrics.setdefault(shard, [])
                with _others_go_on():
                    for file in files[len(known) :]:
                        append(folder, written, read_file(file).to_pandas(), file.path.stat().st_mtime)
                        known.append(file.path.name)
            _remember(folder, written)

    def append(folder: Path, written: _Written, rows: pd.DataFrame, at: float) -> None:
        """Appends rows to the files of their members; a repeated call writes the same bytes."""
        names = {Path(name).parent.name: name for name in written.files}
        for member, its_rows in _members(rows):
            name = names.get(member, f"{member}/events.out.tfevents.{time.time_ns()}")
            size = written.files.get(name, 0)
            data = b"".join([*([] if size else [head(at)]), *events(its_rows, at)])
            _continue(folder / name, size, data)
            written.files[name] = size + len(data)

    return update


def _files(shard: Path) -> list[MetricsFile]:
    with _others_go_on():
        return files_of(shard)
    return []


@contextlib.contextmanager
def _others_go_on() -> Iterator[None]:
    """Warns about a shard that is damaged, or that its run has just changed, and continues with the others."""
    try:
        yield
    except (DamagedRunError, FileNotFoundError) as error:
        logger.warning("event files lack a shard: %s", error)


def _written(folder: Path, metrics: Mapping[str, list[str]]) -> _Written:
    """The metrics in the event files; if these metrics do not begin with them, the event files are emptied."""
    try:
        written = _Written(**json.loads((folder / "written.json").read_text(encoding="utf-8")))
        whole = all((folder / name).stat().st_size >= size for name, size in written.files.items())
        if whole and all(metrics.get(shard, [])[: len(names)] == names for shard, names in written.metrics.items()):
            return written
    except (FileNotFoundError, TypeError, ValueError):
        pass
    for file in folder.glob("*/*"):
        os.truncate(file, 0)  # TensorBoard continues with the next file after an empty one, but not after a deleted one
    return _Written({}, {})


def _members(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each member under its name, and its rows with published tags, if there are any."""
    names = {setting: short.replace(" ", "_") for setting, short in Run({}, (), rows).short_names.items()}
    for key, its_rows in rows.groupby(["seed", *names], sort=False):
        seed, *values = tuple(key)
        words = [f"{name}={str(value).removesuffix('.0')}" for name, value in zip(names.values(), values, strict=True)]
        name = ",".join([f"seed={seed}", *words])
        yield name, its_rows
        published = _published(its_rows)
        if len(published):
            yield f"{name},tags=neuroplastic_expansion", published


def _published(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of one member that have published tags, renamed to these tags."""
    rows = rows[rows["metric"].isin({metric for metric, _ in _PUBLISHED_TAGS.values()})]
    tagged = []
    for tag, (metric, groups) in _PUBLISHED_TAGS.items():
        its_rows = rows[(rows["metric"] == metric) & rows["group"].str.fullmatch(groups)]
        if len(its_rows):
            means = its_rows.groupby("step")["value"].mean().reset_index()
            tagged.append(means.assign(metric=tag, group=""))
    return pd.concat(tagged) if tagged else rows[:0]


def _continue(file: Path, size: int, data: bytes) -> None:
    """Appends to the first `size` bytes of a file, and drops all later bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "r+b" if size else "wb") as opened:
        opened.truncate(size)
        opened.seek(size)
        opened.write(data)


def _remember(folder: Path, written: _Written) -> None:
    unfinished = folder / "written.json.unfinished"
    unfinished.write_text(json.dumps(written._asdict()), encoding="utf-8")
    unfinished.replace(folder / "written.json")
