"""Runs a plan to its end: compiles, advances, evaluates, saves, resumes."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from pliant.experiment.evaluation.online import Evaluations
from pliant.experiment.evaluation.task_plays import TaskPlays
from pliant.experiment.evaluation.tasks import TaskEvaluations
from pliant.experiment.loops.plan import Plan, Programs
from pliant.experiment.loops.population import population
from pliant.experiment.loops.saving import agents_in
from pliant.experiment.storage.checkpoints import checkpoints
from pliant.experiment.storage.claim import claimed
from pliant.experiment.storage.numerics import check_data, check_numerics
from pliant.experiment.storage.ranking import Ranking
from pliant.experiment.storage.shards import shards_of
from pliant.experiment.storage.sources import keep_sources
from pliant.experiment.storage.store import Store, writing

from .borders import Borders
from .environment import environment
from .errors import Interrupted
from .pace import Pace
from .progress import OnProgress
from .rows import EVALUATION, Rows
from .saver import Saver
from .schedule import Schedule
from .stopping import asked_to_stop

logger = logging.getLogger(__name__)

_REPORT_EVERY = 2.0  # seconds, at least, between two reports of progress inside of a chunk

OnSave: TypeAlias = Callable[[Path], None]  # (the run's directory)


def run(
    plan: Plan,
    folder: Path,
    *,
    directory: Path | None = None,
    force: bool = False,
    on_progress: OnProgress = lambda done, total: None,
    on_save: OnSave = lambda path: None,
    checkpoint_every: float = 10.0,
) -> Path:
    """Runs a plan, or resumes it, or finds it finished.

    Args:
        plan: what to run.
        folder: of all run directories; the name of the run's directory comes from the configuration without seeds.
            Finished seeds are not computed again.
        directory: of the run, where it has another name, as that of a run that was copied; `None`: as above.
        force: compute these seeds again even if there are results.
        on_progress: is called with the progress: before the first step, after every chunk, and every few seconds in a
            longer chunk. The time until its second call includes compilation.
        on_save: is called whenever metrics were saved, and once if the run is finished already.
        checkpoint_every: least time between two checkpoints, in seconds. After a slow checkpoint the least time is 20
            times its duration, but at most five minutes; after this time the best checkpoint so far is saved in any
            case. 0: a checkpoint after each chunk.

    Returns:
        The run's directory.

    Raises:
        StoreError: if the directory cannot be written, or another process works on one of the seeds.
        ConfigError: if `force` would delete the results of other seeds, too.
        Interrupted: after Ctrl-C, SIGTERM or SIGHUP, when everything is saved.
    """
    config, steps = plan.config, plan.steps
    path = directory or folder / config.name
    with claimed(path, config.seed_list, config.to_yaml_without_seeds(), steps=steps, force=force) as claim:
        if not claim.to_do:
            logger.info("%s is finished already (run it again with --force)", path)
            on_save(path)
            return path
        with writing(path):
            keep_sources(path, config)
        here, others = environment(plan.problem), [shard.path for shard in shards_of(path)]
        check_numerics(others, here)
        check_data(others, here.get("data"))
        per_seed = plan.work.amount // len(config.seed_list)
        done, left = (per_seed * sum(len(shard.seeds) for shard in shards) for shards in claim)
        total = done + left
        for shard in claim.to_do:
            store = Store(shard.path, steps, plan.kept, config.digest)
            store.prepare(here)

            def on_shard_progress(now: int, before: int = done) -> None:
                on_progress(before + now, total)

            of_shard = dataclasses.replace(config, seeds=shard.text)
            shard_plan = dataclasses.replace(plan, config=of_shard, members=population(of_shard))
            _advance(shard_plan, store, on_shard_progress, lambda: on_save(path), checkpoint_every)
            done += per_seed * len(shard.seeds)
    return path


def _advance(
    plan: Plan, store: Store, on_progress: Callable[[int], None], on_save: Callable[[], None], checkpoint_every: float
) -> None:
    """Advances the members of one shard to the end, slice by slice."""
    steps, schedule, pace = plan.steps, Schedule(plan), Pace()
    rows, amount = Rows(plan.members), plan.work.amount
    with (
        asked_to_stop() as stop,
        contextlib.closing(plan.loop.programs(plan)) as programs,
        contextlib.closing(Evaluations(plan)) as evaluations,
        contextlib.closing(TaskPlays(plan)) as plays,
    ):
        borders, task_evaluations = Borders(plan, programs, plays), TaskEvaluations(plan, plays)

        def evaluate(step: int, diverged: np.ndarray) -> None:
            means = evaluations.means(step, programs.acting_params(), diverged)
            rows.add_means(step, means)
            if means:
                ranking.add(step, means["return"])

        def end_task(step: int, diverged: np.ndarray) -> None:
            """The end of a task, if one ends here, and an evaluation of all tasks."""
            if (clock := schedule.ended(step)) is not None:
                rows.add_of_tasks(step, borders.end(clock, diverged))
                rows.add_of_tasks(step, task_evaluations.means(programs, int(clock.task) + 1, diverged))

        step, diverged = _begin(plan, programs, store)
        ranking = Ranking(*store.read(f"{EVALUATION}return"))
        if schedule.evaluates(step) and step == 0:
            evaluate(step, diverged)
        saver = Saver(plan, store, step, checkpoint_every, on_save)
        on_progress(amount * step // steps)
        if step == 0:
            rows.add_before(programs.measure(schedule.chunk(0)))
            rows.add_of_tasks(0, task_evaluations.before(programs))
        reported_at = None  # since the first slice, which compiles
        while step < steps:
            if (begun := schedule.begun(step)) is not None:  # here, so that checkpoints have what acted until the end
                # A checkpoint of the border has the rows up to it, and these are made again.
                rows.add_of_tasks(step + 1, borders.begin(begun, diverged))
            chunk = schedule.chunk(step)
            length = pace.length(chunk.last - step, programs.unit(chunk.last - chunk.first))
            begun_at = time.monotonic()
            results = programs.advance(step, length, chunk)
            step, now, stop.begun = step + length, time.monotonic(), True
            pace.took(length, now - begun_at)
            rows.add(chunk, step, results)
            is_over = step == chunk.last
            reported_at = reported_at or now
            diverged = results.diverged >= 0
            if is_over and schedule.evaluates(step):
                evaluate(step, diverged)
            if is_over:
                end_task(step, diverged)
            if not (is_over or stop.made or now - reported_at > _REPORT_EVERY):
                continue
            reported_at = now
            on_progress(amount * step // steps)
            best = ranking.best([*checkpoints(store.path), step])
            if stop.made or saver.is_due(step, best == step, is_over):
                saver.save(step, rows, programs, best)
            if stop.made and step < steps:
                raise Interrupted(step)


def _begin(plan: Plan, programs: Programs, store: Store) -> tuple[int, np.ndarray]:
    """Puts the members before their first step, or restores the saved ones.

    Returns:
        The number of steps so far, and `(members,)` bool: which members have diverged.
    """
    programs.begin()
    resumed = store.resume(programs.shapes())
    if resumed is None:
        if 0 in plan.kept:
            store.begin(programs.save())
        return 0, np.zeros(len(plan.members), bool)
    step, arrays = resumed
    logger.info("going on from step %s of %s", f"{step:,}", f"{store.steps:,}")
    programs.restore(arrays, step)
    return step, agents_in(arrays).diverged >= 0
