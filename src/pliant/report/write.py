"""The default report of a run: figures, tables and their numbers."""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .blocks import bin_of, note_of
from .curves import Curve, Panel, curves_of
from .figures import plot
from .load import Run
from .sequence_report import write_sequence
from .sequences import learns_sequence
from .summary import summary
from .tables import Table


def write(run: Run, out_dir: str | os.PathLike[str], reference: Run | None = None) -> Path:
    """Writes the default report of a run: the curves of all metrics, and a table.

        report.md       figures and table
        summary.csv     the table
        curves.csv      the numbers behind the figures
        <metric>.png, <metric>.pdf   interquartile mean over seeds with its interval, a panel for each group

    A metric that was measured before the first step alone has no figure. The report of a run on a sequence of tasks
    also has the files of `write_sequence`.

    Args:
        run: the run, as `load` reads it.
        out_dir: folder of the report; made if it is missing. The files of an earlier report are replaced.
        reference: of a run on a sequence of tasks, as in `continual_tables`.

    Returns:
        The path of `report.md`.

    Raises:
        ValueError: if the run has not recorded a metric yet, or if the reference does not fit.
    """
    if reference is not None and not learns_sequence(run):
        raise ValueError(f"{run.name} has no task_return; leave the reference out, or run it with --evaluate-tasks")
    out, table = Path(out_dir), summary(run)
    figures, numbers, tables = [], [], [table]
    if learns_sequence(run):
        tables += write_sequence(run, out, reference)
        figures.append("![return matrix](return_matrix.png)")
    out.mkdir(parents=True, exist_ok=True)
    learned = set(run.metrics.loc[run.metrics["step"] > 0, "metric"].unique())
    for metric in dict.fromkeys(row[0] for row in table.rows):
        if metric not in learned:
            continue
        bin = bin_of(run, str(metric))
        groups, panels = _panels(run, str(metric), bin)
        stem = re.sub(r"[^\w.-]+", "_", str(metric))
        plot(panels, out / f"{stem}.png", note=note_of("interquartile mean", [run], bin))
        figures.append(f"![{metric}]({stem}.png)")
        numbers += [(metric, g, curve) for g, panel in zip(groups, panels, strict=True) for curve in panel.curves]

    (out / "summary.csv").write_text(table.to_csv(), encoding="utf-8")
    (out / "curves.csv").write_text(_numbers(numbers).to_csv(), encoding="utf-8")
    report = out / "report.md"
    report.write_text(_markdown(run, tables, figures), encoding="utf-8")
    return report


def _panels(run: Run, metric: str, bin: int | None) -> tuple[list[str], list[Panel]]:
    """The groups of units of a metric, and a panel for each."""
    groups = list(dict.fromkeys(run.metrics.loc[run.metrics["metric"] == metric, "group"]))
    words = metric.replace("_", " ")
    panels = [
        Panel(
            curves_of(run, metric, bin=bin, statistic="iqm", group=group),
            y_label=words,
            title=f"{words}, {group or 'whole network'}" if len(groups) > 1 else words,
            marks=run.tasks,
        )
        for group in groups
    ]
    if _is_fraction(metric):
        largest = max(float(np.nanmax([curve.high, curve.estimate], initial=0)) for p in panels for curve in p.curves)
        panels = [dataclasses.replace(panel, y_limits=(0, 1.05 * largest or 1)) for panel in panels]
    return groups, panels


def _is_fraction(metric: str) -> bool:
    """Whether the panels of a metric share an axis from 0."""
    return metric.endswith("fraction") or metric in ("accuracy", "success", "success_last", "sparsity", "mask_overlap")


def _numbers(curves: list[tuple[object, str, Curve]]) -> Table:
    rows = [
        [str(metric), group, curve.label, int(x), float(estimate), float(low), float(high), int(members)]
        for metric, group, curve in curves
        for x, estimate, low, high, members in zip(
            curve.x, curve.estimate, curve.low, curve.high, curve.members, strict=True
        )
    ]
    return Table("curves", ["metric", "group", "curve", "step", "estimate", "low", "high", "seeds"], rows)


def _markdown(run: Run, tables: list[Table], figures: list[str]) -> str:
    commands = dict.fromkeys(
        _in_words(shard.environment["command"]) for shard in run.shards if "command" in shard.environment
    )
    sections = [f"# {run.name}", *(f"```\n{command}\n```" for command in commands)]
    return "\n\n".join([*sections, *figures, *(table.to_markdown() for table in tables)])


def _in_words(command: str | Sequence[str]) -> str:
    return command if isinstance(command, str) else " ".join(map(str, command))
