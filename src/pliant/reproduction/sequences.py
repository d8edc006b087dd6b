"""Runs on a sequence of tasks beside the paper's numbers: heat maps of returns, tables, and the order of methods."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from pliant.report import Cell, HeatMap, Run, Table, bootstrap_interval, continual_tables
from pliant.report.recipe import Line, SequenceSpec
from pliant.report.references import mean_of_seen, random_returns, reference_of
from pliant.report.scores import Learner, Scores, learners_of, scores_of
from pliant.report.sequence_report import maps_of
from pliant.report.sequences import return_matrix, with_copies
from pliant.report.statistics import HOW_INTERVALS

from .runs import run_of
from .time_left import duration

_MEASURE = "return of an episode after training"
_RANDOM = "random actions"
_MOST_NAMED = 10  # pairs of methods in another order than the paper's
_BESIDE = (
    "Performance: average return on all tasks after the last, on the scale on which random actions have 0 and {} has "
    f"1. Ours: mean over seeds {HOW_INTERVALS}."
)


class MethodNumbers(NamedTuple):
    """What a method reached, and at which cost.

    Args:
        seeds: `(seeds,)`.
        scores: on the scale from random actions to the reference.
        policies: `(seeds,)`, the stored numbers in units of one policy.
        trial_steps: `(seeds,)`, beside those of training.
    """

    seeds: np.ndarray
    scores: Scores
    policies: np.ndarray
    trial_steps: np.ndarray


class SequenceFigure(NamedTuple):
    """What runs on a sequence of tasks learned and forgot.

    Args:
        heat_maps: the returns of each method on all tasks, after each task.
        note: how to read the heat maps.
        tables: performance, forgetting, forward transfer and memory; the paper's numbers beside ours; the runs.
        rows: the numbers behind the heat maps, with the columns of `Figure.rows`; the panel is the task.
        falls_short: the methods in another order than the paper's.
        methods: the numbers of the tables, by label.
    """

    heat_maps: list[HeatMap]
    note: str
    tables: list[Table]
    rows: pd.DataFrame
    falls_short: tuple[str, ...]
    methods: Mapping[str, MethodNumbers]


def compare_sequence(spec: SequenceSpec, runs: Mapping[str, Run]) -> SequenceFigure:
    """Puts runs on a sequence of tasks beside the paper's numbers.

    Args:
        spec: of the figure.
        runs: of its lines, by the key `run_of`.

    Raises:
        ValueError: if the runs did not evaluate the same tasks.
    """
    of_lines = {line.label: _named(line, runs) for line in spec.lines}
    everyone = of_lines | {label: with_copies(_named(line, runs)) for label, line in spec.copies.items()}
    labels, reference = list(everyone), _named(spec.reference, runs)
    tables = continual_tables([*everyone.values()], reference, labels)
    learners = learners_of([*everyone.values()], labels)
    scale = reference_of(reference).normalizing(random_returns(reference))
    methods = {
        learner.label: MethodNumbers(
            learner.matrix.seeds, scores_of(learner, reference=scale), learner.policies(scale), learner.trial_steps
        )
        for learner in learners
    }
    performance = {label: numbers.scores.performance for label, numbers in methods.items()}
    tables[0] = dataclasses.replace(tables[0], notes=(*tables[0].notes, *spec.notes))
    if spec.published:
        tables.append(_beside(spec, performance))
    return SequenceFigure(
        [one for learner in learners for one in maps_of(learner)],
        "mean over seeds; framed: the task that was trained last",
        [*tables, _runs(spec, runs)],
        pd.concat([*map(_rows, learners), _random_rows(reference)], ignore_index=True),
        _contradictions(spec, performance),
        methods,
    )


def _named(line: Line, runs: Mapping[str, Run]) -> Run:
    """The run of a line, with the label as its name in notes."""
    return dataclasses.replace(runs[run_of(line)], name=line.label)


def _beside(spec: SequenceSpec, performance: Mapping[str, np.ndarray]) -> Table:
    rows: list[list[Cell]] = [
        [label, bootstrap_interval(values), spec.published.get(label)] for label, values in performance.items()
    ]
    notes = (_BESIDE.format(spec.reference.label),)
    return Table("normalized performance beside the paper's", ["method", "ours [95 %]", "paper"], rows, notes)


def _runs(spec: SequenceSpec, runs: Mapping[str, Run]) -> Table:
    of_lines = {line.label: runs[run_of(line)] for line in spec.lines}
    rows: list[list[Cell]] = [
        [label, duration(run.status.get("seconds", 0.0)), len(run.members), run.name] for label, run in of_lines.items()
    ]
    return Table("wall time", ["method", "time of all seeds", "seeds", "run"], rows)


def _rows(learner: Learner) -> pd.DataFrame:
    """The returns of a method, before the first task and at the end of each."""
    matrix = learner.matrix
    values = np.concatenate([matrix.initial[..., None], matrix.returns[..., : len(matrix.ends)]], axis=-1)
    frames = [
        _frame(name, learner.label, matrix.seeds, (0, *matrix.ends), values[:, task])
        for task, name in enumerate(matrix.numbered)
    ]
    return pd.concat(frames, ignore_index=True)


def _random_rows(reference: Run) -> pd.DataFrame:
    """The returns of random actions."""
    matrix = return_matrix(reference.metrics, "task_random_return")
    frames = [
        _frame(name, _RANDOM, matrix.seeds, (0,), matrix.initial[:, [task]])
        for task, name in enumerate(matrix.numbered)
    ]
    return pd.concat(frames, ignore_index=True)


def _frame(panel: str, method: str, seeds: np.ndarray, steps: Sequence[int], values: np.ndarray) -> pd.DataFrame:
    """Rows of values `(seeds, steps)`."""
    return pd.DataFrame(
        {
            "panel": panel,
            "method": method,
            "measure": _MEASURE,
            "seed": np.repeat(seeds, len(steps)).astype(np.int32),
            "step": np.tile(np.array(steps, np.int64), len(seeds)),
            "value": values.ravel().astype(np.float32),
        }
    )


def _contradictions(spec: SequenceSpec, performance: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """The pairs of methods whose mean performance is in another order than the paper's."""
    paper, pairs, contrary = spec.published, 0, []
    for one, other in itertools.combinations([label for label in performance if label in paper], 2):
        better, worse = sorted((one, other), key=lambda label: -paper[label])
        if round(paper[better] - paper[worse], 6) < spec.apart:  # 1.38 - 1.28 is 0.1
            continue
        pairs += 1
        good, bad = (float(mean_of_seen(performance[label])) for label in (better, worse))
        if good < bad:
            numbers = f"ours {bad:.2f} and {good:.2f}, paper {paper[worse]:.2f} and {paper[better]:.2f}"
            wins = int((performance[worse] > performance[better]).sum())
            contrary.append(f"{worse} above {better} ({numbers}; in {wins} of {len(performance[worse])} seeds)")
    if not contrary:
        return ()
    more = f", and {len(contrary) - _MOST_NAMED} more" if len(contrary) > _MOST_NAMED else ""
    return (
        f"Pairs of methods in another order than the paper's, {len(contrary)} of the {pairs} that it has at least "
        f"{spec.apart:g} apart: {', '.join(contrary[:_MOST_NAMED])}{more}.",
    )
