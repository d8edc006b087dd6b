"""DoorKey in Farama's MiniGrid: Python environments outside of the device, stepped one after another."""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from typing_extensions import override

from pliant.core.clock import Calendar, Task
from pliant.core.problem import ActorCritic, HostEnvironment, Renderer, Spec, VectorEnv
from pliant.problems._one_by_one import Answer, OneByOne


def environment(tasks: tuple[Task, ...], num_envs: int, spec: Spec, network: ActorCritic) -> HostEnvironment:
    """DoorKey in the `minigrid` package as an environment: `MiniGrid-DoorKey-{size}-v0`.

    An episode has the size of the task in which it begins, also after the end of the task.

    Args:
        tasks: sizes such as 5x5, in order, at least one; steps are those of all environments of a member together.
        num_envs: environments of each member.
        spec: of one environment; the observation is the image alone, `(7, 7, 3)` uint8 [view x, view y, channel].
        network: of the agent.

    Raises:
        ValueError: if the package is not installed.

    References:
        Chevalier-Boisvert et al., `Minigrid & Miniworld: Modular & customizable reinforcement learning environments for
        goal-oriented tasks <https://arxiv.org/abs/2306.13831>`_, NeurIPS 2023.
    """
    if not importlib.util.find_spec("minigrid"):  # fails here and not when the run begins
        raise ValueError("backend='minigrid' needs minigrid: pip install -e '.[envs]'")

    calendar = Calendar(tasks)

    def size(steps: int) -> str:
        """The size of an episode that begins after these steps of its member."""
        return tasks[calendar.task(steps)].name

    def open(seed: np.ndarray) -> VectorEnv:
        return MinigridHost(seed, num_envs, spec, size)

    def render(seed: np.ndarray) -> Renderer:
        return MinigridHost(seed[None], 1, spec, size)

    return HostEnvironment(spec, num_envs, tasks[-1].until, open, network, tasks, render)


class MinigridHost(OneByOne):
    """DoorKey's environments of a population; those whose size has changed are made again for the next episode.

    Args:
        seed: `(members, 2)` uint32.
        num_envs: environments of each member.
        spec: of one environment.
        size: `steps of the member -> size` of an episode that begins.
    """

    def __init__(self, seed: np.ndarray, num_envs: int, spec: Spec, size: Callable[[int], str]):
        super().__init__(seed, num_envs, spec)
        self._size = size

    @override
    def _made(self, where: tuple[int, ...], steps: int) -> Any | None:
        import gymnasium

        name = f"MiniGrid-DoorKey-{self._size(steps)}-v0"
        if where in self.environments and self.environments[where].spec.id == name:
            return None
        return gymnasium.make(f"minigrid:{name}", disable_env_checker=True, render_mode="rgb_array").unwrapped

    @override
    def _answer(self, where: tuple[int, ...], action: np.ndarray) -> Answer:
        # MiniGrid compares NumPy's integers slowly.
        return Answer(*self.environments[where].step(int(action))[:4])

    @override
    def _seen(self, observation: Any) -> Any:
        return observation["image"]

    @override
    def _facts(self, terminated: np.ndarray) -> Mapping[str, np.ndarray]:
        return {"success": terminated.astype(np.float32)}
