"""Contract of the recipes: what to run for a published figure, and the numbers to hold ours against."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a figure and one row of its table.

    Args:
        label: what it is called.
        config: the run it comes from, as in a configuration file; lines with equal configurations share the run.
        where: which values of the run's sweep it takes: `{"agent.learning_rate": 0.01}`.
        published: the paper's means: edge of the bin (steps) -> value; the edge is the recipe's.
        simulated: means of an independent simulation, where the paper has none or to stand beside it.
    """

    label: str
    config: Mapping[str, Any]
    where: Mapping[str, float] = dataclasses.field(default_factory=dict)
    published: Mapping[int, float] = dataclasses.field(default_factory=dict)
    simulated: Mapping[int, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Measure:
    """What a panel shows of its runs.

    Args:
        metric: what the runs recorded.
        y_label: of the axis, with the unit.
        bin: width of the blocks of steps of which one number is taken, in steps.
        groups: the groups of units whose mean it is; `""`: of the network as a whole, or of no units at all.
        within: the number taken of a block: its mean, or its maximum.
        factor: what the numbers are multiplied by: 100 for percent.
        decimals: digits behind the point, in tables.
    """

    metric: str
    y_label: str
    bin: int
    groups: tuple[str, ...] = ("",)
    within: Literal["mean", "max"] = "mean"
    factor: float = 1.0
    decimals: int = 2


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes of a figure.

    Args:
        title: above it.
        measure: what it shows.
        lines: what is drawn.
        y_limits: `(lowest, highest)`; `None`: as the data ask.
    """

    title: str
    measure: Measure
    lines: tuple[Line, ...]
    y_limits: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A difference that is claimed: what the agents of one line get more than those of another.

    Args:
        better, worse: labels of the lines.
        env: where.
        published: the difference of the paper's returns; `None` if it has none.
    """

    better: str
    worse: str
    env: str
    published: float | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A table of what trained agents come to, in environments that they know and in others.

    Args:
        title: above it.
        lines: whose agents; their last checkpoints act.
        envs: where, by the problem's setting `env`.
        episodes: of each seed in each of them; actions are sampled as in training.
        published: the paper's mean returns: label -> env -> value.
        side_by_side: how many environments the paper evaluates in at once, until `episodes` are over in all of them
            together, so that short ones come in more often; `None`: it counts as we do.
        contrasts: the differences that matter.
        notes: what a reader must know.
    """

    title: str
    lines: tuple[Line, ...]
    envs: tuple[str, ...]
    episodes: int
    published: Mapping[str, Mapping[str, float]]
    side_by_side: int | None = None
    contrasts: tuple[Contrast, ...] = ()
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A figure, or a set of them.

    Args:
        title: what is shown.
        x_label: of the axes, with the unit.
        panels: by the name of the figure they belong to.
        notes: what a reader of the table must know: where the reference numbers come from, how ours differ.
        edge: of a block of steps, at which its number stands: the left in supervised experiments, whose scripts count
            blocks from 0; the right in reinforcement learning, whose scripts plot what has been reached by then.
        step_by_step: whether there is a second table, of every step for which the paper has a number.
        evaluations: what the trained agents come to, by the name of the table.
    """

    title: str
    x_label: str
    panels: Mapping[str, tuple[Panel, ...]]
    notes: tuple[str, ...]
    edge: Literal["left", "right"] = "left"
    step_by_step: bool = False
    evaluations: Mapping[str, Evaluation] = dataclasses.field(default_factory=dict)
