"""Performance against memory, of runs on a sequence of tasks."""

from collections.abc import Sequence

import numpy as np

from .curves import Curve, Panel
from .load import Run
from .references import mean_of_seen, random_returns, reference_of
from .scores import Learner, learners_of, scores_of
from .statistics import bootstrap_interval

_WIDE = 20.0  # ratio of memories above which the axis is logarithmic


def trade_off(runs: Sequence[Run], reference: Run | None = None) -> list[Panel]:
    """The panel of average performance against memory, with a point for each run and swept value.

    Args:
        runs: on a sequence of tasks.
        reference: performance is normalized by it, and memory has its policy as the unit; `None`: returns as they are,
            in units of each run's own policy.

    Returns:
        One panel; none if no run recorded its memory.
    """
    of_reference = None if reference is None else reference_of(reference).normalizing(random_returns(reference))
    points = []
    for learner in learners_of(runs):
        policies = float(mean_of_seen(learner.policies(of_reference)))
        if np.isfinite(policies):
            points.append(_point(learner, policies, scores_of(learner, "task_return", of_reference).performance))
    if not points:
        return []
    least, most = (float(extreme(np.concatenate([point.x for point in points]))) for extreme in (np.min, np.max))
    wide = least > 0 and most / least > _WIDE
    return [
        Panel(
            points,
            y_label="performance" + ("" if reference is None else ", normalized"),
            x_label="memory, with buffers (policies)",
            title="performance against memory",
            x_limits=(least / 1.5, most * 1.5) if wide else (0, 1.15 * most),
            x_scale="log" if wide else "linear",
        )
    ]


def _point(learner: Learner, policies: float, values: np.ndarray) -> Curve:
    estimate = bootstrap_interval(values[:, None])
    numbers = (np.asarray(number) for number in estimate[:4])
    label = learner.label or learner.run.label
    return Curve(label, np.array([policies]), *numbers, total=len(values), each=values[:, None])
