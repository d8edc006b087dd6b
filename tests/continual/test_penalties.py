"""EWC, MAS and the L2 anchor, in numbers by hand."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.continual import ewc, l2_anchor, mas
from pliant.core.clock import Clock
from pliant.core.continual import Update
from pliant.core.likelihood import categorical, gaussian, unit_normal

FLOOR = 1e-5  # of the information from one input
UPDATE = Update(Clock(1), inputs=(), outputs=())  # these penalties read neither


def after_tasks(method, networks, inputs):
    """The states after the ends of tasks with these networks and inputs, compiled as one program."""

    def run(networks, inputs, key):
        state, states = method.init(networks[0]), []
        for task, (params, x) in enumerate(zip(networks, inputs, strict=True)):
            _, state = method.end_task(params, state, inputs=x, clock=Clock(1, 0, task), key=key)
            states.append(state)
        return states

    return trees.numpy(jax.jit(run)(networks, inputs, trees.key(0)))


def information(apply, likelihood, params, x, **settings):
    """The information after one task."""
    [state] = after_tasks(ewc(apply, likelihood, **settings), [params], [np.asarray(x, np.float32)])
    return state.importance


def test_l2_anchor_is_the_squared_distance_to_the_network_of_the_task_before():
    # 0.5 (1 + 4 + 9) from [0, 0] and 0, then 0.5 (1 + 1 + 0) from [2, 1] and 3.
    method = l2_anchor(strength=0.5)
    networks = [{"w": np.zeros(2, np.float32), "b": np.float32(0)}, {"w": np.float32([2, 1]), "b": np.float32(3)}]
    states = after_tasks(method, networks, [np.zeros((0, 1), np.float32)] * 2)
    theta = {"w": np.float32([1, 2]), "b": np.float32(3)}
    assert method.penalty(theta, states[0], UPDATE) == 7
    assert method.penalty(theta, states[1], UPDATE) == 1


def test_information_about_a_mean_and_a_deviation():
    # mu = w x and sigma = e^s. With s = log 2 the variance is 4: for x = 1, 3 the information about w is 1/4, 9/4, that
    # about s, by the chain rule, 2 sigma^2 / sigma^2 = 2.
    def apply(params, x):
        return params["w"] * x, jnp.broadcast_to(params["s"], x.shape)

    params = {"w": np.float32(0.7), "s": np.log(np.float32(2))}
    found = information(apply, gaussian, params, [[1], [3]])
    np.testing.assert_allclose(found["w"], (1 + 9) / 4 / 2, rtol=1e-5)
    np.testing.assert_allclose(found["s"], 2, rtol=1e-5)
    # Outside of [-20, 2] a log deviation is clipped: it says nothing, and the floor remains. The variance is e^4.
    clipped = information(apply, gaussian, params | {"s": np.float32(3)}, [[1], [3]])
    np.testing.assert_allclose(clipped["s"], FLOOR, rtol=1e-5)
    np.testing.assert_allclose(clipped["w"], (1 + 9) / 2 * np.exp(-4), rtol=1e-5)


def test_information_about_classes():
    # Of logits w x it is p (1 - p) x^2 for each weight: with p = 1/4, 3/4 and x = 2 that is 3/4.
    found = information(lambda w, x: x @ w, categorical, np.log(np.float32([[1, 9]])) / 4, [[2], [2]])
    np.testing.assert_allclose(found, [[0.75, 0.75]], rtol=1e-5)


def test_information_about_numbers_of_variance_one_and_its_floor_for_each_input():
    # x^2, which is 4 and 0: the floor is for the second alone.
    found = information(lambda w, x: x @ w, unit_normal, np.ones((1, 1), np.float32), [[2], [0]])
    np.testing.assert_allclose(found, [[(4 + FLOOR) / 2]], rtol=1e-6)


@pytest.mark.parametrize("decay", [1.0, 0.5, 0.0])
def test_ewc_sums_information_which_may_decay_around_the_newest_network(decay):
    # Information 4 of the first task and 9 of the second, around 1 and then around 3.
    method = ewc(lambda w, x: x @ w, unit_normal, strength=2.0, samples=1, decay=decay)
    networks = [np.full((1, 1), value, np.float32) for value in (1, 3)]
    first, second = after_tasks(method, networks, [np.full((1, 1), x, np.float32) for x in (2, 3)])
    theta, both = np.full((1, 1), 2, np.float32), 4 * decay + 9
    np.testing.assert_allclose(method.penalty(theta, first, UPDATE), 2 * 4 * (2 - 1) ** 2, rtol=1e-6)
    np.testing.assert_allclose(method.penalty(theta, second, UPDATE), 2 * both * (2 - 3) ** 2, rtol=1e-6)


def test_mas_sums_the_sensitivity_of_the_squared_outputs():
    # Of (w x, -2) it is 2 |w| x^2: 4 and 1 for w = 1/2 and x = 2, 1; and 54 for w = -3 and x = 3, in the second task.
    method = mas(lambda w, x: (x @ w, jnp.full((len(x), 1), -2.0)), strength=2.0)
    networks = [np.full((1, 1), value, np.float32) for value in (0.5, -3)]
    first, second = after_tasks(method, networks, [np.float32([[2], [1]]), np.float32([[3], [3]])])
    theta = np.full((1, 1), 1, np.float32)
    np.testing.assert_allclose(first.importance, [[2.5]], rtol=1e-6)
    np.testing.assert_allclose(method.penalty(theta, first, UPDATE), 2 * 2.5 * 0.5**2, rtol=1e-6)
    np.testing.assert_allclose(method.penalty(theta, second, UPDATE), 2 * 56.5 * 4**2, rtol=1e-6)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        (l2_anchor, {"strength": -1.0}, "strength=-1.0"),
        (ewc, {"strength": -1.0}, "strength=-1.0"),
        (ewc, {"samples": 0}, "samples=0"),
        (ewc, {"decay": 1.5}, "decay=1.5"),
        (mas, {"strength": -1.0}, "strength=-1.0"),
        (mas, {"samples": 0}, "samples=0"),
        (ewc, {"published_outputs": True}, "published_outputs=true is for policies of means and standard deviations"),
    ],
)
def test_what_is_refused(method, settings, message):
    context = {"apply": lambda w, x: x @ w, "likelihood": categorical}
    context = {name: value for name, value in context.items() if name in inspect.signature(method).parameters}
    with pytest.raises(ValueError, match=message) as error:
        method(**context, **settings)
    assert "\n" not in str(error.value)
