"""Runs without agents and without JAX: their numbers show all that was done to a member, and in which order.

A member has a number below a prime. Each step multiplies it by 5 and adds the seed and the number of the step: a step
that is lost, done twice or done too early changes all that follow. The loss of a chunk is the mean of the numbers of
its steps, as fractions of the prime, and the learning rate. A member whose learning rate is above 1 diverges at the
step 150 more than its seed. When it is evaluated, each step is an episode; its return is the fraction, and the learning
rate times the steps so far.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from typing_extensions import override

from pliant.core.agent import Agent
from pliant.core.clock import Task
from pliant.core.problem import Environment
from pliant.experiment.configuration.components import Components
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.loops.plan import Chunk, Ended, Loop, Plan, Play, Programs, Step
from pliant.experiment.loops.population import population
from pliant.experiment.loops.stream import StreamLoop

_PRIME = 2**31 - 1


class CountingPrograms(Programs):
    """See above."""

    def __init__(self, plan: Plan):
        self._seeds = plan.members.seeds.astype(np.int64)
        self._rates = plan.members.swept.get("agent.learning_rate", np.zeros(len(self._seeds)))

    @override
    def begin(self) -> None:
        self._number, self._diverged = self._seeds, np.full(len(self._seeds), -1, np.int32)
        self._total, self._step = np.zeros(len(self._seeds)), 0

    @override
    def unit(self, length: int) -> int:
        return 1

    @override
    def advance(self, step: int, length: int, chunk: tuple[int, int] | None = None) -> Chunk:
        first, last = chunk or (step, step + length)
        if step == first:
            self._total = np.zeros(len(self._seeds))
        for now in range(step + 1, step + length + 1):
            self._number = (5 * self._number + self._seeds + now) % _PRIME
            self._total = self._total + self._number / _PRIME
            bad = (self._rates > 1) & (now == 150 + self._seeds)
            self._diverged = np.where(bad, np.int32(now), self._diverged)
        self._step = step + length
        metrics = {("loss", ""): self._total / (last - first) + self._rates} if step + length == last else {}
        return Chunk(metrics, self._diverged, Ended(np.zeros(0, int), np.zeros(0, int), {}))

    @override
    def acting_params(self) -> np.ndarray:
        return self._number / _PRIME + self._rates * self._step

    @override
    def save(self) -> dict[str, np.ndarray]:
        return {"agent.0000": self._number, "diverged.0000": self._diverged, "total.0000": self._total}

    @override
    def shapes(self) -> dict[str, np.ndarray]:
        return self.save()

    @override
    def restore(self, arrays: dict[str, np.ndarray], step: int) -> None:
        self._number, self._diverged, self._total = (arrays[f"{name}.0000"] for name in ("agent", "diverged", "total"))
        self._step = step

    @override
    def close(self) -> None:
        pass


class CountingPlay(Play):
    """See above."""

    @override
    def __call__(self, acting_params: np.ndarray) -> Iterator[Step]:
        while True:
            yield Step(np.ones((len(acting_params), 1), bool), {"return": acting_params[:, None]})

    @override
    def close(self) -> None:
        pass


class CountingLoop(Loop):
    """See above."""

    unit = "steps"
    has_episodes = True

    def __init__(self):
        self.modes: list[str] = []  # of evaluations

    @override
    def steps_at_once(self, components) -> int:
        return 1

    @override
    def programs(self, plan: Plan) -> Programs:
        return CountingPrograms(plan)

    @override
    def play(self, plan: Plan, *, mode: str, **_: Any) -> Play:
        self.modes.append(mode)
        return CountingPlay()


class CountingStream(StreamLoop):
    """Streams of planned runs, in whose place the members count."""

    @override
    def programs(self, plan: Plan) -> Programs:
        return CountingPrograms(plan)


def counting(config: RunConfig, steps: int = 1000, tasks: tuple[Task, ...] = ()) -> Plan:
    """The plan of a run of these members that counts, whatever the problem of the configuration is."""
    environment = Environment(None, 1, steps, None, None, tasks=tasks)
    # The agents count, too, and a task's end is nothing to them.
    components = Components(environment, Agent(1, None, None, None, None, None, None), {})
    return Plan(config, population(config), environment, CountingLoop(), components)
