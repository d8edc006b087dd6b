"""Evaluations of all tasks of a run, at the end of each of its tasks."""

import logging
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array
from pliant.experiment.loops.plan import Acting, Plan, Programs

from .online import mode_of
from .task_plays import TaskPlays

logger = logging.getLogger(__name__)

_RETURN = "task_return"

Means = dict[tuple[str, str], np.ndarray]  # (metric, group) -> (members,)


def _memory(agent: Any, state: Any, tasks: Array) -> Any:
    return jax.tree.map(jnp.asarray, agent.memory(state, tasks))


class TaskEvaluations:
    """The members of a run in the environments of each of its tasks, also of those that they have not learned yet.

    A row of metrics has the group `INDEX/NAME` of the task. Agents that act alike in all tasks play tasks of the same
    name once. They act as in other evaluations between two chunks.

    Args:
        plan: of the run; with `evaluate_tasks`, the number of episodes of each task.
        plays: of the tasks.
    """

    def __init__(self, plan: Plan, plays: TaskPlays):
        self._plan, self._episodes, self._plays = plan, plan.config.evaluate_tasks, plays
        self._mode: Acting = mode_of(plan)
        self._says_cost = bool(self._episodes)

    def before(self, programs: Programs) -> Means:
        """The returns of all tasks before the first step, and those of uniform random actions."""
        if not self._episodes:
            return {}
        nobody = np.zeros(len(self._plan.members), bool)
        at_random = self._all("uniform", programs, nobody, distinct=True)
        return self._all(self._mode, programs, nobody, distinct=True) | {
            ("task_random_return", group): values for (metric, group), values in at_random.items() if metric == _RETURN
        }

    def means(self, programs: Programs, finished: int, diverged: np.ndarray) -> Means:
        """The returns of all tasks, and the numbers that are stored to act on them.

        Args:
            programs: with the agents.
            finished: tasks that have ended.
            diverged: `(members,)` bool: members that have diverged, and do not play.
        """
        if not self._episodes or diverged.all():
            return {}
        agent = self._plan.components.agent
        means = self._all(self._mode, programs, diverged, distinct=agent.acting_params_for is None)
        if agent.memory is not None:
            memory = programs.ask(_memory, np.int32(finished))
            means |= {(name, ""): numbers for name, numbers in memory._asdict().items()}
        return means

    def _all(self, acting: Acting, programs: Programs, left_out: np.ndarray, *, distinct: bool) -> Means:
        """The means of the facts of the episodes of all tasks.

        Args:
            acting: how the agents act.
            programs: with the agents.
            left_out: `(members,)` bool: members that do not play.
            distinct: whether tasks of the same name are played once.
        """
        names = [task.name for task in self._plan.tasks]
        played: dict[int, Mapping[str, np.ndarray]] = {}
        self._say_cost(len(set(names)) if distinct else len(names))
        means: Means = {}
        for index, name in enumerate(names):
            which = names.index(name) if distinct else index
            if which not in played:
                played[which] = self._one(acting, programs, which, left_out)
            for fact, values in played[which].items():
                means[f"task_{fact}", f"{index}/{name}"] = values
        return means

    def _one(self, acting: Acting, programs: Programs, task: int, left_out: np.ndarray) -> Mapping[str, np.ndarray]:
        """The means of the facts of the episodes of one task, `(members,)` each; NaN for members that do not play."""
        plays, params = self._plays, programs.acting_params(task)
        num_envs = min(self._episodes, plays.at_once)
        each = num_envs if plays.on_device else self._episodes
        total: dict[str, np.ndarray] = {}
        left, batch = self._episodes, 0
        while left > 0:
            count = min(each, left)
            facts = plays.episodes(acting, params, task, left_out, count, batch, num_envs)
            for name, values in facts.items():
                if name not in ("terminated", "truncated"):
                    total[name] = total.get(name, 0) + values.sum(1, dtype=float)
            left, batch = left - count, batch + 1
        return {name: np.where(left_out, np.nan, sums / self._episodes) for name, sums in total.items()}

    def _say_cost(self, tasks: int) -> None:
        if self._says_cost:
            logger.info(
                "before training and after each of %d tasks, %d tasks are played for %d episodes each (evaluate_tasks)",
                len(self._plan.tasks),
                tasks,
                self._episodes,
            )
        self._says_cost = False
