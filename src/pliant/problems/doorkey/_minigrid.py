"""DoorKey in Farama's MiniGrid: Python environments outside of the device, stepped one after another."""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from typing_extensions import override

from pliant.core.problem import ActorCritic, HostEnvironment, Renderer, Spec, Task, Timestep, VectorEnv
from pliant.problems.mujoco._host import seed_of


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

    def size(steps: int) -> str:
        """The size of an episode that begins after these steps of its member."""
        return next((task.name for task in tasks if steps < task.until), tasks[-1].name)

    def open(seed: np.ndarray) -> VectorEnv:
        return MinigridHost(seed, num_envs, spec, size)

    def render(seed: np.ndarray) -> Renderer:
        return MinigridHost(seed[None], 1, spec, size)

    return HostEnvironment(spec, num_envs, tasks[-1].until, open, network, tasks, render)


class MinigridHost(Renderer):
    """DoorKey's environments of a population; a single environment can be drawn.

    The seed of an environment is a function of its member's seed, of its index among the member's environments, and of
    the member's steps when the environment is made. So it does not depend on other members. Environments that are made
    again, after `restore` or for the next task, do not repeat earlier episodes.

    Args:
        seed: `(members, 2)` uint32.
        num_envs: environments of each member.
        spec: of one environment.
        size: `steps of the member -> size` of an episode that begins.
    """

    def __init__(self, seed: np.ndarray, num_envs: int, spec: Spec, size: Callable[[int], str]):
        self._seed, self._num_envs, self._spec, self._size = seed, num_envs, spec, size
        self._shape = (len(seed), num_envs)
        self._steps = np.zeros(len(seed), np.int64)  # of each member, over all its environments
        self._action = np.zeros(self._shape, np.int32)
        self.environments: dict[tuple[int, ...], Any] = {}  # by member and index, each made when its episode begins

    @override
    def reset(self) -> np.ndarray:
        observation = self._empty_observation()
        for where in np.ndindex(self._shape):
            observation[where] = self._restart(where)
        return observation

    @override
    def send(self, action: np.ndarray) -> None:
        self._action = action

    @override
    def receive(self) -> Timestep:
        observation, final_observation = self._empty_observation(), self._empty_observation()
        reward = np.zeros(self._shape, np.float32)
        terminated, truncated = np.zeros(self._shape, bool), np.zeros(self._shape, bool)
        self._steps += self._num_envs
        for where in np.ndindex(self._shape):
            action = int(self._action[where])  # MiniGrid compares NumPy's integers slowly
            seen, reward[where], at_goal, time_is_up, _ = self.environments[where].step(action)
            # MiniGrid returns both if the goal is reached at the last step.
            terminated[where], truncated[where] = at_goal, time_is_up and not at_goal
            final_observation[where] = seen["image"]
            observation[where] = self._restart(where) if at_goal or time_is_up else seen["image"]
        info = {"success": terminated.astype(np.float32)}
        return Timestep(observation, reward, terminated, truncated, final_observation, info)

    @override
    def save(self) -> dict[str, np.ndarray]:
        return {"steps": self._steps.copy()}

    @override
    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self.close()
        self._steps[:] = saved.get("steps", 0)  # a run on the device does not save them

    @override
    def close(self) -> None:
        for environment in self.environments.values():
            environment.close()
        self.environments.clear()

    @override
    def draw(self) -> np.ndarray:
        return self.environments[0, 0].render()

    def _empty_observation(self) -> np.ndarray:
        return np.zeros((*self._shape, *self._spec.observation.shape), self._spec.observation.dtype)

    def _restart(self, where: tuple[int, ...]) -> np.ndarray:
        """Begins an episode and returns its observation; makes the environment again if the size has changed."""
        import gymnasium

        member, place = where
        steps = int(self._steps[member])
        name, seed = f"MiniGrid-DoorKey-{self._size(steps)}-v0", None
        if where not in self.environments or self.environments[where].spec.id != name:
            made = gymnasium.make(f"minigrid:{name}", disable_env_checker=True, render_mode="rgb_array")
            self.environments[where] = made.unwrapped
            seed = seed_of(self._seed[member], place, steps)
        seen, _ = self.environments[where].reset(seed=seed)
        return seen["image"]
