"""Collects the metrics of a run in a table."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pliant.experiment.loops.plan import Chunk
from pliant.experiment.loops.population import Population

from .schedule import Span

EVALUATION = "evaluation_"  # begins the names of the metrics of evaluations


class _SomeRows(NamedTuple):
    """Rows of one metric, `(rows,)` each except `place`, `metric` and `group`."""

    place: tuple[int, int]  # of the metric among the metrics of one step
    member: np.ndarray
    step: np.ndarray
    metric: str
    group: str
    value: np.ndarray


class Rows:
    """The metrics since the last save.

    Args:
        members: of the run.
    """

    def __init__(self, members: Population):
        self._members = members
        self._rows: list[_SomeRows] = []

    def add(self, chunk: Span, step: int, results: Chunk) -> None:
        """Adds the results of a chunk, or of a slice of it; metrics of diverged members are NaN.

        Args:
            chunk: the chunk.
            step: steps at the end of the slice.
            results: of the slice.
        """
        everyone, diverged, ended = np.arange(len(self._members)), results.diverged, results.ended
        before = (diverged[ended.member] < 0) | (ended.step < diverged[ended.member])
        for number, (metric, values) in enumerate(ended.values.items()):
            self._append((0, number), ended.member[before], ended.step[before], metric, "", values[before])
        if step < chunk.last:
            return
        for number, ((metric, group), values) in enumerate(results.metrics.items()):
            values = np.where(diverged >= 0, np.nan, values)
            self._append((1, number), everyone, np.full(len(everyone), step), metric, group, values)
        # The step of divergence has one row, at the end of its chunk.
        now = everyone[diverged > chunk.first]
        self._append((2, 0), now, np.full(len(now), step), "diverged", "", diverged[now])

    def add_before(self, metrics: Mapping[tuple[str, str], np.ndarray]) -> None:
        """Adds the metrics before the first step, `(metric, group) -> (members,)`."""
        everyone = np.arange(len(self._members))
        for number, ((metric, group), values) in enumerate(metrics.items()):
            self._append((1, number), everyone, np.zeros(len(everyone), int), metric, group, values)

    def add_means(self, step: int, means: Mapping[str, np.ndarray]) -> None:
        """Adds the means of an evaluation at a step, `(members,)` each."""
        everyone = np.arange(len(self._members))
        for number, (name, values) in enumerate(means.items()):
            self._append((3, number), everyone, np.full(len(everyone), step), EVALUATION + name, "", values)

    def add_of_tasks(self, step: int, means: Mapping[tuple[str, str], np.ndarray]) -> None:
        """Adds the evaluations of all tasks at a step, `(metric, group) -> (members,)`."""
        everyone = np.arange(len(self._members))
        for number, ((metric, group), values) in enumerate(means.items()):
            self._append((4, number), everyone, np.full(len(everyone), step), metric, group, values)

    def _append(self, place: tuple[int, int], member: Any, step: Any, metric: str, group: str, value: Any) -> None:
        if len(member):
            self._rows.append(_SomeRows(place, member, step, metric, group, value))

    def take(self) -> pa.Table:
        """Removes and returns the rows so far.

        They are ordered by step, metric and member, so that their order does not depend on when a run is saved.
        """
        rows, self._rows = self._rows, []
        which = np.repeat(np.arange(len(rows)), [len(some.member) for some in rows])
        member, step = (_joined([getattr(some, name) for some in rows], int) for name in ("member", "step"))
        place = np.array([some.place for some in rows], int).reshape(-1, 2)[which]
        order = np.lexsort((member, place[:, 1], place[:, 0], step))
        member, which = member[order], pa.array(which[order])
        return pa.table(
            {
                "seed": self._members.seeds[member].astype(np.int32),
                **{name: swept[member].astype(np.float64) for name, swept in self._members.swept.items()},
                "step": step[order],
                "metric": pa.array([some.metric for some in rows], pa.string()).take(which),
                "group": pa.array([some.group for some in rows], pa.string()).take(which),
                "value": _joined([some.value for some in rows], float)[order],
            }
        )


def _joined(arrays: Sequence[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, kind), *arrays]).astype(kind)
