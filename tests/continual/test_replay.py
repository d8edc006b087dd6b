"""The reservoir of replay, and its penalty, in numbers by hand."""

import jax
import numpy as np
import pytest
import trees

from pliant.continual import replay
from pliant.core.clock import Clock
from pliant.core.continual import Update
from pliant.core.likelihood import categorical, unit_normal

NUMBER = jax.ShapeDtypeStruct((1,), np.float32)


def linear(w, x):
    return x @ w


def update(number):
    """The forward pass of an update, of which this penalty reads the number alone."""
    return Update(Clock(number), inputs=(), outputs=())


def weight(value):
    return np.full((1, 1), value, np.float32)


def test_the_penalty_is_the_distance_from_the_outputs_at_the_end_of_the_task_on_batches_in_turn():
    # Inputs 1, 2, 3, 4 and a weight of 5, then of 7: distances of the outputs are 2 x. Half the mean of 4 x^2 over the
    # slots 0 and 1 is 5, over 2 and 3 it is 25; the strength is 3. Updates count from 1: the first takes slots 2 and 3.
    method = replay(linear, unit_normal, NUMBER, strength=3.0, capacity=4, batch_size=2)
    assert method.samples == 4

    def run(key, inputs):
        state = method.init(weight(5))
        _, state = method.end_task(weight(5), state, inputs=inputs, clock=Clock(1, 0, 0), key=key)
        return [method.penalty(weight(7), state, update(number)) for number in range(4)]

    inputs = np.arange(1, 5, dtype=np.float32)[:, None]
    np.testing.assert_allclose(jax.jit(run)(trees.key(0), inputs), [15, 75, 15, 75], rtol=1e-6)


def test_batches_that_do_not_divide_the_capacity_go_through_all_slots():
    # Six times the mean of x^2 over the slots: 0 and 1, 2 and 3, 4 and 0, 1 and 2, 3 and 4. The last update that there
    # can be leaves 2 when divided by 5.
    method = replay(linear, unit_normal, NUMBER, strength=3.0, capacity=5, batch_size=2)

    def run(key, inputs):
        _, state = method.end_task(weight(5), method.init(weight(5)), inputs=inputs, clock=Clock(1, 0, 0), key=key)
        return [method.penalty(weight(7), state, update(number)) for number in (*range(5), 2**31 - 1)]

    inputs = np.arange(1, 6, dtype=np.float32)[:, None]
    np.testing.assert_allclose(jax.jit(run)(trees.key(0), inputs), [15, 75, 78, 39, 123, 78], rtol=1e-6)


def test_the_penalty_is_a_divergence_of_second_order():
    # Of the class probabilities: a small change of the logits has a divergence that is nearly the penalty.
    method = replay(lambda w, x: x @ w, categorical, NUMBER, capacity=1, batch_size=1)
    w, moved = np.float32([[0.2, -0.5, 1.0]]), np.float32([[0.21, -0.52, 1.01]])

    def run(key, w, moved):
        _, state = method.end_task(w, method.init(w), inputs=np.ones((1, 1), np.float32), clock=Clock(1, 0, 0), key=key)
        return method.penalty(moved, state, update(1))

    p, q = (np.exp(logits) / np.exp(logits).sum() for logits in (w[0].astype(float), moved[0].astype(float)))
    np.testing.assert_allclose(jax.jit(run)(trees.key(0), w, moved), (p * np.log(p / q)).sum(), rtol=0.02)


def test_each_task_has_about_the_same_share_and_the_outputs_of_its_own_end():
    # The inputs of task t are all t, with a weight of t + 1; of 3,000 slots each of three tasks keeps about 1,000.
    capacity = 3000
    method = replay(linear, unit_normal, NUMBER, capacity=capacity, batch_size=1)

    def run(keys):
        state, shares = method.init(weight(0)), []
        for task in range(3):
            inputs = np.full((capacity, 1), task, np.float32)
            _, state = method.end_task(weight(task + 1), state, inputs=inputs, clock=Clock(1, 0, task), key=keys[task])
            shares.append(state)
        return shares

    states = trees.numpy(jax.jit(run)(trees.keys([0, 1, 2])))
    assert (states[0].inputs == 0).all()  # after the first task nothing of before is left
    for finished, state in enumerate(states, start=1):
        tasks, shares = np.unique(state.inputs, return_counts=True)
        np.testing.assert_allclose(shares, capacity / finished, rtol=0.08)
        assert len(tasks) == finished
        np.testing.assert_array_equal(state.statistics, state.inputs * (state.inputs + 1))
        assert (state.weights == 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": -1.0}, "strength=-1.0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"capacity": 4, "batch_size": 8}, "capacity=4.*at least 8"),
    ],
)
def test_what_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        replay(linear, unit_normal, NUMBER, **settings)
