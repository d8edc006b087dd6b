"""Runs a configuration to its end: compiles, advances, writes, resumes."""

import contextlib
import logging
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa

from . import loops
from .build import build_each, can_be_traced, quietly, stream_of
from .config import RunConfig, expand
from .errors import Interrupted
from .programs import Population, Programs, population
from .store import Store

logger = logging.getLogger(__name__)

Tell = Callable[[int, int], None]  # (examples done, examples of the whole run), all members together


def examples_of(config: RunConfig) -> int:
    """How many examples a whole run learns from, all members together."""
    stream = stream_of(config)
    return len(population(config)) * stream.steps * loops.batch_size(stream)


def split(config: RunConfig) -> list[RunConfig]:
    """One run for each program that a configuration needs; checked, value by value, before any of them starts.

    Raises:
        ConfigError: if a part refuses a value.
    """
    runs = expand(config, can_be_traced)
    with quietly():
        for run in runs:
            build_each(run)
    return runs


def run(
    config: RunConfig,
    folder: Path,
    *,
    force: bool = False,
    tell: Tell = lambda done, total: None,
    checkpoint_every: float = 10.0,
) -> Path:
    """Runs one configuration (of those that `split` returns), or goes on with it, or finds it finished.

    Args:
        config: what to run.
        folder: where run directories lie; this one's name comes from the configuration.
        force: run it anew even if there are results.
        tell: is told how far the run is, after every stretch.
        checkpoint_every: seconds from one checkpoint to the next, at least; they come between two stretches.

    Returns:
        The run's directory.

    Raises:
        StoreError: if the directory cannot be written, or another process works there.
        Interrupted: after Ctrl-C or SIGTERM, when everything is saved.
    """
    store = Store(folder / config.name, stream_of(config).steps)
    with store.locked(config.to_yaml(), _environment()):
        if force:
            store.clear()
        if store.is_finished():
            logger.info("%s is finished already (run it anew with --force)", store.path)
        else:
            _advance(config, store, tell, checkpoint_every)
    return store.path


def _advance(config: RunConfig, store: Store, tell: Tell, checkpoint_every: float) -> None:
    build_each(config)
    steps = store.steps
    stretch = min(config.record_every or max(1, steps // 100), steps)
    members = population(config)
    programs = Programs(config, members)
    state = programs.begin()
    resumed = store.resume(programs.shapes(state))
    step = 0
    if resumed is not None:
        step, arrays = resumed
        state = programs.to_device(arrays, state)
        logger.info("going on from step %s of %s", f"{step:,}", f"{steps:,}")

    rows = _Rows(members)
    seconds_before, started = store.status.get("seconds", 0.0), time.monotonic()
    saved, saved_at = step, started
    examples = examples_of(config)
    tell(examples * step // steps, examples)
    with _asked_to_stop() as asked:
        while step < steps:
            length = min(stretch, steps - step)
            state, metrics, diverged = programs.advance(state, step, length)
            rows.add(step, step + length, programs.gather(metrics), programs.gather(diverged))
            step += length
            tell(examples * step // steps, examples)
            stop, now = asked(), time.monotonic()
            if stop or step == steps or now - saved_at > checkpoint_every:
                facts = {"members": len(members), "seconds": round(seconds_before + now - started, 3)}
                store.save(saved, step, rows.take(), programs.to_host(state), **facts)
                saved, saved_at = step, time.monotonic()
            if stop and step < steps:
                raise Interrupted(step)


class _Rows:
    """The metrics since the last save, as they go into a table."""

    def __init__(self, members: Population):
        self._members = members
        self._stretches: list[tuple[int, dict[tuple[str, str], np.ndarray]]] = []

    def add(self, first: int, last: int, metrics: dict[tuple[str, str], np.ndarray], diverged: np.ndarray) -> None:
        """Takes the metrics of the steps after `first` up to `last`; those of diverged members are NaN."""
        values = {key: np.where(diverged >= 0, np.nan, numbers) for key, numbers in metrics.items()}
        # The step of divergence is told once, in the stretch where it happened.
        values["diverged", ""] = np.where(diverged > first, diverged, np.nan)
        self._stretches.append((last, values))

    def take(self) -> pa.Table:
        """The rows so far, tidy; they are forgotten here."""
        members = len(self._members)
        columns: dict[str, list[Any]] = {"seed": [], **{name: [] for name in self._members.swept}}
        columns |= {"step": [], "metric": [], "group": [], "value": []}
        for step, metrics in self._stretches:
            for (metric, group), values in metrics.items():
                keep = np.isfinite(values) if metric == "diverged" else np.ones(members, bool)
                columns["seed"].append(self._members.seeds[keep].astype(np.int32))
                for name, swept in self._members.swept.items():
                    columns[name].append(swept[keep].astype(np.float64))
                columns["step"].append(np.full(keep.sum(), step, np.int64))
                columns["metric"].append(np.full(keep.sum(), metric))
                columns["group"].append(np.full(keep.sum(), group))
                columns["value"].append(values[keep].astype(np.float64))
        self._stretches = []
        return pa.table({name: pa.array(np.concatenate(parts)) for name, parts in columns.items()})


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Turns Ctrl-C and SIGTERM into a question that is answered between two stretches; a second one stops at once."""
    asked = False

    def note(number, frame):
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: whoever started it stops it
        before = {}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _environment() -> dict[str, Any]:
    packages = ("pliant", "jax", "jaxlib", "optax", "flax", "numpy")
    return {
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "git": _git_revision(),
        "machine": platform.platform(),
        "devices": [str(device) for device in jax.local_devices()],
    }


def _git_revision() -> str | None:
    """The revision of the code that is running, with `+` if files were changed; `None` outside a repository."""
    ask = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
