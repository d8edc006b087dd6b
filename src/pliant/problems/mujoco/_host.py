"""Environments on any simulator: episodes, seeds and schedules are the same for all physics engines."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from typing_extensions import override

from pliant.core.problem import Timestep, VectorEnv

from ._schedule import Schedule
from ._simulator import Simulator

Seed: TypeAlias = Callable[[int], int]  # index of an environment -> seed, from 0 to 2**31 - 1


class SimulatorHost(VectorEnv):
    """The environments of a population: begins, limits and counts the episodes of a simulator.

    The seed of an environment is a function of its member's seed, of its index among the member's environments, and of
    the member's steps when the environment is made. So it does not depend on other members. Environments that are
    opened again after `restore` do not repeat the first episodes.

    `info` has each fact of the simulator twice: `NAME` is its largest value in the episode so far, `NAME_last` its
    value at this step.

    An environment whose action is NaN has a reward of NaN, and its actuators get zeros; other environments are not
    affected.

    Args:
        seeds: `(members, 2)` uint32.
        num_envs: environments of each member.
        time_limit: steps after which an episode is truncated.
        simulate: `(index -> seed) -> simulator` of the environments of all members.
        schedule: of values that change from episode to episode; `None`: no value changes.
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
        self._steps = np.zeros(len(seeds), np.int64)  # of each member, over all its environments
        self._elapsed = np.zeros(self._shape, np.int64)  # of the episodes in flight
        self._in_force = np.zeros(self._shape)  # the scheduled values of the episodes in flight
        self._facts: dict[str, np.ndarray] = {}  # of the episodes in flight: the largest values so far
        self._is_nan: np.ndarray | None = None  # (members * num_envs,) bool: of the actions in flight

    @property
    def simulator(self) -> Simulator:
        """The physics engine, which is made when the first episode begins."""
        if self._simulator is None:
            self._simulator = self._simulate(self._seed)
        return self._simulator

    @override
    def reset(self) -> np.ndarray:
        if self._is_nan is not None:
            self.simulator.receive()
            self._is_nan = None
        return self._restart(np.arange(self._elapsed.size)).reshape(*self._shape, -1)

    @override
    def send(self, action: np.ndarray) -> None:
        action = action.reshape(self._elapsed.size, -1).astype(np.float64)
        self._is_nan = np.isnan(action).any(1)
        # MuJoCo would also set them to zero, and write a warning to a file each time.
        action[self._is_nan] = 0
        self.simulator.send(action)

    @override
    def receive(self) -> Timestep:
        observation, reward, terminated, facts = self.simulator.receive()
        reward[self._is_nan] = np.nan
        self._is_nan = None
        final_observation = observation = observation.astype(np.float32).reshape(*self._shape, -1)
        terminated = terminated.reshape(self._shape)
        self._steps += self._num_envs
        self._elapsed += 1
        truncated = ~terminated & (self._elapsed >= self._time_limit)
        info: dict[str, np.ndarray] = {}
        for name, values in facts.items():
            values = values.astype(np.float32).reshape(self._shape)
            self._facts[name] = np.maximum(values, self._facts.get(name, values))
            info |= {name: self._facts[name].copy(), f"{name}_last": values}
        if self._schedule is not None:
            info[self._schedule.name] = self._in_force.astype(np.float32)
        ended = terminated | truncated
        if ended.any():
            if self._schedule is not None:
                self._schedule.episodes_ended(ended.sum(1), self._steps)
            observation = final_observation.copy()
            observation[ended] = self._restart(np.flatnonzero(ended))
        return Timestep(observation, reward.reshape(self._shape), terminated, truncated, final_observation, info)

    @override
    def save(self) -> dict[str, np.ndarray]:
        return {"steps": self._steps.copy()} | ({} if self._schedule is None else self._schedule.save())

    @override
    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self.close()
        self._steps[:] = saved["steps"]
        if self._schedule is not None:
            self._schedule.restore(saved)

    @override
    def close(self) -> None:
        if self._simulator is not None:
            self._simulator.close()
        self._simulator = self._is_nan = None

    def _restart(self, which: np.ndarray) -> np.ndarray:
        """Begins an episode in the environments with these indices, with the current scheduled values."""
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
        environment: its index among the member's environments.
        steps: of the member when the environment is made.
    """
    return int(np.random.SeedSequence(seed.tolist(), spawn_key=(environment, steps)).generate_state(1)[0] >> 1)
