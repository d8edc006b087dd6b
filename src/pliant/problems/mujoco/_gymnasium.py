"""MuJoCo's tasks in gymnasium: Python environments, stepped one after another."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import mujoco
import numpy as np
from typing_extensions import override

from pliant.core.problem import Continuous

from ._simulator import Answer, Description, Simulator

_FAMILY = "gymnasium.envs.mujoco."
_BEFORE_MUJOCO_3 = "Pusher-v4"  # gymnasium lists it, but cannot make it


def tasks() -> list[str]:
    """Names of the MuJoCo tasks; versions before v4 are in other packages."""
    found = [name for name, spec in gymnasium.registry.items() if str(spec.entry_point).startswith(_FAMILY)]
    return [name for name in found if name != _BEFORE_MUJOCO_3]


def others() -> list[str]:
    """Names of all tasks that are not MuJoCo's."""
    return sorted({*gymnasium.registry} - {*tasks()})


def describe(name: str) -> Description:
    """The description of a task."""
    (environment,) = _made(name, 1)
    size = environment.observation_space.shape[0]
    # The action space has the bound in float32. In these tasks it is symmetric, and the same for all actuators.
    high = environment.model.actuator_ctrlrange[:, 1]
    action = Continuous(len(high), float(high[0]))
    environment.close()
    return Description(size, action, gymnasium.registry[name].max_episode_steps or 0)


def _made(name: str, count: int, **options: Any) -> list[Any]:
    """Environments without gymnasium's wrappers; the host has the time limit."""
    with warnings.catch_warnings(), quiet():
        warnings.filterwarnings("ignore", "(?s).*is out of date")  # v4 is wanted
        made = [gymnasium.make(name, disable_env_checker=True, **options) for _ in range(count)]
    return [environment.unwrapped for environment in made]


def _replace_model(environments: list[Any], model: mujoco.MjModel) -> None:
    """Gives environments another model; v4 of some tasks has no option for it."""
    for environment in environments:
        environment.model = environment.mujoco_renderer.model = model
        environment.data = environment.mujoco_renderer.data = mujoco.MjData(model)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps MuJoCo from writing warnings about gymnasium's models to a file in the current folder."""
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(None)


class PythonSimulator(Simulator):
    """Python environments with gymnasium's interface, stepped one after another.

    Args:
        environments: with indices from 0; without time limits.
        observation: size of an observation; an environment that observes fewer numbers has zeros after them.
        seed: `index of an environment -> seed`.
        facts: names of the numbers in gymnasium's `info` that are returned as facts of a step.
    """

    def __init__(
        self, environments: list[Any], observation: int, seed: Callable[[int], int], facts: tuple[str, ...] = ()
    ):
        self.environments = environments
        self._size, self._seed, self._facts = observation, seed, facts
        self._begun = [False] * len(environments)
        self._action = np.zeros(0)

    @override
    def restart(self, which: np.ndarray, in_force: np.ndarray | None) -> np.ndarray:
        observations = np.zeros((len(which), self._size))
        for row, number in enumerate(which.tolist()):
            first, _ = self.environments[number].reset(seed=None if self._begun[number] else self._seed(number))
            self._begun[number] = True
            observations[row, : first.size] = first
        return observations

    @override
    def send(self, action: np.ndarray) -> None:
        self._action = action

    @override
    def receive(self) -> Answer:
        count = len(self.environments)
        observations = np.zeros((count, self._size))
        rewards, terminated = np.zeros(count, np.float32), np.zeros(count, bool)
        facts = {name: np.zeros(count) for name in self._facts}
        for number, environment in enumerate(self.environments):
            observation, rewards[number], terminated[number], _, info = environment.step(self._action[number])
            observations[number, : observation.size] = observation
            for name, values in facts.items():
                values[number] = info[name]
        return observations, rewards, terminated, facts

    def draw(self) -> np.ndarray:
        """A picture of the first environment, `(height, width, 3)` uint8."""
        return self.environments[0].render()

    @override
    def close(self) -> None:
        for environment in self.environments:
            environment.close()


class GymnasiumSimulator(PythonSimulator):
    """Gymnasium's MuJoCo tasks; the scheduled value is the friction.

    Args:
        name: in gymnasium, such as `Ant-v5`. `-v3` is `-v4` with zeros after the observation, in place of the contact
            forces: gymnasium no longer has `-v3`, in which the forces were always zero.
        environments: number of environments.
        observation: size of an observation, with the zeros.
        seed: `index of an environment -> seed`.
        facts: names of the numbers in gymnasium's `info` that are returned as facts of a step.
        model: MJCF text of a model in place of the task's, with the same joints and actuators; `None`: the task's.
        options: of gymnasium's environments.
    """

    def __init__(
        self,
        name: str,
        environments: int,
        observation: int,
        seed: Callable[[int], int],
        facts: tuple[str, ...] = (),
        model: str | None = None,
        **options: Any,
    ):
        task, version = name.split("-")
        made = _made(f"{task}-{'v4' if version == 'v3' else version}", environments, **options)
        super().__init__(made, observation, seed, facts)
        if model is not None:
            _replace_model(self.environments, mujoco.MjModel.from_xml_string(model))

    @override
    def restart(self, which: np.ndarray, in_force: np.ndarray | None) -> np.ndarray:
        if in_force is not None:
            for number, friction in zip(which.tolist(), in_force):
                # Sliding friction of the floor and of the body: a contact has the larger of the two.
                self.environments[number].model.geom_friction[:, 0] = friction
        return super().restart(which, in_force)
