"""Time in a run: its tasks, their epochs, and the clock that counts both."""

import dataclasses
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .base import Array

MOST_STEPS = 2**31 - 1  # steps are counted in 32 bits on the device


class Task(NamedTuple):
    """A part of a run in which the data or the environments are of one kind."""

    name: str  # of the kind, also in evaluations
    until: int  # steps of a member from the beginning of the run to the task's end


class Clock(NamedTuple):
    """When an update happens, for methods and learners: the signal `clock`.

    Steps are batches of a stream, or steps of environments. A loop without tasks counts its updates alone:
    `pliant.Clock(update=number)`.
    """

    update: Array | int  # () number of this update, counted from 1
    step: Array | int = 0  # () steps before the data of this update
    task: Array | int = 0  # () index of the task
    task_update: Array | int = 0  # () number of this update in its task, counted from 1
    epoch: Array | int = 0  # () index of the epoch in its task

    def later(self, updates: Array | int) -> "Clock":
        """The clock of a stream some updates later, in the same epoch."""
        return self._replace(
            update=self.update + updates, step=self.step + updates, task_update=self.task_update + updates
        )


@dataclasses.dataclass(frozen=True)
class Calendar:
    """The tasks of a run and their epochs; without tasks the run is one task without an end.

    Args:
        tasks: in order.
        epoch_steps: steps of an epoch of each task, of which the task has a whole number; empty: each task is one
            epoch.
    """

    tasks: tuple[Task, ...] = ()
    epoch_steps: tuple[int, ...] = ()

    @cached_property
    def starts(self) -> np.ndarray:
        """`(tasks,)` steps before each task."""
        return np.array([0, *(task.until for task in self.tasks[:-1])], np.int32)

    @cached_property
    def ends(self) -> np.ndarray:
        """`(tasks,)` steps until the end of each task."""
        return np.array([task.until for task in self.tasks] or [MOST_STEPS], np.int32)

    @cached_property
    def epochs(self) -> np.ndarray:
        """`(tasks,)` steps of an epoch of each task."""
        return np.array(self.epoch_steps, np.int32) if self.epoch_steps else self.ends - self.starts

    @property
    def unit(self) -> int:
        """The largest number of steps of which all epochs are multiples; 0 without tasks."""
        return math.gcd(*map(int, self.epochs), *map(int, self.ends)) if self.tasks else 0

    def task(self, step: Array | int) -> Array:
        """`()` index of the task of the data after `step` steps, also on the host; the last task goes on."""
        return (step >= self.ends[:-1]).sum(dtype=np.int32)

    def clock(
        self, step: Array | int, update: Array | int | None = None, updates: Callable[[Any], Any] = lambda steps: steps
    ) -> Clock:
        """The clock of an update from the data after some steps. After the last task that task goes on.

        Args:
            step: `()` steps before the data.
            update: `()` number of the update, counted from 1; `None`: the first update after the step.
            updates: the number of updates before the data of step `s`, for each `s`; by default one a step.
        """
        task = self.task(step)
        start = jnp.asarray(self.starts)[task]
        number = updates(step) + 1 if update is None else update
        return Clock(number, step, task, number - updates(start), (step - start) // jnp.asarray(self.epochs)[task])

    def begins_epoch(self, step: Array | int) -> Array:
        """`()` bool: whether an epoch begins after `step` steps."""
        task = self.task(step)
        return (step - jnp.asarray(self.starts)[task]) % jnp.asarray(self.epochs)[task] == 0

    def ends_task(self, step: Array | int) -> Array:
        """`()` bool: whether a task ends after `step` steps."""
        return jnp.isin(step, self.ends)

    def ends_epoch(self, step: Array | int) -> Array:
        """`()` bool: whether an epoch ends after `step` steps."""
        return (step > 0) & self.begins_epoch(step)

    def is_end_of_epoch(self, step: int) -> bool:
        """As `ends_epoch`, for a number of steps on the host."""
        task = self.task(step - 1)
        return step > 0 and (step - int(self.starts[task])) % int(self.epochs[task]) == 0
