"""Contracts of what learns: learners from streams, and agents that act in environments."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from .base import Activation, Array, Key, Method, Params
from .problem import ActorCritic, Batch, Network, Task
from .units import Wiring


class Context(NamedTuple):
    """What a run knows of a network; the factory of a method gets what it asks for by the names of its arguments."""

    wiring: Wiring  # the groups that the method works on
    initialize: Callable[[Key], Params]  # `key -> params`, the network's initializer
    activation: Activation  # of the hidden units
    updates: int  # that the agent makes in the whole run
    tasks: tuple[Task, ...]  # of the problem; empty if there are none


class MethodsFor(Protocol):
    """Makes the plasticity methods of a run for one network; an agent does not know which they are."""

    def __call__(self, wiring: Wiring, network: Network | ActorCritic, updates: int) -> tuple[Method, ...]:
        """The methods, in the order in which they act.

        Args:
            wiring: the network's groups.
            network: whose initializer and activation the methods draw fresh weights by.
            updates: how many updates the agent makes in the whole run; some of its networks may be left out at times.
        """
        ...


class Learner(NamedTuple):
    """What learns from a stream, for one member of a population: pure functions.

    Attributes:
        init: `key -> state`; the key is consumed.
        learn: `(state, batches, step) -> (state, losses)`: one update a batch. `batches` has a leading axis of steps,
            `step` `()` is the number of updates before, the same for all members; `losses` `(steps,)` are those before
            each update.
        signals: `(previous_state, state, batch) -> signals` for the diagnostics: `params` and `previous_params`,
            `features` and `grads` on that batch, and `method_state`.
        drawn_per_step: bytes of random numbers that `learn` draws ahead for each step.
    """

    init: Callable[[Key], Any]
    learn: Callable[[Any, Batch, Array], tuple[Any, Array]]
    signals: Callable[[Any, Any, Batch], dict[str, Any]]
    drawn_per_step: int


class Transitions(NamedTuple):
    """What happened between two calls of `learn`; leading axes `(horizon, num_envs)`."""

    observation: Array  # acted upon
    action: Array
    extras: Any  # what `act` returned beside the action, a tree
    reward: Array
    terminated: Array  # bool
    truncated: Array  # bool
    next_observation: Array  # what followed, of the same episode even if it ended


class Act(Protocol):
    """Chooses actions; see `Agent`."""

    def __call__(
        self, acting_params: Any, carry: Any, observation: Array, is_first: Array, key: Key, *, greedy: bool = False
    ) -> tuple[Any, Array, Any]:
        """One step of all environments of a member.

        Args:
            acting_params: what acting needs of the agent's state.
            carry: what the agent remembers of the episodes so far.
            observation: `(num_envs, *observation)`.
            is_first: `(num_envs,)` bool, whether an observation is the first of its episode.
            key: consumed.
            greedy: take the most probable action instead of a random one.

        Returns:
            The memory, the actions `(num_envs, ...)`, and what `learn` wants to know about them, a tree of arrays
            with a leading axis of environments.
        """
        ...


class Agent(NamedTuple):
    """What acts in environments and learns from it, for one member of a population: pure functions.

    Attributes:
        horizon: how many steps each environment takes between two calls of `learn`.
        init: `key -> state`; the key is consumed.
        acting_params: `state -> acting_params`, what acting needs of the state. It stays the same between two calls of
            `learn`.
        initial_carry: `num_envs -> carry` before the first step.
        act: chooses actions.
        learn: `(state, transitions, calls) -> (state, metrics)`; `calls` `()` is the number of calls before, the same
            for all members; metrics are `{name: ()}`.
        signals: `(previous, state, transitions) -> signals` for the diagnostics, as in `Learner`, after the call of
            `learn` that took these transitions; `previous` are the parameters that acted, and the features are theirs.
    """

    horizon: int
    init: Callable[[Key], Any]
    acting_params: Callable[[Any], Any]
    initial_carry: Callable[[int], Any]
    act: Act
    learn: Callable[[Any, Transitions, Array], tuple[Any, dict[str, Array]]]
    signals: Callable[[Any, Any, Transitions], dict[str, Any]]
