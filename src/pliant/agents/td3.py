"""Twin delayed deep deterministic policy gradient (TD3): a deterministic actor, twin critics, and a replay.

for each step of the environments:
    action <- random at first, later the actor's with noise
    replay <- the step
    for each update:
        y       <- reward + discounted smaller value of a noisy action of the target actor
        critics <- their methods and optimizer (gradients of (Q - y)², features)
        every `policy_delay` updates:
            actor   <- its methods and optimizer (gradients of -Q of its actions, features)
            targets <- a small step towards actor and critics, with their masks
"""

import dataclasses
import functools
from typing import Annotated, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from pliant.core.agent import Agent, MethodsFor, Transitions
from pliant.core.base import Array, Features, Key, Params
from pliant.core.clock import Calendar
from pliant.core.problem import Environment, HostEnvironment
from pliant.core.settings import AtLeast
from pliant.diagnostics import active_fraction
from pliant.networks import critic_ensemble, deterministic_actor

from . import _actor_and_critics as actor_and_critics
from . import _experience_review as review
from . import _off_policy as off_policy
from ._actor_and_critics import Both
from ._off_policy import flat, td_targets, weighted_mean
from ._replay import Sample, Stored

LEARNS_FROM = "environment"

Metrics: TypeAlias = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Config(review.Config, actor_and_critics.Config):
    """Settings of TD3; the defaults are those of Liu et al. (2025), without their switches."""

    exploration_noise: Annotated[float, AtLeast(0)] = 0.1
    """Standard deviation of the noise on actions, relative to their largest magnitude."""
    target_noise: Annotated[float, AtLeast(0)] = 0.2
    """Standard deviation of the noise on the target actor's actions, relative to their largest magnitude."""
    target_noise_clip: Annotated[float, AtLeast(0)] = 0.5
    """Largest magnitude of the noise on the target actor's actions, relative to the largest magnitude of actions."""
    policy_delay: Annotated[int, AtLeast(1)] = 2
    """Updates of the critics per update of actor and targets, which are updated with the last of them."""


class ActingParams(NamedTuple):
    params: Both
    elastic: Params  # running average of the actor; empty if it never acts
    steps: Array  # () of the member so far


class Learned(NamedTuple):
    """The part of the state that updates change."""

    params: Both
    target: Both
    elastic: Params  # as in `ActingParams`
    optimizer: Both  # PlasticStates: the optimizers' and the methods'
    key: Key


class State(NamedTuple):
    learned: Learned
    steps: Array  # () of the member so far
    distance: Array  # () between the oldest stored actions and the actor's, at the last check of the capacity
    replay: Stored


class Extras(NamedTuple):
    """What `act` records of an action for `learn`; leading axes there: `(horizon, num_envs)`."""

    is_first: Array  # bool: the first observation of an episode
    mean_action: Any  # the action without noise; () unless the replay's capacity is dynamic


def make(config: Config, environment: Environment | HostEnvironment, methods_for: MethodsFor) -> Agent:
    r"""Makes the agent for one member of a population.

    With targets marked by a prime, the clipped noise $\epsilon$ and the $m \le n$ steps up to an end the losses are

    $$y = \sum_{k<m} \gamma^k r_k + \gamma^m \min_i Q'_i(s_m, \mu'(s_m) + \epsilon), \qquad
    L_Q = \sum_i \overline{(Q_i(s, a) - y)^2}, \qquad L_\mu = -\overline{Q_0(s, \mu(s))},$$

    without the value term where the episode terminated. Actor and critics each have methods and an optimizer, whose
    steps count the updates of that network. Their groups are `actor/Dense_0`, `critic_0/Dense_0`, and so on.

    Diagnostics are measured on a batch from the replay. Before the first update losses and values are recorded as 0.

    Args:
        config: the settings; numbers may be traced.
        environment: its observations and actions; actions are clipped to their bound.
        methods_for: makes the plasticity methods, of the actor and of the critics.

    Raises:
        ValueError: if actions are discrete, the environment has its own network, or the buffer is too small.

    Differs from the authors' code: rows that only mark a truncation occupy the buffer; when sampled they have weight 0,
    which makes that batch smaller. `_experience_review` lists the differences of its switches.

    References:
        Fujimoto et al., `Addressing function approximation error in actor-critic methods
        <https://arxiv.org/abs/1802.09477>`_, ICML 2018. `Liu et al. <https://arxiv.org/abs/2410.07994>`_, ICLR 2025.
    """
    size, bound = off_policy.continuous_actions(environment, "TD3")
    numbers = environment.spec.observation.size  # of an observation
    schedule = off_policy.schedule_of(config, environment)
    replay = off_policy.replay_for(config, environment, schedule.horizon, review.kept(config, size))
    actor = deterministic_actor(numbers, size, (config.hidden_units,) * config.actor_layers, bound)
    critics = critic_ensemble(numbers + size, (config.hidden_units,) * config.critic_layers, 2, config.layer_norm)
    calendar = Calendar(environment.tasks)
    wiring, tx, begin = actor_and_critics.learners(
        config, Both(actor, critics), Both(numbers, numbers + size), Both(methods_for, methods_for),
        sum(schedule.updates_in_segments), Both(config.learning_rate, config.learning_rate),
    )  # fmt: skip
    activity = active_fraction(wiring.critics)

    def init(key: Key) -> State:
        actor_key, critics_key, methods_key, key = jax.random.split(key, 4)
        whole = Both(actor.init(actor_key), critics.init(critics_key))
        params, optimizer = begin(whole, methods_key)
        learned = Learned(params, whole, review.elastic_copy(config, params.actor), optimizer, key)
        return State(learned, jnp.int32(0), jnp.float32(0), replay.init())

    def acting_params(state: State) -> ActingParams:
        return ActingParams(state.learned.params, state.learned.elastic, state.steps)

    def action_of(params: Params, s: Array) -> Array:
        return actor.apply(params, flat(s))

    def joined(s: Array, a: Array) -> Array:
        return jnp.concatenate([flat(s), a], axis=1)

    def act(
        acting_params: ActingParams, carry: Any, observation: Array, is_first: Array, key: Key, *, greedy: bool = False
    ):
        elastic = greedy and config.evaluate_with == "elastic"
        mean_action = action_of(acting_params.elastic if elastic else acting_params.params.actor, observation)
        extras = Extras(is_first, mean_action if config.dynamic_capacity else ())
        if greedy:
            return carry, mean_action, extras
        noise_key, random_key = jax.random.split(key)
        noise = config.exploration_noise * bound * jax.random.normal(noise_key, mean_action.shape)
        action = jnp.clip(mean_action + noise, -bound, bound)
        return (
            carry,
            off_policy.explore(random_key, acting_params.steps < config.learning_starts, action, bound),
            extras,
        )

    def targets(target: Both, sample: Sample, key: Key) -> Array:
        a = action_of(target.actor, sample.next_observation)
        noise = config.target_noise * bound * jax.random.normal(key, a.shape)
        noise = jnp.clip(noise, -config.target_noise_clip * bound, config.target_noise_clip * bound)
        a = jnp.clip(a + noise, -bound, bound)
        Q = critics.apply(target.critics, joined(sample.next_observation, a))
        return td_targets(sample.reward, sample.discount, Q.min(1))

    def critics_loss(params: Params, sample: Sample, y: Array) -> tuple[Array, tuple[Features, Array]]:
        Q, features = wiring.critics.apply(params, joined(sample.observation, sample.action))
        loss = weighted_mean(((Q - y[:, None]) ** 2).sum(1), sample.weight)
        return loss, (features, weighted_mean(Q[:, 0], sample.weight))

    def actor_loss(params: Params, critics_params: Params, sample: Sample) -> tuple[Array, Features]:
        a, features = wiring.actor.apply(params, flat(sample.observation))
        Q = critics.apply(critics_params, joined(sample.observation, a))
        return -weighted_mean(Q[:, 0], sample.weight), features

    def active(params: Params, sample: Sample) -> Array:
        _, features = wiring.critics.apply(params, joined(sample.observation, sample.action))
        return activity(features=features)[""]

    def update(now: Learned, drawn: review.Drawn, number: Array, calls: Array) -> tuple[Learned, Metrics]:
        key, recall_key, noise_key = jax.random.split(now.key, 3)
        of_critics = schedule.clock(calendar, calls, number)
        Q, Q_state = tx.critics.before_update(now.params.critics, now.optimizer.critics, of_critics)
        sample, metrics = review.choose(config, drawn, functools.partial(active, Q), recall_key)
        y = targets(now.target, sample, noise_key)
        (loss, (features, value)), grads = jax.value_and_grad(critics_loss, has_aux=True)(Q, sample, y)
        Q, Q_state = tx.critics.step(grads, Q_state, Q, clock=of_critics, features=features)

        def delayed() -> tuple[Params, Any, Both, Params]:
            of_actor = schedule.clock(calendar, calls, number, lambda n: n // config.policy_delay)
            mu, mu_state = tx.actor.before_update(now.params.actor, now.optimizer.actor, of_actor)
            grads, features = jax.grad(actor_loss, has_aux=True)(mu, Q, sample)
            mu, mu_state = tx.actor.step(grads, mu_state, mu, clock=of_actor, features=features)
            target = optax.incremental_update(Both(mu, Q), now.target, config.tau)
            target = Both(tx.actor.mask(target.actor, mu_state), tx.critics.mask(target.critics, Q_state))
            return mu, mu_state, target, review.follow(config, now.elastic, mu)

        mu, mu_state, target, elastic = jax.lax.cond(
            number % config.policy_delay == 0,
            delayed,
            lambda: (now.params.actor, now.optimizer.actor, now.target, now.elastic),
        )
        after = Learned(Both(mu, Q), target, elastic, Both(mu_state, Q_state), key)
        return after, metrics | {"critic_loss": loss, "value": value}

    def learn(state: State, transitions: Transitions, calls: Array) -> tuple[State, Metrics]:
        before, learned = calls * schedule.steps, state.learned
        stored = off_policy.store(config, replay, state.replay, transitions, *transitions.extras)
        acts = functools.partial(action_of, learned.params.actor)
        stored, distance = review.forget(config, replay, stored, state.distance, before, schedule.steps, acts, bound)
        key, *keys = jax.random.split(learned.key, 1 + schedule.updates)
        # All draws at once: a replay that enters a branch or a loop might be copied there.
        draw = functools.partial(review.draw, config, replay, stored)
        drawn = jax.vmap(draw)(jnp.stack(keys), schedule.numbers(calls))
        learned, metrics = off_policy.make_updates(
            schedule, functools.partial(update, calls=calls), learned._replace(key=key), drawn, calls
        )
        metrics |= review.metrics(config, stored, distance, schedule.numbers(calls))
        return State(learned, before + schedule.steps, distance, stored), metrics

    def signals(previous: ActingParams, state: State, transitions: Transitions) -> dict[str, Any]:
        del transitions  # diagnostics take a batch of the replay
        sample_key, noise_key = jax.random.split(jax.random.fold_in(state.learned.key, 0))
        sample = replay.sample(state.replay, sample_key, config.batch_size, config.discount)
        y = targets(state.learned.target, sample, noise_key)
        previous_actor, previous_critics = previous.params
        Q_grads, (Q_features, _) = jax.grad(critics_loss, has_aux=True)(previous_critics, sample, y)
        mu_grads, mu_features = jax.grad(actor_loss, has_aux=True)(previous_actor, previous_critics, sample)
        features, grads = Both(mu_features, Q_features), Both(mu_grads, Q_grads)
        return actor_and_critics.signals(
            previous.params, state.learned.params, features, grads, state.learned.optimizer
        )

    return Agent(schedule.horizon, init, acting_params, lambda num_envs: (), act, learn, signals)
