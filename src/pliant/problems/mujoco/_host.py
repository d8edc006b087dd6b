"""A host for any simulator: the same episodes, seeds and schedules whatever computes the physics."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from pliant.core.problem import Timestep

from ._schedule import Schedule
from ._simulator import Simulator

Seed: TypeAlias = Callable[[int], int]  # the number of an environment -> a seed for it, from 0 to 2**31 - 1


class SimulatorHost:
    """The environments of a population (a `VectorEnv`): begins, limits and counts the episodes of a simulator.

    The seed of an environment is a function of its member's entropy, its place among the member's environments and the
    steps that the member had taken when the environment was made: it depends on no other member, and environments that
    are opened again after `restore` do not repeat the episodes of the start.

    What a simulator tells beside the rewards goes into `info`, as the largest value that it had in the episode.

    An environment whose action is NaN gets a reward of NaN, and its actuators rest; the others do not notice.

    Args:
        seeds: `(members, 2)` uint32.
        num_envs: how many each member has.
        time_limit: steps after which an episode is cut short.
        simulate: makes the simulator of all members' environments; is given what makes their seeds.
        schedule: what changes from episode to episode; `None` if nothing does.
    """

    def __init__(
        self,
        seeds: np.ndarray,
        num_envs: int,
        time_limit: int,
        simulate: Callable[[Seed], Simulator],
        schedule: Schedule | None = None,
    ):
        self._seeds, self._num_envs, self._time_limit = seeds, num_envs, time_limit
        self._simulate, self._schedule = simulate, schedule
        self._simulator: Simulator | None = None
        self._shape = (len(seeds), num_envs)
        self._steps = np.zeros(len(seeds), np.int64)  # of each member, those of its environments together
        self._elapsed = np.zeros(self._shape, np.int64)  # of the episodes in flight
        self._in_force = np.zeros(self._shape)  # of what the schedule says, in the episodes in flight
        self._facts: dict[str, np.ndarray] = {}  # of the episodes in flight: the largest values so far
        self._is_nan: np.ndarray | None = None  # (members * environments,) bool: whose action was, of those in flight

    @property
    def simulator(self) -> Simulator:
        """What computes the physics, once an episode has begun."""
        if self._simulator is None:
            self._simulator = self._simulate(self._seed)
        return self._simulator

    def reset(self) -> np.ndarray:
        """See `VectorEnv`."""
        if self._is_nan is not None:
            self.simulator.receive()
            self._is_nan = None
        return self._restart(np.arange(self._elapsed.size)).reshape(*self._shape, -1)

    def send(self, action: np.ndarray) -> None:
        """See `VectorEnv`."""
        action = action.reshape(self._elapsed.size, -1).astype(np.float64)
        self._is_nan = np.isnan(action).any(1)
        # MuJoCo too would let the actuators rest, but says so in a log file each time.
        action[self._is_nan] = 0
        self.simulator.send(action)

    def receive(self) -> Timestep:
        """See `VectorEnv`."""
        observation, reward, terminated, told = self.simulator.receive()
        reward[self._is_nan] = np.nan
        self._is_nan = None
        final_observation = observation = observation.astype(np.float32).reshape(*self._shape, -1)
        terminated = terminated.reshape(self._shape)
        self._steps += self._num_envs
        self._elapsed += 1
        truncated = ~terminated & (self._elapsed >= self._time_limit)
        for name, values in told.items():
            values = values.astype(np.float32).reshape(self._shape)
            self._facts[name] = np.maximum(values, self._facts.get(name, values))
        info = {name: values.copy() for name, values in self._facts.items()}
        if self._schedule is not None:
            info[self._schedule.name] = self._in_force.astype(np.float32)
        ended = terminated | truncated
        if ended.any():
            if self._schedule is not None:
                self._schedule.episodes_ended(ended.sum(1), self._steps)
            observation = final_observation.copy()
            observation[ended] = self._restart(np.flatnonzero(ended))
        return Timestep(observation, reward.reshape(self._shape), terminated, truncated, final_observation, info)

    def save(self) -> dict[str, np.ndarray]:
        """See `VectorEnv`."""
        return {"steps": self._steps.copy()} | ({} if self._schedule is None else self._schedule.save())

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """See `VectorEnv`."""
        self.close()
        self._steps[:] = saved["steps"]
        if self._schedule is not None:
            self._schedule.restore(saved)

    def close(self) -> None:
        """See `VectorEnv`."""
        if self._simulator is not None:
            self._simulator.close()
        self._simulator = self._is_nan = None

    def _restart(self, which: np.ndarray) -> np.ndarray:
        """Begins an episode in the environments of these numbers, under what is now in force."""
        self._elapsed.flat[which] = 0
        for values in self._facts.values():
            values.flat[which] = -np.inf
        in_force = None
        if self._schedule is not None:
            in_force = self._schedule.values[which // self._num_envs]
            self._in_force.flat[which] = in_force
        return self.simulator.restart(which, in_force).astype(np.float32)

    def _seed(self, number: int) -> int:
        member, environment = divmod(number, self._num_envs)
        return seed_of(self._seeds[member], environment, int(self._steps[member]))


def seed_of(seed: np.ndarray, environment: int, steps: int) -> int:
    """A seed from 0 to 2**31 - 1 for an environment.

    Args:
        seed: `(2,)` uint32 of its member.
        environment: its place among the member's.
        steps: those that the member had taken when it was made.
    """
    return int(np.random.SeedSequence(seed.tolist(), spawn_key=(environment, steps)).generate_state(1)[0] >> 1)
