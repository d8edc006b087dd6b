"""MuJoCo's tasks in gymnasium: Python environments, stepped one after another."""

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np


class GymnasiumSimulator:
    """A `Simulator` of gymnasium's MuJoCo tasks.

    Args:
        name: as in gymnasium, such as `Ant-v5`. `-v3` is `-v4` with zeros behind the observation, in place of the
            contact forces: gymnasium has no `-v3` any more, and where there was one the forces were always zero.
        environments: how many.
        observation: how many numbers an observation has, with the zeros.
        seed: the number of an environment to its seed.
        options: of gymnasium's environments.
    """

    def __init__(self, name: str, environments: int, observation: int, seed: Callable[[int], int], **options: Any):
        task, version = name.split("-")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(?s).*is out of date")  # v4 is what we want
            made = [
                gymnasium.make(f"{task}-{'v4' if version == 'v3' else version}", disable_env_checker=True, **options)
                for _ in range(environments)
            ]
        # Without gymnasium's wrappers: the host limits the episodes' time.
        self.environments: list[Any] = [environment.unwrapped for environment in made]
        self._size, self._seed = observation, seed
        self._begun = [False] * environments
        self._action = np.zeros(0)

    def restart(self, which: np.ndarray, friction: np.ndarray | None) -> np.ndarray:
        """See `Simulator`."""
        observations = np.zeros((len(which), self._size))
        for row, number in enumerate(which.tolist()):
            environment = self.environments[number]
            if friction is not None:
                # Sliding friction of the floor and of the body: a contact has the larger one of the two.
                environment.model.geom_friction[:, 0] = friction[row]
            first, _ = environment.reset(seed=None if self._begun[number] else self._seed(number))
            self._begun[number] = True
            observations[row, : first.size] = first
        return observations

    def send(self, action: np.ndarray) -> None:
        """See `Simulator`."""
        self._action = action

    def receive(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Simulator`."""
        count = len(self.environments)
        observations = np.zeros((count, self._size))
        rewards, terminated = np.zeros(count, np.float32), np.zeros(count, bool)
        for number, environment in enumerate(self.environments):
            observation, rewards[number], terminated[number], _, _ = environment.step(self._action[number])
            observations[number, : observation.size] = observation
        return observations, rewards, terminated

    def draw(self) -> np.ndarray:
        """The first environment as it is now, `(height, width, 3)` uint8."""
        return self.environments[0].render()

    def close(self) -> None:
        """See `Simulator`."""
        for environment in self.environments:
            environment.close()
