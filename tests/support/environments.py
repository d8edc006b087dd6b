"""Small arenas: problems with known answers for agents, and one that also exists outside of the device, for loops."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.problem import Continuous, Discrete, Environment, HostEnvironment, Spec, Timestep

NUMBER = jax.ShapeDtypeStruct((1,), jnp.float32)  # the observation of all of them


class Toy(NamedTuple):
    """One environment that does not restart by itself; all keys are consumed."""

    action: Continuous | Discrete
    reset: Callable[[Any], Any]  # key -> state
    observe: Callable[[Any], Any]  # state -> ()
    step: Callable[[Any, Any, Any], tuple[Any, Any, Any]]  # (state, action, key) -> (state, reward, terminated)
    info: Callable[[Any], Mapping[str, Any]] = lambda state: {}  # of the state that ends an episode


class Clocked(NamedTuple):
    inside: Any
    time: Any  # () steps of this episode so far
    key: Any


def auto_reset(environment: Toy, steps: int, num_envs: int, time_limit: int = 2**30) -> Environment:
    """Environments side by side, each of which begins the next episode when one ends, or is cut short at the limit."""

    def begin(key):
        key, reset_key = jax.random.split(key)
        return Clocked(environment.reset(reset_key), jnp.int32(0), key)

    def observe(state):
        return jnp.asarray(environment.observe(state.inside), jnp.float32).reshape(1)

    def step(state, action):
        key, step_key, next_key = jax.random.split(state.key, 3)
        inside, reward, terminated = environment.step(state.inside, action, step_key)
        reward, terminated = jnp.float32(reward), jnp.asarray(terminated)
        old = Clocked(inside, state.time + 1, key)
        truncated = ~terminated & (old.time >= time_limit)
        state = jax.lax.cond(terminated | truncated, lambda: begin(next_key), lambda: old)
        info = environment.info(inside)
        return state, Timestep(observe(state), reward, terminated, truncated, observe(old), info)

    def init(key):
        state = jax.vmap(begin)(jax.random.split(key, num_envs))
        return state, jax.vmap(observe)(state)

    return Environment(Spec(NUMBER, environment.action), num_envs, steps, init, jax.vmap(step))


def always_rewarded() -> Toy:
    """Reward 1 at every step, without end."""
    return Toy(Discrete(2), lambda key: jnp.float32(1), lambda seen: seen, lambda seen, a, key: (seen, 1, False))


def delayed_reward() -> Toy:
    """Two steps: 0 is seen, then 1; only the second is rewarded, by 1."""

    def step(time, action, key):
        return time + 1, time == 1, time == 1

    return Toy(Discrete(2), lambda key: jnp.int32(0), lambda time: time, step)


def one_step(action: Continuous | Discrete, see: Callable[[Any], Any], reward: Callable[[Any, Any], Any]) -> Toy:
    """An episode of one step: `see` is of a key, `reward` of what was seen and of the action."""
    return Toy(action, see, lambda seen: seen, lambda seen, action, key: (seen, reward(seen, action), True))


def _one(key):
    return jnp.float32(1)


def _sign(key):
    return jax.random.rademacher(key, (), jnp.float32)


def one_state() -> Toy:
    """The reward is 1."""
    return one_step(Discrete(2), _one, lambda seen, action: 1)


def seen_reward() -> Toy:
    """The reward is what is seen: 1 or -1."""
    return one_step(Discrete(2), _sign, lambda seen, action: seen)


def right_action() -> Toy:
    """Action 1 is rewarded by 1, action 0 is not."""
    return one_step(Discrete(2), _one, lambda seen, action: action == 1)


def action_by_sight() -> Toy:
    """Reward 1 for action 1 where 1 is seen, and for action 0 where -1 is."""
    return one_step(Discrete(2), _sign, lambda seen, action: (action == 1) == (seen == 1))


def target(seen):
    """Where the action should be in `aiming`: at 0.75 where 1 is seen, at -0.25 where -1 is."""
    return 0.25 + 0.5 * seen


def aiming() -> Toy:
    """The reward is minus the squared distance of the action from the target."""
    return one_step(Continuous(1), _sign, lambda seen, action: -((action[0] - target(seen)) ** 2))


class Drift(NamedTuple):
    place: Any
    wind: Any  # what the place moves by in each step, drawn for each episode


def drifting(action: Continuous | Discrete) -> Toy:
    """A place on a line that is to stay near 0, in a wind; it ends where it leaves (-1, 1). Both ends come about.

    The action is a force in parts, which add up; or its direction, of three.
    """

    def reset(key):
        place_key, wind_key = jax.random.split(key)
        return Drift(jax.random.uniform(place_key, minval=-0.5, maxval=0.5), 0.1 * jax.random.normal(wind_key))

    def step(state, action, key):
        force = action - 1.0 if isinstance(environment.action, Discrete) else action.sum()
        place = state.place + state.wind + 0.1 * force + 0.05 * jax.random.normal(key)
        return Drift(place, state.wind), 1 - place**2, jnp.abs(place) > 1

    environment = Toy(action, reset, lambda state: state.place, step, lambda state: {"wind": state.wind})
    return environment


@functools.lru_cache(maxsize=8)
def _programs(environment: Environment) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What a population's environments do when they are reset for the `n`-th time, and at a step; compiled."""

    def init(key, n):
        # Before the first the keys are those of the environment on the device; a later one must not repeat its
        # episodes.
        return environment.init(jax.lax.cond(n > 0, lambda: jax.random.fold_in(key, n), lambda: key))

    return jax.jit(jax.vmap(init)), jax.jit(jax.vmap(environment.step))


class ArenaHost:
    """An `Environment` as a host: the same steps, with their answers as NumPy arrays. It can be drawn."""

    def __init__(self, environment: Environment, seed: np.ndarray, shown: int):
        self._init, self._step = _programs(environment)
        self._keys = jax.random.wrap_key_data(seed)  # (members,)
        self._environments, self._shown = environment.num_envs, shown
        self._resets = np.zeros(len(seed), np.int32)
        self._state = self._answer = None

    def reset(self) -> np.ndarray:
        self._state, self._observation = self._init(self._keys, self._resets)
        self._resets = self._resets + 1
        return np.asarray(self._observation)[:, : self._shown]

    def send(self, action: np.ndarray) -> None:
        repeats = self._environments // self._shown
        self._state, self._answer = self._step(self._state, np.repeat(action, repeats, axis=1))

    def receive(self) -> Timestep:
        answer = jax.tree.map(lambda x: np.asarray(x)[:, : self._shown], self._answer)
        self._observation, self._answer = answer.observation, None
        return answer

    def save(self) -> dict[str, np.ndarray]:
        return {"resets": self._resets}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self._resets = np.asarray(saved["resets"])

    def close(self) -> None:
        self._state = None

    def draw(self) -> np.ndarray:
        """A grey image of the observation: the lighter, the larger."""
        level = np.clip(128 + 127 * np.asarray(self._observation).reshape(-1)[0], 0, 255)
        return np.full((16, 16, 3), level, np.uint8)


def as_host(environment: Environment, steps: int | None = None) -> HostEnvironment:
    """The same problem outside of the device.

    Args:
        environment: on the device. `seed` is the data of the key that it would get there.
        steps: how many steps a whole run has; the environment's by default.
    """

    def open(seed: np.ndarray) -> ArenaHost:
        return ArenaHost(environment, seed, environment.num_envs)

    def render(seed: np.ndarray) -> ArenaHost:
        return ArenaHost(environment, seed[None], 1)

    steps = environment.steps if steps is None else steps
    return HostEnvironment(
        environment.spec, environment.num_envs, steps, open, environment.network, environment.tasks, render
    )
