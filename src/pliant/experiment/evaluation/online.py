"""Evaluations of agents while they learn."""

import contextlib
from typing import Any

import numpy as np

from pliant.experiment.loops.plan import Mode, Plan, Play

from .rollout import first_episodes
from .transfer import elsewhere, task_at

# Above the seeds of `pliant evaluate --seed`, whose episodes thus differ from those that choose the best checkpoint.
_SEED = 2**32 - 1


def mode_of(plan: Plan) -> Mode:
    """How agents act in evaluations between two chunks: greedily, unless `EVALUATE` of the problem says otherwise."""
    module = plan.config.problem.found
    return "greedy" if "greedy" in getattr(module, "EVALUATE", ("greedy",)) else "sampled"


class Evaluations:
    """Episodes that the members of a run play between two chunks, in separate environments.

    The episodes have the same start states each time. The environments are those at the beginning of a run. If the
    problem has tasks and the setting `env`, they are those of the task in which the members learn. The agents act
    greedily, unless `EVALUATE` of the problem asks for sampled actions.

    Programs are compiled and environments opened at the first evaluation, and kept for later ones.

    Args:
        plan: of the run.
    """

    def __init__(self, plan: Plan):
        self._plan = plan
        self._mode: Mode = mode_of(plan)
        self._env: str | None = None  # of the environments of `_play`; `None`: as the problem sets it
        self._play: Play | None = None

    def means(self, step: int, acting_params: Any, diverged: np.ndarray) -> dict[str, np.ndarray]:
        """Evaluates all members.

        Args:
            step: training steps so far.
            acting_params: of all members, as `Programs.acting_params` returns them.
            diverged: `(members,)` bool: members that have diverged, and do not play.

        Returns:
            By the name of the fact, `(members,)` means over the episodes: NaN for members that do not play. Empty if no
            member plays.
        """
        if diverged.all():
            return {}
        plan = self._plan
        shape = (len(plan.members), plan.problem.num_envs)
        with contextlib.closing(self._play_at(step)(acting_params)) as steps:
            facts = first_episodes(plan.config.evaluate_episodes, steps, shape, left_out=diverged)
        ends = ("terminated", "truncated")
        return {
            name: np.where(diverged, np.nan, values.mean(axis=1, dtype=float))
            for name, values in facts.items()
            if name not in ends
        }

    def _play_at(self, step: int) -> Play:
        """The members in the environments of the task in which they learn."""
        plan = self._plan
        by_task = plan.tasks and "env" in plan.config.problem.schema
        env = task_at(plan.tasks, step).name if by_task else None
        if self._play is None or env != self._env:
            self.close()
            there = plan if env is None else elsewhere(plan, {"env": env})
            self._env, self._play = env, there.loop.play(there, mode=self._mode, seed=_SEED, host={})
        return self._play

    def close(self) -> None:
        """Closes the environments."""
        if self._play is not None:
            self._play.close()
            self._play = None
