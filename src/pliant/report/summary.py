"""The results of a run as one table."""

import numpy as np
import pandas as pd

from .load import Run
from .statistics import HOW_INTERVALS, bootstrap_interval, interquartile_mean
from .tables import Cell, Table

_TENTH = 0.1  # of a run with episodes, at its beginning and at its end


def summary(run: Run) -> Table:
    """The last value of each metric: interquartile mean over seeds and its interval.

    A run with episodes has two values instead, the means over the first and over the last tenth of the run, because a
    single episode is noisy. A seed without a row in a tenth counts with its first or its last row. An episode counts
    where it began, and the last tenth ends where all episodes are over.

    Args:
        run: the run, finished or not.

    Returns:
        A table with one row for each metric, group of units (empty: the whole network) and value of the swept
        settings; metrics of episodes come first. `seeds` is the number of seeds in the last column; diverged seeds are
        `left out`.

    Raises:
        ValueError: if the run has not recorded a metric yet.
    """
    metrics = run.metrics.loc[run.metrics["metric"] != "diverged"]
    if metrics.empty:
        raise ValueError(f"run {run.name} has not recorded any metric yet; wait for its first rows")
    of_episodes = run.of_episodes
    with_groups = bool((metrics["group"] != "").any())
    grouped = metrics.groupby(["metric", "group", *run.settings], observed=True)
    cells = [(tuple(key), cell) for key, cell in grouped]
    place = {metric: index for index, metric in enumerate(of_episodes)}
    cells.sort(key=lambda item: place.get(item[0][0], len(place)))
    rows: list[list[Cell]] = []
    for (metric, group, *settings), cell in cells:
        names = [metric, *([group] if with_groups else []), *settings]
        diverged = _seeds(run, settings)
        values = _first_and_last(*_placed(cell, metric, run)) if of_episodes else [_last(cell)]
        values = [value.reindex(diverged.index) for value in values]
        if metric in of_episodes:  # after its divergence a seed has no rows of episodes
            values[-1] = values[-1].where(diverged.isna())
        estimates = [bootstrap_interval(value, interquartile_mean) for value in values]
        seeds = int(estimates[-1].members)
        rows.append([*names, int(cell["step"].max()), *estimates, seeds, len(diverged) - seeds])
    columns = [
        "metric",
        *(["group"] if with_groups else []),
        *run.short_names.values(),
        "step",
        *(["first tenth", "last tenth"] if of_episodes else ["last value"]),
        "seeds",
        "left out",
    ]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Table(run.name, columns, rows, _notes(run, bool(of_episodes)))


def _seeds(run: Run, settings: list[float]) -> pd.Series:
    """The step of divergence of the members with these settings, by seed; NaN if they did not diverge."""
    members = run.members
    for setting, value in zip(run.settings, settings, strict=True):
        members = members.loc[members[setting] == value]
    return members.set_index("seed")["diverged"]


def _last(cell: pd.DataFrame) -> pd.Series:
    return cell.sort_values("step").groupby("seed")["value"].last(skipna=False)


def _placed(cell: pd.DataFrame, metric: str, run: Run) -> tuple[pd.DataFrame, int]:
    """The rows of a cell, with the steps at which episodes began, and the last step that counts."""
    if metric not in run.of_episodes or run.begun is None:
        return cell, run.last_step
    began = run.begun.rows.loc[cell.index]
    over = began.loc[began["step"] <= run.begun.over]
    return (began, int(began["step"].max())) if over.empty else (over, run.begun.over)


def _first_and_last(cell: pd.DataFrame, last_step: int) -> list[pd.Series]:
    step = cell["step"]
    by_seed = step.groupby(cell["seed"])
    first = cell.loc[step <= np.maximum(by_seed.transform("min"), _TENTH * last_step)]
    last = cell.loc[step > np.minimum(by_seed.transform("max") - 1, (1 - _TENTH) * last_step)]
    return [tenth.groupby("seed")["value"].agg(lambda values: values.mean(skipna=False)) for tenth in (first, last)]


def _notes(run: Run, has_episodes: bool) -> list[str]:
    what = "First and last tenth of the run: the mean there," if has_episodes else "Last value:"
    notes = [f"{what} interquartile mean over seeds {HOW_INTERVALS}."]
    notes += _unfinished(run)
    notes += [f"Left out, since it is damaged: {damage}." for damage in run.damaged]
    diverged = run.metrics.loc[run.metrics["metric"] == "diverged"]
    if not diverged.empty:
        notes.append(f"Seeds that diverged, and are left out: {_describe(diverged, run)}.")
    return notes


def _unfinished(run: Run) -> list[str]:
    """The progress of unfinished shards."""
    shards = [shard for shard in run.shards if shard.status.get("state") != "finished"]
    if not shards:
        return []
    if len(run.shards) == 1:
        return [f"Unfinished: step {run.last_step} of {run.status.get('steps', '?')}."]
    steps = ", ".join(f"{shard.name} at step {shard.status['step']}" for shard in shards)
    return [f"Unfinished: seeds {steps} of {run.status.get('steps', '?')}."]


def _describe(diverged: pd.DataFrame, run: Run) -> str:
    if not run.settings:
        return f"{len(diverged)}, the first at step {int(diverged['value'].min())}"
    cells = []
    for key, rows in diverged.groupby(list(run.settings)):
        setting = ", ".join(f"{name} {value:g}" for name, value in zip(run.short_names.values(), key, strict=True))
        cells.append(f"{len(rows)} of {setting} (the first at step {int(rows['value'].min())})")
    return "; ".join(cells)
