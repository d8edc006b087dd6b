"""Gymnasium's environments: Python programs, stepped one after another."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import jax
import numpy as np
from gymnasium import spaces
from typing_extensions import override

from pliant.core.problem import Continuous, Discrete, Spec
from pliant.core.registry import hint
from pliant.problems._one_by_one import Answer, OneByOne

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
        _check_reset(name, environment, spec)
        can_draw = "rgb_array" in (environment.metadata.get("render_modes") or ())
        return Description(spec, _to_action(environment.action_space), can_draw)
    finally:
        environment.close()


def _made(name: str, **options: Any) -> Any:
    try:
        return gymnasium.make(name, disable_env_checker=True, **options)
    except Exception as error:  # whatever the code of the environment raises
        bare = name.rpartition(":")[2]
        if not isinstance(error, gymnasium.error.Error | ValueError):
            raise ValueError(f"env={name!r}: {type(error).__name__}: {' '.join(str(error).split())}") from error
        if bare in gymnasium.registry:
            raise ValueError(f"env={name!r}: {' '.join(str(error).split())}") from error
        near = hint(bare, gymnasium.registry, f"there are {len(gymnasium.registry)}, such as CartPole-v1")
        own = f"write my_module:{bare or 'MyEnv-v0'} for one that my_module registers"
        raise ValueError(f"unknown env {name!r}; {near}; {own}") from None


def _check_reset(name: str, environment: Any, spec: Spec) -> None:
    """Refuses an environment of another interface than gymnasium's present one."""
    try:
        observation, _ = environment.reset(seed=0)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"env={name!r}: reset(seed=...) does not return (observation, info): {' '.join(str(error).split())}; write "
            "an environment of gymnasium's present interface"
        ) from error
    _check_observation(name, spec, observation)


def _check_observation(name: str, spec: Spec, observation: Any) -> None:
    if np.shape(observation) != spec.observation.shape:
        raise ValueError(
            f"env={name!r} returns an observation of shape {np.shape(observation)}, and its observation_space has the "
            f"shape {spec.observation.shape}; mend the environment"
        )


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
    if space.shape == (0,):
        raise ValueError(f"env={name!r} has observations without numbers; write one with at least one number")
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


class GymnasiumHost(OneByOne):
    """The environments of a population. An action that is NaN gives a reward of NaN, and becomes an action of zeros.

    Args:
        name: in gymnasium.
        seed: `(members, 2)` uint32.
        num_envs: environments of each member.
        description: of the environment.
        options: of `gymnasium.make`.
    """

    def __init__(self, name: str, seed: np.ndarray, num_envs: int, description: Description, **options: Any):
        super().__init__(seed, num_envs, description.spec)
        self._name, self._to_action, self._options = name, description.to_action, options

    @override
    def _made(self, where: tuple[int, ...], steps: int) -> Any | None:
        return None if where in self.environments else _made(self._name, **self._options)

    @override
    def _answer(self, where: tuple[int, ...], action: np.ndarray) -> Answer:
        is_nan = np.isnan(action).any()
        action = self._to_action(np.zeros_like(action) if is_nan else action)
        try:
            observation, reward, terminated, truncated, _ = self.environments[where].step(action)
        except ValueError as error:
            raise ValueError(
                f"env={self._name!r}: step fails: {error}; it takes an action of the action_space, and returns "
                "(observation, reward, terminated, truncated, info)"
            ) from error
        _check_observation(self._name, self._spec, observation)
        try:
            reward = float("nan") if is_nan else float(np.asarray(reward).item())
        except (TypeError, ValueError):
            raise ValueError(
                f"env={self._name!r} returns the reward {str(reward)[:60]}; a reward is a number"
            ) from None
        return Answer(observation, reward, terminated, truncated)

    @override
    def draw(self) -> np.ndarray:
        try:
            return super().draw()
        except gymnasium.error.DependencyNotInstalled as error:
            raise ValueError(f"env={self._name!r} cannot be drawn: {error}") from error
