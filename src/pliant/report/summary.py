"""The results of a run as one table."""

from typing import Any, NamedTuple, TypeAlias

import pandas as pd

from .ends import values_at_ends
from .load import Run
from .sequences import learns_sequence
from .statistics import HOW_INTERVALS, Estimate, bootstrap_interval, interquartile_mean
from .tables import Cell, Table

_TELLING = ("evaluation_return", "evaluation", "loss", "accuracy", "dormant", "rank", "replacements", "weight")

_Cell: TypeAlias = tuple[tuple[Any, ...], pd.DataFrame]  # metric, group and settings; the rows


def summary(run: Run, most: int | None = None) -> Table:
    """The last value of each metric: interquartile mean over seeds and its interval.

    A run with episodes has two values instead, the means over the first and over the last tenth of the run, because a
    single episode is noisy. What is measured at the ends of tasks has its first and its last value there. A seed
    without a row in a tenth counts with its first or its last row. An episode counts where it began, and the last tenth
    ends where all episodes are over.

    Args:
        run: the run, finished or not.
        most: number of rows to show at most, only of the whole network: returns, evaluations and losses first, with all
            swept values of the first metric. `None`: all rows, also of groups of units.

    Returns:
        A table with one row for each metric, group of units (empty: the whole network) and value of the swept
        settings; metrics of episodes come first. `seeds` is the number of seeds in the last column; diverged seeds are
        `left out`. Step and seeds stand in the title where all rows have the same.

    Raises:
        ValueError: if the run has not recorded a metric yet, or `most` is below 1.
    """
    if most is not None and most < 1:
        raise ValueError(f"most={most}: write a number of rows, at least 1, or None for all")
    metrics = run.metrics.loc[run.metrics["metric"] != "diverged"]
    if metrics.empty:
        raise ValueError(f"run {run.name} has not recorded any metric yet; wait for its first rows")
    grouped = metrics.groupby(["metric", "group", *run.settings], observed=True)
    cells = sorted(((tuple(key), cell) for key, cell in grouped), key=lambda item: _place(item[0][0], run))
    chosen = cells if most is None else _most_telling(cells, most)
    return _table(run, [_row(*item, run) for item in chosen], len(cells) - len(chosen))


class _Row(NamedTuple):
    metric: str
    group: str
    settings: tuple[float, ...]
    step: int
    estimates: list[Estimate]
    left_out: int  # seeds that diverged


def _place(metric: str, run: Run) -> int:
    """The place of a metric: returns and other facts of episodes, evaluations, losses, all others."""
    if metric in run.of_episodes:
        return run.of_episodes.index(metric)
    beginnings = [metric.startswith(beginning) for beginning in _TELLING]
    return len(run.of_episodes) + (beginnings.index(True) if any(beginnings) else len(_TELLING))


def _most_telling(cells: list[_Cell], most: int) -> list[_Cell]:
    """The first metrics of the whole network, each with all swept values."""
    whole = [item for item in cells if item[0][1] == ""] or cells
    named = list(dict.fromkeys(key[0] for key, _ in whole))
    each = len(whole) // len(named)
    kept = named[: max(1, most // each)]
    return [item for item in whole if item[0][0] in kept]


def _row(key: tuple[Any, ...], cell: pd.DataFrame, run: Run) -> _Row:
    metric, group, *settings = key
    values = values_at_ends(run, metric, settings, cell)
    estimates = [bootstrap_interval(value, interquartile_mean) for value in values]
    left_out = len(values[-1]) - int(estimates[-1].members)
    return _Row(metric, group, tuple(settings), int(cell["step"].max()), estimates, left_out)


def _table(run: Run, rows: list[_Row], hidden: int) -> Table:
    """The rows, with only the columns in which rows differ."""
    seeds = [int(row.estimates[-1].members) for row in rows]
    steps = {row.step for row in rows if row.metric not in run.of_episodes} or {run.last_step}
    columns: dict[str, list[Cell]] = {"metric": [row.metric for row in rows]}
    if any(row.group for row in rows):
        columns["group"] = [row.group for row in rows]
    for index, name in enumerate(run.short_names.values()):
        columns[name] = [row.settings[index] for row in rows]
    title = run.name
    if len(steps) == 1:
        title += f" at step {min(steps):,}"
    else:
        columns["step"] = [row.step for row in rows]
    for index, head in enumerate(["first tenth", "last tenth"] if run.of_episodes else ["last value"]):
        columns[head] = [row.estimates[index] for row in rows]
    if len(set(seeds)) == 1 and not any(row.left_out for row in rows):
        title += f", {seeds[0]} seed{'s' if seeds[0] != 1 else ''}"
    else:
        columns["seeds"] = [*seeds]
    if any(row.left_out for row in rows):
        columns["left out"] = [row.left_out for row in rows]
    notes = _notes(run, bool(run.of_episodes))
    if hidden:
        notes.append(f"{hidden} more rows: --all.")
    return Table(title, list(columns), list(zip(*columns.values())), notes)


def _notes(run: Run, has_episodes: bool) -> list[str]:
    what = "First and last tenth of the run: the mean there," if has_episodes else "Last value:"
    notes = [f"{what} interquartile mean over seeds {HOW_INTERVALS}."]
    if has_episodes and learns_sequence(run):
        notes.append("What is measured at the ends of tasks: the first and the last value.")
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
