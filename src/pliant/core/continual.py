"""Contract of the continual methods: how one network serves a sequence of tasks.

A plasticity method keeps a network able to learn. A continual method decides what the network keeps of earlier tasks:
stored copies, an anchor, examples to rehearse, weights or units of its own for each task. Agents and learners name no
continual method, and each works beside any plasticity methods.

for each task:
    params, state <- begin_task, for every task but the first
    for each update:
        outputs   <- the network along a route: a column, a mixture, an order of its units
        gradients <- of loss + penalty, then change_gradients
        params    <- plasticity methods and optimizer, then project
        state     <- track
    params, state <- the choice of the trial among candidates that play the task
    params, state <- end_training, and further updates on the replay
    params, state <- end_task
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from .base import Array, Key, Method, Params, Topology
from .clock import Clock, Task
from .likelihood import Likelihood


class DenseLayers(NamedTuple):
    """What a network of dense layers is made of: a method may build another one of the same kind."""

    sizes: tuple[int, ...]  # inputs, units of each hidden layer, numbers of the last layer
    activation: Callable[[Array], Array]  # of the hidden units, elementwise
    initialize: Callable[[Key, tuple[int, ...]], Params]  # (key, sizes) -> {"Dense_0": {"kernel", "bias"}, ...}
    outputs: Callable[[Array], Any]  # numbers of the last layer, (batch, numbers) -> outputs
    name: str  # of the module in the parameters


class ContinualContext(NamedTuple):
    """What a run knows of a network; a continual method's factory receives the fields that its arguments name."""

    initialize: Callable[[Key], Params]  # `key -> params`, the network's initializer
    apply: Callable[[Params, Array], Any]  # `(params, (batch, *input)) -> outputs`, a tree, the batch first
    likelihood: Likelihood  # what the outputs are the parameters of
    inputs: jax.ShapeDtypeStruct  # of one input
    tasks: tuple[Task, ...]  # in order
    layers: DenseLayers | None = None  # of a network of dense layers alone, where the agent can replace it


class Update(NamedTuple):
    """The forward pass of an update, for the penalty."""

    clock: Clock
    inputs: Array  # (batch, *input)
    outputs: Any  # of the network for these inputs
    context: Any = ()  # what the network got beside them, see `TaskNetwork.draw`


class TaskNetwork(NamedTuple):
    """A network with room for all tasks, in place of the agent's own; shapes are the same in all tasks.

    A route says which part of the network acts: a column, a mixture of anchors, an order of units with a head. It has
    the same shapes in training, in a trial, and on a finished task.

    Attributes:
        init: `key -> params`.
        draw: `(state, batch, key) -> context`: what `apply` gets beside so many inputs in an update in the newest task.
        apply: `(params, inputs, context) -> outputs`, with inputs `(batch, *input)`.
        training_route: `state -> route` in the newest task while it is learned.
        route: `(state, task) -> route` on the task with this index, `()` int, finished or to come.
        initial_carry: `num_envs -> carry`.
        act: `(params, route, carry, inputs, *, is_first, key, greedy) -> (carry, outputs, seen)`, one step of all
            environments; `seen` `(num_envs, numbers)` float32 is stored with the step.
        seen: how many of the numbers there are, which critics get beside observation and action.
        seen_of: `context -> (batch, seen)`: the numbers of a context, for critics of actions along it.
    """

    init: Callable[[Key], Params]
    draw: Callable[[Any, int, Key], Any]
    apply: Callable[[Params, Array, Any], Any]
    training_route: Callable[[Any], Any]
    route: Callable[[Any, Array | int], Any]
    act: Callable[..., tuple[Any, Any, Array]]
    initial_carry: Callable[[int], Any] = lambda num_envs: ()
    seen: int = 0
    seen_of: Callable[[Any], Array] = lambda context: context


class Replayed(NamedTuple):
    """Steps of the newest task and their values, for the candidates of a trial.

    Attributes:
        sample: `(key, count) -> (inputs (count, *input), actions (count, size))`.
        value: `(inputs, actions, seen (count, numbers)) -> (count,)`: the first critic.
    """

    sample: Callable[[Key, int], tuple[Array, Array]]
    value: Callable[[Array, Array, Array], Array]


class Trial(NamedTuple):
    """Candidates that play a task after it was learned, and a choice among them. No trial follows on the first task.

    Attributes:
        candidates: how many there are.
        episodes: of each candidate, at least.
        propose: `(params, state, replayed, key) -> state`, before they play.
        route: `(state, first) -> route` along which environment i plays candidate `(first + i) % candidates`.
        choose: `(params, state, scores, clock) -> (params, state)`; scores `(candidates,)` are mean returns.
        standing: `(state, score) -> state`: takes the mean return `()` of the network along `training_route`, greedy,
            before the first update of each task but the first; `None`: it is not played.
    """

    candidates: int
    episodes: int
    route: Callable[[Any, Array | int], Any]
    choose: Callable[[Params, Any, Array, Clock], tuple[Params, Any]]
    propose: Callable[[Params, Any, Replayed, Key], Any] = lambda params, state, replayed, key: state
    standing: Callable[[Any, Array], Any] | None = None


class Memory(NamedTuple):
    """Numbers that are stored to act on all tasks so far, of the networks that act."""

    parameters: Array | int  # of all stored networks
    parameters_and_buffers: Array | int  # with anchors, masks and examples


def _nothing(params: Params) -> tuple[()]:
    del params
    return ()


def _no_penalty(params: Params, state: Any, update: Update) -> Array | float:
    del params, state, update
    return 0.0


def _keep(params: Params, state: Any, **given: Any) -> tuple[Params, Any]:
    del given
    return params, state


def _newest(params: Params, state: Any, task: Array | int) -> Params:
    del state, task
    return params


def size_of(tree: Any) -> int:
    """How many numbers a tree of arrays has; single numbers, such as counts, are left out."""
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree) if x.ndim)


def _whole_state(params: Params, state: Any, tasks: Array | int) -> Memory:
    del tasks
    return Memory(size_of(params), size_of(params) + size_of(state))


class Continual(NamedTuple):
    """Pure functions of one network that learns tasks in turn, for one member of a population.

    Attributes:
        init: `params -> state`, before the first task. Room for all tasks is made here.
        network: takes the place of the agent's own network; `None`: that one stays.
        method: pieces that act beside the run's plasticity methods, after them. A surgery with `begin_task` acts at
            the beginning of each task.
        penalty: `(params, state, update) -> ()`, added to the loss of the network.
        change_gradients: `(grads, params, state, clock) -> grads`, before the plasticity methods.
        project: `(params, state, previous) -> params`, after each update, and after all that a plasticity method does:
            which parameters the method keeps from the network `previous` to it. `None`: it keeps none.
        track: `(state, *, previous, params, grads) -> state`, after each update; `grads` are those of loss and penalty.
            `None`: nothing changes.
        begin_task: `(params, state, *, clock, key) -> (params, state)`, before the first step of each task but the
            first, and before what the plasticity methods do there.
        end_training: `(params, state, *, clock, key) -> (params, state)`, after a task and before the updates of
            `finetune`.
        finetune: further updates on the replay, with fresh optimizers, before `end_task`; their clocks count from 1.
        end_task: `(params, state, *, inputs, clock, key) -> (params, state)`, after the last update of each task.
            `inputs` `(samples, *input)` are some of the task's, as the agent has them: from its replay, its last
            round, or its newest batches; `clock.task` is its index; the key is
            consumed.
        trial: candidates that play a learned task, and the choice among them; `None`: there are none.
        view: `(params, state, task) -> params`: the parameters that act on the task with this index, `()` int.
        samples: the number of inputs that `end_task` needs.
        per_task: whether parameters or route depend on the task.
        fresh_critics: whether critics begin anew with each task.
        memory: `(params, state, tasks) -> Memory` after so many finished tasks, `()` int.
    """

    init: Callable[[Params], Any] = _nothing
    network: TaskNetwork | None = None
    method: Method = ()
    penalty: Callable[[Params, Any, Update], Array | float] = _no_penalty
    change_gradients: Callable[[Params, Params, Any, Clock], Params] | None = None
    project: Callable[[Params, Any, Params], Params] | None = None
    track: Callable[..., Any] | None = None
    begin_task: Callable[..., tuple[Params, Any]] = _keep
    end_training: Callable[..., tuple[Params, Any]] = _keep
    finetune: int = 0
    end_task: Callable[..., tuple[Params, Any]] = _keep
    trial: Trial | None = None
    view: Callable[[Params, Any, Array | int], Params] = _newest
    samples: int = 0
    per_task: bool = False
    fresh_critics: bool = False
    memory: Callable[[Params, Any, Array | int], Memory] = _whole_state

    def changed(self, grads: Params, params: Params, state: Any, clock: Clock) -> Params:
        """The gradients for the plasticity methods and the optimizer."""
        return grads if self.change_gradients is None else self.change_gradients(grads, params, state, clock)

    def after_update(self, params: Params, state: Any, *, previous: Params, grads: Params) -> tuple[Params, Any]:
        """Parameters and state after an update.

        Args:
            params: after the plasticity methods and the optimizer.
            state: before the update.
            previous: parameters before the update.
            grads: of loss and penalty.
        """
        params = self.kept(params, state, previous)
        if self.track is None:
            return params, state
        return params, self.track(state, previous=previous, params=params, grads=grads)

    def kept(self, params: Params, state: Any, previous: Params) -> Params:
        """Parameters with those that the method keeps from the network before."""
        return params if self.project is None else self.project(params, state, previous)


class ContinualFor(Protocol):
    """Makes the continual method of a run for one network."""

    def __call__(
        self,
        initialize: Callable[[Key], Params],
        apply: Callable[[Params, Array], Any],
        likelihood: Likelihood,
        inputs: jax.ShapeDtypeStruct,
        layers: DenseLayers | None = None,
    ) -> Continual:
        """The method for a network, see `ContinualContext` for the arguments."""
        ...


def no_continual(
    initialize: Callable[[Key], Params],
    apply: Callable[[Params, Array], Any],
    likelihood: Likelihood,
    inputs: jax.ShapeDtypeStruct,
    layers: DenseLayers | None = None,
) -> Continual:
    """A `ContinualFor` without a method: the network is trained further and keeps nothing."""
    del initialize, apply, likelihood, inputs, layers
    return Continual()


def dense_layers_for(method: str, layers: DenseLayers | None) -> DenseLayers:
    """The layers of a network, for a method that builds another one of the same kind.

    Raises:
        ValueError: naming the method, if the agent has a network of another kind or cannot replace it.
    """
    if layers is None:
        raise ValueError(
            f"{method} replaces dense layers, and this agent has another network; write --agent sac (in environments)"
        )
    return layers


def without_context(init: Callable[[Key], Params], apply: Callable[[Params, Array], Any]) -> TaskNetwork:
    """A network that is the same in all tasks, as a `TaskNetwork`: contexts, routes and carries are empty."""

    def act(
        params: Params, route: Any, carry: Any, inputs: Array, *, is_first: Array, key: Key, greedy: bool
    ) -> tuple[Any, Any, Array]:
        del route, is_first, key, greedy
        return carry, apply(params, inputs), jnp.zeros((inputs.shape[0], 0))

    return TaskNetwork(
        init,
        draw=lambda state, batch, key: (),
        apply=lambda params, inputs, context: apply(params, inputs),
        training_route=lambda state: (),
        route=lambda state, task: (),
        act=act,
    )


NO_UNITS = (
    "this continual method replaces the network, in which plasticity methods know no units; leave out --continual or "
    "--method, or give the method groups of other networks, such as critic_*"
)


def beside(continual: Continual, methods: tuple[Method, ...], *, has_replay: bool = False) -> tuple[Method, ...]:
    """The plasticity methods of a network, followed by the pieces of its continual method.

    Args:
        continual: the continual method.
        methods: of the run, for this network.
        has_replay: whether the agent has a replay, and lets a method replace its network and try candidates.

    Raises:
        ValueError: if both decide which weights there are, a plasticity method looks for units in a network that the
            continual method replaced, or the agent lacks what the continual method asks for.
    """
    if not has_replay and (continual.network is not None or continual.trial is not None or continual.fresh_critics):
        raise ValueError(
            "this continual method replaces the network, and this agent keeps it; write --agent sac (in environments)"
        )
    if not has_replay and continual.finetune:
        raise ValueError(
            f"this continual method makes {continual.finetune} updates on the replay after each task, and this agent "
            "has no replay; write --continual.finetune 0 or, in environments, --agent sac"
        )
    if methods and continual.network is not None:
        raise ValueError(NO_UNITS)
    pieces = jax.tree.leaves(methods, is_leaf=lambda piece: isinstance(piece, Topology))
    if continual.project is not None and any(isinstance(piece, Topology) for piece in pieces):
        raise ValueError(
            "this continual method and a growing or sparse network both decide which weights there are; leave out "
            "--continual or that --method"
        )
    return *methods, continual.method
