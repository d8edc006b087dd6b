"""Contracts of the problems that a learner is set: streams to learn from, and environments to act in.

A stream hands out batches of examples. In an environment, what is observed depends on the actions. Environments come in
two forms: an `Environment` is pure functions of one member, and runs on the device; a `HostEnvironment` opens the
environments of a whole population at once, outside of JAX. Agents see no difference between them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import jax
import numpy as np

from .base import Activation, Array, Initializer, Key, Params


class Task(NamedTuple):
    """A part of a run in which the data or the environments are of one kind."""

    name: str  # of the kind; what evaluation calls it, too
    until: int  # steps of a member from the beginning of the run to the task's end


class Batch(NamedTuple):
    x: Array  # (batch, *input)
    y: Array  # (batch, *output), or (batch,) int labels under cross-entropy


class Network(NamedTuple):
    """A network as the agents see it: two pure functions."""

    init: Callable[[Key], Params]
    apply: Callable[[Params, Array], Array]  # (params, (batch, *input)) -> (batch, *output)
    activation: Activation = "relu"  # of the hidden units
    initializer: Initializer = "kaiming"  # of their weights: methods draw fresh weights by both


class ActorCritic(NamedTuple):
    """A policy and a value as one network, which may remember what it saw before in an episode.

    Attributes:
        init: `key -> params`; the key is consumed.
        apply: `(params, observation, carry) -> ((outputs, V), carry)`: of a batch, the policy's outputs, the values
            `(batch,)` and what is remembered. Outputs are `(mean, log_std)` for continuous actions, `(batch, size)` and
            `(size,)`, and logits `(batch, n)` for discrete ones.
        initial_carry: `batch -> carry` at the start of an episode: zeros, a tree of arrays with a leading batch axis;
            `()` for a network that is not recurrent.
        activation: of the hidden units.
        initializer: of their weights: methods draw fresh weights by both.
    """

    init: Callable[[Key], Params]
    apply: Callable[[Params, Array, Any], tuple[tuple[Any, Array], Any]]
    initial_carry: Callable[[int], Any]
    activation: Activation = "relu"
    initializer: Initializer = "kaiming"


Loss: TypeAlias = Literal["mse", "cross_entropy"]


class Stream(NamedTuple):
    """A supervised problem without end, for one member of a population.

    Attributes:
        init: `key -> state`; the key is consumed.
        draw: `(state, steps) -> (state, Batch)`: the next `steps` batches at once, on a leading axis. `steps` is known
            when compiling; how the data are cut into calls does not change the data.
        network: what the problem's paper trains on it.
        loss: how predictions are judged.
        steps: how many steps a whole run has.
        tasks: in order; empty if the data are of one kind.
    """

    init: Callable[[Key], Any]
    draw: Callable[[Any, int], tuple[Any, Batch]]
    network: Network
    loss: Loss
    steps: int
    tasks: tuple[Task, ...] = ()


class Continuous(NamedTuple):
    """Actions are vectors of real numbers; what lies outside of an actuator's range is the environment's affair."""

    size: int
    bound: float = 1.0  # each number acts from -bound to bound


class Discrete(NamedTuple):
    """Actions are the integers from 0 to below `n`."""

    n: int


class Spec(NamedTuple):
    """What one environment shows and takes."""

    observation: jax.ShapeDtypeStruct
    action: Continuous | Discrete


class Timestep(NamedTuple):
    """What environments answer to an action; each array has a leading axis of them.

    An environment whose episode ended begins the next one by itself: `observation` is then the first of the new
    episode, `final_observation` the last of the old.
    """

    observation: Array  # (num_envs, *observation): to act upon next
    reward: Array  # (num_envs,)
    terminated: Array  # (num_envs,) bool: the episode ended where there is no future
    truncated: Array  # (num_envs,) bool: the episode was cut short; never together with terminated
    final_observation: Array  # (num_envs, *observation): what followed the action; else equal to observation
    info: Mapping[str, Array]  # (num_envs,) each: facts about the episode, recorded when it ends


class Views(NamedTuple):
    """How the first environment of a member can be seen by people, on the device.

    Attributes:
        scene: `state -> scene`, a small tree of what is drawn; on the device.
        picture: `scene -> (height, width, 3)` uint8, of NumPy arrays.
        text: `scene -> lines` for a terminal, with rich's markup.
    """

    scene: Callable[[Any], Any]
    picture: Callable[[Any], np.ndarray]
    text: Callable[[Any], str]


class Environment(NamedTuple):
    """A reinforcement-learning problem on the device, for one member of a population: all its environments.

    Attributes:
        spec: of one environment.
        num_envs: how many run side by side.
        steps: how many steps a whole run has, those of all environments counted together.
        init: `key -> (state, observation)`, `(num_envs, *observation)`; the key is consumed.
        step: `(state, action) -> (state, Timestep)`, with one action for each environment.
        network: what the problem's paper trains; `None`: the agent brings its own.
        tasks: of a curriculum, in order; empty if the environments stay the same. They change by themselves.
        render: how people can see it; `None` if it cannot be drawn.
    """

    spec: Spec
    num_envs: int
    steps: int
    init: Callable[[Key], tuple[Any, Array]]
    step: Callable[[Any, Array], tuple[Any, Timestep]]
    network: ActorCritic | None = None
    tasks: tuple[Task, ...] = ()
    render: Views | None = None


class VectorEnv(Protocol):
    """The environments of a whole population, outside of the device.

    Arrays are NumPy's, with leading axes `(members, num_envs)`; a `Timestep` likewise.
    """

    def reset(self) -> np.ndarray:
        """Begins an episode everywhere, and returns the observations. What was in flight is given up."""
        ...

    def send(self, action: np.ndarray) -> None:
        """Sets the environments going; returns at once where they can run in the background."""
        ...

    def receive(self) -> Timestep:
        """Waits for the answer to what was sent."""
        ...

    def save(self) -> dict[str, np.ndarray]:
        """What has to outlast the process, `(members, ...)` each: counters, not episodes."""
        ...

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Takes back what `save` gave, with the same or another seed; to be called before `reset`."""
        ...

    def close(self) -> None:
        """Frees what the environments hold."""
        ...


class Renderer(VectorEnv, Protocol):
    """One environment of one member that can be drawn, outside of the device."""

    def draw(self) -> np.ndarray:
        """The scene as it is now, `(height, width, 3)` uint8."""
        ...


class HostEnvironment(NamedTuple):
    """A reinforcement-learning problem outside of the device, for a whole population.

    Attributes:
        spec: of one environment.
        num_envs: how many of them each member has.
        steps: how many steps a whole run has, those of all environments of a member counted together.
        open: `seed -> VectorEnv`: makes the environments of all members, `(members, 2)` uint32 being what their
            randomness comes from.
        network, tasks: as of an `Environment`.
        render: `seed -> Renderer`: makes one environment that people can see, from `(2,)` uint32; `None` if it cannot
            be drawn.
    """

    spec: Spec
    num_envs: int
    steps: int
    open: Callable[[np.ndarray], VectorEnv]
    network: ActorCritic | None = None
    tasks: tuple[Task, ...] = ()
    render: Callable[[np.ndarray], Renderer] | None = None


Problem: TypeAlias = Stream | Environment | HostEnvironment
