"""The default report of a run: figures, tables and their numbers."""

import dataclasses
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .curves import Curve, Panel, curves_of
from .figures import plot
from .load import Run
from .statistics import FEWEST_FOR_INTERVAL
from .summary import summary
from .tables import Table

_POINTS = 100  # of a curve; at most about twice as many, more than a column of a paper can show
_FEWEST_POINTS = 20  # of a curve of episodes


def write(run: Run, out_dir: str | os.PathLike[str]) -> Path:
    """Writes the default report of a run: the curves of all metrics, and a table.

        report.md       figures and table
        summary.csv     the table
        curves.csv      the numbers behind the figures
        <metric>.png, <metric>.pdf   interquartile mean over seeds with its interval, a panel for each group

    Args:
        run: the run, as `load` reads it.
        out_dir: folder of the report; made if it is missing. The files of an earlier report are replaced.

    Returns:
        The path of `report.md`.

    Raises:
        ValueError: if the run has not recorded a metric yet.
    """
    out, table = Path(out_dir), summary(run)
    out.mkdir(parents=True, exist_ok=True)

    figures, numbers = [], []
    for metric in dict.fromkeys(row[0] for row in table.rows):
        bin = _bin(run, str(metric))
        groups, panels = _panels(run, str(metric), bin)
        stem = re.sub(r"[^\w.-]+", "_", str(metric))
        plot(panels, out / f"{stem}.png", note=_note(run, bin))
        figures.append(f"![{metric}]({stem}.png)")
        numbers += [(metric, g, curve) for g, panel in zip(groups, panels, strict=True) for curve in panel.curves]

    (out / "summary.csv").write_text(table.to_csv(), encoding="utf-8")
    (out / "curves.csv").write_text(_numbers(numbers).to_csv(), encoding="utf-8")
    report = out / "report.md"
    report.write_text(_markdown(run, table, figures), encoding="utf-8")
    return report


def _bin(run: Run, metric: str) -> int | None:
    """The width of blocks of steps; `None`: each recorded step is a point, if there are not too many.

    Episodes end at different steps for each seed, so they are always in blocks. A block has at least one episode of
    each seed, if enough points are left.
    """
    rows = run.metrics.loc[run.metrics["metric"] == metric]
    if metric in run.of_episodes:
        longest = rows.sort_values("step").groupby(["seed", *run.settings])["step"].diff().max()
        width = max(run.last_step / _POINTS, min(np.nan_to_num(longest), run.last_step / _FEWEST_POINTS))
        return min(_nice(width), run.last_step)
    return _nice(run.last_step / _POINTS) if rows["step"].nunique() > 2 * _POINTS else None


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
    return metric.endswith("fraction") or metric in ("accuracy", "success", "sparsity", "mask_overlap")


def _nice(width: float) -> int:
    """The next number of the form 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(width))
    return max(1, round(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= width)))


def _note(run: Run, bin: int | None) -> str:
    seeds = len(set(run.metrics["seed"]))
    many = "interquartile mean and 95 % interval" if seeds >= FEWEST_FOR_INTERVAL else "mean, and each seed thin"
    note = f"{many}, {seeds} seeds" if seeds > 1 else "1 seed"
    return note if bin is None else f"{note}\nof the means of blocks of {bin:,} steps"


def _numbers(curves: list[tuple[object, str, Curve]]) -> Table:
    rows = [
        [str(metric), group, curve.label, int(x), float(estimate), float(low), float(high), int(members)]
        for metric, group, curve in curves
        for x, estimate, low, high, members in zip(
            curve.x, curve.estimate, curve.low, curve.high, curve.members, strict=True
        )
    ]
    return Table("curves", ["metric", "group", "curve", "step", "estimate", "low", "high", "seeds"], rows)


def _markdown(run: Run, table: Table, figures: list[str]) -> str:
    commands = dict.fromkeys(
        _in_words(shard.environment["command"]) for shard in run.shards if "command" in shard.environment
    )
    sections = [f"# {run.name}", *(f"```\n{command}\n```" for command in commands)]
    return "\n\n".join([*sections, *figures, table.to_markdown()])


def _in_words(command: str | Sequence[str]) -> str:
    return command if isinstance(command, str) else " ".join(map(str, command))
