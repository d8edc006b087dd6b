"""A recipe's runs as figure and tables, with the paper's numbers beside ours."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from pliant.report import Cell, Curve, Estimate, Reference, Run, Table, curves_of
from pliant.report import Panel as Drawn
from pliant.report.recipe import Line, Measure, Panel, Recipe

_HOW_TO_READ = (
    "First and last bin: interquartile mean over seeds with its 95 % bootstrap interval, and the mean, which is what "
    "papers give. Paper: its mean; with ~ that of an independent simulation."
)


def run_of(line: Line) -> str:
    """What lines that share a run have in common."""
    return json.dumps(line.config, sort_keys=True)


class Comparison:
    """One figure of a recipe.

    Args:
        recipe: which.
        panels: of the figure.
        runs: of its lines, by `run_of`.
    """

    def __init__(self, recipe: Recipe, panels: Sequence[Panel], runs: Mapping[str, Run]):
        self._recipe, self._panels, self._runs = recipe, panels, runs
        self._lines = _distinct(panels)
        labels = {line.label for _, line in self._lines}
        self._several = len(labels) < len(self._lines)  # whether it takes a panel's title to know a line
        self._has_published = any(line.published for _, line in self._lines)

    @property
    def note(self) -> str:
        """How to read the figure."""
        return "Mean over seeds with its 95 % bootstrap interval" + ("; markers: published." * self._has_published)

    def drawn(self) -> list[Drawn]:
        """The panels, to be plotted."""
        return [
            Drawn(
                curves=[self._curve(panel.measure, line, "mean") for line in panel.lines],
                y_label=panel.measure.y_label,
                x_label=self._recipe.x_label,
                title=panel.title,
                references=[
                    Reference("published", list(line.published.values()), list(line.published), of=line.label)
                    for line in panel.lines
                    if line.published
                ],
                y_limits=panel.y_limits,
                marks=next(filter(None, (self._runs[run_of(line)].tasks for line in panel.lines)), {}),
            )
            for panel in self._panels
        ]

    def table(self) -> Table:
        """First and last bin of each line: interquartile mean, and the mean beside the published one."""
        rows = []
        for panel, line in self._lines:
            iqm, mean = (self._curve(panel.measure, line, statistic) for statistic in ("iqm", "mean"))
            rows.append(self._names(panel, line))
            for at in (0, -1):
                rows[-1] += _cells(panel.measure, iqm, mean, at)
                rows[-1].append(_reference(panel.measure, line, int(mean.x[at])))
        columns = self._columns()
        for bin in ("first", "last"):
            columns += [f"{bin} bin [95 %]", "mean", "paper"]
        return Table(self._recipe.title, columns, rows, (_HOW_TO_READ, *self._distances(), *self._recipe.notes))

    def step_by_step(self) -> Table | None:
        """Every step within the runs for which the paper has a number; nothing if the recipe does not ask for it."""
        rows = []
        for panel, line in self._lines if self._recipe.step_by_step else ():
            iqm, mean = (self._curve(panel.measure, line, statistic) for statistic in ("iqm", "mean"))
            for at, x in enumerate(mean.x.tolist()):
                if x in line.published:
                    cells = _cells(panel.measure, iqm, mean, at)
                    rows.append([*self._names(panel, line), x, *cells, _reference(panel.measure, line, x)])
        columns = [*self._columns(), self._recipe.x_label, "ours [95 %]", "mean", "paper"]
        return Table(f"{self._recipe.title}, step by step", columns, rows) if rows else None

    def _distances(self) -> list[str]:
        """How far ours are from the paper's numbers, over all points that it has."""
        texts = []
        for panel, line in self._lines:
            curve = self._curve(panel.measure, line, "mean")
            ours = dict(zip(curve.x.tolist(), curve.estimate.tolist(), strict=True))
            both = [ours[x] - paper for x, paper in line.published.items() if x in ours]
            if both:
                label = ": ".join(str(name) for name in self._names(panel, line))
                texts.append(f"{label} {np.mean(both):+.{panel.measure.decimals}f} ({len(both)} points)")
        return [f"Ours minus the paper's, averaged over its points: {', '.join(texts)}."] if texts else []

    def _columns(self) -> list[str]:
        return ["panel", "method"] if self._several else ["method"]

    def _names(self, panel: Panel, line: Line) -> list[Cell]:
        return [panel.title, line.label] if self._several else [line.label]

    def _curve(self, measure: Measure, line: Line, statistic: Literal["mean", "iqm"]) -> Curve:
        """The curve of a line: of those members of its run that have the line's settings."""
        run = self._runs[run_of(line)]
        rows = run.metrics
        for setting, value in line.where.items():
            rows = rows[np.isclose(rows[setting], value, rtol=1e-9, atol=0)]
        if measure.metric not in set(rows["metric"]):  # as of episodes, if a short run saw none end
            nothing = np.full(1, np.nan)
            return Curve(line.label, np.array([measure.bin]), nothing, nothing, nothing, np.zeros(1, int), 0, 0)
        (curve,) = curves_of(
            dataclasses.replace(run, metrics=rows),
            measure.metric,
            by=(),
            bin=measure.bin,
            statistic=statistic,
            group=measure.groups,
            label=line.label,
            edge=self._recipe.edge,
            within=measure.within,
        )
        return dataclasses.replace(
            curve,
            estimate=curve.estimate * measure.factor,
            low=curve.low * measure.factor,
            high=curve.high * measure.factor,
        )


def _cells(measure: Measure, iqm: Curve, mean: Curve, at: int) -> list[Cell]:
    """The interquartile mean with its interval, and the mean."""
    ours = Estimate(iqm.estimate[at], iqm.low[at], iqm.high[at], int(iqm.members[at]))
    return [ours, round(float(mean.estimate[at]), measure.decimals)]


def _reference(measure: Measure, line: Line, x: int) -> str | None:
    if x in line.published:
        return f"{line.published[x]:.{measure.decimals}f}"
    return f"~{line.simulated[x]:.{measure.decimals}f}" if x in line.simulated else None


def _distinct(panels: Sequence[Panel]) -> list[tuple[Panel, Line]]:
    """The lines of a figure with their panels; a line that stands in several panels of one measure once."""
    distinct: dict[tuple[int, Measure], tuple[Panel, Line]] = {}
    for panel in panels:
        for line in panel.lines:
            distinct.setdefault((id(line), panel.measure), (panel, line))
    return list(distinct.values())
