import jax
import numpy as np
import pytest

from pliant.core.units import Wiring
from pliant.diagnostics import gradient_magnitude, weight_change, weight_magnitude

WIRING = Wiring({})
PARAMS = {
    "a": {"kernel": np.array([[1.0, -2.0], [3.0, 0.0]]), "bias": np.array([-4.0, 0.0])},
    "b": {"kernel": np.array([[-5.0], [5.0]]), "steps": np.array(9)},
}


def rows(measure, **signals):
    return {row: float(value) for row, value in jax.jit(measure)(**signals).items()}


# a: 6 / 4; b: 10 / 2; both: 16 / 6. With the bias, 4 / 2: 20 / 8. The integer counter is no weight.
@pytest.mark.parametrize(
    ("leaves", "wanted"),
    [
        ("kernels", {"a/kernel": 1.5, "b/kernel": 5.0, "": 16 / 6}),
        ("all", {"a/kernel": 1.5, "a/bias": 2.0, "b/kernel": 5.0, "": 2.5}),
    ],
)
def test_mean_magnitude_of_weights_and_gradients(leaves, wanted):
    assert rows(weight_magnitude(WIRING, leaves=leaves), params=PARAMS) == pytest.approx(wanted)
    assert rows(gradient_magnitude(WIRING, leaves=leaves), grads=PARAMS) == pytest.approx(wanted)


# a: 1 + 2 + 0 + 0.5; b: 0 + 1; the bias: 0 + 3.
@pytest.mark.parametrize(
    ("leaves", "wanted"),
    [
        ("kernels", {"a/kernel": 3.5, "b/kernel": 1.0, "": 4.5}),
        ("all", {"a/kernel": 3.5, "a/bias": 3.0, "b/kernel": 1.0, "": 7.5}),
    ],
)
def test_weight_change_is_the_sum_of_magnitudes(leaves, wanted):
    previous = {
        "a": {"kernel": np.array([[0.0, 0.0], [3.0, 0.5]]), "bias": np.array([-4.0, 3.0])},
        "b": {"kernel": np.array([[-5.0], [4.0]]), "steps": np.array(8)},
    }
    assert rows(weight_change(WIRING, leaves=leaves), params=PARAMS, previous_params=previous) == wanted


@pytest.mark.parametrize("name", ["statistics", "batch_stats"])
def test_running_statistics_are_no_weights(name):
    # The kernel alone: (1 + 3) / 2. With the bias: (1 + 3 + 5) / 3.
    variables = {
        "params": {"kernel": np.array([[1.0, -3.0]]), "bias": np.array([5.0])},
        name: {"mean": np.full((1, 2), 100.0), "var": np.full(2, 100.0)},
    }
    assert rows(weight_magnitude(WIRING), params=variables) == {"params/kernel": 2.0, "": 2.0}
    assert rows(weight_magnitude(WIRING, leaves="all"), params=variables)[""] == 3.0


def test_parameters_that_are_one_array_have_one_row():
    assert rows(weight_magnitude(WIRING), params=np.array([[1.0, -2.0]])) == {"": 1.5}
    assert rows(weight_change(WIRING), params=np.ones((2, 2)), previous_params=np.zeros((2, 2))) == {"": 4.0}


def test_a_network_without_kernels_has_no_rows():
    params = {"bias": np.ones(3)}
    assert rows(weight_magnitude(WIRING), params=params) == {}
    assert rows(weight_change(WIRING), params=params, previous_params=params) == {}


@pytest.mark.parametrize("previous", [{"a": np.ones((1, 3))}, {"b": np.ones((2, 3))}, {}])
def test_trees_that_do_not_match_are_refused(previous):
    with pytest.raises(ValueError, match=r"do not match at '[ab]'"):
        weight_change(WIRING)(params={"a": np.ones((2, 3))}, previous_params=previous)


@pytest.mark.parametrize("factory", [weight_magnitude, weight_change, gradient_magnitude])
def test_refuses_other_leaves(factory):
    with pytest.raises(ValueError, match="leaves='biases': write one of 'kernels', 'all'"):
        factory(WIRING, leaves="biases")
