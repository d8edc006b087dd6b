"""Switches of the published program of Liu et al. (2025) for TD3; all are off by default.

* Recall (experience review): learn from the oldest part of the replay while few of the critics' units are active.
* Automatic batch size: half of it while few of the critics' units are active.
* Dynamic capacity: drop the oldest steps of the replay when the actor's actions have moved away from them.
* Elastic copy: a running average of the actor, which may act in its place.
* Late n-step returns: 1-step returns at first, `n_step`-step returns later.

Differs from the authors' code: their running average of the actor is kept and never used; here it acts where
`evaluate_with` is elastic. With the rate of the targets it equals the target actor, but for its beginning. As in their
code, activity is measured on a separate batch; here only if a switch needs it. With `dynamic_capacity` the action
without noise is stored for random steps as well.

References:
    `Liu et al. <https://arxiv.org/abs/2410.07994>`_, ICLR 2025.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pliant.core.base import Array, Key, Params
from pliant.core.settings import AtLeast, Between

from . import _off_policy
from ._replay import Replay, Sample, Steps, Stored

_OLD = 0.3  # share of the replay that is recalled
_DROPPED = 0.1  # share of the replay that is dropped at once
_LOOKED_AT = 8  # batches of the oldest steps for the decision to drop them
_MOST_CERTAIN, _CERTAIN = 0.6, 0.4  # from the first on, the probability not to recall is set to the second


@dataclasses.dataclass(frozen=True)
class Config(_off_policy.Config):
    """The switches and their settings."""

    n_step_after: Annotated[int, AtLeast(0)] = 0
    """First update with n-step returns; earlier updates have 1-step returns. Updates count from 1."""
    evaluate_with: Literal["online", "elastic"] = "online"
    """Which actor acts greedily: the trained one, or its running average (elastic)."""
    elastic_rate: Annotated[float, Between(0, 1)] = 0.005
    """Rate of the running average per update of the actor."""
    recall: bool = False
    """Whether some updates learn from the oldest 30 % of the replay while few of the critics' units are active."""
    awaken: Annotated[float, Between(0, 1)] = 0.4
    """Fraction of active units below which recall may happen; below 0.9 of it auto_batch acts."""
    recall_slope: Annotated[float, AtLeast(0)] = 0.9
    """T in the probability of recall, 1 - 1 / (1 + T exp(awaken - fraction))."""
    auto_batch: bool = False
    """Whether batches are half as large while few of the critics' units are active; always so in the published code."""
    dynamic_capacity: bool = False
    """Whether the oldest tenth of the replay is dropped when the actor's actions have moved away from it."""
    capacity_period: Annotated[int, AtLeast(1)] = 10_000
    """Steps of a member between two checks of the capacity."""
    capacity_threshold: Annotated[float, AtLeast(0)] = 0.2
    """Half the mean squared distance of actions, relative to the bound, above which steps are dropped."""
    least_capacity: Annotated[int, AtLeast(0)] = 100_000
    """Size of the replay (steps) up to which all steps stay."""


class Drawn(NamedTuple):
    """The batches of one update."""

    sample: Sample
    old: Sample | None  # from the oldest part of the replay, if there is recall
    probe: Sample | None  # for measuring activity, if a switch needs it


def steps_ahead(config: Config, number: Array) -> Array | int:
    """n of the n-step return in updates with these numbers, which count from 1."""
    return config.n_step if config.n_step_after == 0 else jnp.where(number >= config.n_step_after, config.n_step, 1)


def draw(config: Config, replay: Replay, stored: Stored, key: Key, number: Array) -> Drawn:
    """Draws the batches of one update; the key is consumed."""
    n = steps_ahead(config, number)
    key, old_key, probe_key = jax.random.split(key, 3)

    def sample(key: Key, share: float = 1.0) -> Sample:
        return replay.sample(stored, key, config.batch_size, config.discount, n, share)

    return Drawn(
        sample(key),
        sample(old_key, _OLD) if config.recall else None,
        sample(probe_key) if config.recall or config.auto_batch else None,
    )


def choose(
    config: Config, drawn: Drawn, activity: Callable[[Sample], Array], key: Key
) -> tuple[Sample, dict[str, Array]]:
    """Chooses the batch to learn from, by the fraction of the critics' units that are active.

    Args:
        config: the switches.
        drawn: the batches of this update.
        activity: `sample -> ()`, the fraction of active units.
        key: consumed.

    Returns:
        The batch, and the decisions as metrics.
    """
    sample, old, probe = drawn
    if probe is None:
        return sample, {}
    active = activity(probe)
    metrics = {"critics_active_fraction": active}
    if old is not None:
        stay = 1 / (1 + config.recall_slope * jnp.exp(config.awaken - active))
        stay = jnp.where(stay >= _MOST_CERTAIN, _CERTAIN, stay)
        recalls = (active < config.awaken) & (jax.random.uniform(key) >= stay)
        sample = jax.tree.map(lambda x, y: jnp.where(recalls, x, y), old, sample)
        metrics["recalled"] = recalls.astype(jnp.float32)
    if config.auto_batch:
        size = jnp.where(active < 0.9 * config.awaken, config.batch_size // 2, config.batch_size)
        sample = sample._replace(weight=sample.weight * (jnp.arange(config.batch_size) < size))
        metrics["batch"] = size.astype(jnp.float32)
    return sample, metrics


def forget(
    config: Config,
    replay: Replay,
    stored: Stored,
    distance: Array,
    steps_before: Array,
    steps: int,
    act: Callable[[Any], Array],
    bound: float,
) -> tuple[Stored, Array]:
    """Drops the oldest tenth of the replay, at regular checks, if the actor's actions have moved away from it.

    Args:
        config: the switches.
        replay, stored: the replay; its `extras` are the actions without noise, `(action,)` each, when they were taken.
        distance: `()`, from the last check.
        steps_before: `()`, of the member before this call of `learn`.
        steps: of the call.
        act: `observations -> actions`, `(steps, action)`, of the current actor.
        bound: largest magnitude of each part of an action.

    Returns:
        The replay, and the distance of the oldest actions to the current actor's: half its mean square, relative to the
        bound.
    """
    if not config.dynamic_capacity:
        return stored, distance

    def measured() -> Array:
        old: Steps
        old, are = replay.oldest(stored, _LOOKED_AT * config.batch_size)
        apart = (act(old.observation) - old.extras) / bound
        return 0.5 * _off_policy.weighted_mean((apart**2).mean(1), are)

    period = config.capacity_period
    due = (steps_before + steps) // period > steps_before // period
    distance = jax.lax.cond(due, measured, lambda: distance)
    drops = due & (distance > config.capacity_threshold) & (stored.size.sum() > config.least_capacity)
    size = jnp.where(drops, replay.drop(stored, _DROPPED).size, stored.size)
    return stored._replace(size=size), distance


def elastic_copy(config: Config, actor: Params) -> Params:
    """The running average of the actor before its first update; empty if it never acts."""
    return actor if config.evaluate_with == "elastic" else {}


def follow(config: Config, elastic: Params, actor: Params) -> Params:
    """The running average after an update of the actor."""
    return optax.incremental_update(actor, elastic, config.elastic_rate) if elastic else {}


def kept(config: Config, size: int) -> Any:
    """The extras that the replay keeps of a step for `forget`: the action without noise, of `size` numbers."""
    return jax.ShapeDtypeStruct((size,), jnp.float32) if config.dynamic_capacity else ()


def metrics(config: Config, stored: Stored, distance: Array, numbers: Array) -> dict[str, Array]:
    """Metrics of a call of `learn`: of the replay after it, and of the updates with these numbers."""
    of_replay = {
        "n_step": jnp.float32(steps_ahead(config, numbers)).mean(),
        "replay_size": stored.size.sum().astype(jnp.float32),
    }
    return of_replay | {"replay_distance": distance} if config.dynamic_capacity else of_replay
