"""The plan of a run: its problem, the loop for the problem, and the function that makes the components of a member.

`planning` makes plans. A `Loop` connects agents to a problem: there is one loop for streams, one for environments on
the device, and one for environments outside of it. No other code of a run depends on the kind of problem.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import jax
import numpy as np

from pliant.core.base import Array
from pliant.core.clock import Task
from pliant.core.notes import Note
from pliant.core.problem import Problem
from pliant.experiment.configuration.build import build_with
from pliant.experiment.configuration.components import Components
from pliant.experiment.configuration.config import MOST_KEPT, RunConfig
from pliant.experiment.progress import Work

from .learning import round_steps
from .measuring import suits_map
from .population import MemberMap, Population, SeedAxis, layout

Mode: TypeAlias = Literal["greedy", "sampled"]  # the most probable actions, or random ones as in training
Acting: TypeAlias = Literal["greedy", "sampled", "uniform"]  # a mode; or uniform actions, which need no agent
Form: TypeAlias = Literal["picture", "text"]  # how an environment is shown


class Ended(NamedTuple):
    """The episodes that ended in a chunk."""

    member: np.ndarray  # (episodes,) index into the population
    step: np.ndarray  # (episodes,) steps of the member when they ended
    values: dict[str, np.ndarray]  # (episodes,) each: return, length, and the problem's records


class Slice(NamedTuple):
    """A part of a chunk, which one call computes; in units of `Programs.unit` steps."""

    before: Any  # () units of the chunk before the slice
    units: Any  # () units of the slice
    steps: Any  # () steps of the whole chunk


class Chunk(NamedTuple):
    """The results of a chunk, the steps between two rows of metrics, or of a slice of a chunk; on the host."""

    metrics: dict[tuple[str, str], np.ndarray]  # (metric, group) -> (members,) of the whole chunk; empty before its end
    diverged: np.ndarray  # (members,) the step at which each member diverged; -1: it did not
    ended: Ended


Change: TypeAlias = Callable[[Any, Any, Any, Any], Any]  # (agent, its state, own, shared) -> its state
Question: TypeAlias = Callable[[Any, Any, Any], Any]  # (agent, its state, shared) -> tree


class Programs(Protocol):
    """The compiled programs that advance, save and restore a population; each is compiled at its first call."""

    def begin(self) -> None:
        """Puts all members before their first step."""
        ...

    def unit(self, length: int) -> int:
        """The number of steps of which slices of a chunk are multiples.

        Args:
            length: steps of the chunk; steps beyond the last multiple belong to the last unit.
        """
        ...

    def advance(self, step: int, length: int, chunk: tuple[int, int] | None = None) -> Chunk:
        """Advances all members by a slice of a chunk. The results do not depend on how a chunk is sliced.

        Args:
            step: steps before the slice.
            length: steps of the slice.
            chunk: the steps at the beginning and at the end of the chunk; `None`: the slice is the whole chunk.
        """
        ...

    def measure(self, chunk: tuple[int, int]) -> dict[tuple[str, str], np.ndarray]:
        """The diagnostics before the first step, as in `Chunk.metrics`; by default none.

        Args:
            chunk: the first of the run.
        """
        del chunk
        return {}

    def acting_params(self, task: int | None = None) -> Any:
        """The agents' acting parameters: a tree of `(members, ...)` arrays.

        Args:
            task: index of the task that they are for; `None`: those that act now.
        """
        ...

    def change(self, change: Change, shared: Any, own: Any = ()) -> None:
        """Changes the agents' states between two calls of `advance`; compiled at its first use.

        Args:
            change: a function of a module, by which its program is known.
            shared: what all members get, a tree of arrays.
            own: what each member gets, a tree of `(members, ...)` arrays.
        """
        ...

    def ask(self, question: Question, shared: Any) -> Any:
        """Asks the agents for something, such as their acting parameters: a tree of `(members, ...)` arrays.

        Args:
            question: a function of a module, by which its program is known.
            shared: what all members get, a tree of arrays.
        """
        ...

    def save(self) -> dict[str, np.ndarray]:
        """The state as plain arrays by name, `(members, ...)` each, for a checkpoint; see `saving`."""
        ...

    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and types of the arrays that `save` returns."""
        ...

    def restore(self, arrays: Mapping[str, np.ndarray], step: int) -> None:
        """Restores the state that `save` returned after `step` steps; called after `begin`."""
        ...

    def close(self) -> None:
        """Closes the environments outside of the device."""
        ...


class Step(NamedTuple):
    """The results of an action of all members."""

    ended: np.ndarray  # (members, num_envs) bool
    episode: dict[str, np.ndarray]  # (members, num_envs) each: facts about the episodes, valid where they ended
    shown: Any = None  # the first member's first environment before the action; `None` if it is not shown


class Play(Protocol):
    """Members that act without learning, in separate environments; compiled and opened once."""

    def __call__(self, acting_params: Any, task: int | None = None, seed: int | None = None) -> Iterator[Step]:
        """Yields steps from the beginning, without end; each call with the same arguments yields the same steps.

        Args:
            acting_params: as `Programs.acting_params` returns it.
            task: index of the task in which the environments stay, of a problem with `init_task`; `None`: as they are
                at the beginning of a run.
            seed: of environments and random actions, on the device; `None`: that of `Loop.play`.
        """
        ...

    def close(self) -> None:
        """Closes the environments."""
        ...


class Loop(Protocol):
    """Connects agents to one kind of problem; it has no state."""

    unit: str  # of work: "examples" or "steps"
    has_episodes: bool
    frame_seconds: float  # for which a frame of an episode is shown

    def can_sweep(self, kind: str) -> bool:
        """Whether numbers of components of a kind, such as "problems", may be traced; true by default."""
        del kind
        return True

    def steps_at_once(self, components: Components) -> int:
        """Steps of which chunks are multiples; by default the steps between two updates of an agent."""
        return round_steps(components)

    def units_per_step(self, components: Components) -> int:
        """Examples in a step of a stream; by default 1, for steps of environments."""
        del components
        return 1

    def shared(self, problem: Problem) -> Any:
        """The data that all members share, a tree of arrays; by default none."""
        del problem
        return ()

    def in_short(self, components: Components, seed: Array, shared: Any) -> Any:
        """The program for one member with as few steps as possible; returns the member, with the field `agent`."""
        ...

    def programs(self, plan: "Plan") -> Programs:
        """The compiled programs of a run."""
        ...

    def play(
        self, plan: "Plan", *, mode: Acting, seed: int, host: Mapping[str, np.ndarray], form: Form | None = None
    ) -> Play:
        """Members that act without learning.

        Args:
            plan: of the members.
            mode: of their actions.
            seed: of environments and random actions, beside the members' seeds.
            host: the saved state of environments outside of the device; empty: their initial state.
            form: how to show the environment of a single member; `None`: it is not shown.

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
        notes: from the components.
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

    @functools.cached_property  # each task asks for it, and a run of images may have 800
    def steps_at_once(self) -> int:
        """Steps of which chunks are multiples."""
        return self.loop.steps_at_once(self.components)

    def filled_up(self, steps: int) -> int:
        """Steps, rounded up so that the agent learns from all of them."""
        return -(-steps // self.steps_at_once) * self.steps_at_once

    @property
    def steps(self) -> int:
        """Steps of a whole run, of each member."""
        return self.filled_up(self.problem.steps)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of the problem, each rounded up so that the agent learns from all its steps before it ends."""
        return tuple(task._replace(until=self.filled_up(task.until)) for task in self.problem.tasks)

    @property
    def kept(self) -> tuple[int, ...]:
        """Steps whose checkpoints stay, see `keep_checkpoints` of the configuration."""
        keep, ends = self.config.keep_checkpoints, tuple(task.until for task in self.tasks)
        if not ends or keep == "newest" or (keep == "auto" and len(ends) > MOST_KEPT):
            return ()
        return ends if self.loop.has_episodes else (0, *ends)

    @property
    def work(self) -> Work:
        """The work of all members together."""
        per_member = self.problem.steps * self.loop.units_per_step(self.components)
        return Work(len(self.members) * per_member, self.loop.unit)

    @functools.cached_property
    def seed_axis(self) -> SeedAxis:
        """How the members advance: as configured; `auto` chooses the faster way."""
        if self.config.seed_axis != "auto":
            return self.config.seed_axis
        in_short = functools.partial(self.loop.in_short, self.components)
        suits = jax.default_backend() == "cpu" and suits_map(
            in_short, self.loop.shared(self.problem), self.loop.has_episodes
        )
        return "map" if suits else "vmap"

    def member_map(self, members: int) -> MemberMap:
        """A map of functions of one member over `members` of them, on the devices of this process."""
        devices = jax.local_device_count()
        # The choice takes a trace of the whole program, and there is none for a single member on each device.
        seed_axis = self.seed_axis if members > devices else "map"
        return MemberMap(layout(members, seed_axis, devices, jax.default_backend()))
