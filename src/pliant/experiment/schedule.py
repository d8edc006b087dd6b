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
        ends = [task.until for task in plan.tasks if task.until <= steps]
        self._borders = ends if plan.loop.has_episodes else []
        self._ends = (0, *ends, steps)
        self._steps = steps

    def evaluates(self, step: int) -> bool:
        """Whether the run is evaluated after `step` steps."""
        return bool(self._evaluate_every) and step % self._evaluate_every == 0

    def ended(self, step: int) -> Clock | None:
        """The clock of the task that an agent ends after `step` steps; `None`: there is none. See `begun`."""
        if step not in self._borders:
            return None
        return _clock(step, self._borders.index(step))

    def begun(self, step: int) -> Clock | None:
        """The clock of a later task that an agent begins after `step` steps; `None`: there is none.

        A run counts steps, not updates: `update` is 0. The loop of a stream ends and begins its tasks itself.
        """
        if step not in self._borders or step == self._steps:
            return None
        return _clock(step, self._borders.index(step) + 1)._replace(task_update=np.int32(1))

    def chunk(self, step: int) -> Span:
        """The chunk of the step after `step`; a chunk ends early at an evaluation or at the end of a task."""
        before, after = max(end for end in self._ends if end <= step), min(end for end in self._ends if end > step)
        if self._evaluate_every:
            evaluated = step - step % self._evaluate_every
            before, after = max(before, evaluated), min(after, evaluated + self._evaluate_every)
        first = step - (step - before) % self._chunk_steps
        return Span(first, min(first + self._chunk_steps, after))


def _clock(step: int, task: int) -> Clock:
    """Of numbers of one type, so that one program serves all borders."""
    zero = np.int32(0)
    return Clock(zero, np.int32(step), np.int32(task), zero, zero)
