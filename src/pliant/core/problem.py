"""Contracts of the problems: streams to learn from, and environments to act in.

A stream makes batches of examples. In an environment the observations depend on the actions. Environments come in
two forms: an `Environment` is pure functions of one member, and runs on the device; a `HostEnvironment` opens the
environments of a whole population at once, outside of JAX. Agents see no difference between them.
"""

import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax
import numpy as np

from .base import Activation, Array, Initializer, Key, Params
from .clock import Calendar, Clock, Task
from .judgement import Judgement


class Batch(NamedTuple):
    x: Array  # (batch, *input)
    y: Any  # (batch, *output); (batch,) int labels; or another tree that `judge` understands, with labels in a field y


class Network(NamedTuple):
    """A network as the agents see it: pure functions.

    Attributes:
        init: `key -> variables`; the key is consumed. Variables are any tree of parameters. A network with running
            statistics has `{"params": ..., "statistics": ...}`.
        apply: `(variables, x) -> prediction`, `(batch, *input) -> (batch, *output)`, in evaluation mode.
        activation: of the hidden units.
        initializer: of their weights: methods draw fresh weights by both.
        train: `(variables, x) -> (prediction, variables)`, in training mode, with the running statistics moved on;
            `None` for a network without such statistics, whose modes are the same.
    """

    init: Callable[[Key], Params]
    apply: Callable[[Params, Array], Array]
    activation: Activation = "relu"
    initializer: Initializer = "kaiming"
    train: Callable[[Params, Array], tuple[Array, Params]] | None = None


class ActorCritic(NamedTuple):
    """A policy and a value function as one network, recurrent or not.

    Attributes:
        init: `key -> params`; the key is consumed.
        apply: `(params, observation, carry) -> ((outputs, V), carry)`: for a batch, the policy's outputs, the values
            `(batch,)` and the new carry. Outputs are `(mean, log_std)` for continuous actions, `(batch, size)` and
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


class Split(NamedTuple):
    """Examples that a network is judged by without learning from them, such as a test set.

    Attributes:
        batches: `clock -> ()` int, the number of batches at this time; judgements are means over the batches.
        batch: `(data, state, clock, i) -> Batch`, batch number `i` `()`.
        tracked: whether a run records the split's judgement in its metrics, as `test_accuracy`; other splits serve the
            analysis of finished runs.
    """

    batches: Callable[[Clock], Array | int]
    batch: Callable[[Any, Any, Clock, Array | int], Batch]
    tracked: bool = True


def _same(data: Any, state: Any, clock: Clock) -> Any:
    del data, clock
    return state


class Stream(NamedTuple):
    """A supervised problem, for one member of a population. A step of a stream is a batch.

    Attributes:
        init: `(data, key) -> state`; the key is consumed.
        draw: `(data, state, steps) -> (state, Batch)`: the next `steps` batches at once, on a leading axis. `steps` is
            known when compiling; how the data are cut into calls does not change the data. A call stays within an
            epoch, but for measurements, which may look beyond its end.
        judge: `(prediction, y) -> Judgement`, such as `squared_error` or `cross_entropy`.
        network: the network of the problem's paper.
        steps: of a whole run.
        data: a tree of arrays that all members share; on the device once. `()` where examples are made.
        tasks: in order; empty if the data are of one kind.
        epoch_steps: steps of an epoch of each task, of which the task has a whole number; empty: each task is one
            epoch.
        begin_epoch: `(data, state, clock) -> state`, before the first draw of each epoch of each task: shuffles
            examples, changes the task.
        splits: examples to be judged by after an epoch, by name: `validation`, `test`, ... The analysis of finished
            runs uses `test`, `next_task`, the examples of the clock's task, and `previous_tasks`, those of all before.
        probe: the number of examples on which diagnostics are measured.
    """

    init: Callable[[Any, Key], Any]
    draw: Callable[[Any, Any, int], tuple[Any, Batch]]
    judge: Callable[[Array, Any], Judgement]
    network: Network
    steps: int
    data: Any = ()
    tasks: tuple[Task, ...] = ()
    epoch_steps: tuple[int, ...] = ()
    begin_epoch: Callable[[Any, Any, Clock], Any] = _same
    splits: Mapping[str, Split] = {}
    probe: int = 1000

    @property
    def calendar(self) -> Calendar:
        """The tasks and their epochs."""
        return Calendar(self.tasks, self.epoch_steps)

    @property
    def has_epochs(self) -> bool:
        """Whether `begin_epoch` has to be called."""
        return self.begin_epoch is not _same

    def batches(self, steps: int = 1) -> Batch:
        """Shapes and types of `steps` batches; nothing is computed."""
        leaves, structure = jax.tree.flatten(self.data)
        shapes = steps, structure, *((np.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves)
        known = _BATCHES.setdefault(self.draw, weakref.WeakKeyDictionary()).setdefault(self.init, {})
        if shapes not in known:

            def first(data: Any, key: Key) -> Batch:
                return self.draw(data, self.init(data, key), steps)[1]

            known[shapes] = jax.eval_shape(first, self.data, jax.random.key(0))
        return known[shapes]


# Of each `draw` and `init`, by steps, shapes and types of the data: a run asks often, and tracing `draw` takes long.
_BATCHES: weakref.WeakKeyDictionary[Any, weakref.WeakKeyDictionary[Any, dict[Any, Batch]]] = weakref.WeakKeyDictionary()


class Continuous(NamedTuple):
    """Actions are vectors of real numbers; the environment treats numbers outside of an actuator's range."""

    size: int
    bound: float = 1.0  # each number acts from -bound to bound


class Discrete(NamedTuple):
    """Actions are the integers from 0 to `n` - 1."""

    n: int


class Spec(NamedTuple):
    """The observations and actions of one environment."""

    observation: jax.ShapeDtypeStruct
    action: Continuous | Discrete


class Timestep(NamedTuple):
    """The result of one step of environments; each array has a leading axis of environments.

    An environment whose episode ended begins the next episode by itself: `observation` is then the first of the new
    episode, and `final_observation` the last of the old episode.
    """

    observation: Array  # (num_envs, *observation): for the next action
    reward: Array  # (num_envs,)
    terminated: Array  # (num_envs,) bool: the episode ended where there is no future
    truncated: Array  # (num_envs,) bool: the episode was cut short; never together with terminated
    final_observation: Array  # (num_envs, *observation): the last of the episode if it ended; else equal to observation
    info: Mapping[str, Array]  # (num_envs,) each: facts about the episode, recorded when it ends


class Views(NamedTuple):
    """How to draw the first environment of a member, for environments on the device.

    Attributes:
        scene: `state -> scene`, a small tree of the things to draw; on the device.
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
        num_envs: environments side by side.
        steps: of a whole run, summed over the environments.
        init: `key -> (state, observation)`, `(num_envs, *observation)`; the key is consumed.
        step: `(state, action) -> (state, Timestep)`, with one action for each environment.
        network: the network of the problem's paper; `None`: the agent makes its own.
        tasks: in order, for environments that change by themselves; empty if they stay the same, or if their changes
            wait for ends of episodes, which are not known beforehand.
        render: how to draw it; `None` if it cannot be drawn.
        init_task: `(key, task) -> (state, observation)`: environments that stay in the task with this index, `()` int;
            for evaluation. `None`: the setting `env` of the problem chooses the environments of a task.
    """

    spec: Spec
    num_envs: int
    steps: int
    init: Callable[[Key], tuple[Any, Array]]
    step: Callable[[Any, Array], tuple[Any, Timestep]]
    network: ActorCritic | None = None
    tasks: tuple[Task, ...] = ()
    render: Views | None = None
    init_task: Callable[[Key, Array], tuple[Any, Array]] | None = None


class VectorEnv(Protocol):
    """The environments of a whole population, outside of the device.

    Arrays are NumPy's; their leading axes, also in a `Timestep`, are `(members, num_envs)`.
    """

    def reset(self) -> np.ndarray:
        """Begins an episode everywhere, and returns the observations. Unfinished steps are dropped."""
        ...

    def send(self, action: np.ndarray) -> None:
        """Starts a step of all environments; returns at once where they can run in the background."""
        ...

    def receive(self) -> Timestep:
        """Waits for the step that `send` started, and returns its result."""
        ...

    def save(self) -> dict[str, np.ndarray]:
        """The state to store in a checkpoint, `(members, ...)` each: counters, not episodes."""
        ...

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Restores the state of `save`, with the same or another seed; to be called before `reset`."""
        ...

    def close(self) -> None:
        """Frees the resources of the environments."""
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
        num_envs: environments of each member.
        steps: of a whole run, summed over the environments of a member.
        open: `seed -> VectorEnv`: makes the environments of all members from `(members, 2)` uint32, the source of
            their randomness.
        network, tasks: as of an `Environment`.
        render: `seed -> Renderer`: makes one environment that can be drawn, from `(2,)` uint32; `None` if there is
            none.
    """

    spec: Spec
    num_envs: int
    steps: int
    open: Callable[[np.ndarray], VectorEnv]
    network: ActorCritic | None = None
    tasks: tuple[Task, ...] = ()
    render: Callable[[np.ndarray], Renderer] | None = None


Problem: TypeAlias = Stream | Environment | HostEnvironment
