"""What happens to agents in environments between two of their tasks.

at the end of a task:
    candidates of the continual method play it, and the method chooses among them
    further updates on the task's data
    the agent ends the task
before the first step of the next task:
    the agent begins the task, and plays it if the continual method asks for its return
"""

import logging
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pliant.core.agent import Agent
from pliant.core.base import Array
from pliant.core.clock import Clock

from .evaluation.task_plays import TaskPlays
from .loops.plan import Plan, Programs

logger = logging.getLogger(__name__)

_TRIALS = 2**20  # batch of the first trial, above those of evaluations
_REPORT_EVERY = 10.0  # seconds between two reports of updates after a task

Means = dict[tuple[str, str], np.ndarray]  # (metric, group) -> (members,)


def _propose(agent: Any, state: Any, own: Any, clock: Clock) -> Any:
    del own
    return agent.trials.propose(state, clock)


def _candidates(agent: Any, state: Any, first: Array) -> Any:
    return agent.trials.acting_params(state, first)


def _choose(agent: Any, state: Any, scores: Array, clock: Clock) -> Any:
    return agent.trials.choose(state, scores, clock)


def _standing(agent: Any, state: Any, score: Array, clock: Clock) -> Any:
    del clock
    return agent.trials.standing(state, score)


def _begin_finetuning(agent: Any, state: Any, own: Any, clock: Clock) -> Any:
    del own
    return agent.finetuning.begin(state, clock)


def _finetune(agent: Any, state: Any, own: Any, given: tuple[Array, Clock]) -> Any:
    del own
    return agent.finetuning.learn(state, *given)


def _end_task(agent: Any, state: Any, own: Any, clock: Clock) -> Any:
    del own
    return agent.end_task(state, clock)


def _begin_task(agent: Any, state: Any, own: Any, clock: Clock) -> Any:
    del own
    return agent.begin_task(state, clock)


class Borders:
    """The borders of a run's tasks.

    Args:
        plan: of the run.
        programs: with the agents.
        plays: of the tasks.
    """

    def __init__(self, plan: Plan, programs: Programs, plays: TaskPlays):
        self._plan, self._programs, self._plays = plan, programs, plays

    @property
    def _agent(self) -> Agent:
        return self._plan.components.agent

    def end(self, clock: Clock, diverged: np.ndarray) -> Means:
        """The end of a task.

        Args:
            clock: `clock.task` is its index.
            diverged: `(members,)` bool: members that have diverged, and do not play.

        Returns:
            `trial_steps`: the steps that the candidates played.
        """
        means: Means = {}
        trials, finetuning = self._agent.trials, self._agent.finetuning
        if trials is not None and clock.task > 0:
            self._programs.change(_propose, clock)
            scores, steps = self._scores(
                lambda first: self._programs.ask(_candidates, np.int32(first)),
                int(clock.task),
                trials.candidates,
                trials.episodes,
                diverged,
            )
            self._programs.change(_choose, clock, scores)
            means["trial_steps", ""] = steps
        if finetuning is not None:
            self._finetune(finetuning.updates, finetuning.at_once, clock)
        if self._agent.end_task is not None:
            self._programs.change(_end_task, clock)
        return means

    def begin(self, clock: Clock, diverged: np.ndarray) -> Means:
        """The beginning of a later task; for the arguments and the result see `end`."""
        if self._agent.begin_task is not None:
            self._programs.change(_begin_task, clock)
        trials = self._agent.trials
        if trials is None or trials.standing is None:
            return {}
        params = self._programs.acting_params()
        scores, steps = self._scores(lambda first: params, int(clock.task), 1, trials.episodes, diverged)
        self._programs.change(_standing, clock, scores[:, 0])
        return {("trial_steps", ""): steps}

    def _scores(
        self, params_of: Callable[[int], Any], task: int, candidates: int, episodes: int, diverged: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The mean return of each candidate, `(members, candidates)`, and the steps of each member.

        No episode is played twice. On the device each batch has other first states. Elsewhere all batches begin alike:
        there are as many as it takes until an environment has played each candidate that it can, and a batch has
        further episodes of each environment.

        Args:
            params_of: `first -> acting parameters` with which environment i plays candidate `(first + i) % candidates`.
            task: its index.
            candidates: how many there are.
            episodes: of each candidate, at least.
            diverged: `(members,)` bool: members that do not play.
        """
        at_once, members = self._plays.at_once, len(diverged)
        total, steps = np.zeros((members, candidates)), np.zeros(members)
        counts = np.zeros(candidates)
        batches = rounds = -(-candidates * episodes // at_once)  # a round: one episode of each environment
        if not self._plays.on_device:
            batches = min(rounds, candidates // math.gcd(at_once, candidates))
        in_batch = at_once * -(-rounds // batches)
        for batch in range(batches):
            first = batch * at_once % candidates
            returns, played = self._played(params_of(first), task, batch, in_batch, diverged)
            who = (first + np.arange(in_batch) % at_once) % candidates
            np.add.at(total, (slice(None), who), returns)
            np.add.at(counts, who, 1)
            steps += played
        return (total / counts).astype(np.float32), steps

    def _played(
        self, params: Any, task: int, batch: int, episodes: int, diverged: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The returns of greedy episodes, `(members, episodes)`, and the steps of each member."""
        if diverged.all():
            return np.zeros((len(diverged), episodes), np.float32), np.zeros(len(diverged))
        facts = self._plays.episodes("greedy", params, task, diverged, episodes, _TRIALS + batch)
        return facts["return"].astype(np.float32), facts["length"].sum(1).astype(float)

    def _finetune(self, updates: int, at_once: int, clock: Clock) -> None:
        name = self._plan.tasks[int(clock.task)].name
        logger.info("after task %d/%s: %s updates on its replay", clock.task, name, f"{updates:,}")
        self._programs.change(_begin_finetuning, clock)
        reported = time.monotonic()
        for first in range(1, updates + 1, at_once):
            self._programs.change(_finetune, (np.int32(first), clock))
            if (now := time.monotonic()) - reported > _REPORT_EVERY:
                reported = now
                logger.info("after task %d/%s: %d%% of the updates", clock.task, name, 100 * first // updates)
