"""The values of the members at the end of a run, and at its beginning if it has episodes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .load import Run

_TENTH = 0.1  # of a run with episodes, at its beginning and at its end
_AT_BORDERS = (
    "task_",
    "parameters",
    "trial_steps",
)  # begin the names of metrics that are measured at the ends of tasks


def values_at_ends(run: Run, metric: str, settings: Sequence[float], rows: pd.DataFrame) -> list[pd.Series]:
    """The last value of each seed; of a run with episodes the means over the first and over the last tenth.

    What is measured at the ends of tasks has the first and the last value instead.

    A seed without a row in a tenth counts with its first or its last row. An episode counts where it began, and the
    last tenth ends where all episodes are over.

    Args:
        run: the run.
        metric: name of the metric.
        settings: values of the swept settings.
        rows: of the metric with these settings.

    Returns:
        By seed; NaN for a seed that diverged.
    """
    diverged = _diverged(run, settings)
    if not run.of_episodes:
        values = [_last(rows)]
    elif metric.startswith(_AT_BORDERS):
        values = [_first(rows), _last(rows)]
    else:
        values = _first_and_last(*_placed(rows, metric, run))
    values = [value.reindex(diverged.index) for value in values]
    if metric in run.of_episodes:  # after its divergence a seed has no rows of episodes
        values[-1] = values[-1].where(diverged.isna())
    return values


def _diverged(run: Run, settings: Sequence[float]) -> pd.Series:
    """The step of divergence of the members with these settings, by seed; NaN if they did not diverge."""
    members = run.members
    for setting, value in zip(run.settings, settings, strict=True):
        members = members.loc[members[setting] == value]
    return members.set_index("seed")["diverged"]


def _first(rows: pd.DataFrame) -> pd.Series:
    return rows.sort_values("step").groupby("seed")["value"].first(skipna=False)


def _last(rows: pd.DataFrame) -> pd.Series:
    return rows.sort_values("step").groupby("seed")["value"].last(skipna=False)


def _placed(rows: pd.DataFrame, metric: str, run: Run) -> tuple[pd.DataFrame, int]:
    """The rows, with the steps at which episodes began, and the last step that counts."""
    if metric not in run.of_episodes or run.begun is None:
        return rows, run.last_step
    began = run.begun.rows.loc[rows.index]
    over = began.loc[began["step"] <= run.begun.over]
    return (began, int(began["step"].max())) if over.empty else (over, run.begun.over)


def _first_and_last(rows: pd.DataFrame, last_step: int) -> list[pd.Series]:
    step = rows["step"]
    by_seed = step.groupby(rows["seed"])
    first = rows.loc[step <= np.maximum(by_seed.transform("min"), _TENTH * last_step)]
    last = rows.loc[step > np.minimum(by_seed.transform("max") - 1, (1 - _TENTH) * last_step)]
    return [tenth.groupby("seed")["value"].agg(lambda values: values.mean(skipna=False)) for tenth in (first, last)]
