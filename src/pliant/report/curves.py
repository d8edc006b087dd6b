"""Curves over steps with their intervals, and the panels that show them, as plain data."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from .load import Run
from .statistics import (
    Statistic,
    bin_maxima,
    bin_means,
    bootstrap_interval,
    interquartile_mean,
    standard_error_interval,
)

_STATISTICS: dict[str, Statistic] = {"mean": np.mean, "iqm": interquartile_mean}
_IN_BLOCKS = {"mean": bin_means, "max": bin_maxima}
_CHOICES = {
    "statistic": tuple(_STATISTICS),
    "band": ("bootstrap", "standard_error"),
    "edge": ("left", "right"),
    "within": tuple(_IN_BLOCKS),
    "episodes": ("begun", "ended"),
    "unit": ("steps", "tasks"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A statistic over the members of a run, along its steps.

    Args:
        label: in the legend.
        x: `(points,)`, steps.
        estimate: `(points,)`, NaN where no member has a value.
        low, high: `(points,)`, the interval; NaN where there are too few members for one.
        members: `(points,)`, number of members with a value.
        diverged: number of members that diverged before the end.
        total: number of members.
        each: `(total, points)`, the values of the members, shown where there is no interval; `None`: not kept.
    """

    label: str
    x: np.ndarray
    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    members: np.ndarray
    diverged: int = 0
    total: int = 0
    each: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """Numbers of a paper, shown beside ours.

    Args:
        label: in the legend, such as `"Dohare et al. 2024"`.
        y: one number, drawn as a dashed line across the panel, or `(points,)`, drawn as markers.
        x: `(points,)`, steps; `None` for the dashed line.
        of: label of the curve of the same colour; without one, grey.
    """

    label: str
    y: float | Sequence[float]
    x: Sequence[float] | None = None
    of: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes.

    Args:
        curves: to draw. Curves of the same label have the same colour in all panels of a figure.
        y_label: of the metric, with its unit: `"accuracy (%)"`.
        x_label: of the steps.
        title: above the panel.
        references: the paper's numbers.
        x_limits, y_limits: `(lowest, highest)`; `None`: those of the data.
        x_scale, y_scale: `"linear"` or `"log"`.
        marks: step -> label of a thin line, such as the first step of a task: `{500_000: "6x6"}`.
    """

    curves: Sequence[Curve]
    y_label: str
    x_label: str = "steps"
    title: str = ""
    references: Sequence[Reference] = ()
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    marks: Mapping[int, str] = dataclasses.field(default_factory=dict)


class Values(NamedTuple):
    """The values of a metric for each member, over the steps.

    Args:
        members: a row for each member: its `seed`, and a column for each swept setting.
        x: `(points,)`, steps.
        values: `(members, points)`, NaN where a member has no value.
    """

    members: pd.DataFrame
    x: np.ndarray
    values: np.ndarray


def values_of(
    run: Run,
    metric: str,
    bin: int | None = None,
    group: str | Sequence[str] = "",
    edge: Literal["left", "right"] = "left",
    within: Literal["mean", "max"] = "mean",
    episodes: Literal["begun", "ended"] = "begun",
    unit: Literal["steps", "tasks"] = "steps",
) -> Values:
    """The values over whose members `curves_of` takes a statistic; for the arguments see `curves_of`.

    Raises:
        ValueError: if the run has no such metric or group, or the bin is wider than the run.
    """
    _check({"edge": edge, "within": within, "episodes": episodes, "unit": unit}, bin, run)
    rows, last = _placed(run, metric, group, bin, episodes, unit)
    keys = ["seed", *run.settings]
    members = rows.drop_duplicates(keys).sort_values(by=keys)[keys].reset_index(drop=True)
    return Values(members, *_by_member(rows, run, bin, last, edge, within))


def curves_of(
    run: Run,
    metric: str,
    by: Sequence[str] | None = None,
    bin: int | None = None,
    statistic: Literal["mean", "iqm"] = "mean",
    band: Literal["bootstrap", "standard_error"] = "bootstrap",
    group: str | Sequence[str] = "",
    label: str = "",
    edge: Literal["left", "right"] = "left",
    within: Literal["mean", "max"] = "mean",
    episodes: Literal["begun", "ended"] = "begun",
    unit: Literal["steps", "tasks"] = "steps",
) -> list[Curve]:
    """The curves of a metric: one for each value of the swept settings.

    Args:
        run: the run.
        metric: name of the metric.
        by: settings with one curve for each of their values; the curve is over seeds and the values of the other
            settings. By default all swept settings.
        bin: width of the blocks of steps, or of tasks, whose means are taken first, for each member. A member without a
            row in a block has no value there. `None`: each recorded step is a point.
        statistic: over members: `"mean"`, or `"iqm"`, the interquartile mean.
        band: the 95 % bootstrap interval, or one standard error of the mean to either side.
        group: group of units of the metric; `""`: the whole network. For several groups, their mean at each step.
        label: before the settings in the legend. By default empty; without swept settings, the run's methods.
        edge: of its block, at which a mean is plotted: `"left"` or `"right"`.
        within: the statistic in each block: its mean or its maximum.
        episodes: whether an episode counts in the block in which it began, or in the block in which it ended, as in
            most papers. Blocks of ends favour short episodes, above all at the beginning of a run. With `"begun"` the
            last block of a member is the last block in which all its episodes have ended.
        unit: what a block and the x axis count: steps, or tasks of the problem, whatever their lengths.

    Returns:
        The curves, ordered by their settings. A member that diverged is left out after its divergence, and counted.

    Raises:
        ValueError: if the run has no such metric, group or setting, or the bin is wider than the run.
    """
    given = {"statistic": statistic, "band": band, "edge": edge, "within": within, "episodes": episodes, "unit": unit}
    _check(given, bin, run)
    if band == "standard_error" and statistic != "mean":
        raise ValueError(f"there is a standard error of the mean, but not of {statistic!r}; write band='bootstrap'")
    by = run.settings if by is None else tuple(by)
    unknown = [setting for setting in by if setting not in run.settings]
    if unknown:
        raise ValueError(f"{unknown[0]!r} was not swept in this run; it swept: {', '.join(run.settings) or 'nothing'}")
    rows, last = _placed(run, metric, group, bin, episodes, unit)

    curves = []
    for key, chosen in _split(rows, by):
        members = _members(run, key)
        x, values = _by_member(chosen, run, bin, last, edge, within)
        if band == "bootstrap":
            estimate = bootstrap_interval(values, _STATISTICS[statistic])
        else:
            estimate = standard_error_interval(values)
        settings = ", ".join(f"{run.short_names[name]} {value:g}" for name, value in key.items())
        curves.append(
            Curve(
                " ".join(filter(None, [label, settings])) or run.label,
                x,
                np.asarray(estimate.value),
                np.asarray(estimate.low),
                np.asarray(estimate.high),
                np.asarray(estimate.members),
                diverged=int(members["diverged"].notna().sum()),
                total=len(members),
                each=values,
            )
        )
    return curves


def _check(choices: Mapping[str, str], bin: int | None, run: Run) -> None:
    for name, given in choices.items():
        if given not in _CHOICES[name]:
            raise ValueError(f"{name}={given!r} is not known; write one of: {', '.join(_CHOICES[name])}")
    if choices["unit"] == "tasks":
        done = len(_ended(run))
        if bin is None or not 1 <= bin <= done:
            raise ValueError(
                f"bin={bin} does not fit a run of {done} whole tasks; write a number of tasks from 1 to that"
            )
    elif bin is not None and not 1 <= bin <= run.last_step:
        raise ValueError(f"bin={bin} does not fit a run of {run.last_step} steps; write a width from 1 to that")


def _ended(run: Run) -> tuple[int, ...]:
    """The last steps of the tasks that are over."""
    return tuple(end for end in run.ends_of_tasks if end <= run.last_step)


def _placed(
    run: Run,
    metric: str,
    group: str | Sequence[str],
    bin: int | None,
    episodes: Literal["begun", "ended"],
    unit: Literal["steps", "tasks"],
) -> tuple[pd.DataFrame, int]:
    """The rows of a metric, with the steps or tasks (from 1) in which they count, and the last of those for blocks."""
    rows = rows_of(run, metric, (group,) if isinstance(group, str) else tuple(group))
    if unit == "tasks":
        ended = _ended(run)
        task = np.searchsorted(run.ends_of_tasks, rows["step"]) + 1
        return rows.assign(step=task)[task <= len(ended)], len(ended)
    if bin is None or episodes == "ended" or metric not in run.of_episodes or run.begun is None:
        return rows, run.last_step
    begun = run.begun.rows
    return begun.loc[begun["metric"] == metric], run.begun.over


def rows_of(run: Run, metric: str, groups: Sequence[str]) -> pd.DataFrame:
    """The rows of a metric of one group of units, or its means over several groups at each step.

    Raises:
        ValueError: if the run has no such metric or group.
    """
    of_metric = run.metrics.loc[run.metrics["metric"] == metric]
    if of_metric.empty:
        recorded = ", ".join(sorted(run.metrics["metric"].unique())) or "nothing yet"
        raise ValueError(f"the run has no metric {metric!r}; it recorded: {recorded}")
    known = sorted(of_metric["group"].unique())
    for group in groups:
        if group not in known:
            raise ValueError(
                f"the run has no {metric!r} of the group {group!r}; write group= one of: {', '.join(map(repr, known))}"
            )
    rows = of_metric.loc[of_metric["group"].isin(groups)]
    if len(groups) == 1:
        return rows
    sums = rows.groupby(["seed", *run.settings, "step"])["value"].sum(min_count=len(groups))  # NaN if one of them is
    return (sums / len(groups)).reset_index()


def _split(rows: pd.DataFrame, by: Sequence[str]) -> list[tuple[dict[str, float], pd.DataFrame]]:
    if not by:
        return [({}, rows)]
    return [(dict(zip(by, key, strict=True)), chosen) for key, chosen in rows.groupby(list(by))]


def _by_member(
    rows: pd.DataFrame,
    run: Run,
    bin: int | None,
    last: int,
    edge: Literal["left", "right"],
    within: Literal["mean", "max"],
) -> tuple[np.ndarray, np.ndarray]:
    """`(points,)` steps and `(members, points)` values, NaN where a member has no value."""
    member = rows.groupby(["seed", *run.settings]).ngroup().to_numpy()  # (rows,)
    steps, values = rows["step"].to_numpy(), rows["value"].to_numpy()
    members = range(member.max() + 1)
    if bin is not None:
        in_blocks = _IN_BLOCKS[within]
        steps = np.maximum(steps, 1)  # what was measured before the first step belongs to the first block
        binned = [in_blocks(steps[member == m], values[member == m], bin, last) for m in members]
        left = binned[0][0]
        return left + bin if edge == "right" else left, np.stack([values for _, values in binned])
    x, at = np.unique(steps, return_inverse=True)
    table = np.full((len(members), x.size), np.nan)
    table[member, at] = values
    return x, table


def _members(run: Run, key: dict[str, float]) -> pd.DataFrame:
    members = run.members
    for setting, value in key.items():
        members = members.loc[members[setting] == value]
    return members
