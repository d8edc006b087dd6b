"""Evaluations of agents while they learn."""

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pliant.core import registry
from pliant.core.problem import HostEnvironment
from pliant.experiment.configuration.build import build, problem_of, quietly
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.loops.components import Components
from pliant.experiment.loops.programs import Population

from .restore import Trained
from .rollout import Policies, Step, first_episodes, on_device, on_host, open_host
from .transfer import transfer

_SEED_ = 2**32 - 1  # larger than what `pliant evaluate` takes: it shall not judge by the episodes that chose the best

_Play = Callable[[Policies], Iterator[Step]]


class Evaluations:
    """Episodes that the members of a run play between two stretches, in environments of their own.

    The episodes begin the same way each time. Environments are as at the beginning of a run; but if they change from
    task to task, and the problem has the setting `env`, they are of the task in which the members learn. The agents
    act greedily, unless the problem says that it is to be evaluated by sampled actions alone (`EVALUATE`).

    Programs are compiled and environments opened when they are first needed, and kept for the next time.

    Args:
        config: of the run.
        members: who they are.
    """

    def __init__(self, config: RunConfig, members: Population):
        self._config, self._members = config, members
        module = registry.find("problems", config.problem.name)
        self._greedy = "greedy" in getattr(module, "EVALUATE", ("greedy",))
        self._played_in: RunConfig | None = None
        self._play: _Play | None = None
        self._open = contextlib.ExitStack()

    def means(self, step: int, policies: Policies, diverged: np.ndarray) -> dict[str, np.ndarray]:
        """Evaluates all members.

        Args:
            step: how many steps they have learned.
            policies: of all members, as `Programs.policies` gives them.
            diverged: `(members,)` bool: who has diverged, and does not play.

        Returns:
            By the name of the fact, `(members,)` means over the episodes: NaN of those who do not play. Empty if nobody
            does.
        """
        if diverged.all():
            return {}
        components = self._components
        kind = Trained(self._config, step, self._members, np.full(len(self._members), -1), [], {})
        if components.tasks and "env" in self._config.problem.schema:
            kind = transfer(kind)
        if self._play is None or kind.config != self._played_in:
            self.close()
            self._played_in, self._play = kind.config, self._player(kind)
        with contextlib.closing(self._play(policies)) as steps:
            shape = (len(self._members), components.problem.num_envs)
            facts = first_episodes(self._config.evaluate_episodes, steps, shape, left_out=diverged)
        ends = ("terminated", "truncated")
        return {
            name: np.where(diverged, np.nan, values.mean(axis=1, dtype=float))
            for name, values in facts.items()
            if name not in ends
        }

    @functools.cached_property
    def _components(self) -> Components:
        with quietly():
            return build(self._config)

    def _player(self, kind: Trained) -> _Play:
        """What lets agents of this kind play from the beginning, each time that it is called."""
        how: dict[str, Any] = {"greedy": self._greedy, "seed": _SEED_}
        environment = problem_of(kind.config)
        if not isinstance(environment, HostEnvironment):
            return on_device(kind, **how)
        host = self._open.enter_context(contextlib.closing(open_host(kind, environment.open, _SEED_)))
        fresh = copy.deepcopy(host.save())
        play = on_host(kind, **how)

        def from_the_beginning(policies: Policies) -> Iterator[Step]:
            host.restore(copy.deepcopy(fresh))
            return play(policies, host, host.reset())

        return from_the_beginning

    def close(self) -> None:
        """Closes the environments."""
        self._open.close()
