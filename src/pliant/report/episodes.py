"""Finds the steps at which episodes began, and the step until which all episodes have ended.

Among the episodes that end in a block of steps, short episodes are too frequent: longer ones end in a later block. At
the beginning of a run, or of a task, only short episodes have ended. Episodes therefore count where they began.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd


class Begun(NamedTuple):
    """The episodes of a run by the steps at which they began.

    Args:
        rows: of the metrics of episodes; `step` is the step at which the episode began.
        over: all episodes that began up to this step have ended.
    """

    rows: pd.DataFrame
    over: int


def begun(
    rows: pd.DataFrame, metrics: Sequence[str], keys: Sequence[str], num_envs: int, diverged: pd.DataFrame
) -> Begun:
    r"""Moves the rows of episodes from the steps at which they ended to those at which they began.

    A step of one of $N$ environments is every $N$-th of a member. An episode of length $L$ that ended at step $s$ began
    at $s - (L - 1) N$. The environment of step $s$ has the number $(s - 1) \bmod N$.

    Args:
        rows: of a run, as in `Run.metrics`.
        metrics: names of the metrics of episodes, with `"length"`; all have the same episodes in the same order.
        keys: the columns that identify a member.
        num_envs: $N$.
        diverged: the members, by `keys`, and the step at which they `diverged` or NaN. Those that did have no episodes
            from then on: the others decide what is over, if there are any.
    """
    rows = rows.loc[rows["metric"].isin(metrics)]
    of_length = rows.loc[rows["metric"] == "length"]
    ended = of_length["step"].to_numpy(np.int64)
    began = np.maximum(1, ended - (of_length["value"].to_numpy().astype(np.int64) - 1) * num_envs)
    step = rows["step"].to_numpy(np.int64, copy=True)
    for metric in metrics:
        step[(rows["metric"] == metric).to_numpy()] = began

    ends = of_length[list(keys)].assign(env=(ended - 1) % num_envs, ended=ended)
    last = ends.groupby([*keys, "env"], as_index=False)["ended"].max()  # of each environment
    # The next episode of an environment begins one of its steps after its last end.
    over = last.groupby(list(keys), as_index=False)["ended"].agg(["min", "count"])
    over["over"] = np.where(over["count"] == num_envs, over["min"] + num_envs - 1, 0)
    members = diverged.merge(over, how="left", on=list(keys)).fillna({"over": 0})
    alive = members.loc[members["diverged"].isna(), "over"]
    return Begun(rows.assign(step=step), int((members["over"] if alive.empty else alive).min()))
