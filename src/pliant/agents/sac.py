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
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from pliant.core.agent import Agent, MethodsFor, Transitions
from pliant.core.base import Activation, Array, Features, Key, Method, Params
from pliant.core.clock import Calendar, Clock
from pliant.core.continual import ContinualFor, memory_of, no_continual
from pliant.core.likelihood import gaussian
from pliant.core.plastic import Plastic
from pliant.core.problem import Environment, HostEnvironment, Network
from pliant.core.settings import AtLeast, Between
from pliant.core.units import Wiring
from pliant.networks import critic_ensemble, normal_actor

from . import _actor_and_critics as actor_and_critics
from . import _off_policy as off_policy
from . import _soft_losses as soft_losses
from ._actor_and_critics import Both
from ._off_policy import flat, weighted_mean
from ._replay import Sample, Stored
from ._soft_losses import Noise
from ._squashed_normal import SquashedNormal

LEARNS_FROM = "environment"

Metrics: TypeAlias = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Config(soft_losses.Config, actor_and_critics.Config):
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
    policy_delay: Annotated[int, AtLeast(1)] = 1
    """Updates of the critics per update of actor and temperature."""
    target_delay: Annotated[int, AtLeast(1)] = 1
    """Updates of the critics per step of the targets."""
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


class ActingParams(NamedTuple):
    params: Both
    steps: Array  # () of the member in this task so far


class Temperature(NamedTuple):
    log: Array  # ()
    optimizer: Any


class Learned(NamedTuple):
    """The part of the state that updates change."""

    params: Both
    target: Params  # of the critics
    optimizer: Both  # PlasticStates: the optimizers' and the methods'
    temperature: Temperature
    key: Key


class State(NamedTuple):
    learned: Learned
    continual: Any  # the continual method's
    steps: Array  # () of the member in this task so far
    replay: Stored


class Extras(NamedTuple):
    """What `act` records of an action for `learn`; leading axes there: `(horizon, num_envs)`."""

    is_first: Array  # bool: the first observation of an episode


def update_of(
    config: Config,
    losses: soft_losses.Losses,
    tx: Both,
    temperature_tx: optax.GradientTransformation,
    clock: Callable[..., Clock],
    penalty: Callable[[Params, Clock], Array | float],
) -> Callable[[Learned, tuple[Sample, Noise], Array], tuple[Learned, Metrics]]:
    """Makes the function of one update, `(learned, (sample, noise), number) -> (learned, metrics)`, numbers from 1.

    Args:
        config: the settings.
        losses: of a batch.
        tx: the `Plastic`s of actor and critics.
        temperature_tx: the optimizer of the temperature.
        clock: `(number, of_network) -> Clock`, see `Schedule.clock`.
        penalty: `(actor's params, clock) -> ()`, added to the actor's loss.
    """

    def update(now: Learned, batch: tuple[Sample, Noise], number: Array) -> tuple[Learned, Metrics]:
        sample, noise = batch
        alpha = jnp.exp(now.temperature.log)
        y, log_p = losses.targets(now.params.actor, now.target, alpha, sample, noise.target)
        (loss, (features, value)), grads = jax.value_and_grad(losses.of_critics, has_aux=True)(
            now.params.critics, sample, y
        )
        Q, Q_state = tx.critics.step(
            grads, now.optimizer.critics, now.params.critics, clock=clock(number), features=features
        )

        def improve() -> tuple[Params, Any, Temperature]:
            of_actor = clock(number, functools.partial(delayed, config))

            def actor_loss(params: Params) -> tuple[Array, tuple[Features, Array]]:
                loss, aux = losses.of_actor(params, Q, alpha, sample, noise.actor)
                return loss + penalty(params, of_actor), aux

            grads, (features, log_p) = jax.grad(actor_loss, has_aux=True)(now.params.actor)
            mu, mu_state = tx.actor.step(
                grads, now.optimizer.actor, now.params.actor, clock=of_actor, features=features
            )
            grad = jax.grad(losses.of_temperature)(now.temperature.log, sample, log_p)
            change, optimizer = temperature_tx.update(grad, now.temperature.optimizer)
            return mu, mu_state, Temperature(now.temperature.log + change, optimizer)

        mu, mu_state, temperature = every(
            config.policy_delay, number, improve, lambda: (now.params.actor, now.optimizer.actor, now.temperature)
        )
        target = every(
            config.target_delay,
            number,
            lambda: tx.critics.mask(optax.incremental_update(Q, now.target, config.tau), Q_state),
            lambda: now.target,
        )
        metrics = {
            "critic_loss": loss,
            "value": value,
            "entropy": -weighted_mean(log_p, sample.weight),
            "temperature": alpha,
        }
        return Learned(Both(mu, Q), target, Both(mu_state, Q_state), temperature, now.key), metrics

    return update


def every(delay: Any, number: Array, act: Callable[[], Any], wait: Callable[[], Any]) -> Any:
    """Acts in updates 1, 1 + delay, 1 + 2 delay, ... of a segment, and waits in the others."""
    if isinstance(delay, int) and delay == 1:
        return act()
    return jax.lax.cond((number - 1) % delay == 0, act, wait)


def delayed(config: Config, updates: Any) -> Any:
    """How many of the first updates of a segment are updates of the actor."""
    return -(-updates // config.policy_delay)


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
    `actor/Dense_0`, `critic_0/Dense_0`, and so on. A continual method acts on the actor alone.

    A task of the environment restarts replay, optimizers, temperature, targets, and the schedule of random steps and
    updates; actor, critics and the states of the methods stay. `on_new_task=keep` keeps all of it.

    Diagnostics are measured on a batch from the replay. Before the first update losses and values are recorded as 0.

    Args:
        config: the settings; numbers may be traced.
        environment: its observations, actions and tasks; actions are clipped to their bound.
        methods_for: makes the plasticity methods, of the actor and of the critics.
        continual_for: makes the continual method of the actor.

    Raises:
        ValueError: if actions are discrete, the environment has its own network, or the buffer is too small.

    Differs from the authors' code: rows that only mark a truncation occupy the buffer; when sampled they have weight 0,
    which makes that batch smaller. The published program of Rewire departs from the equations in four places, each of
    which is a setting here: `tanh_correction=half`, `entropy_target=batch_mean`, `actor_states=both` and
    `truncation=terminal`. Its temperature is a float64 number.

    References:
        Haarnoja et al., `Soft actor-critic algorithms and applications <https://arxiv.org/abs/1812.05905>`_, 2018.
        Sun and Mu, Rewiring neurons in non-stationary environments, NeurIPS 2023.
    """
    A, bound = off_policy.continuous_actions(environment, "SAC")
    numbers = environment.spec.observation.size  # of an observation
    schedule = off_policy.schedule_of(config, environment, restarts=config.on_new_task == "restart")
    replay = off_policy.replay_for(config, environment, schedule.horizon)
    how = config.activation, config.negative_slope
    actor = normal_actor(numbers, A, (config.hidden_units,) * config.actor_layers, *how)
    critics = critic_ensemble(
        numbers + A, (config.hidden_units,) * config.critic_layers, config.critics, config.layer_norm, *how
    )
    calendar = Calendar(environment.tasks)
    continual = continual_for(
        initialize=actor.init,
        apply=actor.apply,
        likelihood=gaussian,
        inputs=jax.ShapeDtypeStruct((numbers,), jnp.float32),
    )

    def methods_for_actor(wiring: Wiring, network: Network, updates: int) -> tuple[Method, ...]:
        return *methods_for(wiring, network, updates), continual.method

    wiring, tx, begin = actor_and_critics.learners(
        config,
        Both(actor, critics),
        Both(numbers, numbers + A),
        Both(methods_for_actor, methods_for),
        sum(schedule.updates_in_segments),
        Both(config.learning_rate, config.critic_learning_rate),
    )
    temperature_tx = optax.adam(config.temperature_learning_rate, config.b1, config.b2, config.eps)
    losses = soft_losses.Losses(config, Both(actor, critics), wiring, -config.target_multiplier * A, bound)
    of_networks = Both(functools.partial(delayed, config), lambda updates: updates)

    def temperature() -> Temperature:
        log_alpha = jnp.log(jnp.float32(config.initial_temperature))
        return Temperature(log_alpha, temperature_tx.init(log_alpha))

    def begun(params: Both, optimizer: Both, task: Array | int) -> tuple[Both, Both]:
        """The parameters and the states of the optimizers after what the methods do before a task."""
        calls = -(-jnp.asarray(calendar.starts)[task] // schedule.steps)

        def of_one(tx: Plastic, params: Params, state: Any, of_network: Any) -> tuple[Params, Any]:
            clock = schedule.clock(calendar, calls, of_network=of_network)
            return (params, state) if tx.begin_task is None else tx.begin_task(params, state, clock)

        after = map(of_one, tx, params, optimizer, of_networks)
        return tuple(Both(*each) for each in zip(*after))

    def init(key: Key) -> State:
        actor_key, critics_key, methods_key, key = jax.random.split(key, 4)
        params, optimizer = begin(Both(actor.init(actor_key), critics.init(critics_key)), methods_key)
        params, optimizer = begun(params, optimizer, 0)
        learned = Learned(params, params.critics, optimizer, temperature(), key)
        return State(learned, continual.init(params.actor), jnp.int32(0), replay.init())

    def acting_params(state: State) -> ActingParams:
        return ActingParams(state.learned.params, state.steps)

    def act(
        acting_params: ActingParams, carry: Any, observation: Array, is_first: Array, key: Key, *, greedy: bool = False
    ):
        policy = SquashedNormal(*actor.apply(acting_params.params.actor, flat(observation)))
        if greedy:
            return carry, bound * policy.mode(), Extras(is_first)
        noise_key, random_key = jax.random.split(key)
        action, _ = policy.sample(jax.random.normal(noise_key, policy.mean.shape))
        explores = acting_params.steps < config.random_steps
        return carry, off_policy.explore(random_key, explores, bound * action, bound), Extras(is_first)

    def noise_of(key: Key, *updates: int) -> Noise:
        """The noise of some updates, on a leading axis, or of one."""
        target_key, actor_key = jax.random.split(key)
        shape, states = (config.batch_size, A), config.batch_size * (2 if config.actor_states == "both" else 1)
        return Noise(
            jax.random.normal(target_key, (*updates, *shape)), jax.random.normal(actor_key, (*updates, states, A))
        )

    def learn(state: State, transitions: Transitions, calls: Array) -> tuple[State, Metrics]:
        learned = state.learned
        stored = off_policy.store(config, replay, state.replay, transitions, transitions.extras.is_first)
        key, noise_key, sample_key = jax.random.split(learned.key, 3)
        # All draws at once: a replay that enters a branch or a loop might be copied there.
        samples = jax.vmap(lambda key: replay.sample(stored, key, config.batch_size, config.discount, config.n_step))(
            jax.random.split(sample_key, schedule.updates)
        )
        update = update_of(
            config,
            losses,
            tx,
            temperature_tx,
            functools.partial(schedule.clock, calendar, calls),
            lambda params, clock: continual.penalty(params, state.continual, clock),
        )
        drawn = samples, noise_of(noise_key, schedule.updates)
        learned, metrics = off_policy.make_updates(schedule, update, learned._replace(key=key), drawn, calls)
        steps = (schedule.call(calls) + 1) * schedule.steps
        return State(learned, state.continual, steps, stored), metrics

    def end_task(state: State, clock: Clock) -> State:
        key, sample_key, method_key = jax.random.split(state.learned.key, 3)
        inputs = flat(replay.sample(state.replay, sample_key, continual.samples, config.discount).observation)
        mu, kept = continual.end_task(
            state.learned.params.actor, state.continual, inputs=inputs, clock=clock, key=method_key
        )
        learned = state.learned._replace(params=state.learned.params._replace(actor=mu), key=key)
        return state._replace(learned=learned, continual=kept)

    def begin_task(state: State, clock: Clock) -> State:
        now = state.learned
        if config.on_new_task == "keep":
            params, optimizer = begun(now.params, now.optimizer, clock.task)
            return state._replace(learned=now._replace(params=params, optimizer=optimizer))

        def restarted(tx: Plastic, params: Params, state: Any) -> Any:
            return state._replace(optimizer=tx.init(params).optimizer)

        params, optimizer = begun(now.params, Both(*map(restarted, tx, now.params, now.optimizer)), clock.task)
        learned = Learned(params, params.critics, optimizer, temperature(), now.key)
        return State(learned, state.continual, jnp.int32(0), replay.emptied(state.replay))

    def acting_params_for(state: State, task: Array) -> ActingParams:
        params = state.learned.params
        return ActingParams(params._replace(actor=continual.view(params.actor, state.continual, task)), state.steps)

    def signals(previous: ActingParams, state: State, transitions: Transitions) -> dict[str, Any]:
        del transitions  # diagnostics take a batch of the replay
        now = state.learned
        sample_key, noise_key = jax.random.split(jax.random.fold_in(now.key, 0))
        sample = replay.sample(state.replay, sample_key, config.batch_size, config.discount)
        noise, alpha = noise_of(noise_key), jnp.exp(now.temperature.log)
        y, _ = losses.targets(now.params.actor, now.target, alpha, sample, noise.target)
        mu, Q = previous.params
        Q_grads, (Q_features, _) = jax.grad(losses.of_critics, has_aux=True)(Q, sample, y)
        mu_grads, (mu_features, _) = jax.grad(losses.of_actor, has_aux=True)(mu, Q, alpha, sample, noise.actor)
        return actor_and_critics.signals(
            previous.params, now.params, Both(mu_features, Q_features), Both(mu_grads, Q_grads), now.optimizer
        )

    agent = Agent(
        schedule.horizon, init, acting_params, lambda num_envs: (), act, learn, signals, begin_task=begin_task
    )
    if continual_for is no_continual:
        return agent
    return agent._replace(
        end_task=end_task,
        acting_params_for=acting_params_for if continual.per_task else None,
        memory=functools.partial(memory_of, continual, jax.eval_shape(actor.init, jax.random.key(0))),
    )
