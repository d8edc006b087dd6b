"""The schedule of minibatches, with numbers by hand."""

import jax
import numpy as np
import pytest
import trees

from pliant.agents._minibatches import Schedule, minibatches, over_minibatches


def test_a_sequence_is_known_by_its_first_sample():
    # Samples of 4 times of 3 environments: 0 1 2 | 3 4 5 | 6 7 8 | 9 10 11. Sequences of 2 begin at the times 0 and 2;
    # shifted by 1, at time 1 alone, for the next would begin at time 3 and has no second sample.
    schedule = Schedule(horizon=4, num_envs=3, recurrence=2, minibatches=2, alternate=True)
    assert schedule.starts().tolist() == [0, 1, 2, 6, 7, 8]
    assert schedule.starts(shifted=True).tolist() == [3, 4, 5]
    assert schedule.along(np.array([1, 8])).tolist() == [[1, 8], [4, 11]]
    assert (schedule.samples, schedule.sequences) == (12, 3)


def test_single_steps_leave_out_the_last_time_where_they_are_shifted():
    # Half of a sequence of 1 is 0: the samples stay where they are, and one less of each environment is left.
    schedule = Schedule(horizon=3, num_envs=2, alternate=True)
    assert schedule.starts().tolist() == [0, 1, 2, 3, 4, 5]
    assert schedule.starts(shifted=True).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("schedule", "updates"),
    [
        (Schedule(4, 3, epochs=2, minibatches=3), 6),
        # 16 samples in minibatches of 8: 2; and 12, of which 4 make a minibatch of their own: 2.
        (Schedule(4, 4, epochs=2, minibatches=2, alternate=True), 4),
        # 16 samples in minibatches of 4: 4; and 12: 3; and again 4.
        (Schedule(4, 4, epochs=3, minibatches=4, alternate=True), 11),
    ],
)
def test_updates_of_a_round(schedule, updates):
    assert schedule.updates == updates


def drawn(schedule, shifts):
    """Of two seeds: the whole minibatches, and what is left."""
    draw = jax.jit(lambda keys: minibatches(list(keys), schedule, shifts))
    return [[x.tolist() for x in trees.numpy(draw(trees.keys(range(n, n + len(shifts)))))] for n in (0, 10)]


def test_each_epoch_is_a_random_order_of_all_its_sequences():
    schedule = Schedule(horizon=4, num_envs=3, recurrence=2, minibatches=2, alternate=True)
    (whole, rest), (others, _) = drawn(schedule, [False, True])
    # 6 sequences in two minibatches of 3, and the 3 shifted ones in one.
    assert np.shape(whole) == (3, 3) and rest == []
    assert sorted(whole[0] + whole[1]) == [0, 1, 2, 6, 7, 8] and sorted(whole[2]) == [3, 4, 5]
    assert sorted(others[0] + others[1]) == [0, 1, 2, 6, 7, 8] and others != whole


def test_what_does_not_fill_a_minibatch_comes_last():
    (whole, rest), _ = drawn(Schedule(4, 4, epochs=2, minibatches=2, alternate=True), [False, True])
    assert np.shape(whole) == (3, 8) and len(rest) == 4
    assert sorted(whole[0] + whole[1]) == list(range(16)) and sorted(whole[2] + rest) == list(range(12))


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_updates_are_made_one_after_another_each_with_its_own_draw(epochs):
    # Each epoch is drawn from its key; `random` are the numbers 0, 1, ... within an epoch.
    schedule = Schedule(4, 4, epochs=epochs, minibatches=2, alternate=True)

    def update(carry, first, random, number):
        return 3 * carry + number, {"samples": len(first), "sum": first.sum(), "random": random, "number": number}

    def run(keys):
        return over_minibatches(schedule, list(keys), update, lambda key, updates: np.arange(updates), 0)

    carry, metrics = jax.jit(run)(trees.keys(range(epochs)))
    updates = 2 * epochs
    assert metrics["number"].tolist() == list(range(1, updates + 1))
    assert metrics["samples"].tolist() == [8, 8, 8, 4, 8, 8][:updates]
    assert metrics["random"].tolist() == [0, 1] * epochs
    # 0 + ... + 15 = 120 in a whole epoch and 0 + ... + 11 = 66 in a shifted one.
    assert np.reshape(metrics["sum"], (epochs, 2)).sum(1).tolist() == [120, 66, 120][:epochs]
    assert carry == sum(number * 3 ** (updates - number) for number in range(1, updates + 1))
