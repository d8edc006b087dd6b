"""The figures of a recipe: our curves and tables beside the paper's numbers."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from pliant.report import (
    Cell,
    Curve,
    Estimate,
    Panel,
    Reference,
    Run,
    Table,
    bootstrap_interval,
    interquartile_mean,
    values_of,
)
from pliant.report.recipe import Line, Measure, PanelSpec, Recipe
from pliant.report.statistics import FEWEST_FOR_INTERVAL, HOW_INTERVALS

from .runs import run_of
from .scale import scale_note
from .sequences import SequenceFigure, compare_sequence

_HOW_TO_READ = (
    f"First and last bin: interquartile mean over seeds {HOW_INTERVALS}, and the mean, the statistic of papers. Paper: "
    "its mean; with ~ the mean of an independent simulation."
)
_MOST_NAMED = 10  # numbers that fall short


class Figure(NamedTuple):
    """One figure of a recipe, with its tables and numbers.

    Args:
        panels: to plot.
        note: how to read the panels.
        table: first and last bin of each line.
        step_by_step: a table of all steps for which the paper has a number; `None` if the recipe has no such table.
        rows: the numbers of panels and tables, one row for each seed and bin of each line: `panel`, `method`,
            `measure`, `seed`, `step`, `value` (float32; NaN where a seed has no value).
        notes: how to read the table.
        falls_short: how the figure falls short of the paper's figure.
        sequence: what runs on a sequence of tasks learned and forgot; `None` for other runs.
    """

    panels: list[Panel]
    note: str
    table: Table
    step_by_step: Table | None
    rows: pd.DataFrame
    notes: tuple[str, ...]
    falls_short: tuple[str, ...]
    sequence: SequenceFigure | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Series:
    """A line of a panel: a value of each seed in each bin."""

    panel: PanelSpec
    line: Line
    seeds: np.ndarray  # (seeds,)
    x: np.ndarray  # (bins,)
    values: np.ndarray  # (seeds, bins)
    diverged: int  # seeds that diverged
    total: int  # seeds of the run, with or without values
    tasks: Mapping[int, str]

    @functools.cached_property
    def mean(self) -> Estimate:
        """The mean over seeds with its interval, each `(bins,)`."""
        return bootstrap_interval(self.values)

    @functools.cached_property
    def iqm(self) -> Estimate:
        """The interquartile mean over seeds with its interval, each `(bins,)`."""
        return bootstrap_interval(self.values, interquartile_mean)


def compare(recipe: Recipe, runs: Mapping[str, Run]) -> dict[str, Figure]:
    """Puts the runs of a recipe beside the paper's numbers.

    Args:
        recipe: of the figures.
        runs: of its lines, by the key `run_of`, as `run` returns them.

    Returns:
        The figures, by their names.

    Raises:
        ValueError: if a run lacks a metric or a group of units that a panel shows.
    """
    return {name: _figure(recipe, name, runs) for name in recipe.panels}


def _figure(recipe: Recipe, name: str, runs: Mapping[str, Run]) -> Figure:
    panels = recipe.panels[name]
    series = [[_series(recipe, panel, line, runs) for line in panel.lines] for panel in panels]
    distinct = _distinct(list(itertools.chain.from_iterable(series)))
    has_published = any(one.line.published for one in distinct)
    notes = (_HOW_TO_READ, *_distances(distinct), *recipe.notes)
    sequence = compare_sequence(recipe.sequences[name], runs) if name in recipe.sequences else None
    contrary = () if sequence is None else sequence.falls_short
    falls_short = (*scale_note(recipe), *recipe.falls_short, *_outside(distinct), *contrary)
    more_rows = [] if sequence is None else [sequence.rows]
    return Figure(
        [_drawn(recipe, panel, of_panel) for panel, of_panel in zip(panels, series, strict=True)],
        _note(distinct) + "; markers: published." * has_published,
        _table(recipe, distinct, (*notes, *falls_short)),
        _step_by_step(recipe, distinct) if recipe.step_by_step else None,
        pd.concat([*(_rows(one) for one in distinct), *more_rows], ignore_index=True),
        notes,
        falls_short,
        sequence,
    )


def _series(recipe: Recipe, panel: PanelSpec, line: Line, runs: Mapping[str, Run]) -> _Series:
    """The values of the members of the run that have the line's settings."""
    series = _of_line(recipe, panel, line, runs[run_of(line)])
    if panel.relative_to is None:
        return series
    other = _of_line(recipe, panel, panel.relative_to, runs[run_of(panel.relative_to)])
    seeds, here, there = np.intersect1d(series.seeds, other.seeds, return_indices=True)
    x, of_line, of_other = np.intersect1d(series.x, other.x, return_indices=True)
    values = series.values[np.ix_(here, of_line)] - other.values[np.ix_(there, of_other)]
    return dataclasses.replace(series, seeds=seeds, x=x, values=values.astype(np.float32).astype(float))


def _of_line(recipe: Recipe, panel: PanelSpec, line: Line, run: Run) -> _Series:
    measure, rows = panel.measure, run.metrics
    for setting, value in line.where.items():
        rows = rows[np.isclose(rows[setting], value, rtol=1e-9, atol=0)]
    of_line = dataclasses.replace(run, metrics=rows)
    if measure.metric in set(rows["metric"]):
        found = values_of(
            of_line,
            measure.metric,
            measure.bin,
            measure.groups,
            recipe.edge,
            measure.within,
            measure.episodes,
            measure.unit,
        )
        seeds, x, values = found.members["seed"].to_numpy(), found.x, found.values
    else:  # such as returns, if no episode ended in a short run
        seeds, x, values = np.unique(rows["seed"])[:1], np.array([measure.bin or 0]), np.full((1, 1), np.nan)
    # The metrics have the precision of float32, so that written rows give the same tables.
    values = (values * measure.factor).astype(np.float32).astype(float)
    members = of_line.members
    return _Series(panel, line, seeds, x, values, int(members["diverged"].notna().sum()), len(members), run.tasks)


def _note(series: Sequence[_Series]) -> str:
    few = max(len(one.seeds) for one in series) < FEWEST_FOR_INTERVAL
    return "Mean over seeds, and each seed thin" if few else "Mean over seeds with its 95 % bootstrap interval"


def _distinct(series: Sequence[_Series]) -> list[_Series]:
    """Each line of a measure once, also if several panels show it."""
    distinct: dict[tuple[int, Measure], _Series] = {}
    for one in series:
        distinct.setdefault((id(one.line), one.panel.measure), one)
    return list(distinct.values())


def _drawn(recipe: Recipe, panel: PanelSpec, series: Sequence[_Series]) -> Panel:
    return Panel(
        curves=[_curve(one) for one in series],
        y_label=panel.measure.y_label,
        x_label=recipe.x_label,
        title=panel.title,
        references=[
            Reference("published", list(line.published.values()), list(line.published), of=line.label)
            for line in panel.lines
            if line.published
        ]
        + [Reference(label, y) for label, y in panel.across.items()],
        x_limits=panel.x_limits,
        y_limits=panel.y_limits,
        marks={} if panel.measure.unit == "tasks" else next((one.tasks for one in series if one.tasks), {}),
    )


def _curve(series: _Series) -> Curve:
    value, low, high, members = map(np.asarray, series.mean[:4])
    return Curve(series.line.label, series.x, value, low, high, members, series.diverged, series.total, series.values)


def _rows(series: _Series) -> pd.DataFrame:
    seeds, bins = series.values.shape
    return pd.DataFrame(
        {
            "panel": series.panel.title,
            "method": series.line.label,
            "measure": series.panel.measure.y_label,
            "seed": np.repeat(series.seeds, bins).astype(np.int32),
            "step": np.tile(series.x, seeds).astype(np.int64),
            "value": series.values.ravel().astype(np.float32),
        }
    )


def _table(recipe: Recipe, series: Sequence[_Series], notes: tuple[str, ...]) -> Table:
    """First and last bin of each line: the interquartile mean, the mean, and the published mean."""
    rows = []
    for one in series:
        cells = _cells(one)
        rows.append([*_names(one, series), *cells[0], *cells[-1]])
    columns = _columns(series)
    for bin in ("first", "last"):
        columns += [f"{bin} bin [95 %]", "mean", "paper"]
    return Table(recipe.title, columns, rows, notes)


def _step_by_step(recipe: Recipe, series: Sequence[_Series]) -> Table | None:
    """All steps of the runs for which the paper has a number."""
    rows = [
        [*_names(one, series), x, *cells]
        for one in series
        for x, cells in zip(one.x.tolist(), _cells(one), strict=True)
        if x in one.line.published
    ]
    columns = [*_columns(series), recipe.x_label, "ours [95 %]", "mean", "paper"]
    return Table(f"{recipe.title}, step by step", columns, rows) if rows else None


def _cells(series: _Series) -> list[list[Cell]]:
    """For each bin: the interquartile mean with its interval, the mean, the paper's number."""
    decimals, x, mean, iqm = series.panel.measure.decimals, series.x.tolist(), series.mean.value, series.iqm
    bins = zip(x, mean, iqm.value, iqm.low, iqm.high, iqm.members, series.values.T, strict=True)
    return [
        [Estimate(value, low, high, members, points), round(float(average), decimals), _reference(series, x)]
        for x, average, value, low, high, members, points in bins
    ]


def _reference(series: _Series, x: int) -> str | None:
    line, decimals = series.line, series.panel.measure.decimals
    if x in line.published:
        return f"{line.published[x]:.{decimals}f}"
    return f"~{line.simulated[x]:.{decimals}f}" if x in line.simulated else None


def _distances(series: Sequence[_Series]) -> list[str]:
    """Ours minus the paper's numbers, averaged over the points of each line."""
    texts = []
    for one in series:
        ours = dict(zip(one.x.tolist(), np.asarray(one.mean.value).tolist(), strict=True))
        both = [ours[x] - paper for x, paper in one.line.published.items() if x in ours]
        if both:
            points = "1 point" if len(both) == 1 else f"{len(both)} points"
            texts.append(f"{_name(one, series)} {np.mean(both):+.{one.panel.measure.decimals}f} ({points})")
    return [f"Ours minus the paper's, averaged over its points: {', '.join(texts)}."] if texts else []


def _outside(series: Sequence[_Series]) -> list[str]:
    """The paper's numbers outside our interval of the mean."""
    points, outside = 0, []
    for one in series:
        mean, decimals = one.mean, one.panel.measure.decimals
        for x, value, low, high in zip(one.x.tolist(), mean.value, mean.low, mean.high, strict=True):
            if x in one.line.published and np.isfinite(low):
                paper = one.line.published[x]
                points += 1
                if not low <= paper <= high:
                    ours = f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"
                    outside.append(f"{_name(one, series)} at {x:,} (paper {paper:.{decimals}f}, ours {ours})")
    if not outside:
        return []
    more = f", and {len(outside) - _MOST_NAMED} more" if len(outside) > _MOST_NAMED else ""
    return [
        f"Numbers of the paper outside the 95 % interval of our mean, {len(outside)} of {points}: "
        f"{', '.join(outside[:_MOST_NAMED])}{more}."
    ]


def _columns(series: Sequence[_Series]) -> list[str]:
    return ["panel", "method"] if _needs_panels(series) else ["method"]


def _names(one: _Series, series: Sequence[_Series]) -> list[Cell]:
    return [one.panel.title, one.line.label] if _needs_panels(series) else [one.line.label]


def _name(one: _Series, series: Sequence[_Series]) -> str:
    return ": ".join(str(name) for name in _names(one, series))


def _needs_panels(series: Sequence[_Series]) -> bool:
    """Whether two lines have the same label, in different panels."""
    return len({one.line.label for one in series}) < len(series)
