"""The penalty of learning without forgetting, in numbers by hand."""

import jax
import numpy as np
import pytest
import trees

from pliant.continual import lwf
from pliant.core.clock import Clock
from pliant.core.continual import Update
from pliant.core.likelihood import categorical, unit_normal


def linear(w, x):
    return x @ w


def weight(value):
    return np.full((1, 1), value, np.float32)


def penalties(method, teachers, w, x):
    """The penalties and their gradients in the tasks after the ends of tasks with these networks."""

    def run(teachers, w, x, key):
        state, found = method.init(teachers[0]), []
        for task, teacher in enumerate(teachers):
            _, state = method.end_task(teacher, state, inputs=x[:0], clock=Clock(1, 0, task), key=key)

            def penalty(w, state=state):
                return method.penalty(w, state, Update(Clock(1, 0, 1), x, linear(w, x)))

            found.append(jax.value_and_grad(penalty)(w))
        return found

    return trees.numpy(jax.jit(run)(teachers, w, x, trees.key(0)))


def test_the_penalty_is_the_distance_from_the_outputs_of_the_network_of_the_task_before():
    # Inputs 1 and 3, and a weight of 7 after one of 5, and then of 8: distances of the outputs are 2 x and -x. The mean
    # of x^2 is 5, and the strength 3: 3/2 x 4 x 5 = 30 with the gradient 3 x 2 x 5, and 3/2 x 5 with -3 x 5.
    method = lwf(linear, unit_normal, strength=3.0)
    first, second = penalties(method, [weight(5), weight(8)], weight(7), np.float32([[1], [3]]))
    np.testing.assert_allclose([*map(np.squeeze, first)], [30, 30], rtol=1e-6)
    np.testing.assert_allclose([*map(np.squeeze, second)], [7.5, -15], rtol=1e-6)


def test_classes_count_by_their_probability_for_the_teacher():
    # The teacher has logits 0 and log 3, the network 0 and 0: log probabilities differ by log 2 and log 2/3.
    teacher, w = np.log(np.float32([[1, 3]])), np.zeros((1, 2), np.float32)
    [(penalty, _)] = penalties(lwf(linear, categorical), [teacher], w, np.ones((1, 1), np.float32))
    expected = 0.5 * (0.25 * np.log(2) ** 2 + 0.75 * np.log(2 / 3) ** 2)
    np.testing.assert_allclose(penalty, expected, rtol=1e-5)


def test_refuses_a_negative_strength():
    with pytest.raises(ValueError, match=r"strength=-1\.0"):
        lwf(linear, unit_normal, strength=-1.0)
