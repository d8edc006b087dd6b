"""The steps at which a run records metrics, evaluates and ends tasks."""

from typing import NamedTuple

import numpy as np

from pliant.core.clock import Clock

from .loops.plan import Plan


class Span(NamedTuple):
    """Consecutive steps of a run."""

    first: int  # steps before them
    last: int  # steps after them


class Schedule:
    """The chunks of a run: the steps between two rows of metrics. They depend on the step alone.

    Args:
        plan: of the run.
    """

    def __init__(self, plan: Plan):
        steps = plan.steps
        self._chunk_steps = min(plan.filled_up(plan.config.record_every or max(1, steps // 100)), steps)
        self._evaluate_every = plan.filled_up(plan.config.evaluate_every)
        self._task_ends = [task.until for task in plan.tasks if task.until <= steps]
        self._ends = (0, *self._task_ends, steps)
        self._steps = steps

    def evaluates(self, step: int) -> bool:
        """Whether the run is evaluated after `step` steps."""
        return bool(self._evaluate_every) and step % self._evaluate_every == 0

    def border(self, step: int) -> tuple[Clock, Clock | None] | None:
        """The clocks of the task that ends after `step` steps and of the next; `None` where no task ends.

        The last task has no next one. A run counts steps, not updates: `update` is 0.
        """
        if step not in self._task_ends:
            return None
        task, zero = self._task_ends.index(step), np.int32(0)
        ended = Clock(zero, np.int32(step), np.int32(task), zero, zero)
        begun = Clock(zero, np.int32(step), np.int32(task + 1), np.int32(1), zero)
        return ended, begun if step < self._steps else None

    def chunk(self, step: int) -> Span:
        """The chunk of the step after `step`; a chunk ends early at an evaluation or at the end of a task."""
        before, after = max(end for end in self._ends if end <= step), min(end for end in self._ends if end > step)
        if self._evaluate_every:
            evaluated = step - step % self._evaluate_every
            before, after = max(before, evaluated), min(after, evaluated + self._evaluate_every)
        first = step - (step - before) % self._chunk_steps
        return Span(first, min(first + self._chunk_steps, after))
