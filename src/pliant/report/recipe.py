"""Contract of the recipes: the runs of a published figure, and the published numbers to compare with ours."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

OF_NEXT_TASK = "next_task/"
"""Begins the names of metrics of networks at the beginnings of tasks, which an analysis of the checkpoints measures."""


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a figure and one row of its table.

    Args:
        label: in legends and tables.
        config: of its run, as in a configuration file; lines with equal configurations share a run.
        where: swept values of its members: `{"agent.learning_rate": 0.01}`.
        published: the paper's means: edge of the bin (steps) -> value; the edge is the recipe's.
        simulated: means of an independent simulation, beside the paper's means or instead of them.
    """

    label: str
    config: Mapping[str, Any]
    where: Mapping[str, float] = dataclasses.field(default_factory=dict)
    published: Mapping[int, float] = dataclasses.field(default_factory=dict)
    simulated: Mapping[int, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Measure:
    """The quantity that a panel shows.

    Args:
        metric: name of the metric in the runs' rows; after `next_task/` that of a diagnostic of `pliant analyze`,
            measured at the beginning of each task on examples of the task.
        y_label: of the axis, with the unit.
        bin: width of the bins, in `unit`; a bin has one number. `None`: each recorded step has one.
        groups: groups of units over which the metric is averaged; `""`: the whole network, or a metric without units.
        within: the statistic in a bin: mean or maximum.
        factor: multiplies the numbers: 100 for percent.
        decimals: digits after the decimal point, in tables.
        episodes: whether an episode counts in the bin in which it began, or in the bin in which it ended.
        unit: of the bins and of the x axis: steps, or tasks of the problem, whatever their lengths.
    """

    metric: str
    y_label: str
    bin: int | None
    groups: tuple[str, ...] = ("",)
    within: Literal["mean", "max"] = "mean"
    factor: float = 1.0
    decimals: int = 2
    episodes: Literal["begun", "ended"] = "begun"
    unit: Literal["steps", "tasks"] = "steps"


@dataclasses.dataclass(frozen=True)
class PanelSpec:
    """The contents of one pair of axes of a figure; `report.Panel` has the curves to draw.

    Args:
        title: above it.
        measure: the quantity of its y axis.
        lines: its curves.
        x_limits, y_limits: `(lowest, highest)`; `None`: of the data.
        relative_to: a line whose values are subtracted, seed by seed; `None`: nothing is.
        across: label -> one number, drawn as a dashed line across the panel.
    """

    title: str
    measure: Measure
    lines: tuple[Line, ...]
    y_limits: tuple[float, float] | None = None
    x_limits: tuple[float, float] | None = None
    relative_to: Line | None = None
    across: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A claimed difference: the return of one line's agents minus the return of another line's agents.

    Args:
        better, worse: labels of the lines.
        env: environment of the returns.
        published: the difference of the paper's returns; `None` if it has none.
    """

    better: str
    worse: str
    env: str
    published: float | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A table of the success and the return of trained agents, in environments of training and in others.

    Args:
        title: above it.
        shows: the subject of the table, in a sentence or two.
        lines: of the agents, which act from their last checkpoints.
        envs: environments, as values of the problem's setting `env`.
        episodes: of each seed in each environment; actions are sampled as in training.
        published: the paper's mean returns: label -> env -> value.
        side_by_side: number of environments in which the paper evaluates at once, until `episodes` have ended in all
            of them together, so that short episodes are too frequent; `None`: the paper counts as we do.
        contrasts: the claimed differences.
        notes: for readers of the table.
        falls_short: how the table falls short of the paper's, sentence by sentence.
    """

    title: str
    shows: str
    lines: tuple[Line, ...]
    envs: tuple[str, ...]
    episodes: int
    published: Mapping[str, Mapping[str, float]]
    side_by_side: int | None = None
    contrasts: tuple[Contrast, ...] = ()
    notes: tuple[str, ...] = ()
    falls_short: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class SequenceSpec:
    """The returns on all tasks of a sequence, after each task: heat maps, and tables beside the paper's numbers.

    Args:
        lines: of the runs, which evaluate all tasks at the end of each.
        reference: the line whose agents learn each task by itself.
        copies: label -> a line: its agents as if the network at the end of each task had been stored for that task.
        published: label -> the paper's average performance; the reference has 1.
        apart: the smallest difference of two of the paper's numbers whose order is compared with ours.
        notes: for readers of the tables.
    """

    lines: tuple[Line, ...]
    reference: Line
    copies: Mapping[str, Line] = dataclasses.field(default_factory=dict)
    published: Mapping[str, float] = dataclasses.field(default_factory=dict)
    apart: float = 0.1
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Scale:
    """Length and number of a recipe's runs, and of the published runs.

    Args:
        steps, published_steps: length of a run, in the unit of the recipe's x axis.
        seeds, published_seeds: number of seeds; `None`: not stated.
    """

    steps: int
    published_steps: int
    seeds: int
    published_seeds: int | None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A figure, or a set of figures.

    Args:
        title: of the figures.
        shows: the subject of the figures, in a sentence or two, with the paper.
        x_label: of the axes, with the unit.
        panels: by the name of their figure.
        scale: length and number of the runs.
        notes: for readers of the table, such as the source of the reference numbers.
        falls_short: how the runs fall short of the paper's beside their scale, sentence by sentence.
        edge: of a bin, at which its number is plotted. The published scripts of supervised experiments count bins from
            0 (left); those of reinforcement learning plot the mean of the steps before (right).
        step_by_step: whether there is a second table, of all steps for which the paper has a number.
        evaluations: tables of the trained agents' episodes, by the name of the table.
        sequences: what runs on a sequence of tasks learned and forgot, by the name of the figure that shows it, too.
        train_mode: whether norms of networks that are analysed use the statistics of the examples, as while learning.
    """

    title: str
    shows: str
    x_label: str
    panels: Mapping[str, tuple[PanelSpec, ...]]
    scale: Scale
    notes: tuple[str, ...]
    falls_short: tuple[str, ...] = ()
    edge: Literal["left", "right"] = "left"
    step_by_step: bool = False
    evaluations: Mapping[str, Evaluation] = dataclasses.field(default_factory=dict)
    sequences: Mapping[str, SequenceSpec] = dataclasses.field(default_factory=dict)
    train_mode: bool = False
