"""Saves a run, at times that it chooses."""

import time
from collections.abc import Callable

from pliant.experiment.loops.plan import Plan, Programs
from pliant.experiment.storage.store import Store

from .rows import Rows

_PAUSE = 20  # least time between two checkpoints, as a multiple of the time that a checkpoint takes
_LONGEST_PAUSE = 300.0  # seconds, of which a kill may lose the work, also if checkpoints take long


class Saver:
    """Saves metrics and a checkpoint of a run, not too often.

    Args:
        plan: of the run.
        store: of the run's shard.
        step: steps before the first chunk.
        checkpoint_every: see `run`.
        on_save: is called after each save.
    """

    def __init__(self, plan: Plan, store: Store, step: int, checkpoint_every: float, on_save: Callable[[], None]):
        self._plan, self._store = plan, store
        self._checkpoint_every, self._on_save = checkpoint_every, on_save
        self._ends = {plan.steps, *plan.kept}
        self._seconds_before = store.status.get("seconds", 0.0)
        self._started = self._saved_at = time.monotonic()
        self._last, self._took = step, 0.0

    def is_due(self, step: int, is_best: bool, ends_chunk: bool) -> bool:
        """Whether to save now.

        Args:
            step: steps so far.
            is_best: whether the latest evaluations are the best so far.
            ends_chunk: whether a chunk ends at this step.
        """
        idle, pause = time.monotonic() - self._saved_at, min(_PAUSE * self._took, _LONGEST_PAUSE)
        if not is_best:
            pause = max(self._checkpoint_every, pause)
        return step in self._ends or (ends_chunk and not self._checkpoint_every) or idle > pause

    def save(self, step: int, rows: Rows, programs: Programs, best: int | None) -> None:
        """Saves metrics and state.

        Args:
            step: steps so far.
            rows: the metrics since the last save.
            programs: with the state.
            best: step of the best checkpoint, this one included; `None` if there is none.
        """
        begun = time.monotonic()
        seconds = round(self._seconds_before + begun - self._started, 3)
        tasks = [task._asdict() for task in self._plan.tasks]
        facts = {"members": len(self._plan.members), "seconds": seconds, "tasks": tasks}
        if self._plan.loop.has_episodes:
            facts["num_envs"] = self._plan.problem.num_envs
        self._store.save(self._last, step, rows.take(), programs.save(), best, **facts)
        self._on_save()
        self._last, self._saved_at = step, time.monotonic()
        self._took = self._saved_at - begun
