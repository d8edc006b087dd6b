"""The minibatches of a round: which samples each update learns from, as indices drawn from keys.

A round has `horizon` x `num_envs` samples. They are numbered time by time: sample `t * num_envs + e` was taken by
environment `e` at time `t`. A sequence is `recurrence` consecutive samples of one environment, and has the number of
its first sample. An epoch is a pass over the sequences in random order, cut into minibatches.

With `alternate`, every second epoch is shifted by half a sequence. A shifted epoch has one sequence less per
environment, and so fewer minibatches; its last minibatch may be smaller.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array, Key


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How a round is cut.

    Args:
        horizon: steps of each environment in a round.
        num_envs: environments.
        recurrence: samples of a sequence.
        epochs: passes over a round.
        minibatches: pieces of an epoch that is not shifted.
        alternate: whether every second epoch is shifted.
    """

    horizon: int
    num_envs: int
    recurrence: int = 1
    epochs: int = 1
    minibatches: int = 1
    alternate: bool = False

    def check(self, steps: int, recurrent: bool) -> None:
        """Refuses sizes that do not divide each other.

        Args:
            steps: of a whole run.
            recurrent: whether the network is.

        Raises:
            ValueError: with what to write.
        """
        T, E, r, samples = self.horizon, self.num_envs, self.recurrence, self.samples
        of_round = f"(horizon={T} x num_envs={E})"
        if samples % self.minibatches:
            raise ValueError(
                f"minibatches={self.minibatches} do not divide the {samples} samples of a round {of_round}; "
                f"write a divisor of {samples}"
            )
        if steps < samples:
            raise ValueError(
                f"steps={steps} are fewer than the {samples} of one round {of_round}; "
                f"write at least {samples} steps, or a shorter horizon"
            )
        if recurrent != (r > 1):
            what = "is recurrent and learns along at least 2 steps" if recurrent else "is not recurrent"
            raise ValueError(f"recurrence={r}: this network {what}; write recurrence={4 if recurrent else 1}")
        if T % r or samples // self.minibatches % r:
            raise ValueError(
                f"recurrence={r} does not divide both horizon={T} and the {samples // self.minibatches} samples of a "
                f"minibatch; write a common divisor"
            )
        if self.alternate and 2 * r > T:
            raise ValueError(f"alternate=true leaves out a sequence: write a horizon of at least {2 * r}, not {T}")

    @property
    def samples(self) -> int:
        """Samples of a round."""
        return self.horizon * self.num_envs

    @property
    def sequences(self) -> int:
        """Sequences of a whole minibatch."""
        return self.samples // self.minibatches // self.recurrence

    @property
    def cycle(self) -> tuple[bool, ...]:
        """The epochs that repeat: whether each of them is shifted."""
        return (False, True) if self.alternate else (False,)

    @property
    def updates(self) -> int:
        """Updates of a round."""
        return sum(self.updates_of(self.cycle[epoch % len(self.cycle)]) for epoch in range(self.epochs))

    def updates_before(self, steps: Any) -> Any:
        """Updates before the first round that begins after so many steps of a member."""
        return -(-steps // self.samples) * self.updates

    def updates_of(self, shifted: bool) -> int:
        """Updates of one epoch."""
        return -(-self.starts(shifted).size // self.sequences)

    def starts(self, shifted: bool = False) -> np.ndarray:
        """The sequences of an epoch in order, `(sequences of the epoch,)`."""
        t = np.arange(0, self.horizon, self.recurrence)
        t = t[:-1] + self.recurrence // 2 if shifted else t
        return (self.num_envs * t[:, None] + np.arange(self.num_envs)[None]).reshape(-1)

    def along(self, first: Array) -> Array:
        """The samples of the sequences `first`, `(sequences,)`, as `(recurrence, sequences)`."""
        return first[None] + self.num_envs * np.arange(self.recurrence)[:, None]


def minibatches(keys: Sequence[Key], schedule: Schedule, shifts: Sequence[bool]) -> tuple[Array, Array]:
    """Draws the minibatches of consecutive epochs; only the last epoch may be shifted.

    Args:
        keys: one for each epoch, consumed.
        schedule: how a round is cut.
        shifts: of each epoch, whether it is shifted.

    Returns:
        The whole minibatches of all epochs, `(minibatches, sequences)`, and the smaller one at the end, `(rest,)`,
        empty where whole minibatches make up the last epoch.
    """
    whole, rest = [], jnp.zeros(0, int)
    for key, shifted in zip(keys, shifts):
        starts = schedule.starts(shifted)
        order = jax.random.permutation(key, starts.size)
        order = order if (starts == np.arange(starts.size)).all() else jnp.asarray(starts)[order]
        even = starts.size // schedule.sequences * schedule.sequences
        whole.append(order[:even].reshape(-1, schedule.sequences))
        rest = order[even:]
    return jnp.concatenate(whole), rest


def over_minibatches(
    schedule: Schedule,
    keys: Sequence[Key],
    update: Callable[[Any, Array, Any, Array], tuple[Any, Any]],
    draw: Callable[[Key, int], Any],
    carry: Any,
) -> tuple[Any, Any]:
    """Makes the updates of a round, one after another, in compiled loops.

    Args:
        schedule: how the round is cut.
        keys: one for each epoch, consumed.
        update: `(carry, sequences, random, number) -> (carry, metrics)`; `number` `()` counts the updates of the round
            from 1. The compiled program contains it at most four times, once for each size of a minibatch in each
            loop.
        draw: `(key, updates) -> random`: random numbers for the updates of an epoch, on a leading axis.
        carry: before the first update.

    Returns:
        The carry after the last update, and the metrics on a leading axis of updates.
    """

    def of_epochs(carry: Any, keys: Sequence[Key], before: Array | int, shifts: Sequence[bool]) -> tuple[Any, Any]:
        order_keys, draw_keys = zip(*(jax.random.split(key) for key in keys))
        first, rest = minibatches(order_keys, schedule, shifts)
        random = [draw(key, schedule.updates_of(shifted)) for key, shifted in zip(draw_keys, shifts)]
        random = jax.tree.map(lambda *x: jnp.concatenate(x), *random)
        whole = first.shape[0]
        now = first, jax.tree.map(lambda x: x[:whole], random), before + 1 + jnp.arange(whole)
        carry, metrics = jax.lax.scan(lambda carry, now: update(carry, *now), carry, now)
        if rest.size:
            carry, of_rest = update(carry, rest, jax.tree.map(lambda x: x[whole], random), before + 1 + whole)
            metrics = jax.tree.map(lambda x, y: jnp.append(x, y), metrics, of_rest)
        return carry, metrics

    cycle, stacked = schedule.cycle, jnp.stack(keys)
    cycles, left = divmod(schedule.epochs, len(cycle))
    updates = sum(map(schedule.updates_of, cycle))
    carry, metrics = jax.lax.scan(
        lambda carry, now: of_epochs(carry, *now, shifts=cycle),
        carry,
        (stacked[: cycles * len(cycle)].reshape(cycles, len(cycle)), updates * jnp.arange(cycles)),
    )
    metrics = jax.tree.map(jnp.ravel, metrics)
    if left:
        carry, of_left = of_epochs(carry, stacked[-left:], updates * cycles, cycle[:left])
        metrics = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), metrics, of_left)
    return carry, metrics
