"""The replay, against lists of all that ever happened."""

import dataclasses
import re

import jax
import numpy as np
import pytest
import trees

from pliant.agents._replay import Replay, Steps

DISCOUNT = 0.5


def numbers(*shape):
    return jax.ShapeDtypeStruct(shape, np.float32)


def empty(replay):
    """The replay's arrays before the first step, made without a program."""
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(replay.init))


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
    replay, kept = Replay(num_envs, buffer_size, numbers(1), numbers(2), numbers(1), n), -(-buffer_size // num_envs)
    history, add = History(num_envs, seed=0), jax.jit(replay.add)
    sample = jax.jit(lambda stored, key, n: replay.sample(stored, key, 512, DISCOUNT, n))
    stored, calls = empty(replay), 40
    everything = [history.more(times) for _ in range(calls + 1)]
    steps_made, terminated, is_first = (np.concatenate(x) for x in zip(*everything))
    following = np.where(is_first[1:], -steps_made[:-1], steps_made[1:])[..., None].astype(np.float32)
    row_of = [{row[0]: i for i, row in enumerate(rows) if row} for rows in history.rows]
    for call in range(calls):
        now = slice(call * times, (call + 1) * times)
        x = steps_made[now, :, None].astype(np.float32)
        steps = Steps(x, np.concatenate([x, -x], 2), x, 2 * x[..., 0], terminated[now])
        stored = add(stored, steps, is_first[now], following[now])
        for steps_of_return in {1, n} if call in (1, 6, 13, 39) else ():
            drawn = jax.tree.map(np.asarray, sample(stored, trees.key(call), steps_of_return))
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
                end = row_of[e][steps_made[now][-1, e]] + 1
                known = range(max(0, end - kept), end - steps_of_return + 1)
                assert set(seen[e]) == {i for i in known if rows[i]}


class Jitted:
    """A replay and what is in it; nothing is computed but in programs that are compiled as a whole."""

    def __init__(self, num_envs, buffer_size):
        self.replay, self._environments = Replay(num_envs, buffer_size, *[numbers(1)] * 3), num_envs
        self._add = jax.jit(self.replay.add)
        self._sample = jax.jit(self.replay.sample, static_argnums=2)
        self.stored = empty(self.replay)

    def add(self, times, cut=()):
        """Steps that are seen as ten times their time plus their environment's number, some of them after a cut."""
        x = np.float32(10 * np.array(times)[:, None, None] + np.arange(self._environments)[None, :, None])
        is_first = np.isin(x[..., 0], cut)
        self.stored = self._add(self.stored, Steps(x, x, -x, x[..., 0], np.zeros_like(is_first)), is_first, x + 10)

    def sample(self, batch, share=1.0):
        return jax.tree.map(np.asarray, self._sample(self.stored, trees.key(0), batch, DISCOUNT, share=share))


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
    for times in (range(5), range(5, 10)):
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


def test_observations_and_actions_may_be_any_trees_and_keep_their_types():
    # Three steps of one environment, 0, 1 and 2; each is followed by the next, and the last by 3.
    observation = {"image": jax.ShapeDtypeStruct((2, 2), np.uint8), "speed": numbers()}
    replay = Replay(1, 10, observation, jax.ShapeDtypeStruct((), np.int32), {"log_prob": numbers()})

    def seen(times):
        shade = np.array(times, np.uint8)[:, None, None, None]
        return {"image": np.tile(shade, (1, 1, 2, 2)), "speed": np.float32(times)[:, None] / 10}

    def run(stored, steps, is_first, following, key):
        return replay.sample(replay.add(stored, steps, is_first, following), key, 20, DISCOUNT)

    column = np.arange(3)[:, None]
    steps = Steps(seen([0, 1, 2]), -column.astype(np.int32), {"log_prob": column / np.float32(2)},
                  np.ones((3, 1), np.float32), np.zeros((3, 1), bool))  # fmt: skip
    sample = jax.jit(run)(empty(replay), steps, column == 0, seen([1, 2, 3]), trees.key(0))
    time = -np.asarray(sample.action)
    assert sample.action.dtype == np.int32 and set(time) == {0, 1, 2}
    for tree, now in ((sample.observation, time), (sample.next_observation, time + 1)):
        assert tree["image"].dtype == np.uint8
        np.testing.assert_array_equal(tree["image"], np.tile(now[:, None, None], (1, 2, 2)))
        np.testing.assert_allclose(tree["speed"], now / 10, rtol=1e-6)


def bytes_of(tree):
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def test_it_takes_little_memory():
    # HalfCheetah: 17 + 6 numbers and the reward, of 4 bytes, and a byte for the kind of row: 97 bytes, a million times
    # and once; and 9 bytes for the ring.
    stored = jax.eval_shape(Replay(1, 1_000_000, numbers(17), numbers(6)).init)
    assert bytes_of(stored) == 97_000_097 + 9


def test_images_of_uint8_take_a_quarter_of_the_bytes_of_float32():
    small, large = (
        jax.eval_shape(Replay(2, 100, jax.ShapeDtypeStruct((8, 8, 3), dtype), numbers(1)).init).rows.observation
        for dtype in (np.uint8, np.float32)
    )
    assert 4 * bytes_of(small) == bytes_of(large) == 4 * 2 * 51 * 8 * 8 * 3


@pytest.mark.parametrize(
    ("replay", "message"),
    [
        (
            Replay(2, 9, numbers(1), numbers(1), n=5),
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


def test_an_emptied_replay_draws_only_what_is_added_afterwards():
    replay = Replay(2, 8, numbers(), numbers())

    def steps(values):
        values = np.broadcast_to(np.float32(values), (2, 2))
        return Steps(values, values, (), values, np.zeros((2, 2), bool))

    def run(old, new):
        nothing, following = np.zeros((2, 2), bool), np.zeros((2, 2), np.float32)
        stored = replay.emptied(replay.add(replay.init(), old, nothing, following))
        sample = replay.sample(replay.add(stored, new, nothing, following), jax.random.key(0), 50, DISCOUNT)
        return stored.size, replay.sample(stored, jax.random.key(0), 5, DISCOUNT).weight, sample

    size, weight, sample = trees.numpy(jax.jit(run)(steps(1), steps(2)))
    assert not size.any() and not weight.any()
    assert (sample.observation == 2).all() and sample.weight.all()
