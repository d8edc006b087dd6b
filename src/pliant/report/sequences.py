"""The rows of runs that learn a sequence of tasks: matrices of returns, learning curves and memory.

With `--evaluate-tasks` it plays every task before the first one and at the end of each, and writes `task_return` and
other facts of these episodes. The group of a row is the task, `3/moon`: its index, from 0, and its name. At step 0
`task_random_return` is the return of random actions. At each end `parameters` and `parameters_and_buffers` are the
numbers stored to act on all tasks. `trial_steps` are the steps that a method's candidates played at a border, beside
those of training.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import pandas as pd

from .continual import area_under_curve
from .load import Run

POINTS = 50  # of the learning curve of a task, as in Continual World


class ReturnMatrix(NamedTuple):
    """The returns on all tasks at the ends of all tasks; NaN where a seed diverged or has not been yet.

    Args:
        seeds: `(seeds,)`.
        names: of the tasks.
        ends: the steps at which tasks ended, for the tasks that some seed has finished.
        returns: `(seeds, tasks, stages)`, as many stages as tasks.
        initial: `(seeds, tasks)`, before the first task.
    """

    seeds: np.ndarray
    names: tuple[str, ...]
    ends: tuple[int, ...]
    returns: np.ndarray
    initial: np.ndarray

    @property
    def numbered(self) -> tuple[str, ...]:
        """The names with the tasks' numbers from 1, since a task may return: `4 moon`."""
        return tuple(f"{number} {name}" for number, name in enumerate(self.names, 1))


class Memory(NamedTuple):
    """Numbers stored to act on all tasks, `(seeds,)` each; NaN where they are not recorded.

    Args:
        parameters: of all stored networks.
        with_buffers: with anchors, masks and examples.
        policy: the parameters after the first task, which are those of one policy.
    """

    parameters: np.ndarray
    with_buffers: np.ndarray
    policy: np.ndarray


def learns_sequence(run: Run) -> bool:
    """Whether a run has the returns on all tasks of its sequence."""
    return records(run, "task_return")


def records(run: Run, metric: str) -> bool:
    """Whether a run has rows of a metric."""
    return metric in set(run.metrics["metric"].unique())


def return_matrix(rows: pd.DataFrame, metric: str = "task_return") -> ReturnMatrix:
    """The matrix of returns, or of another fact of the episodes, of the members with one value of each swept setting.

    Args:
        rows: of a run, as in `Run.metrics`.
        metric: `task_return`, `task_success`, ...

    Raises:
        ValueError: if there are no rows of the metric.
    """
    of_metric = rows.loc[rows["metric"] == metric]
    if of_metric.empty:
        raise ValueError(f"there are no rows of {metric!r}; they come from a run with --evaluate-tasks")
    parts = of_metric["group"].astype(str).str.partition("/")
    task, step = parts[0].astype(int).to_numpy(), of_metric["step"].to_numpy()
    names = dict(sorted(zip(task.tolist(), parts[2])))
    seeds, seed = np.unique(rows["seed"], return_inverse=True)
    seed = seed[(rows["metric"] == metric).to_numpy()]
    steps = np.unique(np.append(step, 0))  # the first is before the first task
    values = np.full((seeds.size, len(names), len(names) + 1), np.nan)
    values[seed, task, np.searchsorted(steps, step)] = of_metric["value"]
    return ReturnMatrix(seeds, tuple(names.values()), tuple(steps[1:].tolist()), values[..., 1:], values[..., 0])


def areas_of_curves(rows: pd.DataFrame, matrix: ReturnMatrix, metric: str = "return") -> np.ndarray:
    """The areas under the learning curves of the tasks: means over equal blocks of steps, in which episodes ended.

    Args:
        rows: of the members of the matrix.
        matrix: has the seeds, and the ends of tasks.
        metric: of the episodes of training.

    Returns:
        `(seeds, tasks)`; NaN for a task that is not over, or in which no episode ended, and from a divergence on.
    """
    curves = np.full((*matrix.initial.shape, POINTS), np.nan)
    ends = np.array(matrix.ends, int)
    begins = np.append(0, ends[:-1])[: ends.size]
    episodes = rows.loc[(rows["metric"] == metric) & (rows["step"] <= ends.max(initial=0))]
    seed, step = np.searchsorted(matrix.seeds, episodes["seed"]), episodes["step"].to_numpy()
    task = np.searchsorted(ends, step)
    block = (step - 1 - begins[task]) * POINTS // (ends - begins)[task]
    means = episodes["value"].groupby([seed, task, block]).mean()
    curves[tuple(np.array([*means.index], int).reshape(-1, 3).T)] = means
    for diverged, at in rows.loc[rows["metric"] == "diverged", ["seed", "value"]].to_numpy():
        curves[np.searchsorted(matrix.seeds, diverged), np.searchsorted(ends, at) :] = np.nan
    return area_under_curve(curves)


def memory_of(rows: pd.DataFrame) -> Memory:
    """The memory of the members with one value of each swept setting, at the last recorded end of a task."""
    seeds = np.unique(rows["seed"])
    after = rows.loc[rows["step"] > 0].sort_values("step")

    def of(metric: str) -> pd.core.groupby.SeriesGroupBy:
        return after.loc[after["metric"] == metric].groupby("seed")["value"]

    found = of("parameters").last(), of("parameters_and_buffers").last(), of("parameters").first()
    return Memory(*(values.reindex(seeds).to_numpy(float) for values in found))


def trial_steps_of(rows: pd.DataFrame) -> np.ndarray:
    """The steps of trials so far, `(seeds,)`, of the members with one value of each swept setting; 0 without trials."""
    steps = rows.loc[rows["metric"] == "trial_steps"].groupby("seed")["value"].sum()
    return steps.reindex(np.unique(rows["seed"]), fill_value=0).to_numpy(float)


def with_copies(run: Run) -> Run:
    """A run as if the network at the end of each task had been stored, and acted on that task from then on.

    Learning does not depend on stored copies, so the returns are those of the copies: each return on a task after its
    end is replaced by the return at its end.

    Args:
        run: with one network, which acts on all tasks, and without buffers.

    Returns:
        The run with other returns on tasks, and with the memory of the copies.
    """
    metric, group = (run.metrics[column].astype(str) for column in ("metric", "group"))
    ends, values = np.array(return_matrix(run.metrics).ends, int), run.metrics["value"].to_numpy().copy()
    rows = run.metrics[["seed", *run.settings, "step"]].assign(at=np.arange(len(values)), metric=metric, group=group)
    of_tasks = rows[metric.str.startswith("task_")]
    task = of_tasks["group"].str.partition("/")[0].astype(int).to_numpy()
    keys = ["seed", *run.settings, "metric", "group"]
    end = np.append(ends, np.full(task.max() + 1 - ends.size, run.last_step))[task]  # of each row's task
    learned = of_tasks[of_tasks["step"] == end].set_index(keys)["at"]
    later = of_tasks[(of_tasks["step"] > end) & np.isfinite(values[of_tasks["at"]])]  # a diverged member does not act
    values[later["at"]] = values[learned.loc[pd.MultiIndex.from_frame(later[keys])]]
    stored = metric.isin(["parameters", "parameters_and_buffers"]).to_numpy()
    values[stored] *= np.searchsorted(ends, rows["step"][stored]) + 1
    return dataclasses.replace(run, metrics=run.metrics.assign(value=values))
