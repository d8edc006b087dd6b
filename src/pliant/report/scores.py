"""The members of runs on a sequence of tasks, and their performance, forgetting and forward transfer."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from . import continual
from .labels import labels_of
from .load import Run
from .references import ReferenceReturns
from .sequences import Memory, ReturnMatrix, areas_of_curves, memory_of, return_matrix, trial_steps_of


class Learner(NamedTuple):
    """The members of a run with one value of each swept setting, on a sequence of tasks.

    Args:
        label: for tables and figures.
        run: of the members.
        rows: of the members.
        matrix: of their returns.
        memory: at the last end of a task.
        trial_steps: `(seeds,)`, which candidates played beside training.
    """

    label: str
    run: Run
    rows: pd.DataFrame
    matrix: ReturnMatrix
    memory: Memory
    trial_steps: np.ndarray

    def policies(self, reference: ReferenceReturns | None = None) -> np.ndarray:
        """The stored numbers with buffers `(seeds,)`, in units of one policy of the reference, or else of its own."""
        return self.memory.with_buffers / (self.memory.policy if reference is None else reference.policy)


class Scores(NamedTuple):
    """Numbers of each seed, `(seeds,)`.

    Args:
        performance: average performance.
        forgetting: below 0 tasks were forgotten.
        transfer: forward transfer at the ends of tasks, as in CSP; `None` without a reference.
        transfer_of_curves: forward transfer of learning curves, as in Continual World; `None` without a reference.
    """

    performance: np.ndarray
    forgetting: np.ndarray
    transfer: np.ndarray | None = None
    transfer_of_curves: np.ndarray | None = None


def learners_of(runs: Sequence[Run], labels: Sequence[str] | None = None) -> list[Learner]:
    """The members of runs on a sequence of tasks, by run and swept values.

    Args:
        runs: the runs.
        labels: of the runs; `None`: by the settings in which they differ, and none for a single run.
    """
    if labels is None:
        labels = labels_of(runs) if len(runs) > 1 else [""]
    return [learner for run, label in zip(runs, labels, strict=True) for learner in _learners(run, label)]


def _learners(run: Run, label: str) -> Iterator[Learner]:
    groups = run.metrics.groupby(list(run.settings)) if run.settings else [((), run.metrics)]
    for key, rows in groups:
        settings = ", ".join(f"{name} {value:g}" for name, value in zip(run.short_names.values(), key, strict=True))
        yield Learner(
            f"{label} {settings}".strip(), run, rows, return_matrix(rows), memory_of(rows), trial_steps_of(rows)
        )


def scores_of(learner: Learner, metric: str = "task_return", reference: ReferenceReturns | None = None) -> Scores:
    """Performance, forgetting and forward transfer of each seed.

    Args:
        learner: the members.
        metric: `task_return`, `task_success` or `task_success_last`.
        reference: of the same metric; the numbers are on its scale. `None`: there is no forward transfer.
    """
    matrix = return_matrix(learner.rows, metric)
    if reference is None:
        return Scores(continual.average_performance(matrix.returns), continual.forgetting(matrix.returns))
    counts, episodes = reference.counts, metric.removeprefix("task_")
    returns = continual.normalized(matrix.returns, reference.zero, reference.one)
    areas = reference.scaled(areas_of_curves(learner.rows, matrix, episodes))
    return Scores(
        continual.average_performance(returns, counts),
        continual.forgetting(returns, counts),
        continual.forward_transfer(returns, reference.scaled(reference.learned), counts),
        continual.forward_transfer_of_curves(areas, reference.scaled(reference.areas), reference.has_room),
    )
