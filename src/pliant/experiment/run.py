"""Runs a plan to its end: compiles, advances, evaluates, saves, resumes."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from pliant.experiment.evaluation.online import Evaluations
from pliant.experiment.loops.plan import Plan, Programs
from pliant.experiment.loops.population import population
from pliant.experiment.storage.checkpoints import checkpoints
from pliant.experiment.storage.claim import claimed
from pliant.experiment.storage.ranking import Ranking
from pliant.experiment.storage.store import Store

from .environment import environment
from .errors import Interrupted
from .progress import OnProgress
from .rows import EVALUATION, Rows
from .saver import Saver
from .stopping import asked_to_stop

logger = logging.getLogger(__name__)

OnSave: TypeAlias = Callable[[Path], None]  # (the run's directory)


def run(
    plan: Plan,
    folder: Path,
    *,
    force: bool = False,
    on_progress: OnProgress = lambda done, total: None,
    on_save: OnSave = lambda path: None,
    checkpoint_every: float = 10.0,
) -> Path:
    """Runs a plan, or resumes it, or finds it finished.

    Args:
        plan: what to run.
        folder: where run directories lie; the name of this one comes from the configuration without its seeds. Seeds
            that are there already are not computed again.
        force: compute these seeds again even if there are results.
        on_progress: is called with how far the run is, after every chunk.
        on_save: is called whenever metrics were saved, and once if the run is finished already.
        checkpoint_every: seconds from one checkpoint to the next, at least; they come between two chunks. One that
            takes long is followed by at least 20 times as long without; after that time one comes in any case that is
            the best so far. 0: after each chunk.

    Returns:
        The run's directory.

    Raises:
        StoreError: if the directory cannot be written, or another process works on one of the seeds.
        ConfigError: if `force` would delete the results of other seeds, too.
        Interrupted: after Ctrl-C or SIGTERM, when everything is saved.
    """
    config, steps = plan.config, plan.steps
    path, kept = folder / config.name, [task.until for task in plan.tasks]
    with claimed(path, config.seed_list, config.to_yaml_without_seeds(), steps=steps, force=force) as claim:
        if not claim.to_do:
            logger.info("%s is finished already (run it again with --force)", path)
            on_save(path)
        per_seed = plan.work.amount // len(config.seed_list)
        done, left = (per_seed * sum(len(shard.seeds) for shard in shards) for shards in claim)
        total = done + left
        for shard in claim.to_do:
            store = Store(shard.path, steps, kept)
            store.prepare(environment())

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
    """Advances the members of one shard to the end."""
    steps, ends = plan.steps, {task.until for task in plan.tasks}
    chunk_steps = min(plan.filled_up(plan.config.record_every or max(1, steps // 100)), steps)
    evaluate_every = plan.filled_up(plan.config.evaluate_every)
    rows, amount = Rows(plan.members), plan.work.amount
    with (
        contextlib.closing(plan.loop.programs(plan)) as programs,
        contextlib.closing(Evaluations(plan)) as evaluations,
        asked_to_stop() as asked,
    ):

        def evaluate(step: int, diverged: np.ndarray) -> None:
            means = evaluations.means(step, programs.acting_params(), diverged)
            rows.add_means(step, means)
            if means:
                ranking.add(step, means["return"])

        step = _begin(programs, store)
        ranking = Ranking(*store.read(f"{EVALUATION}return"))
        if evaluate_every and step == 0:
            evaluate(step, np.zeros(len(plan.members), bool))
        saver = Saver(plan, store, step, checkpoint_every, on_save)
        on_progress(amount * step // steps)
        while step < steps:
            next_evaluation = step - step % evaluate_every + evaluate_every if evaluate_every else None
            length = min(chunk_steps, *(end - step for end in (steps, next_evaluation or steps, *ends) if end > step))
            chunk = programs.advance(step, length)
            rows.add(step, step + length, chunk)
            step += length
            on_progress(amount * step // steps)
            if step == next_evaluation:
                evaluate(step, chunk.diverged >= 0)
            best, stop = ranking.best([*checkpoints(store.path), step]), asked()
            if stop or saver.is_due(step, best == step):
                saver.save(step, rows, programs, best)
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
