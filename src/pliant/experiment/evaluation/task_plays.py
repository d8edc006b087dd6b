"""Members that act in the environments of a task of their run, without learning."""

import contextlib
from typing import Any

import numpy as np

from pliant.core.problem import Environment
from pliant.experiment.errors import ConfigError
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
        self._plays: dict[tuple[str, Acting, int], tuple[Play, int]] = {}

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
        self,
        acting: Acting,
        params: Any,
        task: int,
        left_out: np.ndarray,
        episodes: int,
        batch: int,
        num_envs: int | None = None,
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
            num_envs: environments of each member that suffice; `None`: as many as in the run.
        """
        where = (task, _SEED + batch) if self.on_device else ()
        play, at_once = self._play(acting, task, num_envs or self.at_once)
        with contextlib.closing(play(params, *where)) as steps:
            return first_episodes(episodes, steps, (len(left_out), at_once), left_out=left_out)

    def _play(self, acting: Acting, task: int, num_envs: int) -> tuple[Play, int]:
        """The play of a task, and its environments of a member."""
        name = "" if self.on_device else self._plan.tasks[task].name
        if (name, acting, num_envs) not in self._plays:
            there = self._elsewhere({"env": name} if name else {}, num_envs)
            play = there.loop.play(there, mode=acting, seed=_SEED, host={})
            self._plays[name, acting, num_envs] = play, there.problem.num_envs
        return self._plays[name, acting, num_envs]

    def _elsewhere(self, settings: dict[str, str], num_envs: int) -> Plan:
        """The plan with these settings and so few environments, or with more if the agent refuses them."""
        while "num_envs" in self._plan.config.problem.schema and num_envs < self.at_once:
            try:
                return elsewhere(self._plan, {**settings, "num_envs": str(num_envs)})
            except ConfigError:  # updates are counted by the steps of all environments
                num_envs *= 2
        return elsewhere(self._plan, settings)

    def close(self) -> None:
        """Closes the environments."""
        for play, _ in self._plays.values():
            play.close()
        self._plays.clear()
