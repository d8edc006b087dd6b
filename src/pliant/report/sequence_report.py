"""The part of a run's report on its sequence of tasks: matrices of returns as heat maps, and tables."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .continual import normalized
from .continual_tables import continual_tables, write_csv
from .heat_map import HeatMap, plot_heat_maps
from .load import Run
from .references import ReferenceReturns, mean_of_seen, random_returns, reference_of
from .scores import Learner, learners_of
from .sequences import ReturnMatrix, return_matrix
from .statistics import bootstrap_interval
from .tables import Cell, Table

_NOTE = "mean over seeds; framed: the task that was trained last"


def write_sequence(run: Run, out: Path, reference: Run | None = None) -> list[Table]:
    """Writes the matrices and tables of a run on a sequence of tasks.

        return_matrix.png, .pdf, .csv    returns on all tasks at the ends of all tasks; with a reference also normalized
        continual_*.csv                  performance, forgetting, forward transfer and memory

    Args:
        run: the run.
        out: folder of the report; made if it is missing.
        reference: as in `continual_tables`.

    Returns:
        The tables.
    """
    tables = continual_tables([run], reference)
    of_reference = None if reference is None else reference_of(reference).normalizing(random_returns(reference))
    learners = learners_of([run])
    maps = [one for learner in learners for one in maps_of(learner, of_reference)]
    out.mkdir(parents=True, exist_ok=True)
    plot_heat_maps(maps, out / "return_matrix.png", note=_NOTE)
    (out / "return_matrix.csv").write_text(_numbers(learners).to_csv(), encoding="utf-8")
    write_csv(tables, out)
    return tables


def maps_of(learner: Learner, reference: ReferenceReturns | None = None) -> list[HeatMap]:
    """The heat maps of the members of a run: of returns, of successes if they are recorded, of normalized returns.

    Args:
        learner: the members.
        reference: with the scale of normalized returns; `None`: there are none.
    """
    metrics = set(learner.rows["metric"].unique())
    maps = [
        _map(return_matrix(learner.rows, metric), learner.label, metric.removeprefix("task_").replace("_", " "))
        for metric in ("task_return", "task_success", "task_success_last")
        if metric in metrics
    ]
    if reference is not None:
        matrix = learner.matrix
        returns = normalized(matrix.returns, reference.zero, reference.one)
        matrix = matrix._replace(returns=returns, initial=reference.scaled(matrix.initial))
        maps.append(_map(matrix, learner.label, "normalized return"))
    return maps


def _map(matrix: ReturnMatrix, label: str, quantity: str) -> HeatMap:
    """Rows are tasks; columns are the time before the first task, and the end of each."""
    values = np.concatenate([matrix.initial[..., None], matrix.returns], axis=-1)
    tasks = range(len(matrix.names))
    return HeatMap(
        mean_of_seen(values),
        rows=matrix.numbered,
        columns=["0", *(str(task + 1) for task in tasks)],
        title=", ".join(filter(None, [label, quantity])),
        quantity=quantity,
        x_label="tasks learned",
        framed=[(task, task + 1) for task in tasks],
    )


def _numbers(learners: Sequence[Learner]) -> Table:
    """The numbers behind the heat maps of returns, with their intervals."""
    rows: list[list[Cell]] = []
    for learner in learners:
        matrix = learner.matrix
        stages = np.concatenate([matrix.initial[..., None], matrix.returns[..., : len(matrix.ends)]], axis=-1)
        for task, name in enumerate(matrix.names):
            for stage, step in enumerate((0, *matrix.ends)):
                cells = bootstrap_interval(stages[:, task, stage])
                rows.append([learner.label, task + 1, name, stage, step, cells, int(cells.members)])
    return Table("returns", ["settings", "number", "task", "tasks learned", "step", "return", "seeds"], rows)
