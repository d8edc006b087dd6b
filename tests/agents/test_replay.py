"""The replay, against lists of all that ever happened."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant.agents._replay import Replay, Steps

DISCOUNT = 0.5


class History:
    """What happens to environments, as lists of all rows: `(number, terminated)` of a step, `None` where one was cut.

    A step is seen as its number; what was seen when it was cut short is minus its number.
    """

    def __init__(self, num_envs, seed):
        self.rows = [[] for _ in range(num_envs)]
        self._random, self._count = np.random.default_rng(seed), 0

    def more(self, times):
        """Random steps: number, terminated, begins, what follows within the episode; `(times, num_envs)` each."""
        shape = times, len(self.rows)
        numbers = np.arange(self._count + 1, self._count + times * shape[1] + 1).reshape(shape)
        self._count += times * shape[1]
        terminated, is_first = self._random.random(shape) < 0.15, self._random.random(shape) < 0.2
        for e, rows in enumerate(self.rows):
            for t in range(times):
                is_first[t, e] |= not rows or rows[-1][1]
                if is_first[t, e] and rows and not rows[-1][1]:
                    rows.append(None)
                rows.append((numbers[t, e], terminated[t, e]))
        return numbers, terminated, is_first


def plain_return(rows, i, n):
    """Reward, discount, and what is seen at last, of the return from row i; rewards are twice the numbers."""
    R, discount = 0.0, 1.0
    for k in range(n):
        number, terminated = rows[i + k]
        R, discount = R + discount * 2 * number, discount * DISCOUNT
        if terminated:
            return R, 0.0, None
        if rows[i + k + 1] is None:
            return R, discount, -number
    return R, discount, rows[i + n][0]


@pytest.mark.parametrize(
    ("num_envs", "times", "n", "buffer_size"), [(1, 1, 1, 12), (1, 1, 3, 12), (3, 1, 3, 40), (2, 4, 2, 30)]
)
def test_returns_are_those_of_plain_loops(num_envs, times, n, buffer_size):
    replay, kept = Replay(num_envs, buffer_size, observation=1, action=2, extras=1, n=n), -(-buffer_size // num_envs)
    history, add = History(num_envs, seed=0), jax.jit(replay.add)
    sample = jax.jit(lambda stored, key, n: replay.sample(stored, key, 512, DISCOUNT, n))
    stored, calls = jax.jit(replay.init)(), 40
    everything = [history.more(times) for _ in range(calls + 1)]
    numbers, terminated, is_first = (np.concatenate(x) for x in zip(*everything))
    following = np.where(is_first[1:], -numbers[:-1], numbers[1:])[..., None]
    row_of = [{row[0]: i for i, row in enumerate(rows) if row} for rows in history.rows]
    for call in range(calls):
        now = slice(call * times, (call + 1) * times)
        x = jnp.asarray(numbers[now, :, None], jnp.float32)
        steps = Steps(x, jnp.concatenate([x, -x], 2), x, 2 * x[..., 0], jnp.asarray(terminated[now]))
        stored = add(stored, steps, jnp.asarray(is_first[now]), jnp.asarray(following[now], jnp.float32))
        for steps_of_return in {1, n} if call in (1, 6, 13, 39) else ():
            drawn = jax.tree.map(np.asarray, sample(stored, jax.random.key(call), steps_of_return))
            seen = [[] for _ in range(num_envs)]
            for b in np.flatnonzero(drawn.weight):
                (e,) = (e for e in range(num_envs) if drawn.observation[b, 0] in row_of[e])
                i = row_of[e][drawn.observation[b, 0]]
                seen[e].append(i)
                R, discount, last = plain_return(history.rows[e], i, steps_of_return)
                assert (drawn.reward[b], drawn.discount[b]) == pytest.approx((R, discount))
                assert last is None or drawn.next_observation[b, 0] == last
                np.testing.assert_array_equal(drawn.action[b], drawn.observation[b] * [1, -1])
            for e, rows in enumerate(history.rows):
                # All that is in the ring, and whose return is known, can be drawn.
                end = row_of[e][numbers[now][-1, e]] + 1
                known = range(max(0, end - kept), end - steps_of_return + 1)
                assert set(seen[e]) == {i for i in known if rows[i]}


class Jitted:
    """A replay and what is in it; nothing is computed but in programs that are compiled as a whole."""

    def __init__(self, num_envs, buffer_size):
        self.replay, self._environments = Replay(num_envs, buffer_size, observation=1, action=1, extras=1), num_envs
        self._add = jax.jit(self.replay.add)
        self._sample = jax.jit(self.replay.sample, static_argnums=2)
        self.stored = jax.jit(self.replay.init)()

    def add(self, times, cut=()):
        """Steps that are seen as ten times their time plus their environment's number, some of them after a cut."""
        x = np.float32(10 * np.array(times)[:, None, None] + np.arange(self._environments)[None, :, None])
        is_first = np.isin(x[..., 0], cut)
        self.stored = self._add(self.stored, Steps(x, x, -x, x[..., 0], np.zeros_like(is_first)), is_first, x + 10)

    def sample(self, batch, share=1.0):
        return jax.tree.map(np.asarray, self._sample(self.stored, jax.random.key(0), batch, DISCOUNT, share=share))


def test_every_step_is_as_probable_as_any_other_whatever_environment_it_is_of():
    # The second of two environments was cut short after 41: 16 steps in 17 rows.
    jitted = Jitted(2, 100)
    jitted.add(range(4))
    jitted.add(range(4, 8), cut=[51])
    assert jitted.stored.size.tolist() == [8, 9]
    drawn = jitted.sample(17_000)
    numbers, counts = np.unique(drawn.observation[drawn.weight == 1], return_counts=True)
    assert numbers.tolist() == sorted(10 * t + e for t in range(8) for e in range(2))
    # 17,000 draws from 17 rows: each 1000 times, give or take 4 standard deviations of 31.
    np.testing.assert_allclose(counts, 1000, atol=125)
    assert (drawn.weight == 0).sum() == pytest.approx(1000, abs=125)


def test_the_oldest_are_drawn_looked_at_and_dropped():
    # Ten steps in a ring of 8 rows: 2 to 9 are left. The oldest half of them: 2 to 5.
    jitted = Jitted(1, 8)
    for times in (range(3), range(3, 6), range(6, 9), range(9, 10)):
        jitted.add(times)

    def seen(share=1.0):
        return set(jitted.sample(500, share).observation.ravel())

    assert seen() == {20, 30, 40, 50, 60, 70, 80, 90}
    assert seen(share=0.5) == {20, 30, 40, 50}
    oldest = jax.jit(jitted.replay.oldest, static_argnums=1)
    old, are = oldest(jitted.stored, 3)
    assert old.observation.ravel().tolist() == [20, 30, 40] and old.extras.ravel().tolist() == [-20, -30, -40]
    assert are.all()
    whole, drop = jitted.stored, jax.jit(jitted.replay.drop)
    jitted.stored = drop(whole, 0.3)  # 2.4 of 8
    assert seen() == {40, 50, 60, 70, 80, 90}
    assert oldest(drop(whole, 0.9), 3)[1].tolist() == [True, False, False]


def test_nothing_counts_before_anything_happened():
    assert not Jitted(2, 100).sample(8).weight.any()


def test_it_takes_little_memory():
    # HalfCheetah: 17 + 6 numbers, the reward and what kind of row it is: 25 of 4 bytes, a million times and once.
    assert Replay(1, 1_000_000, 17, 6).bytes == 100_000_100


@pytest.mark.parametrize(
    ("replay", "message"),
    [
        (
            Replay(2, 9, 1, 1, n=5),
            "buffer_size=9 is too small for returns of 5 steps, and for 1 steps at once, of 2 envir",
        ),
    ],
)
def test_refuses_in_one_line(replay, message):
    with pytest.raises(ValueError) as error:
        replay.check(1)
    assert message in str(error.value) and "\n" not in str(error.value)
    least = int(re.search(r"write at least (\d+)", str(error.value))[1])
    dataclasses.replace(replay, buffer_size=least).check(1)
