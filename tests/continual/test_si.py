"""Synaptic intelligence, in numbers by hand."""

import jax
import numpy as np
import pytest
import trees

from pliant.continual import si
from pliant.core.clock import Clock
from pliant.core.continual import Update

NO_INPUTS = np.zeros((0, 1), np.float32)
UPDATE = Update(Clock(1), NO_INPUTS, NO_INPUTS)


def number(value):
    return np.full(1, value, np.float32)


def through(method, *tasks):
    """The states after tasks: each is `(parameters, gradient)` of its updates, and the parameters after them."""

    def run(tasks, key):
        state, states = method.init(tasks[0][0][0]), []
        for task, (*updates, last) in enumerate(tasks):
            after = [theta for theta, _ in updates[1:]] + [last]
            for (previous, grads), params in zip(updates, after, strict=True):
                state = method.track(state, previous=previous, params=params, grads=grads)
            _, state = method.end_task(last, state, inputs=NO_INPUTS, clock=Clock(1, 0, task), key=key)
            states.append(state)
        return states

    tasks = jax.tree.map(number, tasks)
    return trees.numpy(jax.jit(run)(tasks, trees.key(0)))


def test_importance_is_the_decrease_of_the_loss_along_the_path_over_the_squared_distance():
    # One update from 1 to 0.8 along a gradient of 2: the loss falls by 0.4, and 0.4 / (0.04 + 0.1) = 2.857143.
    method = si(strength=3.0)
    [state] = through(method, [(1, 2), 0.8])
    np.testing.assert_allclose(state.importance, [2.857143], rtol=1e-5)
    np.testing.assert_array_equal(state.path, [0])
    np.testing.assert_allclose(method.penalty(number(1.8), state, UPDATE), 3 * 2.857143, rtol=1e-5)


def test_the_gradient_of_the_penalty_is_no_part_of_the_path_and_tasks_add_up():
    # First from 0 to 1 along -2: 2 / (1 + 1) = 1. In the second task the penalty is (theta - 1)^2 / 2. Its gradient is
    # 0 at 1, and 2 at 3: of the gradients -5 and -1, -5 and -3 are those of the loss. The loss falls by 5 x 2 + 3 x 1
    # from 1 over 3 to 4, and 13 / (9 + 1) = 1.3 is added to 1.
    method = si(strength=0.5, damping=1.0)
    states = through(method, [(0, -2), 1], [(1, -5), (3, -1), 4])
    np.testing.assert_allclose([state.importance[0] for state in states], [1, 2.3], rtol=1e-5)
    np.testing.assert_allclose(method.penalty(number(3), states[0], UPDATE), 2, rtol=1e-5)
    np.testing.assert_allclose(method.penalty(number(3), states[1], UPDATE), 0.5 * 2.3, rtol=1e-5)


def test_a_path_along_which_the_loss_rises_makes_no_importance_below_zero():
    # From 0 to 1 against a gradient of 2, and then from 1 to 2 along one of -2: 0, and 2 / (1 + 1).
    states = through(si(damping=1.0), [(0, 2), 1], [(1, -2), 2])
    np.testing.assert_allclose([state.importance[0] for state in states], [0, 1], rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"), [({"strength": -1.0}, "strength=-1.0"), ({"damping": 0.0}, "damping=0.0")]
)
def test_what_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        si(**settings)
