"""Python environments outside of the device, stepped one after another."""

import abc
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import override

from pliant.core.problem import Renderer, Spec, Timestep
from pliant.problems.mujoco._host import seed_of


class Answer(NamedTuple):
    """The result of one step of one environment."""

    observation: Any
    reward: float
    terminated: bool
    truncated: bool


class OneByOne(Renderer):
    """The environments of a population; a single environment can be drawn. A subclass makes and steps one of them.

    The seed of an environment is a function of its member's seed, of its index among the member's environments, and of
    the member's steps when the environment is made. So it does not depend on other members. Environments that are made
    again, after `restore` for example, do not repeat earlier episodes.

    Args:
        seed: `(members, 2)` uint32.
        num_envs: environments of each member.
        spec: of one environment.
    """

    def __init__(self, seed: np.ndarray, num_envs: int, spec: Spec):
        self._seed, self._num_envs, self._spec = seed, num_envs, spec
        self._shape = (len(seed), num_envs)
        self._steps = np.zeros(len(seed), np.int64)  # of each member, over all its environments
        self._action = np.zeros(self._shape)
        self.environments: dict[tuple[int, ...], Any] = {}  # by member and index, each made when it is first needed

    @abc.abstractmethod
    def _made(self, where: tuple[int, ...], steps: int) -> Any | None:
        """An environment for the next episode, after `steps` of its member; `None` if the present one serves."""
        ...

    @abc.abstractmethod
    def _answer(self, where: tuple[int, ...], action: np.ndarray) -> Answer:
        """Steps one environment."""
        ...

    def _facts(self, terminated: np.ndarray) -> Mapping[str, np.ndarray]:
        """Facts about episodes beside their returns."""
        del terminated
        return {}

    def _seen(self, observation: Any) -> Any:
        """The part of an observation that agents see."""
        return observation

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
            answer = self._answer(where, self._action[where])
            seen, reward[where] = self._seen(answer.observation), answer.reward
            # Some packages return both if an episode terminates at its last step.
            terminated[where], truncated[where] = answer.terminated, answer.truncated and not answer.terminated
            final_observation[where] = seen
            observation[where] = self._restart(where) if answer.terminated or answer.truncated else seen
        return Timestep(observation, reward, terminated, truncated, final_observation, self._facts(terminated))

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
        """Begins an episode and returns its observation; only the first episode of an environment has a seed."""
        member, index = where
        steps, seed = int(self._steps[member]), None
        made = self._made(where, steps)
        if made is not None:
            self.environments[where] = made
            seed = seed_of(self._seed[member], index, steps)
        return self._seen(self.environments[where].reset(seed=seed)[0])
