"""Runs side by side: their values at the end, the differences to the first, and their curves."""

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from .blocks import bin_of, note_of
from .continual_tables import continual_tables, write_csv
from .curves import Curve, Panel, curves_of, rows_of
from .differences import difference, probability_of_improvement
from .ends import values_at_ends
from .figures import plot
from .labels import labels_of
from .load import Run
from .statistics import HOW_INTERVALS, bootstrap_interval
from .tables import Cell, Table
from .trade_off import trade_off

_LOWER_IS_BETTER = ("loss", "error")


class _Line(NamedTuple):
    label: str
    values: pd.Series  # at the end, by seed


class Comparison(NamedTuple):
    """A table, and the curves of one metric in one figure.

    Args:
        metric: which metric.
        table: values at the end, and their differences to the baseline.
        panels: the curves; of runs on a sequence of tasks also performance against memory.
        note: how to read the panels.
        continual: of runs on a sequence of tasks: forgetting, forward transfer and memory.
    """

    metric: str
    table: Table
    panels: Sequence[Panel]
    note: str
    continual: Sequence[Table] = ()

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Writes the figure `<metric>.png` (and `.pdf`), and the tables: `<metric>.md`, and a CSV file for each.

        Returns:
            The path of the PNG.
        """
        out, stem = Path(folder), re.sub(r"[^\w.-]+", "_", self.metric)
        out.mkdir(parents=True, exist_ok=True)
        plot(self.panels, out / f"{stem}.png", note=self.note)
        tables = [self.table, *self.continual]
        (out / f"{stem}.md").write_text("\n".join(table.to_markdown() for table in tables), encoding="utf-8")
        (out / f"{stem}.csv").write_text(self.table.to_csv(), encoding="utf-8")
        write_csv(self.continual, out)
        return out / f"{stem}.png"


def compare(runs: Sequence[Run], metric: str | None = None, reference: Run | None = None) -> Comparison:
    """Compares runs at their end; the first run, with its first swept values, is the baseline.

    Runs with the same configuration, as of several machines, count as one run with the seeds of all.

    Args:
        runs: at least two, or one with swept settings.
        metric: which metric; `None`: the return on all tasks, or else the return, or else the loss.
        reference: of runs on a sequence of tasks, as in `continual_tables`.

    Returns:
        Tables and curves. The first table has a row for each run and each value of its swept settings: the mean over
        seeds at the end (with episodes: over the last tenth of the run; of the return on all tasks: after the last
        task), the mean difference to the baseline, paired by seed where the two share seeds, and the probability of
        improvement.

    Raises:
        ValueError: if a run has no such metric, if there is nothing to compare, if runs of one configuration share
            seeds, or if the reference does not fit.
    """
    together = _joined(runs)
    metric = metric or _usual_metric(together)
    if reference is not None and metric != "task_return":
        raise ValueError(f"{reference.name} is a reference of task_return, not of {metric}; leave one of the two out")
    names = labels_of(together)
    lines = [line for run, name in zip(together, names, strict=True) for line in _lines(run, name, metric)]
    if len(lines) < 2:
        raise ValueError(f"{together[0].name} alone is nothing to compare; write two runs, or one with swept settings")
    bins = [bin_of(run, metric) for run in together]
    bin = None if None in bins else max(filter(None, bins))
    curves: list[Curve] = []
    for run, name in zip(together, names, strict=True):
        label = "" if run.settings and len(together) == 1 else name
        curves += curves_of(run, metric, bin=bin and min(bin, run.last_step), group=_groups(run, metric), label=label)
    words = metric.replace("_", " ")
    panels = [Panel(curves, y_label=words, title=words, marks=together[0].tasks)]
    tables = []
    if metric == "task_return":
        tables = continual_tables(together, reference)
        panels += trade_off(together, reference)
    return Comparison(metric, _table(metric, lines, together), panels, note_of("mean", together, bin), tables)


def _groups(run: Run, metric: str) -> list[str]:
    """The groups of units over which values are means: the whole network, or all tasks of a sequence."""
    if not metric.startswith("task_"):
        return [""]
    return sorted(run.metrics.loc[run.metrics["metric"] == metric, "group"].unique())


def _joined(runs: Sequence[Run]) -> list[Run]:
    """The runs, in which those with one configuration are one."""
    together: list[Run] = []
    for number, run in enumerate(runs, 1):
        same = next((i for i, other in enumerate(together) if other.config == run.config), None)
        if same is None:
            together.append(run)
            continue
        first = together[same]
        twice = set(first.metrics["seed"]) & set(run.metrics["seed"])
        if twice:
            raise ValueError(
                f"run {number} of those given has the configuration of an earlier one, {run.name}, and both hold seed "
                f"{min(twice)}; leave one out"
            )
        together[same] = dataclasses.replace(
            first,
            shards=(*first.shards, *run.shards),
            metrics=pd.concat([first.metrics, run.metrics], ignore_index=True).astype(
                {"metric": "category", "group": "category"}
            ),
            damaged=(*first.damaged, *run.damaged),
        )
    return together


def _usual_metric(runs: Sequence[Run]) -> str:
    recorded = [set(run.metrics["metric"].unique()) for run in runs]
    common = set.intersection(*recorded)
    for metric in ("task_return", "return", "loss"):
        if metric in common:
            return metric
    raise ValueError(
        f"the runs share neither a return nor a loss; write a metric: {', '.join(sorted(common)) or 'none'}"
    )


def _lines(run: Run, name: str, metric: str) -> Iterator[_Line]:
    """The values of a run at its end, for each value of its swept settings."""
    groups, rows = _groups(run, metric), run.metrics.loc[run.metrics["metric"] == metric]
    if not rows["group"].isin(groups).any():
        recorded = ", ".join(sorted(run.metrics.loc[run.metrics["group"] == "", "metric"].unique()))
        raise ValueError(f"{run.name} has no metric {metric!r} of the whole network; it recorded: {recorded}")
    rows = rows_of(run, metric, groups)
    if not run.settings:
        yield _Line(name, values_at_ends(run, metric, (), rows)[-1])
        return
    for key, cell in rows.groupby(list(run.settings), observed=True):
        settings = ", ".join(f"{short} {value:g}" for short, value in zip(run.short_names.values(), key, strict=True))
        yield _Line(f"{name} {settings}", values_at_ends(run, metric, key, cell)[-1])


def _table(metric: str, lines: Sequence[_Line], runs: Sequence[Run]) -> Table:
    baseline, lower = lines[0].values, any(word in metric for word in _LOWER_IS_BETTER)
    rows: list[list[Cell]] = []
    for number, (label, values) in enumerate(lines):
        row: list[Cell] = [label, int(values.notna().sum()), bootstrap_interval(values.to_numpy())]
        if number == 0:
            rows.append([*row, None, None, None])
            continue
        apart, pairs = difference(values, baseline)
        better = probability_of_improvement(values.to_numpy(), baseline.to_numpy(), lower)
        rows.append([*row, apart, pairs, better])
    at_end = "the mean of the last tenth of the run" if any(run.of_episodes for run in runs) else "the last value"
    if metric.startswith("task_"):
        at_end = "the mean over all tasks after the last task"
    notes = [
        f"{metric}: {at_end}, mean over seeds {HOW_INTERVALS}.",
        f"Difference to {lines[0].label}: mean over the pairs, the seeds of both; without pairs, of the two means.",
        f"P(better): the probability that a seed has a {'smaller' if lower else 'larger'} value than a seed of "
        f"{lines[0].label}; 0.5 is no difference.",
    ]
    for run in runs:
        if run.status.get("state") != "finished":
            notes.append(f"Unfinished: {run.name}, step {run.last_step} of {run.status.get('steps', '?')}.")
        notes += [f"Left out, since it is damaged: {damage}." for damage in run.damaged]
    left_out = sum(int(line.values.isna().sum()) for line in lines)
    if left_out:
        notes.append(f"Left out: {left_out} diverged members.")
    return Table(
        f"{metric} of {len(lines)} settings", ["run", "seeds", metric, "difference", "pairs", "P(better)"], rows, notes
    )
