"""Updates of soft actor-critic, and changes of its state between them."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from pliant.core.base import Array, Features, Key, Params
from pliant.core.clock import Clock
from pliant.core.continual import Continual, Update
from pliant.core.settings import AtLeast

from . import _actor_and_critics as actor_and_critics
from . import _soft_losses as soft_losses
from ._actor_and_critics import Both
from ._off_policy import weighted_mean
from ._replay import Sample, Stored
from ._soft_losses import Contexts, Noise

Metrics: TypeAlias = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Config(soft_losses.Config, actor_and_critics.Config):
    """Settings of the losses, the networks, and the order of updates."""

    policy_delay: Annotated[int, AtLeast(1)] = 1
    """Updates of the critics per update of actor and temperature, which are updated with the first."""
    target_delay: Annotated[int, AtLeast(1)] = 1
    """Updates of the critics per step of the targets, the first included."""


class Temperature(NamedTuple):
    log: Array  # ()
    optimizer: Any


class Learned(NamedTuple):
    """The part of the state that updates change."""

    params: Both
    target: Params  # of the critics
    optimizer: Both  # PlasticStates: the optimizers' and the methods'
    temperature: Temperature
    continual: Any  # the continual method's
    key: Key


class State(NamedTuple):
    learned: Learned
    steps: Array  # () of the member in this task so far
    replay: Stored


class ActingParams(NamedTuple):
    params: Both
    route: Any  # along which the actor acts, see `TaskNetwork`
    steps: Array  # () of the member in this task so far


def update_of(
    config: Config,
    losses: soft_losses.Losses,
    tx: Both,
    temperature_tx: optax.GradientTransformation,
    clock: Callable[..., Clock],
    continual: Continual,
    target_delay: int | Array,
) -> Callable[[Learned, tuple[Sample, Noise, Contexts], Array], tuple[Learned, Metrics]]:
    """Makes the function of one update, `(learned, (sample, noise, contexts), number) -> (learned, metrics)`.

    Numbers are counted from 1.

    Args:
        config: the settings.
        losses: of a batch.
        tx: the `Plastic`s of actor and critics.
        temperature_tx: the optimizer of the temperature.
        clock: `(number, of_network) -> Clock`, see `Schedule.clock`.
        continual: the continual method of the actor.
        target_delay: updates of the critics per step of the targets.
    """

    draw = losses.actor.draw

    def through_branch(kept: Any) -> Any:
        """The continual method's state, where updates change it: a branch might copy what passes through it."""
        return () if continual.track is None else kept

    def update(now: Learned, batch: tuple[Sample, Noise, Contexts], number: Array) -> tuple[Learned, Metrics]:
        sample, noise, contexts = batch
        alpha = jnp.exp(now.temperature.log)
        context = draw(now.continual, sample.reward.shape[0], contexts.target)
        y, log_p = losses.targets(now.params.actor, now.target, alpha, sample, noise.target, context)
        (loss, (features, value)), grads = jax.value_and_grad(losses.of_critics, has_aux=True)(
            now.params.critics, sample, y
        )
        Q, Q_state = tx.critics.step(
            grads, now.optimizer.critics, now.params.critics, clock=clock(number), features=features
        )

        def improve() -> tuple[Params, Any, Any, Temperature]:
            of_actor, s = clock(number, functools.partial(delayed, config)), losses.states(sample)[0]
            context = draw(now.continual, s.shape[0], contexts.actor)

            def actor_loss(params: Params) -> tuple[Array, tuple[Features, Array]]:
                loss, (features, log_p, outputs) = losses.of_actor(params, Q, alpha, sample, noise.actor, context)
                penalty = continual.penalty(params, now.continual, Update(of_actor, s, outputs, context))
                return loss + penalty, (features, log_p)

            grads, (features, log_p) = jax.grad(actor_loss, has_aux=True)(now.params.actor)
            changed = continual.changed(grads, now.params.actor, now.continual, of_actor)
            mu, mu_state = tx.actor.step(
                changed, now.optimizer.actor, now.params.actor, clock=of_actor, features=features
            )
            mu, kept = continual.after_update(mu, now.continual, previous=now.params.actor, grads=grads)
            grad = jax.grad(losses.of_temperature)(now.temperature.log, sample, log_p)
            change, optimizer = temperature_tx.update(grad, now.temperature.optimizer)
            return mu, mu_state, through_branch(kept), Temperature(now.temperature.log + change, optimizer)

        mu, mu_state, kept, temperature = from_the_first(
            config.policy_delay,
            number,
            improve,
            lambda: (now.params.actor, now.optimizer.actor, through_branch(now.continual), now.temperature),
        )
        kept = now.continual if continual.track is None else kept
        target = from_the_first(
            target_delay,
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
        return Learned(Both(mu, Q), target, Both(mu_state, Q_state), temperature, kept, now.key), metrics

    return update


def from_the_first(delay: Any, number: Array, act: Callable[[], Any], wait: Callable[[], Any]) -> Any:
    """Acts in updates 1, 1 + delay, 1 + 2 delay, ... of a segment, and waits in the others."""
    if isinstance(delay, int) and delay == 1:
        return act()
    return jax.lax.cond((number - 1) % delay == 0, act, wait)


def lcm(one: Any, other: Any) -> Any:
    """The least common multiple of two delays, which may be traced."""
    return math.lcm(one, other) if isinstance(one, int) and isinstance(other, int) else jnp.lcm(one, other)


def delayed(config: Config, updates: Any) -> Any:
    """How many of the first updates of a segment are updates of the actor."""
    return -(-updates // config.policy_delay)


def changed(state: State, change: Callable[..., tuple[Params, Any]], **given: Any) -> State:
    """The state after a change of the actor and of the continual method's state."""
    now = state.learned
    mu, kept = change(now.params.actor, now.continual, **given)
    return state._replace(learned=now._replace(params=now.params._replace(actor=mu), continual=kept))


def keyed(state: State) -> tuple[State, Key]:
    """Takes a key out of a state."""
    key, taken = jax.random.split(state.learned.key)
    return state._replace(learned=state.learned._replace(key=key)), taken
