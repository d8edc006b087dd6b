"""MuJoCo's tasks in gymnasium: Python environments, stepped one after another."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import mujoco
import numpy as np

from pliant.core.problem import Continuous

from ._simulator import Answer, Description

_FAMILY = "gymnasium.envs.mujoco."
_BEFORE_MUJOCO_3 = "Pusher-v4"  # gymnasium lists it, but cannot make it


def tasks() -> list[str]:
    """Names of the MuJoCo tasks; the versions before v4 are in other packages now."""
    found = [name for name, spec in gymnasium.registry.items() if str(spec.entry_point).startswith(_FAMILY)]
    return [name for name in found if name != _BEFORE_MUJOCO_3]


def others() -> list[str]:
    """Names of all that is no task of MuJoCo."""
    return sorted({*gymnasium.registry} - {*tasks()})


def describe(name: str) -> Description:
    """What is to be known about a task."""
    (environment,) = _made(name, 1)
    size = environment.observation_space.shape[0]
    # The action space has it in float32. In each of these tasks it is symmetric, and the same for all actuators.
    high = environment.model.actuator_ctrlrange[:, 1]
    action = Continuous(len(high), float(high[0]))
    environment.close()
    return Description(size, action, gymnasium.registry[name].max_episode_steps or 0)


def _made(name: str, count: int, **options: Any) -> list[Any]:
    """Environments without gymnasium's wrappers: the host limits the episodes' time."""
    with warnings.catch_warnings(), _quiet():
        warnings.filterwarnings("ignore", "(?s).*is out of date")  # v4 is what we want
        made = [gymnasium.make(name, disable_env_checker=True, **options) for _ in range(count)]
    return [environment.unwrapped for environment in made]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps MuJoCo from noting in a file, here, what of gymnasium's models it will no longer read some day."""
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(None)


class GymnasiumSimulator:
    """A `Simulator` of gymnasium's MuJoCo tasks.

    Args:
        name: as in gymnasium, such as `Ant-v5`. `-v3` is `-v4` with zeros behind the observation, in place of the
            contact forces: gymnasium has no `-v3` any more, and where there was one the forces were always zero.
        environments: how many.
        observation: how many numbers an observation has, with the zeros.
        seed: the number of an environment to its seed.
        told: names of facts of a step, numbers in gymnasium's `info`, that go into the answers.
        options: of gymnasium's environments.
    """

    def __init__(
        self,
        name: str,
        environments: int,
        observation: int,
        seed: Callable[[int], int],
        told: tuple[str, ...] = (),
        **options: Any,
    ):
        task, version = name.split("-")
        self.environments = _made(f"{task}-{'v4' if version == 'v3' else version}", environments, **options)
        self._size, self._seed, self._told = observation, seed, told
        self._begun = [False] * environments
        self._action = np.zeros(0)

    def restart(self, which: np.ndarray, in_force: np.ndarray | None) -> np.ndarray:
        """See `Simulator`; what is in force is the friction."""
        observations = np.zeros((len(which), self._size))
        for row, number in enumerate(which.tolist()):
            environment = self.environments[number]
            if in_force is not None:
                # Sliding friction of the floor and of the body: a contact has the larger one of the two.
                environment.model.geom_friction[:, 0] = in_force[row]
            first, _ = environment.reset(seed=None if self._begun[number] else self._seed(number))
            self._begun[number] = True
            observations[row, : first.size] = first
        return observations

    def send(self, action: np.ndarray) -> None:
        """See `Simulator`."""
        self._action = action

    def receive(self) -> Answer:
        """See `Simulator`."""
        count = len(self.environments)
        observations = np.zeros((count, self._size))
        rewards, terminated = np.zeros(count, np.float32), np.zeros(count, bool)
        told = {name: np.zeros(count) for name in self._told}
        for number, environment in enumerate(self.environments):
            observation, rewards[number], terminated[number], _, info = environment.step(self._action[number])
            observations[number, : observation.size] = observation
            for name, values in told.items():
                values[number] = info[name]
        return observations, rewards, terminated, told

    def draw(self) -> np.ndarray:
        """The first environment as it is now, `(height, width, 3)` uint8."""
        return self.environments[0].render()

    def close(self) -> None:
        """See `Simulator`."""
        for environment in self.environments:
            environment.close()
