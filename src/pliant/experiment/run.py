"""Runs a configuration to its end: compiles, advances, writes, resumes."""

import contextlib
import itertools
import logging
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from . import loops
from .build import build, can_be_traced, has_convolutions, steps_of
from .config import RunConfig, expand, settings_of
from .population import Spread, layout
from .store import Store

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_CHECKPOINTS = 10.0

Tell = Callable[[int, int], None]  # (examples done, examples of the whole run), all members together


class Interrupted(Exception):
    """The run was asked to stop; everything up to `step` is saved."""

    def __init__(self, step: int):
        super().__init__(f"stopped at step {step:,}; the same command goes on from there")


class Population(NamedTuple):
    """The members of a run: seeds x the values of the swept settings."""

    seeds: np.ndarray  # (members,) uint32
    swept: dict[str, np.ndarray]  # dotted name -> (members,), as written; the device takes 32 bits of them

    def __len__(self) -> int:
        return len(self.seeds)


def population(config: RunConfig) -> Population:
    """The members of a configuration: for each combination of swept values, all seeds."""
    combinations = list(itertools.product(*config.sweep.values(), config.seed_list))
    columns = list(zip(*combinations, strict=True))
    swept = {}
    for name, column in zip(config.sweep, columns):
        where, _, key = name.rpartition(".")
        kind = settings_of(config.parts()[where].source)[key].type
        swept[name] = np.asarray(column, float if kind is float else int)
    return Population(np.asarray(columns[-1], np.uint32), swept)


def examples_of(config: RunConfig) -> int:
    """How many examples a whole run learns from, all members together."""
    return len(population(config)) * steps_of(config) * loops.batch_size(build(config).stream)


def split(config: RunConfig) -> list[RunConfig]:
    """One run for each program that a configuration needs; checked, value by value, before any of them starts.

    Raises:
        ConfigError: if a part refuses a value.
    """
    runs = expand(config, can_be_traced)
    for run in runs:
        for values in itertools.product(*run.sweep.values()):
            build(run.with_values(dict(zip(run.sweep, values))))
    return runs


def run(config: RunConfig, folder: Path, *, force: bool = False, tell: Tell | None = None) -> Path:
    """Runs one configuration (of those that `split` returns), or goes on with it, or finds it finished.

    Args:
        config: what to run.
        folder: where run directories lie; this one's name comes from the configuration.
        force: run it anew even if there are results.
        tell: is told how far the run is, after every stretch.

    Returns:
        The run's directory.

    Raises:
        StoreError: if the directory cannot be written, or another process works there.
        Interrupted: after Ctrl-C or SIGTERM, when everything is saved.
    """
    store = Store(folder / config.name, config.to_yaml(), _environment())
    with store.locked():
        if force:
            store.clear()
        if store.is_finished():
            logger.info("%s is finished already (run it anew with --force)", store.path)
        else:
            _advance(config, store, tell or (lambda done, total: None))
    return store.path


def _advance(config: RunConfig, store: Store, tell: Tell) -> None:
    steps = steps_of(config)
    stretch = min(config.record_every or max(1, steps // 100), steps)
    members = population(config)
    per_step = examples_of(config) // steps
    seed_axis = config.seed_axis
    if seed_axis == "auto":
        seed_axis = "map" if has_convolutions(config) else "vmap"
    spread = Spread(layout(len(members), seed_axis, jax.local_device_count()))

    def member_program(values: dict[str, jax.Array]) -> loops.Parts:
        return build(config.with_values(values))

    def begin(member, _):
        seed, values = member
        return loops.begin(member_program(values), seed), values

    def advance(length: int):
        def go(member, step):
            state, values = member
            state, metrics = loops.advance(member_program(values), state, step, length)
            return (state, values), (metrics, state.diverged)

        return spread.jit(go, donate=True)

    start = spread.jit(begin)
    state = start(spread.place((members.seeds, members.swept)), jnp.zeros((), jnp.int32))
    leaves, structure = jax.tree.flatten(state)
    like = [_plain_shape(leaf, len(members)) for leaf in leaves]
    resumed = store.resume(like)
    step = 0
    if resumed is not None:
        step, arrays = resumed
        placed = [_to_device(spread, array, leaf) for array, leaf in zip(arrays, leaves, strict=True)]
        state = jax.tree.unflatten(structure, placed)
        logger.info("going on from step %s of %s", f"{step:,}", f"{steps:,}")

    programs: dict[int, Callable[..., Any]] = {}
    rows = _Rows(members)
    saved, saved_at, first_seconds = step, time.monotonic(), store.status.get("seconds", 0.0)
    started = time.monotonic()
    tell(step * per_step, steps * per_step)

    def save() -> None:
        nonlocal saved, saved_at
        arrays = [_to_host(spread, leaf) for leaf in jax.tree.leaves(state)]
        seconds = first_seconds + time.monotonic() - started
        store.save(saved, step, steps, rows.take(), arrays, members=len(members), seconds=round(seconds, 3))
        saved, saved_at = step, time.monotonic()

    with _asked_to_stop() as asked:
        while step < steps:
            length = min(stretch, steps - step)
            program = programs.setdefault(length, advance(length))
            state, (metrics, diverged) = program(state, jnp.asarray(step, jnp.int32))
            rows.add(step, step + length, spread.gather(metrics), spread.gather(diverged))
            step += length
            tell(step * per_step, steps * per_step)
            if step == steps or asked() or time.monotonic() - saved_at > _SECONDS_BETWEEN_CHECKPOINTS:
                save()
            if asked() and step < steps:
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


def _plain_shape(leaf: jax.Array, members: int) -> jax.ShapeDtypeStruct:
    plain = jax.eval_shape(_plain, leaf)
    return jax.ShapeDtypeStruct((members, *plain.shape[1:]), plain.dtype)


def _plain(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _to_host(spread: Spread, leaf: jax.Array) -> np.ndarray:
    return spread.gather(_plain(leaf))


def _to_device(spread: Spread, array: np.ndarray, like: jax.Array) -> jax.Array:
    placed = spread.place(array)
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(placed, impl=jax.random.key_impl(like))
    return placed


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

