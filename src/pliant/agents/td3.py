"""Twin delayed deep deterministic policy gradient (TD3): learn from a replay, again and again.

for each step of the environments:
    action <- at random at first, later the actor's, with noise
    replay <- what happened
    for each update:
        y               <- reward + discounted smaller value of a noisy action of the target actor
        loss, features  <- (critics - y)²                            (features for the plasticity methods)
        critics         <- methods and optimizer (gradients, features)
        every second time:
            loss, features <- - value of the actor's actions by the first critic
            actor          <- its own methods and optimizer (gradients, features)
            targets        <- move a little towards actor and critics, and have the weights that these have
"""

import dataclasses
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pliant.core.agent import Agent, MethodsFor, Transitions
from pliant.core.base import Array, Features, Key, Params, Plastic, plastic
from pliant.core.problem import Continuous, Environment, HostEnvironment, Network
from pliant.core.settings import AtLeast, Between, FromUpTo
from pliant.core.units import Wiring
from pliant.diagnostics import active_fraction
from pliant.networks import deterministic_actor, twin_critics
from pliant.surgery.adam import adam
from pliant.tracing.trace import trace

from ._replay import Replay, Sample, Steps, Stored

LEARNS_FROM = "environment"

_OLD = 0.3  # share of the replay that is recalled
_DROPPED = 0.1  # share of the replay that is dropped at once
_LOOKED_AT = 8  # batches of the oldest steps, by which is decided whether to drop them
_MOST_CERTAIN, _CERTAIN = 0.6, 0.4  # from where on the probability not to recall is this one


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of TD3; the defaults are those of Liu et al. (2025), without their switches."""

    learning_starts: Annotated[int, AtLeast(0)] = 25_000
    """Steps of a member with random actions, before anything is learned."""
    exploration_noise: Annotated[float, AtLeast(0)] = 0.1
    """Standard deviation of what is added to the actor's actions, as a share of their largest magnitude."""
    buffer_size: Annotated[int, AtLeast(1)] = 1_000_000
    """Steps that the replay keeps, of all environments of a member together."""
    batch_size: Annotated[int, AtLeast(1)] = 256
    """Steps that an update learns from."""
    update_to_data: Annotated[float, AtLeast(0.001)] = 1.0
    """Updates for each step of an environment; 0.25: one every fourth step."""
    learning_rate: Annotated[float, AtLeast(0)] = 3e-4
    """Step size of Adam, for actor and critics."""
    optimizer: Literal["adam", "per_weight_adam"] = "adam"
    """Adam, or Adam with a step count per weight, which restarts with the weight."""
    b1: Annotated[float, FromUpTo(0, 1)] = 0.9
    """Decay of Adam's first moment."""
    b2: Annotated[float, FromUpTo(0, 1)] = 0.999
    """Decay of Adam's second moment."""
    eps: Annotated[float, AtLeast(0)] = 1e-8
    """What Adam adds to the root of the second moment."""
    reset_moments: bool = True
    """Whether Adam forgets its moments of weights that a method made anew."""
    discount: Annotated[float, Between(0, 1)] = 0.99
    """Discount per step."""
    n_step: Annotated[int, AtLeast(1)] = 1
    """Steps whose rewards a target counts before it takes a value for the rest."""
    n_step_after: Annotated[int, AtLeast(0)] = 0
    """Updates from which on n_step holds; it is 1 before."""
    tau: Annotated[float, Between(0, 1)] = 0.005
    """How far the targets move towards actor and critics at a time."""
    target_noise: Annotated[float, AtLeast(0)] = 0.2
    """Standard deviation of what is added to the target actor's actions, as a share of their largest magnitude."""
    target_noise_clip: Annotated[float, AtLeast(0)] = 0.5
    """Largest magnitude of that noise, likewise."""
    policy_delay: Annotated[int, AtLeast(1)] = 2
    """Updates of the critics from one update of actor and targets to the next."""
    truncation: Literal["bootstrap", "terminal"] = "bootstrap"
    """Whether the value of the observation at a time limit counts, or nothing comes after it."""
    hidden_units: Annotated[int, AtLeast(1)] = 256
    """Units of each hidden layer, of actor and critics."""
    actor_layers: Annotated[int, AtLeast(1)] = 2
    """Hidden layers of the actor."""
    critic_layers: Annotated[int, AtLeast(1)] = 3
    """Hidden layers of each critic; 2 in the original TD3."""
    layer_norm: bool = True
    """Whether the last hidden layer of the critics is normalized before its rectifier; false in the original TD3."""
    evaluate_with: Literal["online", "elastic"] = "online"
    """Who acts greedily: the actor, or its running average (elastic)."""
    elastic_rate: Annotated[float, Between(0, 1)] = 0.005
    """How far the running average moves towards the actor, whenever the actor is updated."""
    recall: bool = False
    """Whether to learn now and then from the oldest 30 % of the replay, if few of the critics' units are active."""
    awaken: Annotated[float, Between(0, 1)] = 0.4
    """Fraction of active units below which that may happen; below 0.9 of it auto_batch acts."""
    recall_slope: Annotated[float, AtLeast(0)] = 0.9
    """T of the probability 1 - 1 / (1 + T exp(awaken - fraction)) to recall."""
    auto_batch: bool = False
    """Whether batches are half as large while few of the critics' units are active; always so in the published code."""
    dynamic_capacity: bool = False
    """Whether the oldest tenth of the replay is dropped where the actor would act otherwise by now."""
    capacity_period: Annotated[int, AtLeast(1)] = 10_000
    """Steps of a member from one such check to the next."""
    capacity_threshold: Annotated[float, AtLeast(0)] = 0.2
    """Half the mean squared distance of actions, in shares of the largest magnitude, from which on it is dropped."""
    least_capacity: Annotated[int, AtLeast(0)] = 100_000
    """Steps in the replay up to which nothing is dropped."""


class Policy(NamedTuple):
    """What acting needs, and what diagnostics want to know of before."""

    params: Params  # {"actor", "critic_0", "critic_1"}
    elastic: Params  # {"actor"}: its running average; empty if it is not asked for
    steps: Array  # () of the member so far


class State(NamedTuple):
    params: Params  # {"actor", "critic_0", "critic_1"}
    target: Params  # likewise
    elastic: Params  # as in `Policy`
    optimizer: dict[str, Any]  # {"actor", "critics"}: PlasticStates, the optimizers' and the methods'
    key: Key
    steps: Array  # () of the member so far
    distance: Array  # () of the oldest actions from what the actor would do, when that was last looked at
    replay: Stored


class Drawn(NamedTuple):
    """What is drawn from the replay for an update."""

    sample: Sample
    old: Sample | None  # of its oldest part, if there is recall
    probe: Sample | None  # by which activity is measured, if that is needed


class Extras(NamedTuple):
    """What acting tells learning; leading axes `(horizon, num_envs)` there."""

    is_first: Array  # bool: the first observation of an episode
    mean_action: Array  # the action without noise; of no numbers unless the replay's capacity is dynamic


def make(config: Config, environment: Environment | HostEnvironment, methods_for: MethodsFor) -> Agent:
    r"""Makes the agent for one member of a population.

    With targets marked by a prime, the clipped noise $\epsilon$ and the $m \le n$ steps up to an end the losses are

    $$y = \sum_{k<m} \gamma^k r_k + \gamma^m \min_i Q'_i(s_m, \mu'(s_m) + \epsilon), \qquad
    L_Q = \sum_i \overline{(Q_i(s, a) - y)^2}, \qquad L_\mu = -\overline{Q_0(s, \mu(s))},$$

    without the value where the episode terminated. Actor and critics have methods and optimizers of their own, whose
    steps are their own updates. Their groups are `actor/Dense_0`, `critic_0/Dense_0`, and so on.

    Diagnostics are measured on a batch from the replay. While nothing is learned, losses and values are told as 0.

    Args:
        config: the settings; numbers may be traced.
        environment: where to act: its observations and actions; those are clipped to their bound.
        methods_for: makes the plasticity methods, of the actor and of the critics.

    Raises:
        ValueError: if actions are discrete, the arena brings its own network, or the replay is too small for the
            returns or too large for the machine.

    Differs from the authors' code: the running average of the actor, which is kept there and never used, is what acts
    where `evaluate_with` says so; with the rate of the targets it is the target actor, but for its beginning. A
    replay's row that only says how an episode was cut short counts as a step of it, and if it is drawn, the batch is
    the smaller for it. Activity is measured on a batch of its own, as there, but only if a switch needs it. With
    `dynamic_capacity`, what the actor would have done is kept of random steps, too.

    References:
        Fujimoto et al., `Addressing function approximation error in actor-critic methods
        <https://arxiv.org/abs/1802.09477>`_, ICML 2018. `Liu et al. <https://arxiv.org/abs/2410.07994>`_, ICLR 2025.
    """
    space, bound = _checked(environment)
    E, observations, batch = environment.num_envs, environment.spec.observation.size, config.batch_size
    per_time = Fraction(float(config.update_to_data)).limit_denominator(1000) * E
    T, U = per_time.denominator, per_time.numerator
    extra_size = space.size if config.dynamic_capacity else 0
    replay = Replay(E, config.buffer_size, observations, space.size, extra_size, config.n_step)
    replay.check(T)
    # The first call that learns: there is enough for a return, and exploration is over.
    first = max(-(-config.learning_starts // (T * E)), -(-config.n_step // T) - 1)
    updates_in_all = max(0, -(-environment.steps // (T * E)) - first) * U

    actor = deterministic_actor(observations, space.size, (config.hidden_units,) * config.actor_layers, bound)
    critics = twin_critics(
        observations + space.size, (config.hidden_units,) * config.critic_layers, config.layer_norm
    )  # fmt: skip
    actor_wiring, critics_wiring = (
        _wiring(actor, batch, observations),
        _wiring(critics, batch, observations + space.size),
    )
    activity = active_fraction(critics_wiring)

    def optimizer() -> optax.GradientTransformation:
        made = adam if config.optimizer == "per_weight_adam" else optax.adam
        return made(config.learning_rate, config.b1, config.b2, config.eps)

    def transformations(key: Key) -> dict[str, Plastic]:
        parts = {"actor": (actor_wiring, actor), "critics": (critics_wiring, critics)}
        keys = jax.random.split(key, len(parts))
        return {
            name: plastic(
                optimizer(), *methods_for(*parts[name], updates_in_all), key=key, reset_moments=config.reset_moments
            )
            for name, key in zip(parts, keys)
        }

    tx = transformations(jax.random.key(0))

    def init(key: Key) -> State:
        actor_key, critics_key, methods_key, key = jax.random.split(key, 4)
        made = transformations(methods_key)
        whole = actor.init(actor_key) | critics.init(critics_key)
        mu, Q = made["actor"].prepare(_actor_of(whole)), made["critics"].prepare(_critics_of(whole))
        opt_states = {"actor": made["actor"].init(mu), "critics": made["critics"].init(Q)}
        params, elastic = mu | Q, mu if config.evaluate_with == "elastic" else {}
        return State(params, whole, elastic, opt_states, key, jnp.int32(0), jnp.float32(0), replay.init())

    def policy(state: State) -> Policy:
        return Policy(state.params, state.elastic, state.steps)

    def act(policy: Policy, carry: Any, observation: Array, is_first: Array, key: Key, *, greedy: bool = False):
        mu = policy.elastic if greedy and config.evaluate_with == "elastic" else _actor_of(policy.params)
        mean_action = actor.apply(mu, _flat(observation))
        extras = Extras(is_first, mean_action if extra_size else jnp.zeros((E, 0)))
        if greedy:
            return carry, mean_action, extras
        noise_key, random_key = jax.random.split(key)
        noise = config.exploration_noise * bound * jax.random.normal(noise_key, mean_action.shape)
        at_random = jax.random.uniform(random_key, mean_action.shape, minval=-bound, maxval=bound)
        explores = policy.steps < config.learning_starts
        return carry, jnp.where(explores, at_random, jnp.clip(mean_action + noise, -bound, bound)), extras

    def steps_ahead(number: Array) -> Array | int:
        """The n of the returns in an update, or several."""
        return config.n_step if config.n_step_after == 0 else jnp.where(number >= config.n_step_after, config.n_step, 1)

    def draw(stored: Stored, key: Key, number: Array) -> Drawn:
        n = steps_ahead(number)
        key, old_key, probe_key = jax.random.split(key, 3)

        def sample(key: Key, share: float = 1.0) -> Sample:
            return replay.sample(stored, key, batch, config.discount, n, share)

        return Drawn(
            sample(key),
            sample(old_key, _OLD) if config.recall else None,
            sample(probe_key) if config.recall or config.auto_batch else None,
        )

    def critics_loss(Q: Params, sample: Sample, y: Array) -> tuple[Array, tuple[Features, Array]]:
        values, features = critics_wiring.apply(Q, jnp.concatenate([sample.observation, sample.action], axis=1))
        errors = ((values - y[:, None]) ** 2).sum(1)
        return _mean(errors, sample.weight), (features, _mean(values[:, 0], sample.weight))

    def actor_loss(mu: Params, Q: Params, sample: Sample) -> tuple[Array, Features]:
        action, features = actor_wiring.apply(mu, sample.observation)
        values = critics.apply(Q, jnp.concatenate([sample.observation, action], axis=1))
        return -_mean(values[:, 0], sample.weight), features

    def targets(target: Params, sample: Sample, key: Key) -> Array:
        action = actor.apply(_actor_of(target), sample.next_observation)
        noise = config.target_noise * bound * jax.random.normal(key, action.shape)
        noise = jnp.clip(noise, -config.target_noise_clip * bound, config.target_noise_clip * bound)
        action = jnp.clip(action + noise, -bound, bound)
        values = critics.apply(_critics_of(target), jnp.concatenate([sample.next_observation, action], axis=1))
        return sample.reward + sample.discount * values.min(1)

    def choose(Q: Params, drawn: Drawn, key: Key) -> tuple[Sample, dict[str, Array]]:
        """The batch to learn from, by how many of the critics' units are active; and what was decided."""
        sample, old, probe = drawn
        if probe is None:
            return sample, {}
        _, features = critics_wiring.apply(Q, jnp.concatenate([probe.observation, probe.action], axis=1))
        active = activity(features=features)[""]
        metrics = {"critics_active_fraction": active}
        if old is not None:
            stay = 1 / (1 + config.recall_slope * jnp.exp(config.awaken - active))
            stay = jnp.where(stay >= _MOST_CERTAIN, _CERTAIN, stay)
            recalls = (active < config.awaken) & (jax.random.uniform(key) >= stay)
            sample = jax.tree.map(lambda x, y: jnp.where(recalls, x, y), old, sample)
            metrics["recalled"] = recalls.astype(jnp.float32)
        if config.auto_batch:
            size = jnp.where(active < 0.9 * config.awaken, batch // 2, batch)
            sample = sample._replace(weight=sample.weight * (jnp.arange(batch) < size))
            metrics["batch"] = size.astype(jnp.float32)
        return sample, metrics

    def update(state: State, drawn: Drawn, number: Array, steps_before: Array) -> tuple[State, dict[str, Array]]:
        key, recall_key, noise_key = jax.random.split(state.key, 3)
        sample, metrics = choose(_critics_of(state.params), drawn, recall_key)
        y = targets(state.target, sample, noise_key)
        (loss, (features, value)), grads = jax.value_and_grad(critics_loss, has_aux=True)(
            _critics_of(state.params), sample, y
        )
        Q, critics_state = tx["critics"].step(
            grads, state.optimizer["critics"], _critics_of(state.params),
            step=number, steps_before=steps_before, features=features,
        )  # fmt: skip
        optimizers = state.optimizer | {"critics": critics_state}
        state = state._replace(params=state.params | Q, optimizer=optimizers, key=key)

        def delayed() -> tuple[Params, Params, Params, Any]:
            grads, features = jax.grad(actor_loss, has_aux=True)(_actor_of(state.params), Q, sample)
            mu, opt_state = tx["actor"].step(
                grads, state.optimizer["actor"], _actor_of(state.params),
                step=number // config.policy_delay, steps_before=steps_before, features=features,
            )  # fmt: skip
            target = optax.incremental_update(mu | Q, state.target, config.tau)
            target_mu = tx["actor"].mask(_actor_of(target), opt_state)
            target = target_mu | tx["critics"].mask(_critics_of(target), critics_state)
            elastic = optax.incremental_update(mu, state.elastic, config.elastic_rate) if state.elastic else {}
            return mu, target, elastic, opt_state

        mu, target, elastic, actor_state = jax.lax.cond(
            number % config.policy_delay == 0,
            delayed,
            lambda: (_actor_of(state.params), state.target, state.elastic, state.optimizer["actor"]),
        )
        optimizers = {"actor": actor_state, "critics": critics_state}
        state = state._replace(params=mu | Q, target=target, elastic=elastic, optimizer=optimizers)
        return state, metrics | {"critic_loss": loss, "value": value}

    def learn(state: State, transitions: Transitions, calls: Array) -> tuple[State, dict[str, Array]]:
        steps_before = calls * T * E
        stored, distance = store(state, transitions, steps_before)
        numbers = (calls - first) * U + 1 + jnp.arange(U)
        key, *keys = jax.random.split(state.key, 1 + U)
        # The replay goes through no branch and no loop, in which it might be copied.
        drawn = jax.vmap(draw, (None, 0, 0))(stored, jnp.stack(keys), numbers)
        rest = state._replace(replay=(), key=key, distance=distance, steps=steps_before + T * E)

        def updates() -> tuple[State, dict[str, Array]]:
            if U == 1:  # a loop would take longer
                return update(rest, jax.tree.map(lambda x: x[0], drawn), numbers[0], steps_before)
            after, metrics = jax.lax.scan(lambda s, now: update(s, *now, steps_before), rest, (drawn, numbers))
            return after, jax.tree.map(lambda x: x.mean(0), metrics)

        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(updates)[1])
        after, metrics = jax.lax.cond(calls >= first, updates, lambda: (rest, nothing))
        metrics["n_step"] = jnp.float32(steps_ahead(numbers)).mean()
        metrics["replay_size"] = stored.size.sum().astype(jnp.float32)
        if config.dynamic_capacity:
            metrics["replay_distance"] = distance
        return after._replace(replay=stored), metrics

    def store(state: State, transitions: Transitions, steps_before: Array) -> tuple[Stored, Array]:
        """The replay with what happened, without what is to be forgotten; and how far off its oldest actions are."""
        no_future = transitions.terminated
        if config.truncation == "terminal":
            no_future = no_future | transitions.truncated
        extras: Extras = transitions.extras
        seen, following = (_flat(x, axes=2) for x in (transitions.observation, transitions.next_observation))
        steps = Steps(seen, transitions.action, extras.mean_action, transitions.reward, no_future)
        stored = replay.add(state.replay, steps, extras.is_first, following)
        if not config.dynamic_capacity:
            return stored, state.distance

        def measured() -> Array:
            old, are = replay.oldest(stored, _LOOKED_AT * batch)
            apart = (actor.apply(_actor_of(state.params), old.observation) - old.extras) / bound
            return 0.5 * _mean((apart**2).mean(1), are)

        every = config.capacity_period
        due = (steps_before + T * E) // every > steps_before // every
        distance = jax.lax.cond(due, measured, lambda: state.distance)
        drops = due & (distance > config.capacity_threshold) & (stored.size.sum() > config.least_capacity)
        size = jnp.where(drops, replay.drop(stored, _DROPPED).size, stored.size)
        return stored._replace(size=size), distance

    def signals(previous: Policy, state: State, transitions: Transitions) -> dict[str, Any]:
        del transitions
        sample_key, noise_key = jax.random.split(jax.random.fold_in(state.key, 0))
        sample = replay.sample(state.replay, sample_key, batch, config.discount)
        mu, Q = _actor_of(previous.params), _critics_of(previous.params)
        y = targets(state.target, sample, noise_key)
        Q_grads, (Q_features, _) = jax.grad(critics_loss, has_aux=True)(Q, sample, y)
        mu_grads, mu_features = jax.grad(actor_loss, has_aux=True)(mu, Q, sample)
        return {
            "params": state.params,
            "previous_params": previous.params,
            "features": mu_features | Q_features,
            "grads": mu_grads | Q_grads,
            "method_state": state.optimizer,
        }

    return Agent(T, init, policy, lambda num_envs: (), act, learn, signals)


def _checked(environment: Environment | HostEnvironment) -> tuple[Continuous, float]:
    """The space of actions, and their largest magnitude."""
    space = environment.spec.action
    if not isinstance(space, Continuous):
        raise ValueError(
            f"TD3 takes actions of real numbers, and here there are {space.n} to choose from; write agent ppo or a2c"
        )
    if environment.network is not None:
        raise ValueError("this problem brings its own network, and TD3 has one of its own; write agent ppo or a2c")
    return space, space.bound


def _wiring(network: Network, batch: int, inputs: int) -> Wiring:
    x = jax.ShapeDtypeStruct((batch, inputs), jnp.float32)
    return trace(network.apply, jax.eval_shape(network.init, jax.random.key(0)), x)


def _actor_of(params: Params) -> Params:
    return {"actor": params["actor"]}


def _critics_of(params: Params) -> Params:
    return {name: part for name, part in params.items() if name != "actor"}


def _flat(observation: Array, axes: int = 1) -> Array:
    """Observations as vectors of numbers, behind so many axes."""
    return observation.reshape(*observation.shape[:axes], -1).astype(jnp.float32)


def _mean(values: Array, weight: Array) -> Array:
    """The mean of those that count; 0 if none does."""
    return (values * weight).sum() / jnp.maximum(weight.sum(), 1)
