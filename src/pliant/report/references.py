"""The reference of a sequence of tasks: a run that learns each task by itself, and random actions."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from .continual import learned, normalized
from .labels import differing, in_words
from .load import Run
from .sequences import areas_of_curves, learns_sequence, memory_of, records, return_matrix


@dataclasses.dataclass(frozen=True, eq=False)
class ReferenceReturns:
    """The measured returns, or other facts of episodes, with which runs are compared; means over seeds.

    Args:
        name: of the run.
        learned: `(tasks,)`, on each task at its end.
        areas: `(tasks,)`, under the learning curves of training; NaN for a task in which no episode ended.
        policy: the parameters of one policy, or NaN.
        zero, one: `(tasks,)`, the returns that are 0 and 1 on the scale of `scaled`.
    """

    name: str
    learned: np.ndarray
    areas: np.ndarray
    policy: float
    zero: np.ndarray
    one: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """`(tasks,)` bool, the tasks on which the scale has a meaning."""
        return self.one > self.zero

    @property
    def has_room(self) -> np.ndarray:
        """`(tasks,)` bool, the tasks with a learning curve below 1 on the scale."""
        return self.counts & (self.scaled(self.areas) < 1)

    def scaled(self, returns: np.ndarray) -> np.ndarray:
        """Returns `(..., tasks)` on the scale."""
        return normalized(returns[..., None], self.zero, self.one)[..., 0]

    def normalizing(self, random: np.ndarray) -> "ReferenceReturns":
        """The reference on the scale from the returns of random actions `(tasks,)` to its own."""
        return dataclasses.replace(self, zero=random, one=self.learned)


def reference_of(run: Run, metric: str = "task_return") -> ReferenceReturns:
    """Reads a reference run, such as one whose agents learn each task from scratch, on the scale of its metric.

    Raises:
        ValueError: if the run swept settings, or has no rows of the metric.
    """
    if run.settings:
        raise ValueError(f"{run.name} swept {run.settings[0]}; write a reference without swept settings")
    matrix, rows = return_matrix(run.metrics, metric), run.metrics
    areas = areas_of_curves(rows, matrix, metric.removeprefix("task_"))
    policy = float(mean_of_seen(memory_of(rows).policy))
    zero, one = np.zeros(len(matrix.names)), np.ones(len(matrix.names))
    return ReferenceReturns(run.name, mean_of_seen(learned(matrix.returns)), mean_of_seen(areas), policy, zero, one)


def random_returns(run: Run) -> np.ndarray:
    """The measured returns of random actions `(tasks,)`, the mean over the seeds of a run.

    Raises:
        ValueError: if the run did not record them.
    """
    if not records(run, "task_random_return"):
        raise ValueError(f"{run.name} has no task_random_return, the return of random actions; write another reference")
    return mean_of_seen(return_matrix(run.metrics, "task_random_return").initial)


def check_tasks(runs: Sequence[Run]) -> None:
    """Checks that runs have one problem and one sequence of tasks.

    Raises:
        ValueError: if they do not.
    """
    for run in runs:
        if not learns_sequence(run):
            raise ValueError(f"{run.name} has no task_return; leave it out, or run it with --evaluate-tasks")
    learned = [f"{run.config.get('problem', {}).get('name')} ({', '.join(_names(run))})" for run in runs]
    for run, tasks in zip(runs, learned):
        if tasks != learned[0]:
            raise ValueError(
                f"{runs[0].name} learned {learned[0]}, and {run.name} {tasks}; write runs on the same tasks"
            )


def differences(reference: Run, runs: Sequence[Run]) -> list[str]:
    """A note on the settings of the problem in which a reference and runs differ; none if they do not."""
    ours, *_ = differing([{"problem": run.config.get("problem", {})} for run in (reference, *runs)])
    return [f"The runs differ in settings of the problem; the reference has {in_words(ours)}."] if ours else []


def _names(run: Run) -> tuple[str, ...]:
    return return_matrix(run.metrics).names


def mean_of_seen(values: np.ndarray) -> np.ndarray:
    """The mean over the seeds that have a value; NaN if none has."""
    seen = np.isfinite(values)
    with np.errstate(invalid="ignore"):  # 0 / 0 without a seed gives the desired NaN
        return np.where(seen, values, 0.0).sum(0) / seen.sum(0)
