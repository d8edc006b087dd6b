"""Tables of continual learning: performance, forgetting, transfer, memory and steps of runs on a sequence of tasks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .load import Run
from .references import ReferenceReturns, check_tasks, differences, random_returns, reference_of
from .scores import Learner, Scores, learners_of, scores_of
from .sequences import records
from .statistics import HOW_INTERVALS, bootstrap_interval
from .tables import Cell, Table

_COLUMNS = {
    "performance": "performance",
    "forgetting": "forgetting",
    "forward transfer": "transfer",
    "transfer of curves": "transfer_of_curves",
}
_SUCCESSES = {"task_success": "success", "task_success_last": "success at the last step"}
_HOW = (
    f"Mean over seeds {HOW_INTERVALS}. Performance: the mean over all tasks after the last task. Forgetting: the mean "
    "change from the end of a task to the end of the last task; below 0 tasks were forgotten."
)
_TRANSFER = "Forward transfer: the mean difference to {} at the end of each task; above 0 earlier tasks helped."
_CURVES = (
    "Transfer of curves: the part of the room between 1 and the learning curve of {} that is used, as in Continual "
    "World. A learning curve is the {} of training."
)
_MEMORY = (
    "Parameters: of all networks that are stored to act on all tasks. With buffers: with anchors, masks and examples. "
    "Policies: with buffers, divided by the parameters of {} after its first task."
)
_TRIALS = (
    "Steps in trials: those that candidates of a method played at the borders of tasks, for the method to choose among "
    "them. The steps of training do not include them."
)
_SCALE = (
    "0 is the measured return of random actions, 1 the return of {} at the end of each task. Intervals do not include "
    "the spread of these two."
)


def continual_tables(
    runs: Sequence[Run], reference: Run | None = None, labels: Sequence[str] | None = None
) -> list[Table]:
    """Performance, forgetting, forward transfer, memory and steps of trials of runs on a sequence of tasks.

    Args:
        runs: at least one; a run has a row for each of its swept values.
        reference: whose agents learn each task by itself; `None`: there is no forward transfer, and no normalization.
        labels: of the runs; `None`: by the settings in which they differ.

    Returns:
        A table of returns, memory and, if there were trials, their steps; one of each kind of success that is recorded,
        and one of normalized returns if there is a reference. Numbers of an unfinished run are NaN, and a note has its
        step.

    Raises:
        ValueError: if a run has no sequence of tasks, or if the runs have not the same problem and tasks.
    """
    everything = [*runs, *([] if reference is None else [reference])]
    check_tasks(everything)
    learners = learners_of(runs, labels)
    notes = [*([] if reference is None else differences(reference, runs)), *_progress(everything)]
    tables = [_of_returns(learners, reference, notes)]
    for metric in _SUCCESSES:
        if all(records(run, metric) for run in everything):
            tables.append(_of_successes(metric, learners, reference, notes))
    if reference is not None:
        tables.append(_of_normalized_returns(learners, reference, notes))
    return tables


def write_csv(tables: Sequence[Table], folder: Path) -> None:
    """Writes each of these tables as a CSV file: `continual_return.csv`, `continual_normalized_return.csv`, ..."""
    for table in tables:
        name = table.title.partition(",")[0].replace(" ", "_")
        (folder / f"continual_{name}.csv").write_text(table.to_csv(), encoding="utf-8")


def _of_returns(learners: Sequence[Learner], run: Run | None, notes: Sequence[str]) -> Table:
    reference = None if run is None else reference_of(run)
    # Returns have no bound above which there is no room: transfer of curves is for normalized returns.
    scores = [scores_of(learner, "task_return", reference)._replace(transfer_of_curves=None) for learner in learners]
    columns = {**_cells(scores), **_memory(learners, reference), **_trials(learners)}
    explained = [] if reference is None else [_TRANSFER.format(reference.name)]
    if "policies" in columns:
        explained.append(_MEMORY.format("a run" if reference is None else reference.name))
    if "steps in trials" in columns:
        explained.append(_TRIALS)
    return _table("return", learners, columns, [_HOW, *explained, *notes])


def _of_successes(metric: str, learners: Sequence[Learner], run: Run | None, notes: Sequence[str]) -> Table:
    what = _SUCCESSES[metric]
    reference = None if run is None else reference_of(run, metric)
    scores = [scores_of(learner, metric, reference) for learner in learners]
    name = "" if reference is None else reference.name
    explained = [] if reference is None else [_TRANSFER.format(name), _CURVES.format(name, what)]
    return _table(what, learners, _cells(scores), [_HOW, *explained, *notes])


def _of_normalized_returns(learners: Sequence[Learner], run: Run, notes: Sequence[str]) -> Table:
    reference = reference_of(run).normalizing(random_returns(run))
    scores = [scores_of(learner, "task_return", reference) for learner in learners]
    explained = [text.format(reference.name, "normalized return") for text in (_SCALE, _TRANSFER, _CURVES)]
    names = np.array(learners[0].matrix.numbered)
    for counts, out in (
        (reference.counts, "Left out, since the reference is not above random actions there: {}."),
        (reference.has_room | ~reference.counts, "Left out of the transfer of curves, since no curve is below 1: {}."),
    ):
        explained += [] if counts.all() else [out.format(", ".join(names[~counts]))]
    return _table("normalized return", learners, _cells(scores), [*explained, *notes])


def _cells(scores: Sequence[Scores]) -> dict[str, list[Cell]]:
    """The columns of the scores, without those that are unknown."""
    columns = {head: [getattr(of_one, name) for of_one in scores] for head, name in _COLUMNS.items()}
    known = {head: values for head, values in columns.items() if values[0] is not None}
    return {head: [bootstrap_interval(of_one) for of_one in values] for head, values in known.items()}


def _memory(learners: Sequence[Learner], reference: ReferenceReturns | None) -> dict[str, list[Cell]]:
    """The columns of memory; none if no run recorded it."""
    columns: dict[str, list[Cell]] = {"parameters": [], "with buffers": [], "policies": []}
    for learner in learners:
        columns["parameters"].append(_count(learner.memory.parameters))
        columns["with buffers"].append(_count(learner.memory.with_buffers))
        columns["policies"].append(bootstrap_interval(learner.policies(reference)))
    recorded = any(np.isfinite(learner.memory.with_buffers).any() for learner in learners)
    return columns if recorded else {}


def _trials(learners: Sequence[Learner]) -> dict[str, list[Cell]]:
    """The steps of a seed in training and in trials; none if no run had trials."""
    if not any(learner.trial_steps.any() for learner in learners):
        return {}
    return {
        "steps of training": [learner.run.last_step for learner in learners],
        "steps in trials": [_count(learner.trial_steps) for learner in learners],
    }


def _count(numbers: np.ndarray) -> Cell:
    """A number of parameters or steps, with its interval where seeds differ."""
    seen = np.unique(numbers[np.isfinite(numbers)])
    return int(seen[0]) if seen.size == 1 else bootstrap_interval(numbers)


def _table(what: str, learners: Sequence[Learner], columns: dict[str, list[Cell]], notes: Sequence[str]) -> Table:
    """A table with a row for each learner, and its name where there are several."""
    tasks = len(learners[0].matrix.names)
    title = f"{what}, {tasks} tasks"
    names = {"run": [learner.label for learner in learners]} if len(learners) > 1 else {}
    seeds = {"seeds": [len(learner.matrix.seeds) for learner in learners]}
    table = {**names, **seeds, **columns}
    return Table(title, list(table), list(zip(*table.values(), strict=True)), notes)


def _progress(runs: Sequence[Run]) -> list[str]:
    """Runs that are unfinished, shards that are damaged, and members that diverged."""
    unfinished = [run for run in runs if run.status.get("state") != "finished"]
    notes = [f"Unfinished: {run.name}, step {run.last_step} of {run.status.get('steps', '?')}." for run in unfinished]
    notes += [f"Left out, since it is damaged: {damage}." for run in runs for damage in run.damaged]
    lost = {run.name: int(run.members["diverged"].notna().sum()) for run in runs}
    return notes + [f"Left out: {number} diverged members of {name}." for name, number in lost.items() if number]
