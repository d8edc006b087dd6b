"""The metrics of a run on their way into a table."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pliant.experiment.loops.plan import Chunk
from pliant.experiment.loops.population import Population

EVALUATION = "evaluation_"  # begins the names of the metrics of evaluations


class Rows:
    """The metrics since the last save.

    Args:
        members: of the run.
    """

    def __init__(self, members: Population):
        self._members = members
        self._rows: list[tuple[np.ndarray, np.ndarray, str, str, np.ndarray]] = []

    def add(self, first: int, last: int, chunk: Chunk) -> None:
        """Takes what came out of the steps after `first` up to `last`; metrics of diverged members are NaN."""
        everyone = np.arange(len(self._members))
        diverged = chunk.diverged
        for (metric, group), values in chunk.metrics.items():
            self._append(everyone, np.full(len(everyone), last), metric, group, np.where(diverged >= 0, np.nan, values))
        # The step of divergence has one row, in the chunk in which it happened.
        now = everyone[diverged > first]
        self._append(now, np.full(len(now), last), "diverged", "", diverged[now])
        ended = chunk.ended
        before = (diverged[ended.member] < 0) | (ended.step < diverged[ended.member])
        for metric, values in ended.values.items():
            self._append(ended.member[before], ended.step[before], metric, "", values[before])

    def add_means(self, step: int, means: Mapping[str, np.ndarray]) -> None:
        """Takes the means of an evaluation at a step, `(members,)` each."""
        everyone = np.arange(len(self._members))
        for name, values in means.items():
            self._append(everyone, np.full(len(everyone), step), EVALUATION + name, "", values)

    def _append(self, member: np.ndarray, step: np.ndarray, metric: str, group: str, value: np.ndarray) -> None:
        if len(member):
            self._rows.append((member, step, metric, group, value))

    def take(self) -> pa.Table:
        """The rows so far, tidy; they are forgotten here."""
        columns: dict[str, list[Any]] = {"seed": [], **{name: [] for name in self._members.swept}}
        columns |= {"step": [], "metric": [], "group": [], "value": []}
        for member, step, metric, group, value in self._rows:
            columns["seed"].append(self._members.seeds[member].astype(np.int32))
            for name, swept in self._members.swept.items():
                columns[name].append(swept[member].astype(np.float64))
            columns["step"].append(step.astype(np.int64))
            columns["metric"].append(np.full(len(member), metric))
            columns["group"].append(np.full(len(member), group))
            columns["value"].append(value.astype(np.float64))
        self._rows = []
        return pa.table({name: pa.array(np.concatenate(pieces)) for name, pieces in columns.items()})
