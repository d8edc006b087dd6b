"""Contracts of learners, which learn from streams, and of agents, which act in environments."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from .base import Activation, Array, Key, Method, Params
from .clock import Clock, Task
from .continual import Memory
from .judgement import Judgement
from .problem import ActorCritic, Batch, Network
from .units import Wiring


class Context(NamedTuple):
    """What a run knows of a network; a method's factory receives the fields that its arguments name."""

    wiring: Wiring  # the groups that the method works on
    initialize: Callable[[Key], Params]  # `key -> params`, the network's initializer
    activation: Activation  # of the hidden units
    updates: int  # of the agent in the whole run
    tasks: tuple[Task, ...]  # of the problem; empty if there are none


class MethodsFor(Protocol):
    """Makes the plasticity methods of a run for one network; agents name no method."""

    def __call__(self, wiring: Wiring, network: Network | ActorCritic, updates: int) -> tuple[Method, ...]:
        """The methods, in the order in which they act.

        Args:
            wiring: the network's groups.
            network: whose initializer and activation the methods draw fresh weights by.
            updates: of the agent in the whole run; a network may be updated less often.
        """
        ...


class Learner(NamedTuple):
    """Pure functions that learn from a stream, for one member of a population.

    Attributes:
        init: `key -> state`; the key is consumed.
        learn: `(state, batches, clock) -> (state, judgements)`: one update a batch. `batches` has a leading axis of
            steps within one epoch; `clock` is that of the first update, the only one that may be the first of a task,
            and the same for all members; `judgements` are those before each update, with a leading axis of steps.
        predict: `(state, x) -> prediction` in evaluation mode, `(batch, *input) -> (batch, *output)`.
        signals: `(previous_state, state, batch) -> signals` for the diagnostics: `params` and `previous_params`,
            `features` and `grads` on that batch, and `method_state`.
        drawn_per_step: bytes of random numbers that `learn` draws ahead for each step.
        end_epoch: `(state, judgements, clock) -> state`, after the last update of each epoch, with the judgement of
            each split in `watched`; `None`: nothing changes.
        end_task: `(state, clock) -> state`, after the last update of each task, with its clock; `None`: nothing
            changes.
        watched: names of the stream's splits that `end_epoch` needs.
    """

    init: Callable[[Key], Any]
    learn: Callable[[Any, Batch, Clock], tuple[Any, Judgement]]
    predict: Callable[[Any, Array], Array]
    signals: Callable[[Any, Any, Batch], dict[str, Any]]
    drawn_per_step: int = 0
    end_epoch: Callable[[Any, Mapping[str, Judgement], Clock], Any] | None = None
    end_task: Callable[[Any, Clock], Any] | None = None
    watched: tuple[str, ...] = ()


class Transitions(NamedTuple):
    """The steps between two calls of `learn`; leading axes `(horizon, num_envs)`."""

    observation: Array  # to which the action was chosen
    action: Array
    extras: Any  # what `act` returned beside the action, a tree
    reward: Array
    terminated: Array  # bool
    truncated: Array  # bool
    next_observation: Array  # after the action, in the same episode even if it ended


class Trials(NamedTuple):
    """Candidates that play a task after it was learned, for an agent; see `continual.Trial`.

    Attributes:
        candidates, episodes: how many there are, and how many episodes each plays at least.
        propose: `(state, clock) -> state`, before they play.
        acting_params: `(state, first) -> acting_params`: environment i plays candidate `(first + i) % candidates`.
        choose: `(state, scores, clock) -> state`, with mean returns `(candidates,)`.
        standing: `(state, score) -> state`: takes the mean return `()` of the agent itself, greedy, before its first
            update in a later task; `None`: it does not play then.
    """

    candidates: int
    episodes: int
    propose: Callable[[Any, Clock], Any]
    acting_params: Callable[[Any, Array], Any]
    choose: Callable[[Any, Array, Clock], Any]
    standing: Callable[[Any, Array], Any] | None = None


class Finetuning(NamedTuple):
    """Updates on the data of a task after it was learned, before its `end_task`.

    Attributes:
        updates: their number.
        at_once: how many `learn` makes; a divisor of `updates`.
        begin: `(state, clock) -> state`, before the first.
        learn: `(state, first, clock) -> state`: updates `first` `()`, counted from 1, and those after it.
    """

    updates: int
    at_once: int
    begin: Callable[[Any, Clock], Any]
    learn: Callable[[Any, Array, Clock], Any]


class Act(Protocol):
    """Chooses actions; see `Agent`."""

    def __call__(
        self, acting_params: Any, carry: Any, observation: Array, is_first: Array, key: Key, *, greedy: bool = False
    ) -> tuple[Any, Array, Any]:
        """One step of all environments of a member.

        Args:
            acting_params: the part of the agent's state that `act` reads.
            carry: the recurrent state of the network.
            observation: `(num_envs, *observation)`.
            is_first: `(num_envs,)` bool, whether an observation is the first of its episode.
            key: consumed.
            greedy: take the most probable action instead of a random one.

        Returns:
            The carry, the actions `(num_envs, ...)`, and the extras for `learn`: a tree of arrays with a leading axis
            of environments.
        """
        ...


class Agent(NamedTuple):
    """Pure functions that act in environments and learn from them, for one member of a population.

    Attributes:
        horizon: how many steps each environment takes between two calls of `learn`.
        init: `key -> state`; the key is consumed.
        acting_params: `state -> acting_params`, the part of the state that `act` reads. It stays the same between two
            calls of `learn`.
        initial_carry: `num_envs -> carry` before the first step.
        act: chooses actions.
        learn: `(state, transitions, calls) -> (state, metrics)`; `calls` `()` is the number of calls before, the same
            for all members; metrics are `{name: ()}`.
        signals: `(previous, state, transitions) -> signals` for the diagnostics, as in `Learner`, after the call of
            `learn` that took these transitions; `previous` are the parameters that acted, and give the features.
        end_task: `(state, clock) -> state`, after the last step of each task; `clock.task` is its index. `None`:
            nothing changes.
        begin_task: `(state, clock) -> state`, before the first step of each task but the first; `None`: nothing
            changes.
        acting_params_for: `(state, task) -> acting_params` for the task with this index, `()` int; `None`: those of
            `acting_params` act on all tasks.
        memory: `(state, tasks) -> Memory`: numbers stored after so many finished tasks; `None`: it is not known.
        trials: candidates that play a learned task; `None`: there are none.
        finetuning: updates after a task; `None`: there are none.
    """

    horizon: int
    init: Callable[[Key], Any]
    acting_params: Callable[[Any], Any]
    initial_carry: Callable[[int], Any]
    act: Act
    learn: Callable[[Any, Transitions, Array], tuple[Any, dict[str, Array]]]
    signals: Callable[[Any, Any, Transitions], dict[str, Any]]
    end_task: Callable[[Any, Clock], Any] | None = None
    begin_task: Callable[[Any, Clock], Any] | None = None
    acting_params_for: Callable[[Any, Array], Any] | None = None
    memory: Callable[[Any, Array], Memory] | None = None
    trials: Trials | None = None
    finetuning: Finetuning | None = None
