"""Runs a configuration to its end: compiles, advances, writes, resumes."""

import contextlib
import dataclasses
import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pliant.core.problem import Stream
from pliant.experiment.configuration.build import build, build_each, can_be_traced, problem_of, quietly
from pliant.experiment.configuration.config import RunConfig, expand
from pliant.experiment.evaluation.online import Evaluations
from pliant.experiment.loops.programs import Population, Programs, Stretch, check_memory, population, programs_of
from pliant.experiment.loops.stream import batch_size
from pliant.experiment.storage.checkpoints import checkpoints
from pliant.experiment.storage.claim import claimed
from pliant.experiment.storage.ranking import Ranking
from pliant.experiment.storage.store import Store

from .environment import environment
from .errors import Interrupted

logger = logging.getLogger(__name__)

_SAVING = 20  # times as long as a checkpoint takes there is none, unless it is the last
_EVALUATION = "evaluation_"  # begins the names of metrics
_RANKED_BY = f"{_EVALUATION}return"

OnProgress = Callable[[int, int], None]  # (done, of the whole run), in units of `work_of`, all members together
Saved = Callable[[Path], None]  # (the run's directory)


class Work(NamedTuple):
    """How much a run has to do."""

    amount: int  # all members together
    unit: str  # examples, or steps of environments


def work_of(config: RunConfig) -> Work:
    """How much a whole run has to do."""
    problem, members = problem_of(config), len(population(config))
    if isinstance(problem, Stream):
        return Work(members * problem.steps * batch_size(problem), "examples")
    return Work(members * problem.steps, "steps")


def split(config: RunConfig) -> list[RunConfig]:
    """One run for each program that a configuration needs; checked, value by value, before any of them starts.

    Raises:
        ConfigError: if a part refuses a value, or the agents of a run do not fit into memory.
    """
    runs = expand(config, can_be_traced)
    with quietly():
        for run in runs:
            build_each(run)
            check_memory(run, population(run))
    return runs


def run(
    config: RunConfig,
    folder: Path,
    *,
    force: bool = False,
    on_progress: OnProgress = lambda done, total: None,
    saved: Saved = lambda path: None,
    checkpoint_every: float = 10.0,
) -> Path:
    """Runs one configuration (of those that `split` returns), or goes on with it, or finds it finished.

    Args:
        config: what to run.
        folder: where run directories lie; this one's name comes from the configuration without its seeds. Seeds that
            are there already are not computed again.
        force: compute these seeds again even if there are results.
        on_progress: is told how far the run is, after every stretch.
        saved: is called whenever metrics were saved, and once if the run is finished already.
        checkpoint_every: seconds from one checkpoint to the next, at least; they come between two stretches. One that
            takes long is followed by at least 20 times as long without; after that time one comes in any case that is
            the best so far. 0: after each stretch.

    Returns:
        The run's directory.

    Raises:
        StoreError: if the directory cannot be written, or another process works on one of the seeds.
        ConfigError: if `force` would delete the results of other seeds, too.
        Interrupted: after Ctrl-C or SIGTERM, when everything is saved.
    """
    path = folder / config.name
    with quietly():
        components = build(config)
    steps, kept = components.steps, [task.until for task in components.tasks]
    with claimed(path, config.seed_list, config.to_yaml_without_seeds(), steps=steps, force=force) as claim:
        if not claim.to_do:
            logger.info("%s is finished already (run it again with --force)", path)
            saved(path)
        per_seed = work_of(config).amount // len(config.seed_list)
        done, left = (per_seed * sum(len(shard.seeds) for shard in shards) for shards in claim)
        total = done + left
        for shard in claim.to_do:
            store = Store(shard.path, steps, kept)
            store.prepare(environment())

            def told(now: int, _: int, before: int = done) -> None:
                on_progress(before + now, total)

            of_shard = dataclasses.replace(config, seeds=shard.text)
            _advance(of_shard, store, told, lambda _: saved(path), checkpoint_every)
            done += per_seed * len(shard.seeds)
    return path


def _advance(config: RunConfig, store: Store, on_progress: OnProgress, saved: Saved, checkpoint_every: float) -> None:
    build_each(config)
    steps = store.steps
    with quietly():
        components = build(config)
    at_once, tasks = components.steps_at_once, components.tasks
    ends = {task.until for task in tasks}
    stretch = min(-(-(config.record_every or max(1, steps // 100)) // at_once) * at_once, steps)
    evaluate_every = -(-config.evaluate_every // at_once) * at_once
    members = population(config)
    amount = work_of(config).amount
    rows = _Rows(members)
    with (
        contextlib.closing(programs_of(config, members)) as programs,
        contextlib.closing(Evaluations(config, members)) as evaluations,
        _asked_to_stop() as asked,
    ):

        def evaluate(step: int, diverged: np.ndarray) -> None:
            means = evaluations.means(step, programs.policies(), diverged)
            rows.add_means(step, means)
            if means:
                ranking.add(step, means["return"])

        step = _begin(programs, store)
        ranking = Ranking(*store.read(_RANKED_BY))
        if evaluate_every and step == 0:
            evaluate(step, np.zeros(len(members), bool))
        seconds_before, started = store.status.get("seconds", 0.0), time.monotonic()
        last_save, saved_at, save_took = step, started, 0.0
        on_progress(amount * step // steps, amount)
        while step < steps:
            next_evaluation = step - step % evaluate_every + evaluate_every if evaluate_every else None
            length = min(stretch, *(end - step for end in (steps, next_evaluation or steps, *ends) if end > step))
            told = programs.advance(step, length)
            rows.add(step, step + length, told)
            step += length
            on_progress(amount * step // steps, amount)
            if step == next_evaluation:
                evaluate(step, told.diverged >= 0)
            best = ranking.best([*checkpoints(store.path), step])
            stop, idle = asked(), time.monotonic() - saved_at
            pause = _SAVING * save_took if best == step else max(checkpoint_every, _SAVING * save_took)
            if stop or step == steps or step in ends or not checkpoint_every or idle > pause:
                begun = time.monotonic()
                facts = {"members": len(members), "seconds": round(seconds_before + begun - started, 3)}
                facts["tasks"] = [task._asdict() for task in tasks]
                store.save(last_save, step, rows.take(), programs.save(), best, **facts)
                saved(store.path)
                last_save, saved_at = step, time.monotonic()
                save_took = saved_at - begun
            if stop and step < steps:
                raise Interrupted(step)


def _begin(programs: Programs, store: Store) -> int:
    """Puts the members before their first step, or where they were when they were saved; how many steps were before."""
    programs.begin()
    resumed = store.resume(programs.shapes())
    if resumed is None:
        return 0
    step, arrays = resumed
    logger.info("going on from step %s of %s", f"{step:,}", f"{store.steps:,}")
    programs.restore(arrays, step)
    return step


class _Rows:
    """The metrics since the last save, as they go into a table."""

    def __init__(self, members: Population):
        self._members = members
        self._rows: list[tuple[np.ndarray, np.ndarray, str, str, np.ndarray]] = []

    def add(self, first: int, last: int, stretch: Stretch) -> None:
        """Takes what came out of the steps after `first` up to `last`; metrics of diverged members are NaN."""
        everyone = np.arange(len(self._members))
        diverged = stretch.diverged
        for (metric, group), values in stretch.metrics.items():
            self._append(everyone, np.full(len(everyone), last), metric, group, np.where(diverged >= 0, np.nan, values))
        # The step of divergence is told once, in the stretch where it happened.
        now = everyone[diverged > first]
        self._append(now, np.full(len(now), last), "diverged", "", diverged[now])
        ended = stretch.ended
        before = (diverged[ended.member] < 0) | (ended.step < diverged[ended.member])
        for metric, values in ended.values.items():
            self._append(ended.member[before], ended.step[before], metric, "", values[before])

    def add_means(self, step: int, means: Mapping[str, np.ndarray]) -> None:
        """Takes what evaluations at a step came to, `(members,)` each."""
        everyone = np.arange(len(self._members))
        for name, values in means.items():
            self._append(everyone, np.full(len(everyone), step), _EVALUATION + name, "", values)

    def _append(self, member: np.ndarray, step: np.ndarray, metric: str, group: str, value: np.ndarray) -> None:
        if len(member):
            self._rows.append((member, step, metric, group, value))

    def take(self) -> pa.Table:
        """The rows so far, tidy; they are forgotten here."""
        columns: dict[str, list[Any]] = {"seed": [], **{name: [] for name in self._members.swept}}
        columns |= {"step": [], "metric": [], "group": [], "value": []}
        for member, step, metric, group, value in self._rows:
            columns["seed"].append(self._members.seeds[member].astype(np.int32))
            for name, swept in self._members.swept.items():
                columns[name].append(swept[member].astype(np.float64))
            columns["step"].append(step.astype(np.int64))
            columns["metric"].append(np.full(len(member), metric))
            columns["group"].append(np.full(len(member), group))
            columns["value"].append(value.astype(np.float64))
        self._rows = []
        return pa.table({name: pa.array(np.concatenate(components)) for name, components in columns.items()})


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
