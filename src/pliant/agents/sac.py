"""Soft actor-critic (SAC): a random actor that is rewarded for its entropy, critics, and a replay.

for each step of the environments:
    action <- random at first, later drawn from the actor's distribution
    replay <- the step
    for each update:
        y       <- reward + discounted smallest target value of an action of the actor, and the entropy there
        critics <- their methods and optimizer (gradients of (Q - y)², features)
        every `policy_delay` updates:
            actor       <- its methods and optimizer (gradients of temperature * log probability - smallest Q, features)
            temperature <- its optimizer (towards the target entropy)
        every `target_delay` updates:
            targets <- a small step towards the critics, with their masks
at the beginning of each task: a fresh replay, fresh optimizers, temperature and targets; actor and critics stay
at the end of each task a continual method may choose among candidates, ask for further updates, and store what it keeps
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pliant.core.agent import Agent, Finetuning, MethodsFor, Transitions
from pliant.core.base import Activation, Array, Key, Method, Params
from pliant.core.clock import Calendar, Clock
from pliant.core.continual import (
    NO_UNITS,
    ContinualFor,
    Memory,
    Replayed,
    beside,
    no_continual,
    without_context,
)
from pliant.core.likelihood import gaussian
from pliant.core.plastic import Plastic
from pliant.core.problem import Environment, HostEnvironment, Network
from pliant.core.settings import AtLeast, Between
from pliant.core.units import Wiring
from pliant.networks import critic_ensemble, normal_actor, normal_actor_layers

from . import _actor_and_critics as actor_and_critics
from . import _off_policy as off_policy
from . import _soft_losses as soft_losses
from . import _soft_updates as soft_updates
from ._actor_and_critics import Both
from ._off_policy import flat
from ._replay import Sample, Stored
from ._soft_losses import Contexts, Noise
from ._soft_trials import trials_of
from ._soft_updates import ActingParams, Learned, Metrics, State, Temperature, changed, delayed, keyed, lcm, update_of
from ._squashed_normal import SquashedNormal

LEARNS_FROM = "environment"

_UPDATES_AT_ONCE = 100  # after a task, in one call, at most


@dataclasses.dataclass(frozen=True)
class Config(soft_updates.Config):
    """Settings of SAC; the defaults are those of Haarnoja et al. (2018)."""

    learning_starts: Annotated[int, AtLeast(0)] = 10_000
    """Steps of a member in a task before the first update."""
    random_steps: Annotated[int, AtLeast(0)] = 10_000
    """Steps of a member with uniform actions at the beginning of a task."""
    on_new_task: Literal["restart", "keep"] = "restart"
    """What a new task does: restart replay, optimizers, temperature, targets and random steps, or keep them."""
    learning_rate: Annotated[float, AtLeast(0)] = 3e-4
    """Learning rate of the actor's Adam."""
    critic_learning_rate: Annotated[float, AtLeast(0)] = 3e-4
    """Learning rate of the critics' Adam."""
    temperature_learning_rate: Annotated[float, AtLeast(0)] = 3e-4
    """Learning rate of the temperature's Adam; 0: the temperature stays."""
    initial_temperature: Annotated[float, AtLeast(1e-6)] = 1.0
    """Temperature at the beginning: the factor of the entropy."""
    critics: Annotated[int, Between(1, 1000)] = 2
    """Number of critics, of which the smallest value counts."""
    critic_layers: Annotated[int, Between(1, 100)] = 2
    """Hidden layers of each critic."""
    layer_norm: bool = False
    """Whether the last hidden layer of the critics is normalized before its activation."""
    activation: Activation = "relu"
    """Activation of the hidden units, of actor and critics."""
    negative_slope: Annotated[float, AtLeast(0)] = 0.01
    """Slope of leaky_relu for negative numbers."""


class Extras(NamedTuple):
    """What `act` records of an action for `learn`; leading axes there: `(horizon, num_envs)`."""

    is_first: Array  # bool: the first observation of an episode
    seen: Array | tuple[()] = ()  # what critics get beside observation and action


def make(
    config: Config,
    environment: Environment | HostEnvironment,
    methods_for: MethodsFor,
    continual_for: ContinualFor = no_continual,
) -> Agent:
    r"""Makes the agent for one member of a population.

    The actor's numbers are $\tanh u$ with $u \sim N(\mu(s), \sigma(s)^2)$, and actions are those times the bound $b$.
    Log probabilities $\ell$ are of the numbers, not of the actions. With targets marked by a prime, the temperature
    $\alpha$, the scale $\rho$ of rewards, the $A$ numbers of an action and the $m \le n$ steps up to an end the losses
    are

    $$y = \rho \sum_{k<m} \gamma^k r_k + \gamma^m \left( \min_i Q'_i(s_m, a') - \alpha \ell(a') \right), \qquad
    L_Q = \sum_i \overline{(Q_i(s, a) - y)^2},$$

    $$L_\mu = \overline{\alpha \ell(\tilde a) - \min_i Q_i(s, \tilde a)}, \qquad
    L_\alpha = -\overline{\alpha (\ell(\tilde a) + \bar H)}, \qquad \bar H = -k A,$$

    with $a'$ and $\tilde a$ drawn by the actor, and without the value term where the episode terminated. Actor and
    critics each have methods and an optimizer, whose steps count the updates of that network. Their groups are
    `actor/Dense_0`, `critic_0/Dense_0`, and so on. A continual method acts on the actor alone; it may replace the
    actor's network, give critics further inputs, and ask for critics that begin anew with each task.

    Updates after a task, which a continual method asks for, have fresh optimizers, temperature and targets, and no
    further steps. As in the program of Sun and Mu the temperature learns at the actor's rate there, and targets move
    only in updates in which the actor learns, too.

    A task of the environment restarts replay, optimizers, temperature, targets, and the schedule of random steps and
    updates; actor, critics and the states of the methods stay. `on_new_task=keep` keeps all of it; where critics begin
    anew, optimizers, temperature and targets do, too.

    Diagnostics are measured on a batch from the replay. Before the first update losses and values are recorded as 0.

    Args:
        config: the settings; numbers may be traced.
        environment: its observations, actions and tasks; actions are clipped to their bound.
        methods_for: makes the plasticity methods, of the actor and of the critics.
        continual_for: makes the continual method of the actor.

    Raises:
        ValueError: if actions are discrete, the environment has its own network, or the buffer is too small.

    Differs from the authors' code: rows that only mark a truncation occupy the buffer; when sampled they have weight 0,
    which makes that batch smaller. The program of Sun and Mu departs from the equations in four places, each of which
    is a setting here: `tanh_correction=half`, `entropy_target=batch_mean`, `actor_states=both` and
    `truncation=terminal`. Its temperature is a float64 number.

    References:
        Haarnoja et al., `Soft actor-critic algorithms and applications <https://arxiv.org/abs/1812.05905>`_, 2018.
        Sun and Mu, Rewiring neurons in non-stationary environments, NeurIPS 2023.
    """
    A, bound = off_policy.continuous_actions(environment, "SAC")
    numbers = environment.spec.observation.size  # of an observation
    schedule = off_policy.schedule_of(config, environment, restarts=config.on_new_task == "restart")
    how = config.activation, config.negative_slope
    of_actor = numbers, A, (config.hidden_units,) * config.actor_layers, *how
    plain = normal_actor(*of_actor)
    continual = continual_for(
        initialize=plain.init,
        apply=plain.apply,
        likelihood=gaussian,
        inputs=jax.ShapeDtypeStruct((numbers,), jnp.float32),
        layers=normal_actor_layers(*of_actor),
    )
    actor = continual.network or without_context(plain.init, plain.apply)
    seen = numbers + A + actor.seen  # by critics
    critics = critic_ensemble(
        seen, (config.hidden_units,) * config.critic_layers, config.critics, config.layer_norm, *how
    )
    replay = off_policy.replay_for(
        config, environment, schedule.horizon, jax.ShapeDtypeStruct((actor.seen,), jnp.float32) if actor.seen else ()
    )
    calendar = Calendar(environment.tasks)

    def methods_for_actor(wiring: Wiring, network: Network | None, updates: int) -> tuple[Method, ...]:
        try:
            methods = methods_for(wiring, network or plain, updates)
        except ValueError as error:  # a method may look for units itself
            if continual.network is None:
                raise
            raise ValueError(f"{NO_UNITS}; the method says: {error}") from error
        return beside(continual, methods, has_replay=True)

    wiring, tx, begin = actor_and_critics.learners(
        config,
        Both(None if continual.network else plain, critics),
        Both(numbers, seen),
        Both(methods_for_actor, methods_for),
        sum(schedule.updates_in_segments),
        Both(config.learning_rate, config.critic_learning_rate),
    )
    temperature_tx = optax.adam(config.temperature_learning_rate, config.b1, config.b2, config.eps)
    losses = soft_losses.Losses(config, actor, critics, wiring, -config.target_multiplier * A, bound)
    of_networks = Both(functools.partial(delayed, config), lambda updates: updates)

    def fresh(params: Both, optimizer: Both) -> tuple[Params, Both, Temperature]:
        """Targets, states of the optimizers, and a temperature that begin with these parameters."""

        def restarted(tx: Plastic, params: Params, state: Any) -> Any:
            return state._replace(optimizer=tx.init(params).optimizer)

        log_alpha = jnp.log(jnp.float32(config.initial_temperature))
        temperature = Temperature(log_alpha, temperature_tx.init(log_alpha))
        return params.critics, Both(*map(restarted, tx, params, optimizer)), temperature

    def begun(params: Both, optimizer: Both, task: Array | int) -> tuple[Both, Both]:
        """The parameters and the states of the optimizers after what the methods do before a task."""
        calls = -(-jnp.asarray(calendar.starts)[task] // schedule.steps)

        def of_one(tx: Plastic, params: Params, state: Any, of_network: Any) -> tuple[Params, Any]:
            clock = schedule.clock(calendar, calls, of_network=of_network)
            return (params, state) if tx.begin_task is None else tx.begin_task(params, state, clock)

        after = map(of_one, tx, params, optimizer, of_networks)
        after, optimizer = (Both(*each) for each in zip(*after))
        return after, optimizer

    def init(key: Key) -> State:
        actor_key, critics_key, methods_key, key = jax.random.split(key, 4)
        params, optimizer = begin(Both(actor.init(actor_key), critics.init(critics_key)), methods_key)
        params, optimizer = begun(params, optimizer, 0)
        target, optimizer, temperature = fresh(params, optimizer)
        learned = Learned(params, target, optimizer, temperature, continual.init(params.actor), key)
        return State(learned, jnp.int32(0), replay.init())

    def acting_params(state: State) -> ActingParams:
        return ActingParams(state.learned.params, actor.training_route(state.learned.continual), state.steps)

    def act(
        acting_params: ActingParams, carry: Any, observation: Array, is_first: Array, key: Key, *, greedy: bool = False
    ):
        params, route, steps = acting_params
        route_key, noise_key, random_key = jax.random.split(key, 3)
        carry, outputs, seen = actor.act(
            params.actor, route, carry, flat(observation), is_first=is_first, key=route_key, greedy=greedy
        )
        policy, extras = SquashedNormal(*outputs), Extras(is_first, seen if actor.seen else ())
        if greedy:
            return carry, bound * policy.mode(), extras
        action, _ = policy.sample(jax.random.normal(noise_key, policy.mean.shape))
        return carry, off_policy.explore(random_key, steps < config.random_steps, bound * action, bound), extras

    states = config.batch_size * (2 if config.actor_states == "both" else 1)  # that the actor learns from

    def noise_of(key: Key, *updates: int) -> Noise:
        """The noise of some updates, on a leading axis, or of one."""
        target_key, actor_key = jax.random.split(key)
        return Noise(
            jax.random.normal(target_key, (*updates, config.batch_size, A)),
            jax.random.normal(actor_key, (*updates, states, A)),
        )

    def drawn(key: Key, stored: Stored, updates: int) -> tuple[Sample, Noise, Contexts]:
        """The batches and the noise of some updates, and the keys for the contexts of each."""
        noise_key, sample_key, context_key = jax.random.split(key, 3)
        # All draws at once: a replay that enters a branch or a loop might be copied there.
        samples = jax.vmap(lambda key: replay.sample(stored, key, config.batch_size, config.discount, config.n_step))(
            jax.random.split(sample_key, updates)
        )
        keys = jax.vmap(jax.random.split)(jax.random.split(context_key, updates))
        return samples, noise_of(noise_key, updates), Contexts(keys[:, 0], keys[:, 1])

    def learn(state: State, transitions: Transitions, calls: Array) -> tuple[State, Metrics]:
        learned = state.learned
        extras = transitions.extras
        stored = off_policy.store(config, replay, state.replay, transitions, extras.is_first, extras.seen)
        key, updates_key = jax.random.split(learned.key)
        clock = functools.partial(schedule.clock, calendar, calls)
        update = update_of(config, losses, tx, temperature_tx, clock, continual, config.target_delay)
        given = drawn(updates_key, stored, schedule.updates)
        learned, metrics = off_policy.make_updates(schedule, update, learned._replace(key=key), given, calls)
        return State(learned, (schedule.call(calls) + 1) * schedule.steps, stored), metrics

    def end_training(state: State, clock: Clock) -> State:
        state, key = keyed(state)
        return changed(state, continual.end_training, clock=clock, key=key)

    def end_task(state: State, clock: Clock) -> State:
        if not continual.finetune:
            state = end_training(state, clock)
        state, key = keyed(state)
        sample_key, method_key = jax.random.split(key)
        inputs = flat(replay.sample(state.replay, sample_key, continual.samples, config.discount).observation)
        return changed(state, continual.end_task, inputs=inputs, clock=clock, key=method_key)

    def begin_finetuning(state: State, clock: Clock) -> State:
        state = end_training(state, clock)
        now = state.learned
        target, optimizer, temperature = fresh(now.params, now.optimizer)
        return state._replace(learned=now._replace(target=target, optimizer=optimizer, temperature=temperature))

    at_once = max(n for n in range(1, _UPDATES_AT_ONCE + 1) if continual.finetune % n == 0)

    def finetune(state: State, first: Array, clock: Clock) -> State:
        def of_update(number: Array, of_network: Callable[[Any], Any] = lambda n: n) -> Clock:
            return clock._replace(update=of_network(number), task_update=of_network(number))

        state, key = keyed(state)
        actor_tx = optax.adam(config.learning_rate, config.b1, config.b2, config.eps)
        delay = lcm(config.policy_delay, config.target_delay)
        update = update_of(config, losses, tx, actor_tx, of_update, continual, delay)
        given = drawn(key, state.replay, at_once), first + jnp.arange(at_once)
        learned, _ = jax.lax.scan(lambda now, each: update(now, *each), state.learned, given)
        return state._replace(learned=learned)

    def begin_task(state: State, clock: Clock) -> State:
        if config.on_new_task == "restart":
            state = state._replace(steps=jnp.int32(0), replay=replay.emptied(state.replay))
        state, key = keyed(state)
        method_key, critics_key = jax.random.split(key)
        state = changed(state, continual.begin_task, clock=clock, key=method_key)
        now = state.learned
        params, optimizer, target, temperature = now.params, now.optimizer, now.target, now.temperature
        restarts = config.on_new_task == "restart" or continual.fresh_critics
        if continual.fresh_critics:
            params = params._replace(critics=tx.critics.mask(critics.init(critics_key), optimizer.critics))
        if restarts:
            _, optimizer, temperature = fresh(params, optimizer)
        params, optimizer = begun(params, optimizer, clock.task)
        params = params._replace(actor=continual.kept(params.actor, now.continual, now.params.actor))
        target = params.critics if restarts else target
        return state._replace(learned=Learned(params, target, optimizer, temperature, now.continual, now.key))

    def acting_params_for(state: State, task: Array) -> ActingParams:
        params, kept = state.learned.params, state.learned.continual
        params = params._replace(actor=continual.view(params.actor, kept, task))
        return ActingParams(params, actor.route(kept, task), state.steps)

    def memory(state: State, tasks: Array) -> Memory:
        return continual.memory(state.learned.params.actor, state.learned.continual, tasks)

    def replayed(state: State) -> Replayed:
        def sample(key: Key, count: int) -> tuple[Array, Array]:
            drawn = replay.sample(state.replay, key, count, config.discount)
            return flat(drawn.observation), drawn.action

        def value(inputs: Array, actions: Array, seen: Array) -> Array:
            x = soft_losses.joined(inputs, actions, losses.seen(seen))
            return critics.apply(state.learned.params.critics, x)[:, 0]

        return Replayed(sample, value)

    def signals(previous: ActingParams, state: State, transitions: Transitions) -> dict[str, Any]:
        del transitions  # diagnostics take a batch of the replay
        now = state.learned
        sample_key, noise_key, context_key = jax.random.split(jax.random.fold_in(now.key, 0), 3)
        sample = replay.sample(state.replay, sample_key, config.batch_size, config.discount)
        noise, alpha = noise_of(noise_key), jnp.exp(now.temperature.log)
        target_key, actor_key = jax.random.split(context_key)
        of_target = actor.draw(now.continual, config.batch_size, target_key)
        of_actor = actor.draw(now.continual, states, actor_key)
        y, _ = losses.targets(now.params.actor, now.target, alpha, sample, noise.target, of_target)
        mu, Q = previous.params
        Q_grads, (Q_features, _) = jax.grad(losses.of_critics, has_aux=True)(Q, sample, y)
        mu_grads, (mu_features, *_) = jax.grad(losses.of_actor, has_aux=True)(
            mu, Q, alpha, sample, noise.actor, of_actor
        )
        return actor_and_critics.signals(
            previous.params, now.params, Both(mu_features, Q_features), Both(mu_grads, Q_grads), now.optimizer
        )

    agent = Agent(
        schedule.horizon, init, acting_params, actor.initial_carry, act, learn, signals, begin_task=begin_task
    )
    if continual_for is no_continual:
        return agent
    return agent._replace(
        end_task=end_task,
        acting_params_for=acting_params_for if continual.per_task else None,
        memory=memory,
        trials=None if continual.trial is None else trials_of(continual.trial, replayed),
        finetuning=Finetuning(continual.finetune, at_once, begin_finetuning, finetune) if continual.finetune else None,
    )
