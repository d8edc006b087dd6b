"""Members that act in the environments of a task of their run, without learning."""

import contextlib
from typing import Any

import numpy as np

from pliant.core.problem import Environment
from pliant.experiment.loops.plan import Acting, Plan, Play

from .rollout import first_episodes
from .transfer import elsewhere

_SEED = 2**31  # above the seeds of `pliant evaluate --seed`, and below the seed of evaluations between two chunks

Facts = dict[str, np.ndarray]  # name -> (members, episodes)


class TaskPlays:
    """Plays of all tasks; programs are compiled and environments opened once.

    Args:
        plan: of the run.
    """

    def __init__(self, plan: Plan):
        self._plan = plan
        self._plays: dict[tuple[str, Acting], Play] = {}

    @property
    def on_device(self) -> bool:
        """Whether the environments are on the device, where one program plays all tasks."""
        problem = self._plan.problem
        return isinstance(problem, Environment) and problem.init_task is not None

    @property
    def at_once(self) -> int:
        """Environments of a member."""
        return self._plan.problem.num_envs

    def episodes(
        self, acting: Acting, params: Any, task: int, left_out: np.ndarray, episodes: int, batch: int
    ) -> Facts:
        """The facts of first episodes in one task; zeros for members that do not play.

        Args:
            acting: how the agents act.
            params: their acting parameters.
            task: its index.
            left_out: `(members,)` bool: members that do not play; not all of them.
            episodes: of each member.
            batch: on the device each environment may repeat its first state; other batches have other first states.
                Elsewhere all batches have the same first states.
        """
        where = (task, _SEED + batch) if self.on_device else ()
        with contextlib.closing(self._play(acting, task)(params, *where)) as steps:
            return first_episodes(episodes, steps, (len(left_out), self.at_once), left_out=left_out)

    def _play(self, acting: Acting, task: int) -> Play:
        plan = self._plan
        name = "" if self.on_device else plan.tasks[task].name
        if (name, acting) not in self._plays:
            there = plan if not name else elsewhere(plan, {"env": name})
            self._plays[name, acting] = there.loop.play(there, mode=acting, seed=_SEED, host={})
        return self._plays[name, acting]

    def close(self) -> None:
        """Closes the environments."""
        for play in self._plays.values():
            play.close()
        self._plays.clear()
