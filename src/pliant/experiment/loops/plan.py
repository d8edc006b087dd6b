"""A run, planned once: its problem, the loop that suits it, and how the components of a member are made.

`planning` makes plans. A `Loop` brings agents and a problem together: there is one for streams, one for environments on
the device, and one for environments outside of it. All else in a run asks the plan, and never what kind of problem it
has.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import jax
import numpy as np

from pliant.core.base import Array
from pliant.core.notes import Note
from pliant.core.problem import Problem, Task
from pliant.experiment.configuration.build import build_with
from pliant.experiment.configuration.components import Components
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.progress import Work

from .learning import round_steps
from .measuring import suits_map
from .population import MemberMap, Population, SeedAxis, layout

Mode: TypeAlias = Literal["greedy", "sampled"]  # the most probable actions, or random ones as in training
Form: TypeAlias = Literal["picture", "text"]  # as what an environment is shown


class Ended(NamedTuple):
    """The episodes that ended in a chunk."""

    member: np.ndarray  # (episodes,) index into the population
    step: np.ndarray  # (episodes,) steps of the member when they ended
    values: dict[str, np.ndarray]  # (episodes,) each: return, length, and what the problem records of them


class Slice(NamedTuple):
    """A part of a chunk, which is advanced by one call; in units of the chunk that cannot be cut."""

    before: Any  # () units of the chunk before it
    units: Any  # () units that it has


class Chunk(NamedTuple):
    """What came out of a chunk, the steps between two rows of metrics, or out of a slice of it; on the host."""

    metrics: dict[tuple[str, str], np.ndarray]  # (metric, group) -> (members,) of the whole chunk; empty before its end
    diverged: np.ndarray  # (members,) the step at which each member diverged; -1: not
    ended: Ended


class Programs(Protocol):
    """A population that can be advanced, saved and restored. Each program is compiled at its first call."""

    def begin(self) -> None:
        """Puts all members before their first step."""
        ...

    def unit(self, length: int) -> int:
        """Steps of a chunk that cannot be cut.

        Args:
            length: steps of the chunk; what they exceed a multiple of the unit by belongs to the last unit.
        """
        ...

    def advance(self, step: int, length: int, chunk: tuple[int, int] | None = None) -> Chunk:
        """Advances all members. The numbers do not depend on the slices into which a chunk is cut.

        Args:
            step: steps before.
            length: how many steps.
            chunk: the steps before and after the chunk that they are a slice of; `None`: they are a whole chunk.
        """
        ...

    def acting_params(self) -> Any:
        """What acting needs of the agents' states: a tree of `(members, ...)` arrays."""
        ...

    def save(self) -> dict[str, np.ndarray]:
        """The state as plain arrays by name, `(members, ...)` each, for a checkpoint; see `saving`."""
        ...

    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """What `save` gives."""
        ...

    def restore(self, arrays: Mapping[str, np.ndarray], step: int) -> None:
        """Takes back what `save` gave after `step` steps; to be called after `begin`."""
        ...

    def close(self) -> None:
        """Frees what lies outside of the device."""
        ...


class Step(NamedTuple):
    """What followed an action of all members."""

    ended: np.ndarray  # (members, num_envs) bool
    episode: dict[str, np.ndarray]  # (members, num_envs) each: facts about the episodes, of use where they ended
    shown: Any = None  # what the first member's first environment showed before the action, if that was asked for


class Play(Protocol):
    """Members that act without learning, in environments of their own; compiled and opened once."""

    def __call__(self, acting_params: Any) -> Iterator[Step]:
        """Steps without end from the beginning, the same each time.

        Args:
            acting_params: as `Programs.acting_params` returns it.
        """
        ...

    def close(self) -> None:
        """Closes the environments."""
        ...


class Loop(Protocol):
    """How agents and a problem of one kind come together; it has no state."""

    unit: str  # in which work is counted: "examples" or "steps"
    has_episodes: bool
    frame_seconds: float  # for which a frame of an episode is shown to people

    def can_sweep(self, kind: str) -> bool:
        """Whether numbers of components of a kind, such as "problems", may be traced; by default all may."""
        del kind
        return True

    def steps_at_once(self, components: Components) -> int:
        """Steps of a member that cannot be cut; by default those between two updates of an agent."""
        return round_steps(components)

    def units_per_step(self, components: Components) -> int:
        """Examples in a step of a stream; by default 1, for steps of environments."""
        del components
        return 1

    def in_short(self, components: Components, seed: Array) -> Any:
        """All that a program does for one member, in as few steps as possible; returns the agent's state and more."""
        ...

    def programs(self, plan: "Plan") -> Programs:
        """The compiled programs of a run."""
        ...

    def play(
        self, plan: "Plan", *, mode: Mode, seed: int, host: Mapping[str, np.ndarray], form: Form | None = None
    ) -> Play:
        """Members that act without learning.

        Args:
            plan: with the members who act.
            mode: how they act.
            seed: what environments and random actions come from, beside the members' seeds.
            host: what environments outside of the device take up, as a run saved it; empty: they begin as new.
            form: as what to show the environment of a single member; `None`: it is not drawn.

        Raises:
            ConfigError: if there are no episodes to play, or the problem cannot be shown in this form.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run whose sweep is one program.

    Args:
        config: what to run.
        members: seeds x swept values.
        problem: made once, with its data; where numbers of the problem are swept, that of the first member.
        loop: chosen once, by the problem's type.
        components: of the first member.
        notes: what the components report about themselves.
    """

    config: RunConfig
    members: Population
    problem: Problem
    loop: Loop
    components: Components
    notes: tuple[Note, ...] = ()

    def make(self, values: Mapping[str, Any]) -> Components:
        """The components of a member with these swept values, by dotted name; they may be traced."""
        return build_with(self.config, values, self.problem) if values else self.components

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """The combinations of the swept values, by dotted name."""
        return [dict(zip(self.config.sweep, values)) for values in itertools.product(*self.config.sweep.values())]

    @property
    def steps_at_once(self) -> int:
        """Steps of a member that cannot be cut."""
        return self.loop.steps_at_once(self.components)

    def filled_up(self, steps: int) -> int:
        """Steps, filled up so that all of them are learned from."""
        return -(-steps // self.steps_at_once) * self.steps_at_once

    @property
    def steps(self) -> int:
        """Steps of a whole run, of each member."""
        return self.filled_up(self.problem.steps)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of the problem, each filled up so that what is seen in it is learned from in it."""
        return tuple(task._replace(until=self.filled_up(task.until)) for task in self.problem.tasks)

    @property
    def work(self) -> Work:
        """How much there is to do, of all members together."""
        per_member = self.problem.steps * self.loop.units_per_step(self.components)
        return Work(len(self.members) * per_member, self.loop.unit)

    @functools.cached_property
    def seed_axis(self) -> SeedAxis:
        """How the members advance: as the configuration says, or as suits what they compute."""
        if self.config.seed_axis != "auto":
            return self.config.seed_axis
        in_short = functools.partial(self.loop.in_short, self.components)
        return "map" if jax.default_backend() == "cpu" and suits_map(in_short) else "vmap"

    def member_map(self, members: int) -> MemberMap:
        """Maps functions of one member over a number of them, on the devices of this process."""
        return MemberMap(layout(members, self.seed_axis, jax.local_device_count(), jax.default_backend()))
