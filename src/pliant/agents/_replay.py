"""Replay: the latest steps of all environments, on the device, in arrays that are made once and written in place.

Observations, actions and extras may be any trees of arrays, and keep their types: images of uint8 are stored as uint8.

Each environment has a ring of rows. A row holds an observation, the action, the reward, and whether the episode ended
there. The next observation is the observation of the next row, so that each is stored once. Where
an episode was cut short, by a time limit or because the process stopped, a row without an action stands in between: the
last observation. There is always one such row behind the newest step; the next step of the same episode overwrites it.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key

# The kinds of a row: no step, a step, a step without a future.
_NOTHING, _STEP, _LAST = 0, 1, 2


class Steps(NamedTuple):
    """Steps of environments; leading axes are the caller's."""

    observation: Any
    action: Any
    extras: Any  # further data of the step
    reward: Array
    terminated: Array  # bool: there is no future


class Rows(NamedTuple):
    """The stored rows; leading axes `(num_envs, length)`."""

    observation: Any
    action: Any
    extras: Any
    reward: Array
    kind: Array  # int8


class Stored(NamedTuple):
    rows: Rows
    head: Array  # (num_envs,) row of the next step; it already holds the observation after the newest step
    size: Array  # (num_envs,) valid rows before the head
    goes_on: Array  # (num_envs,) bool: the episode of the newest step has not ended


class Sample(NamedTuple):
    """Beginnings of n-step returns; leading axis `(batch,)`."""

    observation: Any
    action: Any
    reward: Array  # the discounted sum of n rewards, or of the rewards up to an end
    discount: Array  # factor of the value of `next_observation`; 0 if there is no future
    next_observation: Any  # after these steps
    weight: Array  # 0 for the few rows without a step; else 1
    extras: Any = ()  # of the step


@dataclasses.dataclass(frozen=True)
class Replay:
    """The functions of a replay, for one member of a population.

    Args:
        num_envs: environments of a member.
        buffer_size: rows of all environments together.
        observation, action, extras: trees of `jax.ShapeDtypeStruct`, of one step.
        n: the largest number of steps of a return.
    """

    num_envs: int
    buffer_size: int
    observation: Any
    action: Any
    extras: Any = ()
    n: int = 1

    @property
    def length(self) -> int:
        """Rows of a ring: one more than the valid rows, for the observation after the newest step."""
        return -(-self.buffer_size // self.num_envs) + 1

    def check(self, steps: int) -> None:
        """Refuses a buffer that is too small; nothing is allocated.

        Args:
            steps: of each environment, added in one call.

        Raises:
            ValueError: if the buffer is too small for a return, or for the steps of one call.
        """
        least = self.num_envs * max(self.n, 2 * steps)
        if self.buffer_size < least:
            raise ValueError(
                f"buffer_size={self.buffer_size} is too small for returns of {self.n} steps, and for {steps} steps at "
                f"once, of {self.num_envs} environments; write at least {least}"
            )

    def init(self) -> Stored:
        """An empty replay."""
        number, kind = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.int8)
        row, ring = Rows(self.observation, self.action, self.extras, number, kind), (self.num_envs, self.length)
        rows = jax.tree.map(lambda x: jnp.zeros((*ring, *x.shape), x.dtype), row)
        none = jnp.zeros(self.num_envs, jnp.int32)
        return Stored(rows, none, none, none > 0)

    def add(self, stored: Stored, steps: Steps, is_first: Array, next_observation: Any) -> Stored:
        """Writes steps over the oldest ones.

        Args:
            stored: the replay.
            steps: of all environments in order, `(T, num_envs, ...)`.
            is_first: `(T, num_envs)` bool: the first of its episode.
            next_observation: `(T, num_envs, ...)`, after each step, in the same episode.
        """
        T, L, ring = steps.reward.shape[0], self.length, jnp.arange(self.num_envs)[None]
        goes_on = jnp.concatenate([stored.goes_on[None], ~steps.terminated])
        cut_short = is_first & goes_on[:-1]  # the previous episode
        left = jnp.cumsum(cut_short, axis=0, dtype=jnp.int32)  # rows without a step that stay
        at = stored.head[None] + jnp.arange(T)[:, None] + left
        kind = jnp.where(steps.terminated, _LAST, _STEP).astype(jnp.int8)
        step = Rows(steps.observation, steps.action, steps.extras, steps.reward, kind)
        # The next observation gets a row behind the newest step, and where an episode was cut short; else the next step
        # holds it.
        behind = jax.tree.map(jnp.zeros_like, step)._replace(observation=next_observation)
        stays = jnp.concatenate([cut_short[1:], jnp.ones((1, self.num_envs), bool)])
        where = jnp.concatenate([at % L, jnp.where(stays, (at + 1) % L, L)])

        def write(rows: Array, step: Array, behind: Array) -> Array:
            # All at once and without a read of the old rows, or else XLA would copy them; row L is dropped.
            return rows.at[ring, where].set(jnp.concatenate([step, behind]), mode="drop", unique_indices=True)

        rows, added = jax.tree.map(write, stored.rows, step, behind), T + left[-1]
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
        r"""Draws steps from the replay, each row with the same probability.

        The return from a step $i$ ends after $n$ steps or at the end of the episode. With $m \le n$ steps,

        $$R = \sum_{k<m} \gamma^k r_{i+k}, \qquad \gamma^m \text{ or, if it terminated, } 0$$

        are the reward and the discount of the sample.

        Args:
            stored: the replay; only steps with $n$ known steps are drawn.
            key: consumed.
            batch: batch size.
            discount: $\gamma$ in [0, 1].
            n: $n$ from 1 to that of the replay; may be traced.
            share: of the rows, counted from the oldest, that are drawn from, in (0, 1]; may be traced.
        """
        known = jnp.maximum(stored.size - n + 1, 0)
        known = jnp.minimum(known, jnp.floor(share * known).astype(jnp.int32))
        ends = jnp.cumsum(known)
        # The remainder of 32 random bits, divided by a few millions, is as good as uniform.
        row = (jax.random.bits(key, (batch,)) % jnp.maximum(ends[-1], 1).astype(jnp.uint32)).astype(jnp.int32)
        ring = (row[:, None] >= ends[None, :-1]).sum(1)
        first = (stored.head - stored.size)[ring] + row - (ends - known)[ring]

        def of(tree: Any, ahead: Array | int = 0) -> Any:
            return jax.tree.map(lambda x: x[ring, (first + ahead) % self.length], tree)

        steps = ring[:, None], (first[:, None] + jnp.arange(self.n)[None]) % self.length
        reward, kind = stored.rows.reward[steps], stored.rows.kind[steps]
        R, alive, goes_on = jnp.zeros(batch), jnp.ones(batch, bool), jnp.ones(batch, bool)
        taken = jnp.zeros(batch, jnp.int32)
        for k in range(self.n):
            goes_on = goes_on & alive & (kind[:, k] != _NOTHING) & (k < n)
            R = R + jnp.where(goes_on, discount**k * reward[:, k], 0)
            alive = alive & ~(goes_on & (kind[:, k] == _LAST))
            taken = taken + goes_on
        observation, action, extras = of((stored.rows.observation, stored.rows.action, stored.rows.extras))
        weight = ((kind[:, 0] != _NOTHING) & (ends[-1] > 0)).astype(jnp.float32)
        discounts = jnp.where(alive, jnp.power(discount, taken.astype(jnp.float32)), 0)
        return Sample(observation, action, R, discounts, of(stored.rows.observation, taken), weight, extras)

    def oldest(self, stored: Stored, count: int) -> tuple[Steps, Array]:
        """The oldest rows, the same number from each environment.

        Args:
            stored: the replay.
            count: of all environments together, rounded up to a multiple of `num_envs`.

        Returns:
            The steps, and `(steps,)` bool: whether the row holds a step.
        """
        age = jnp.arange(min(-(-count // self.num_envs), self.length - 1))[None]
        where = ((stored.head - stored.size)[:, None] + age) % self.length
        rows = jax.tree.map(lambda x: x[jnp.arange(self.num_envs)[:, None], where], stored.rows)
        are = (rows.kind != _NOTHING) & (age < stored.size[:, None])
        steps = Steps(rows.observation, rows.action, rows.extras, rows.reward, rows.kind == _LAST)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (steps, are))

    def drop(self, stored: Stored, share: float) -> Stored:
        """Drops the oldest rows, a given share of all."""
        return stored._replace(size=stored.size - jnp.floor(share * stored.size).astype(jnp.int32))

    def emptied(self, stored: Stored) -> Stored:
        """The replay without its steps; their rows are not cleared, but are not drawn any more."""
        return stored._replace(size=jnp.zeros_like(stored.size), goes_on=jnp.zeros_like(stored.goes_on))
