"""Contract of the recipes: what to run for a published figure, and the numbers to hold ours against."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a figure and one row of its table.

    Args:
        label: what it is called.
        config: the run it comes from, as in a configuration file; lines with equal configurations share the run.
        where: which values of the run's sweep it takes: `{"agent.step_size": 0.01}`.
        published: the paper's means: left edge of the bin (steps) -> value.
        simulated: means of an independent simulation, where the paper has none or to stand beside it.
    """

    label: str
    config: Mapping[str, Any]
    where: Mapping[str, float] = dataclasses.field(default_factory=dict)
    published: Mapping[int, float] = dataclasses.field(default_factory=dict)
    simulated: Mapping[int, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes of a figure.

    Args:
        title: above it.
        lines: what is drawn.
        y_limits: `(lowest, highest)`; `None`: as the data ask.
    """

    title: str
    lines: tuple[Line, ...]
    y_limits: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A figure, or a set of them.

    Args:
        title: what is shown.
        metric: what the runs recorded.
        x_label, y_label: of the axes, with units.
        bin: width of the blocks that are averaged, in steps.
        panels: by the name of the figure they belong to.
        notes: what a reader of the table must know: where the reference numbers come from, how ours differ.
    """

    title: str
    metric: str
    x_label: str
    y_label: str
    bin: int
    panels: Mapping[str, tuple[Panel, ...]]
    notes: tuple[str, ...]
