"""Replay: what happened lately, on the device, in arrays that are made once and written in place.

Each environment has a ring of rows. A row is an observation and what was done there: the action, the reward, and
whether the episode ended so. What followed is the observation of the next row, so that nothing is stored twice. Where
an episode was broken off, by a time limit or because the process stopped, a row without an action stands in between:
the last observation. There is always one such row behind the newest step, and the next step of the same episode takes
its place.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key

# What a row is of: no step, a step, a step after which there is no future.
_NOTHING, _STEP, _LAST = 0, 1, 2


class Stored(NamedTuple):
    rows: Array  # (num_envs, length, numbers): observation, action, noted, reward, kind
    head: Array  # (num_envs,) where the next step goes; what followed the newest one is there already
    size: Array  # (num_envs,) rows before the head that count
    goes_on: Array  # (num_envs,) bool: the newest step's episode had not ended


class Steps(NamedTuple):
    """What happened; leading axes are the caller's."""

    observation: Array  # (..., observation)
    action: Array  # (..., action)
    extras: Array  # (..., noted): what else is kept of a step
    reward: Array
    terminated: Array  # bool: there is no future


class Sample(NamedTuple):
    """Beginnings of n-step returns."""

    observation: Array  # (batch, observation)
    action: Array  # (batch, action)
    reward: Array  # (batch,): the discounted sum of n rewards, or of those up to an end
    discount: Array  # (batch,): what the value of `next_observation` is multiplied by; 0 if there is no future
    next_observation: Array  # (batch, observation): after these steps
    weight: Array  # (batch,): 0 for a row without a step, which few are; else 1


@dataclasses.dataclass(frozen=True)
class Replay:
    """The functions of a replay, for one member of a population.

    Args:
        num_envs: how many the steps come from.
        buffer_size: rows that are kept of all environments together.
        observation, action, extras: how many numbers each of them has.
        n: the most steps of a return.
    """

    num_envs: int
    buffer_size: int
    observation: int
    action: int
    extras: int = 0
    n: int = 1

    @property
    def length(self) -> int:
        """Rows of a ring: one more than count, for what followed the newest step."""
        return -(-self.buffer_size // self.num_envs) + 1

    @property
    def bytes(self) -> int:
        """Memory that the rows take."""
        return 4 * self.num_envs * self.length * (self.observation + self.action + self.extras + 2)

    def check(self, steps: int) -> None:
        """Refuses a capacity that is too small; nothing is allocated.

        Args:
            steps: how many steps of each environment are added at once.

        Raises:
            ValueError: if returns, or what is added at once would not fit in.
        """
        least = self.num_envs * max(self.n, 2 * steps)
        if self.buffer_size < least:
            raise ValueError(
                f"buffer_size={self.buffer_size} is too small for returns of {self.n} steps, and for {steps} steps at "
                f"once, of {self.num_envs} environments; write at least {least}"
            )

    def init(self) -> Stored:
        """Nothing has happened."""
        numbers = self.observation + self.action + self.extras + 2
        none = jnp.zeros(self.num_envs, jnp.int32)
        return Stored(jnp.zeros((self.num_envs, self.length, numbers)), none, none, none > 0)

    def add(self, stored: Stored, steps: Steps, is_first: Array, next_observation: Array) -> Stored:
        """Writes what happened over what is oldest.

        Args:
            stored: what is there.
            steps: the steps of all environments in order, `(T, num_envs, ...)`.
            is_first: `(T, num_envs)` bool: the first of its episode.
            next_observation: `(T, num_envs, observation)`, what followed, of the same episode.
        """
        T, L, ring = steps.reward.shape[0], self.length, jnp.arange(self.num_envs)[None]
        goes_on = jnp.concatenate([stored.goes_on[None], ~steps.terminated])
        broken_off = is_first & goes_on[:-1]  # the episode before
        left = jnp.cumsum(broken_off, axis=0, dtype=jnp.int32)  # rows without a step that stay
        at = stored.head[None] + jnp.arange(T)[:, None] + left
        kind = jnp.where(steps.terminated, _LAST, _STEP).astype(jnp.float32)
        numbers = [steps.observation, steps.action, steps.extras, steps.reward[..., None], kind[..., None]]
        step = jnp.concatenate(numbers, axis=-1)
        behind = jnp.concatenate([next_observation, jnp.zeros_like(step[..., self.observation :])], axis=-1)
        # What followed stands behind the newest step, and where an episode was broken off; else the next step does.
        stays = jnp.concatenate([broken_off[1:], jnp.ones((1, self.num_envs), bool)])
        where = jnp.concatenate([at % L, jnp.where(stays, (at + 1) % L, L)])
        # All at once and without reading the rows before, or else XLA would copy them; what goes to row L is dropped.
        rows = stored.rows.at[ring, where].set(jnp.concatenate([step, behind]), mode="drop", unique_indices=True)
        added = T + left[-1]
        return Stored(rows, (stored.head + added) % L, jnp.minimum(stored.size + added, L - 1), goes_on[-1])

    def sample(
        self,
        stored: Stored,
        key: Key,
        batch: int,
        discount: float | Array,
        n: int | Array = 1,
        share: float | Array = 1.0,
    ) -> Sample:
        r"""Draws from what happened, each row being as probable as any other.

        The return from a step $i$ ends after $n$ steps, or before where the episode does. With $m \le n$ its steps,

        $$R = \sum_{k<m} \gamma^k r_{i+k}, \qquad \gamma^m \text{ or, if it terminated, } 0$$

        are the reward, and the discount of the value of what was seen then.

        Args:
            stored: what is there; steps of which the next $n$ are known.
            key: consumed.
            batch: how many.
            discount: $\gamma$ in [0, 1].
            n: $n$ from 1 to that of the replay; may be traced.
            share: of the rows, counted from the oldest, that are drawn from, in (0, 1]; may be traced.
        """
        known = jnp.maximum(stored.size - n + 1, 0)
        known = jnp.minimum(known, jnp.floor(share * known).astype(jnp.int32))
        ends = jnp.cumsum(known)
        # Of 32 random bits the rest of a division by a few millions is as good as uniform.
        row = (jax.random.bits(key, (batch,)) % jnp.maximum(ends[-1], 1).astype(jnp.uint32)).astype(jnp.int32)
        ring = (row[:, None] >= ends[None, :-1]).sum(1)
        first = (stored.head - stored.size)[ring] + row - (ends - known)[ring]
        rows = stored.rows[ring[:, None], (first[:, None] + jnp.arange(self.n + 1)[None]) % self.length]
        steps, kind = self._read(rows)

        R, alive, goes_on = jnp.zeros(batch), jnp.ones(batch, bool), jnp.ones(batch, bool)
        taken = jnp.zeros(batch, jnp.int32)
        for k in range(self.n):
            goes_on = goes_on & alive & (kind[:, k] != _NOTHING) & (k < n)
            R = R + jnp.where(goes_on, discount**k * steps.reward[:, k], 0)
            alive = alive & ~(goes_on & steps.terminated[:, k])
            taken = taken + goes_on
        following = jnp.take_along_axis(steps.observation, taken[:, None, None], axis=1)[:, 0]
        first_step = jax.tree.map(lambda x: x[:, 0], steps)
        weight = ((kind[:, 0] != _NOTHING) & (ends[-1] > 0)).astype(jnp.float32)
        discounts = jnp.where(alive, jnp.power(discount, taken.astype(jnp.float32)), 0)
        return Sample(first_step.observation, first_step.action, R, discounts, following, weight)

    def oldest(self, stored: Stored, count: int) -> tuple[Steps, Array]:
        """The oldest rows, as many from each environment.

        Args:
            stored: what is there.
            count: how many, of all environments together; a few more if it is no multiple of them.

        Returns:
            The steps, and `(steps,)` bool: which of them are any.
        """
        age = jnp.arange(min(-(-count // self.num_envs), self.length - 1))[None]
        where = ((stored.head - stored.size)[:, None] + age) % self.length
        rows = stored.rows[jnp.arange(self.num_envs)[:, None], where]
        steps, kind = self._read(rows)
        are = (kind != _NOTHING) & (age < stored.size[:, None])
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps), are.reshape(-1)

    def drop(self, stored: Stored, share: float) -> Stored:
        """Forgets a share of what is there, the oldest."""
        return stored._replace(size=stored.size - jnp.floor(share * stored.size).astype(jnp.int32))

    def _read(self, rows: Array) -> tuple[Steps, Array]:
        """The steps in rows, and the kinds of these."""
        ends = [self.observation, self.observation + self.action, self.observation + self.action + self.extras]
        observation, action, extras, rest = jnp.split(rows, ends, axis=-1)
        kind = rest[..., 1]
        return Steps(observation, action, extras, rest[..., 0], kind == _LAST), kind
