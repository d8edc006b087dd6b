"""On-policy agents: acting, advantages, and updates on minibatches of the latest steps.

at the beginning of each task methods may act; at its end the continual method sees observations of the last round
for each step:
    carry <- zeros, where an episode begins
    action, value, carry <- the network, from observation and carry
for each call of `learn`, after `horizon` steps of all environments:
    advantages, returns <- generalized advantage estimation
    for each epoch:
        for each minibatch of sequences in random order:
            loss, features <- the network along the sequences, from the carry at their beginning; with the penalty of
                              the continual method
            params         <- methods and optimizer (gradients, features)

`_minibatches` draws the minibatches, and `_sequences` runs a recurrent network along them.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from pliant.core.agent import Agent, MethodsFor, Transitions
from pliant.core.base import Activation, Array, Features, Initializer, Key, Params
from pliant.core.clock import Calendar, Clock
from pliant.core.continual import ContinualFor, Memory, Update, beside, no_continual
from pliant.core.plastic import plastic, take_keys
from pliant.core.problem import ActorCritic, Continuous, Environment, HostEnvironment
from pliant.core.settings import AtLeast, Between
from pliant.networks import actor_critic

from ._advantage import generalized_advantages, normalized
from ._continual_policy import continual_method, evenly, of_policy
from ._distributions import distribution
from ._minibatches import Schedule, over_minibatches
from ._sequences import restart, run_along, trace_along
from ._shapes import require_rank

_PROBE = 1000  # last observations of a horizon on which diagnostics are measured, as published

Metrics: TypeAlias = dict[str, Array]

# (log probability of the actions, the old log probability, advantage), `(samples,)` each -> losses, and metrics
PolicyLoss: TypeAlias = Callable[[Array, Array, Array], tuple[Array, Metrics]]


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of all on-policy agents; the defaults are those of torch-ac."""

    horizon: Annotated[int, AtLeast(1)] = 128
    """Steps of each environment between two calls of `learn`."""
    recurrence: Annotated[int, AtLeast(1)] = 1
    """Length of the sequences on which a recurrent network is trained (steps); 1 for a network without a carry."""
    learning_rate: Annotated[float, AtLeast(0)] = 1e-3
    """Learning rate of the optimizer."""
    eps: Annotated[float, AtLeast(0)] = 1e-8
    """Added to the denominator for numerical stability."""
    reset_moments: bool = False
    """Whether the optimizer's moments of weights that a method reinitialized restart at zero."""
    discount: Annotated[float, Between(0, 1)] = 0.99
    """Discount per step."""
    gae_lambda: Annotated[float, Between(0, 1)] = 0.95
    """Lambda of generalized advantage estimation."""
    value_coefficient: Annotated[float, AtLeast(0)] = 0.5
    """Weight of the mean squared error of the values."""
    entropy_coefficient: Annotated[float, AtLeast(0)] = 0.01
    """Weight of the entropy bonus."""
    max_gradient_norm: Annotated[float, AtLeast(0)] = 0.5
    """Largest norm of the gradients: longer ones are scaled down, before any method acts on them; 0: no limit."""
    normalize_advantages: Literal["round", "minibatch", "none"] = "none"
    """Over which samples advantages are shifted and scaled to mean 0 and (unbiased) standard deviation 1."""
    truncation: Literal["terminal", "bootstrap"] = "terminal"
    """What follows a time limit: no future, as published, or the value of the last observation."""
    hidden_units: Annotated[int, Between(1, 65_536)] = 64
    """Units of each hidden layer, of policy and value network; for problems without a network."""
    hidden_layers: Annotated[int, Between(0, 100)] = 2
    """Hidden layers of each network."""
    activation: Activation = "tanh"
    """Nonlinearity."""
    initializer: Initializer = "lecun"
    """Initializer of all weights, output layers included."""


class State(NamedTuple):
    params: Params
    optimizer: Any  # PlasticState: the optimizer's and the methods'
    continual: Any = ()  # the continual method's
    latest: Array | tuple[()] = ()  # (samples, *observation) of the newest round, if that method needs some


class Extras(NamedTuple):
    """What `act` records of an action for `learn`; leading axes there: `(horizon, num_envs)`."""

    log_prob: Array  # of the action
    value: Array  # of the observation
    carry: Any  # before the observation


class Samples(NamedTuple):
    """The inputs of the losses; leading axis of samples, or `(recurrence, sequences)`."""

    observation: Array
    is_first: Array  # bool: the first observation of an episode
    action: Array
    log_prob: Array  # of the action, when it was taken
    value: Array  # when the action was taken
    returns: Array
    advantage: Array


def value_errors(V: Array, old_V: Array, returns: Array, clip: float | Array) -> Array:
    r"""Squared errors of values, `(samples,)`: $(R - V)^2$, or with a clip $\epsilon > 0$

    $$\max\left((R - V)^2, (R - V_\text{old} - \operatorname{clip}(V - V_\text{old}, -\epsilon, \epsilon))^2\right).$$

    Args:
        V: $V$, `(samples,)` like all arrays here.
        old_V: $V_\text{old}$, when the action was taken.
        returns: $R$.
        clip: $\epsilon$; 0: none.
    """
    require_rank(1, V=V, old_V=old_V, returns=returns)
    errors = (returns - V) ** 2
    if clip > 0:
        near = old_V + jnp.clip(V - old_V, -clip, clip)
        return jnp.maximum(errors, (returns - near) ** 2)
    return errors


def samples_of(config: Config, network: ActorCritic, params: Params, transitions: Transitions) -> Samples:
    """The samples of a round on one axis, with advantages and returns.

    Args:
        config: `discount`, `gae_lambda`, `truncation` and `normalize_advantages`.
        network: the network that acted.
        params: its parameters when it acted.
        transitions: of the round.
    """
    V, ended = transitions.extras.value, transitions.terminated | transitions.truncated

    def next_values(these: Transitions) -> Array:
        """The values of the next observations, with the carry after the observation."""
        flat = these.observation, these.extras.carry, these.next_observation
        observation, carry, following = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), flat)
        if jax.tree.leaves(carry):
            _, carry = network.apply(params, observation, carry)
        return network.apply(params, following, carry)[0][1].reshape(-1, V.shape[1])

    if config.truncation == "bootstrap":
        next_V, terminated = next_values(transitions), transitions.terminated
    else:  # within an episode the next value is the value at the next step: only the last one is missing
        last = jax.tree.map(lambda x: x[-1:], transitions)
        next_V, terminated = jnp.concatenate([V[1:], next_values(last)]), ended
    A = generalized_advantages(transitions.reward, V, next_V, terminated, ended, config.discount, config.gae_lambda)
    returns = A + V
    if config.normalize_advantages == "round":
        A = normalized(A)
    # Any value does for the first time: the carry at the beginning of a sequence is restarted already.
    is_first = jnp.concatenate([ended[:1], ended[:-1]])
    log_prob = transitions.extras.log_prob
    samples = Samples(transitions.observation, is_first, transitions.action, log_prob, V, returns, A)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples)


def make(
    config: Config,
    environment: Environment | HostEnvironment,
    optimizer: Callable[[int], optax.GradientTransformation],
    policy_loss: PolicyLoss,
    methods_for: MethodsFor,
    continual_for: ContinualFor,
    *,
    epochs: int = 1,
    minibatches: int = 1,
    alternate: bool = False,
    value_clip: float = 0.0,
) -> Agent:
    r"""Makes an agent whose loss is, with its policy loss $L_\pi$,

    $$L = \overline{L_\pi} + c_v \overline{(R - V)^2} - c_e \overline{H}.$$

    Args:
        config: the settings; numbers may be traced.
        environment: its observations and actions, the length of the run, and its network if it has one.
        optimizer: `updates -> transformation`, for the number of updates of a whole run.
        policy_loss: per sample, to be minimized.
        methods_for: makes the plasticity methods.
        continual_for: makes the continual method of the whole network; the outputs are those of the policy. It sees
            observations of the last round of each task.
        epochs, minibatches, alternate: how a round is cut, see `Schedule`.
        value_clip: clip range of a new value around the old value; 0: no clipping.

    Raises:
        ValueError: if the minibatches do not divide a round, the run is shorter than a round, the recurrence
            does not suit the network, the configuration describes a network where the environment has one, or a
            continual method is for a recurrent network.
    """
    network = _network_for(environment, config)
    schedule = Schedule(config.horizon, environment.num_envs, config.recurrence, epochs, minibatches, alternate)
    recurrent = bool(jax.tree.leaves(jax.eval_shape(lambda: network.initial_carry(1))))
    schedule.check(environment.steps, recurrent)
    updates = -(-environment.steps // schedule.samples) * schedule.updates
    wiring = trace_along(network, environment.spec.observation, schedule.recurrence, schedule.sequences)

    continual = continual_method(continual_for, network, environment)

    def transformation(key: Key | int):
        methods = beside(continual, methods_for(wiring, network, updates))
        return plastic(optimizer(updates), *methods, key=key, reset_moments=config.reset_moments)

    tx, calendar, observation = transformation(0), Calendar(environment.tasks), environment.spec.observation

    def clock(calls: Array, number: Array | int) -> Clock:
        """The clock of update `number` of a round, counted from 1."""
        before = calls * schedule.samples
        return calendar.clock(before, calls * schedule.updates + number, schedule.updates_before)

    def begun(params: Params, optimizer: Any, task: Array | int) -> tuple[Params, Any]:
        """The parameters and the optimizer's state after what the methods do before a task."""
        if tx.begin_task is None:
            return params, optimizer
        calls = -(-jnp.asarray(calendar.starts)[task] // schedule.samples)
        return tx.begin_task(params, optimizer, clock(calls, 1))

    def init(key: Key) -> State:
        params_key, methods_key = jax.random.split(key)
        params = tx.prepare(network.init(params_key))
        params, optimizer = begun(params, transformation(methods_key).init(params), 0)
        latest = evenly(jnp.zeros((1, *observation.shape), observation.dtype), continual.samples)
        return State(params, optimizer, continual.init(params), latest)

    def act(acting_params: Params, carry: Any, observation: Array, is_first: Array, key: Key, *, greedy: bool = False):
        before = restart(carry, is_first)
        (outputs, V), carry = network.apply(acting_params, observation, before)
        pi = distribution(environment.spec.action, outputs)
        action = pi.mode() if greedy else pi.sample(key)
        return carry, action, Extras(pi.log_prob(action), V, before)

    def step_loss(answer: tuple[Any, Array], step: Samples) -> tuple[Array, Metrics, Any]:
        """The loss of one step of all sequences, its metrics, and the outputs of the policy."""
        outputs, V = answer
        pi = distribution(environment.spec.action, outputs)
        losses, metrics = policy_loss(pi.log_prob(step.action), step.log_prob, step.advantage)
        L_pi, H = losses.mean(), pi.entropy().mean()
        L_V = value_errors(V, step.value, step.returns, value_clip).mean()
        L = L_pi + config.value_coefficient * L_V - config.entropy_coefficient * H
        return L, {"policy_loss": L_pi, "value_loss": L_V, "entropy": H, **metrics}, outputs

    def loss(
        params: Params, batch: Samples, carry: Any, of_method: Any = None, now: Clock | None = None
    ) -> tuple[Array, tuple[Features, Metrics, Any]]:
        """The mean over the steps of sequences, and the features of the first steps, metrics and later carries.

        With the state of the continual method and the clock of the update, its penalty belongs to the loss.
        """
        if config.normalize_advantages == "minibatch":
            batch = batch._replace(advantage=normalized(batch.advantage))
        (*losses, outputs), features, carries = run_along(network, wiring, params, batch, carry, step_loss)
        L, metrics = jax.tree.map(lambda x: x.mean(0), losses)
        if now is not None:
            # A network with a continual method is not recurrent: there is one step.
            x, outputs = jax.tree.map(lambda x: x[0], (batch.observation, outputs))
            L = L + continual.penalty(params, of_method, Update(now, x, of_policy(environment, outputs)))
        return L, (features, metrics, carries)

    def learn(state: State, transitions: Transitions, calls: Array) -> tuple[State, Metrics]:
        samples = samples_of(config, network, state.params, transitions)
        carries = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), transitions.extras.carry)
        keys, optimizer = take_keys(state.optimizer, schedule.epochs)
        seen = transitions.observation.reshape(-1, *observation.shape)
        state = State(state.params, optimizer, state.continual, evenly(seen, continual.samples))

        def update(
            before: tuple[State, Any], first: Array, random: Any, number: Array
        ) -> tuple[tuple[State, Any], Metrics]:
            state, carries = before
            rows = schedule.along(first)
            batch, carry = jax.tree.map(lambda x: x[rows], samples), jax.tree.map(lambda x: x[first], carries)
            now = clock(calls, number)
            grads, (features, metrics, later) = jax.grad(loss, has_aux=True)(
                state.params, batch, carry, state.continual, now
            )
            clipped = grads
            if config.max_gradient_norm > 0:
                norm = optax.tree.norm(grads)
                clipped = jax.tree.map(lambda g: g * jnp.minimum(1, config.max_gradient_norm / norm), grads)
                metrics["gradient_norm"] = norm
            changed = continual.changed(clipped, state.params, state.continual, now)
            params, optimizer = tx.step(
                changed, state.optimizer, state.params, random=random, clock=now, features=features
            )
            params, of_method = continual.after_update(params, state.continual, previous=state.params, grads=grads)
            if schedule.recurrence > 1:  # sequences of the next epoch may begin in the middle of these
                later = restart(later, batch.is_first[1:])
                carries = jax.tree.map(lambda x, y: x.at[rows[1:]].set(y), carries, later)
            return (state._replace(params=params, optimizer=optimizer, continual=of_method), carries), metrics

        def draw(key: Key, updates: int) -> Any:
            return tx.draw(key, state.params, updates)

        (after, _), metrics = over_minibatches(schedule, keys, update, draw, (state, carries))
        metrics = jax.tree.map(jnp.mean, metrics) | {"value": transitions.extras.value.mean()}
        if isinstance(environment.spec.action, Continuous):
            metrics["action_magnitude"] = jnp.abs(transitions.action).mean()
        return after, metrics

    def signals(previous: Params, state: State, transitions: Transitions) -> dict[str, Any]:
        first = schedule.starts()[-max(1, _PROBE // schedule.recurrence) :]
        samples = samples_of(config, network, previous, transitions)
        batch = jax.tree.map(lambda x: x[schedule.along(first)], samples)
        carry = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[first], transitions.extras.carry)
        grads, (features, _, _) = jax.grad(loss, has_aux=True)(previous, batch, carry)
        return {
            "params": state.params,
            "previous_params": previous,
            "features": features,
            "grads": grads,
            "method_state": state.optimizer,
        }

    def end_task(state: State, clock: Clock) -> State:
        [trained_key, key], optimizer = take_keys(state.optimizer, 2)
        inputs = state.latest if continual.samples else jnp.zeros((0, *observation.shape), observation.dtype)
        params, of_method = continual.end_training(state.params, state.continual, clock=clock, key=trained_key)
        params, of_method = continual.end_task(params, of_method, inputs=inputs, clock=clock, key=key)
        return state._replace(params=params, optimizer=optimizer, continual=of_method)

    def begin_task(state: State, clock: Clock) -> State:
        [key], optimizer = take_keys(state.optimizer, 1)
        previous, of_method = continual.begin_task(state.params, state.continual, clock=clock, key=key)
        params, optimizer = begun(previous, optimizer, clock.task)
        return state._replace(
            params=continual.kept(params, of_method, previous), optimizer=optimizer, continual=of_method
        )

    def acting_params_for(state: State, task: Array) -> Params:
        return continual.view(state.params, state.continual, task)

    def memory(state: State, tasks: Array) -> Memory:
        return continual.memory(state.params, state.continual, tasks)

    agent = Agent(
        horizon=schedule.horizon,
        init=init,
        acting_params=lambda state: state.params,
        initial_carry=network.initial_carry,
        act=act,
        learn=learn,
        signals=signals,
        begin_task=None if tx.begin_task is None else begin_task,
    )
    if continual_for is no_continual:
        return agent
    return agent._replace(
        begin_task=begin_task,
        end_task=end_task,
        acting_params_for=acting_params_for if continual.per_task else None,
        memory=memory,
    )


def _network_for(environment: Environment | HostEnvironment, config: Config) -> ActorCritic:
    """The environment's own network, or the two perceptrons of the configuration.

    Raises:
        ValueError: if the configuration describes a network, and the environment has one.
    """
    if environment.network is None:
        hidden = (config.hidden_units,) * config.hidden_layers
        return actor_critic(environment.spec, hidden, config.activation, config.initializer)
    usual = type(config)()
    for name in ("hidden_units", "hidden_layers", "activation", "initializer"):
        if getattr(config, name) != getattr(usual, name):
            raise ValueError(f"{name}={getattr(config, name)}: this problem brings its network; leave {name} out")
    return environment.network
