"""One round of a group outside of the device: its transitions, and its finished episodes."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from pliant.core.agent import Transitions
from pliant.core.problem import Timestep
from pliant.experiment.loops.plan import Ended


class Round:
    """The transitions of a round, written step by step into arrays `(members, horizon, num_envs, ...)`.

    Args:
        like: shapes and types for one member.
        members: of the group.
    """

    def __init__(self, like: Transitions, members: int):
        # New arrays for each round: the device may still read those of the last round.
        self.transitions: Any = jax.tree.map(lambda x: np.empty((members, *x.shape), x.dtype), like)

    def write_action(self, t: int, observation: np.ndarray, action: np.ndarray, extras: Any) -> None:
        """Writes the actions at a time."""
        seen = self.transitions
        seen.observation[:, t] = observation
        seen.action[:, t] = action
        jax.tree.map(lambda rows, x: rows.__setitem__((slice(None), t), x), seen.extras, extras)

    def write_answer(self, t: int, answer: Timestep) -> None:
        """Writes the results of the actions."""
        seen = self.transitions
        seen.reward[:, t] = answer.reward
        seen.terminated[:, t] = answer.terminated
        seen.truncated[:, t] = answer.truncated
        seen.next_observation[:, t] = answer.final_observation


class EndedEpisodes:
    """The episodes that end in a slice, in the order of their ends.

    Args:
        first: index of the group's first member in the population.
    """

    def __init__(self, first: int):
        self._first = first
        self._episodes: list[tuple[int, int, dict[str, float]]] = []

    def add(self, steps_before: int, facts: Mapping[str, np.ndarray]) -> None:
        """Adds the episodes that ended at one time.

        Args:
            steps_before: of a member, before this time.
            facts: as `follow` returns them.
        """
        for member, environment in np.argwhere(facts["ended"]):
            numbers = {name: float(x[member, environment]) for name, x in facts.items() if name != "ended"}
            self._episodes.append((self._first + member, steps_before + environment + 1, numbers))

    def table(self) -> Ended:
        """All finished episodes."""
        members, steps, values = zip(*self._episodes) if self._episodes else ((), (), ())
        names = values[0] if values else ()
        return Ended(
            np.asarray(members, int),
            np.asarray(steps, int),
            {name: np.asarray([v[name] for v in values]) for name in names},
        )
