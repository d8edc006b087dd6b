"""What the loops run, and what comes out of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pliant.core.agent import Agent, Learner
from pliant.core.base import Array
from pliant.core.diagnostic import Diagnostic
from pliant.core.problem import Environment, HostEnvironment, Stream, Task

Metrics = dict[tuple[str, str], Array]  # (metric, group) -> ()

# What the episodes of a stretch came to, `(steps of an environment, num_envs)` each: `ended` (bool), and where it
# is true `return`, `length` and what the arena tells of them. Empty for a stream.
Episodes = dict[str, Array]


class Components(NamedTuple):
    """What a loop runs, for one member."""

    problem: Stream | Environment | HostEnvironment
    agent: Learner | Agent
    diagnostics: Mapping[str, Diagnostic]

    @property
    def steps_at_once(self) -> int:
        """Steps that cannot be cut: one of a stream; of an arena, those of all environments between two updates."""
        return 1 if isinstance(self.problem, Stream) else self.agent.horizon * self.problem.num_envs

    @property
    def steps(self) -> int:
        """Steps of a whole run: those of the problem, filled up so that the last of them are learned from, too."""
        return -(-self.problem.steps // self.steps_at_once) * self.steps_at_once

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of the problem, each filled up so that what is seen in it is learned from in it."""
        tasks = () if isinstance(self.problem, Stream) else self.problem.tasks
        whole = self.steps_at_once
        return tuple(task._replace(until=-(-task.until // whole) * whole) for task in tasks)

    def measure(self, signals: Mapping[str, Any]) -> Metrics:
        """What the diagnostics say of the signals."""
        return {
            (name, group): value
            for name, diagnostic in self.diagnostics.items()
            for group, value in diagnostic(**signals).items()
        }
