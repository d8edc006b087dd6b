"""What a run came to, as one table."""

import pandas as pd

from .load import Run
from .statistics import bootstrap_interval, interquartile_mean
from .tables import Cell, Table


def summary(run: Run) -> Table:
    """The last value of each metric: interquartile mean and 95 % bootstrap interval over seeds.

    Args:
        run: the run, finished or not.

    Returns:
        A table with one row for each metric, group of units (none: the whole network) and value of the swept
        settings. `seeds` is the number of those that the value rests on; seeds that diverged are `left out`.

    Raises:
        ValueError: if the run has not recorded anything yet.
    """
    metrics = run.metrics.loc[run.metrics["metric"] != "diverged"]
    if metrics.empty:
        raise ValueError(f"run {run.name} has not recorded any metric yet; wait for its first part")
    grouped = metrics.groupby(["metric", "group", *run.settings], observed=True)
    with_groups = bool((metrics["group"] != "").any())
    rows: list[list[Cell]] = []
    for key, cell in grouped:
        metric, group, *settings = tuple(key)
        last = cell.sort_values("step").groupby("seed")["value"].last(skipna=False)
        estimate = bootstrap_interval(last, interquartile_mean)
        names = [metric, *([group] if with_groups else []), *settings]
        seeds = int(estimate.members)
        rows.append([*names, int(cell["step"].max()), estimate, seeds, len(last) - seeds])
    columns = [
        "metric",
        *(["group"] if with_groups else []),
        *run.short_names.values(),
        "step",
        "last value",
        "seeds",
        "left out",
    ]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Table(run.name, columns, rows, _notes(run))


def _notes(run: Run) -> list[str]:
    notes = ["Last value: interquartile mean over seeds [95 % bootstrap interval]."]
    if run.status.get("state") != "finished":
        notes.append(f"Unfinished: step {run.last_step} of {run.status.get('steps', '?')}.")
    diverged = run.metrics.loc[run.metrics["metric"] == "diverged"]
    if not diverged.empty:
        notes.append(f"Seeds that diverged, and are left out: {_describe(diverged, run)}.")
    return notes


def _describe(diverged: pd.DataFrame, run: Run) -> str:
    if not run.settings:
        return f"{len(diverged)}, the first at step {int(diverged['step'].min())}"
    cells = []
    for key, rows in diverged.groupby(list(run.settings)):
        setting = ", ".join(f"{name} {value:g}" for name, value in zip(run.short_names.values(), key, strict=True))
        cells.append(f"{len(rows)} of {setting} (the first at step {int(rows['step'].min())})")
    return "; ".join(cells)
