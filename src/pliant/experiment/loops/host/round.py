"""One round of a group outside of the device: its transitions, and its finished episodes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.agent import Transitions
from pliant.core.problem import Timestep
from pliant.experiment.configuration.components import Components
from pliant.experiment.loops.acting import ActingInput
from pliant.experiment.loops.learning import zero_transitions
from pliant.experiment.loops.plan import Ended


def seen_in_round(components: Components) -> ActingInput:
    """The inputs of the actions of a round, zeros `(horizon, num_envs, ...)`."""
    transitions = zero_transitions(components)
    carry = components.agent.initial_carry(transitions.reward.shape[1])
    of_all = jax.tree.map(lambda x: jnp.zeros((len(transitions.reward), *x.shape), x.dtype), carry)
    return ActingInput(of_all, transitions.observation, jnp.zeros_like(transitions.terminated))


class Round:
    """The transitions of a round, written step by step into arrays `(members, horizon, num_envs, ...)`.

    Args:
        like: shapes and types for one member: the transitions and the inputs of the actions.
        members: of the group.
    """

    def __init__(self, like: tuple[Transitions, ActingInput], members: int):
        # New arrays for each round: the device may still read those of the last round.
        self.transitions: Any
        self.seen: Any
        self.transitions, self.seen = jax.tree.map(lambda x: np.empty((members, *x.shape), x.dtype), like)
        self.seen = self.seen._replace(observation=self.transitions.observation)

    def write_action(self, t: int, seen: ActingInput, action: np.ndarray, extras: Any) -> None:
        """Writes the actions at a time; `extras`: `None` if they are computed for the whole round."""
        rows = self.transitions
        rows.action[:, t] = action
        jax.tree.map(lambda rows, x: rows.__setitem__((slice(None), t), x), self.seen, seen)
        if extras is not None:
            jax.tree.map(lambda rows, x: rows.__setitem__((slice(None), t), x), rows.extras, extras)

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
