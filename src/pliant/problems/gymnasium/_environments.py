"""Gymnasium's environments: Python programs, stepped one after another."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium
import jax
import numpy as np
from gymnasium import spaces
from typing_extensions import override

from pliant.core.problem import Continuous, Discrete, Renderer, Spec, Timestep
from pliant.problems.mujoco._host import seed_of

_OWN = "or write a problem of your own with a network for them: pliant run FILE.py"


class Description(NamedTuple):
    """What is known of an environment before a run."""

    spec: Spec
    to_action: Callable[[np.ndarray], Any]  # the agent's action, without NaN -> the environment's
    can_draw: bool


def describe(name: str) -> Description:
    """The description of an environment, which is made once.

    Raises:
        ValueError: if there is none, or its observations or actions are of another kind.
    """
    environment = _made(name)
    try:
        spec = Spec(_observation(name, environment.observation_space), _action(name, environment.action_space))
        can_draw = "rgb_array" in (environment.metadata.get("render_modes") or ())
        return Description(spec, _to_action(environment.action_space), can_draw)
    finally:
        environment.close()


def _made(name: str, **options: Any) -> Any:
    try:
        return gymnasium.make(name, disable_env_checker=True, **options)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise ValueError(f"env={name!r}: {' '.join(str(error).split())}") from error


def _observation(name: str, space: Any) -> jax.ShapeDtypeStruct:
    if not isinstance(space, spaces.Box):
        kind = type(space).__name__
        raise ValueError(
            f"env={name!r} has observations of the kind {kind}, not vectors; register it with "
            f"gymnasium.wrappers.FlattenObservation, {_OWN}"
        )
    if len(space.shape) != 1:
        what = "images" if len(space.shape) in (2, 3) and space.dtype == np.uint8 else "arrays"
        raise ValueError(
            f"env={name!r} has observations of shape {space.shape}, {what} and not vectors; wrap it, {_OWN}"
        )
    return jax.ShapeDtypeStruct(space.shape, np.float32)


def _action(name: str, space: Any) -> Continuous | Discrete:
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise ValueError(
            f"env={name!r} has actions {space}; write an env with actions Discrete(n), or a Box of one axis"
        )
    if not np.isfinite([space.low, space.high]).all():
        raise ValueError(
            f"env={name!r} has actions without limits; register it with gymnasium.wrappers.TransformAction, whose "
            "space has limits"
        )
    return Continuous(space.shape[0], _bound(space) or 1.0)


def _bound(space: spaces.Box) -> float | None:
    """The limit of all numbers of an action; `None` if they differ, or are not symmetric."""
    high = float(space.high[0])
    return high if (space.high == high).all() and (space.low == -high).all() else None


def _to_action(space: Any) -> Callable[[np.ndarray], Any]:
    if isinstance(space, spaces.Discrete):
        return lambda action: int(action) + int(space.start)
    if _bound(space) is not None:
        return lambda action: np.clip(action, space.low, space.high).astype(space.dtype)
    middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
    return lambda action: (middle + half * np.clip(action, -1, 1)).astype(space.dtype)


class GymnasiumHost(Renderer):
    """The environments of a population; a single environment can be drawn.

    An environment whose action is NaN has a reward of NaN, and gets an action of zeros.

    Args:
        name: in gymnasium.
        seed: `(members, 2)` uint32.
        num_envs: environments of each member.
        description: of the environment.
        options: of `gymnasium.make`.
    """

    def __init__(self, name: str, seed: np.ndarray, num_envs: int, description: Description, **options: Any):
        self._name, self._seed, self._num_envs, self._options = name, seed, num_envs, options
        self._spec, self._to_action, _ = description
        self._shape = (len(seed), num_envs)
        self._steps = np.zeros(len(seed), np.int64)  # of each member, over all its environments
        self._action = np.zeros(self._shape)
        self.environments: dict[tuple[int, ...], Any] = {}  # by member and index, each made when it is first reset

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
            action = self._action[where]
            is_nan = np.isnan(action).any()
            action = self._to_action(np.zeros_like(action) if is_nan else action)
            seen, gained, over, cut, _ = self.environments[where].step(action)
            reward[where] = np.nan if is_nan else gained
            terminated[where], truncated[where] = over, cut and not over
            final_observation[where] = seen
            observation[where] = self._restart(where) if over or cut else seen
        return Timestep(observation, reward, terminated, truncated, final_observation, {})

    @override
    def save(self) -> dict[str, np.ndarray]:
        return {"steps": self._steps.copy()}

    @override
    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self.close()
        self._steps[:] = saved["steps"]

    @override
    def close(self) -> None:
        for environment in self.environments.values():
            environment.close()
        self.environments.clear()

    @override
    def draw(self) -> np.ndarray:
        try:
            return self.environments[0, 0].render()
        except gymnasium.error.DependencyNotInstalled as error:
            raise ValueError(f"env={self._name!r} cannot be drawn: {error}") from error

    def _empty_observation(self) -> np.ndarray:
        return np.zeros((*self._shape, *self._spec.observation.shape), self._spec.observation.dtype)

    def _restart(self, where: tuple[int, ...]) -> np.ndarray:
        """Begins an episode and returns its observation; only the first episode of an environment has a seed."""
        seed = None
        if where not in self.environments:
            self.environments[where] = _made(self._name, **self._options)
            member, index = where
            seed = seed_of(self._seed[member], index, int(self._steps[member]))
        return self.environments[where].reset(seed=seed)[0]
