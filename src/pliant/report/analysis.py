"""The tables of an analysis: the networks of a run at its checkpoints."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from .statistics import HOW_INTERVALS, bootstrap_interval
from .tables import Cell, Table

_FILE = "analysis.parquet"
_KEYS = ("seed", "step", "task", "examples", "metric", "group", "value")  # the other columns are swept settings
_PLACES = {"next_task": "on the next task", "next": "on the next examples", "previous_tasks": "on the tasks before"}
_WITHOUT = "of the network, and on the test set"


def analysis(path: Path, all_rows: bool = False) -> list[Table]:
    """The tables of `RUN/analysis.parquet`, which `pliant analyze` writes; none if there is no such file.

    Args:
        path: the run's directory.
        all_rows: one long table with each group of units and each class, instead of the numbers of whole networks.

    Returns:
        Tables with a row for each checkpoint and swept value: means over seeds with intervals.

    Raises:
        ValueError: if the file cannot be read.
    """
    file = Path(path) / _FILE
    if not file.is_file():
        return []
    try:
        rows = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} is damaged ({error}); write it again: pliant analyze {path}") from None
    name = Path(path).resolve().name
    return [_long(name, rows)] if all_rows else list(_short(name, rows))


def _short(name: str, rows: pd.DataFrame) -> Iterator[Table]:
    """A table for each kind of examples; a metric without a row of the whole network has the row of its only group."""
    swept = _swept(rows)
    whole = of_whole_networks(rows)
    places = whole["examples"].map(_PLACES).fillna(_WITHOUT)
    for place, chosen in whole.groupby(places, sort=False):
        metrics = list(dict.fromkeys(chosen["metric"]))
        cells: list[list[Cell]] = []
        for key, here in chosen.groupby([*swept, "task", "step"]):
            found = {metric: values.to_numpy() for metric, values in here.groupby("metric")["value"]}
            means = [bootstrap_interval(found[metric]) if metric in found else None for metric in metrics]
            cells.append([*tuple(key), *means])
        heads = [*_words(swept), "task", "step", *(metric.replace("_", " ") for metric in metrics)]
        yield Table(f"{name}: {place}", heads, cells, _notes(rows))


def _long(name: str, rows: pd.DataFrame) -> Table:
    """One table of all numbers."""
    swept, columns = _swept(rows), ["task", "step", "examples", "metric", "group"]
    grouped = rows.groupby([*swept, *columns], sort=False)["value"]
    cells = [[*tuple(key), bootstrap_interval(values.to_numpy())] for key, values in grouped]
    return Table(f"{name}: networks at the checkpoints", [*_words(swept), *columns, "value"], cells, _notes(rows))


def of_whole_networks(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of whole networks, or of the only group."""
    groups = rows.groupby(["examples", "metric"])["group"]
    smallest, number = (np.asarray(groups.transform(of)) for of in ("min", "nunique"))
    is_whole, is_only = smallest == "", number == 1  # the smallest name is "", if there is a row of the whole network
    return rows.loc[np.asarray(rows["group"] == smallest) & (is_whole | is_only)]


def _swept(rows: pd.DataFrame) -> list[str]:
    return [column for column in rows.columns if column not in _KEYS]


def _words(swept: list[str]) -> list[str]:
    ends = [name.rpartition(".")[2] for name in swept]
    return [(end if ends.count(end) == 1 else name).replace("_", " ") for name, end in zip(swept, ends)]


def _notes(rows: pd.DataFrame) -> list[str]:
    seeds = len(set(rows["seed"]))
    mean = f"Mean over {seeds} seeds: {HOW_INTERVALS}. " if seeds > 1 else ""
    return [f"{mean}Task: the number of tasks before the checkpoint."]
