import jax
import numpy as np
import pytest
import trees

from pliant.core.problem import Continuous, Discrete, Spec
from pliant.networks import actor_critic
from pliant.tracing.trace import trace


def spec(action, shape=(5,), dtype=np.float32):
    return Spec(jax.ShapeDtypeStruct(shape, dtype), action)


def some_params(network):
    """Random ones from NumPy: to compile the initializer takes longer than what is tested with them."""
    return trees.random_like(jax.eval_shape(network.init, trees.key(0)))


def written_out(layers, x, activation):
    for i in range(len(layers)):
        layer = layers[f"Dense_{i}"]
        x = x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        x = activation(x) if i < len(layers) - 1 else x
    return x


@pytest.mark.parametrize("hidden", [(), (4, 3)])
@pytest.mark.parametrize("action", [Continuous(2), Discrete(3)], ids=["continuous", "discrete"])
def test_two_perceptrons_that_share_nothing(action, hidden):
    network = actor_critic(spec(action), hidden, "tanh")
    params, x = some_params(network), trees.normal(1, 7, 5)
    (outputs, V), _ = jax.jit(network.apply)(params, x, network.initial_carry(len(x)))
    policy, value = (written_out(params[name], x, np.tanh) for name in ("policy", "value"))
    if isinstance(action, Continuous):
        mean, log_std = outputs
        np.testing.assert_array_equal(log_std, params["log_std"])
        assert mean.shape == (7, 2) and set(params) == {"policy", "value", "log_std"}
    else:
        mean = outputs
        assert mean.shape == (7, 3) and set(params) == {"policy", "value"}
    np.testing.assert_allclose(mean, policy, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(V, value[:, 0], rtol=1e-5, atol=1e-6)
    assert V.shape == (7,) and network.activation == "tanh"


@pytest.mark.parametrize(("initializer", "gain"), [("lecun", 1.0), ("kaiming", np.sqrt(2))])
def test_weights_fill_the_bound_of_the_initializer_and_all_else_is_zero(initializer, gain):
    network = actor_critic(spec(Continuous(3), (100,)), (200,), initializer=initializer)
    params = trees.numpy(jax.jit(network.init)(trees.key(0)))
    assert not params["log_std"].any()
    for layers in (params["policy"], params["value"]):
        # Hidden weights: +- gain * sqrt(3 / 100); those of the output layer are for no activation: +- sqrt(3 / 200).
        for layer, bound in zip(("Dense_0", "Dense_1"), (gain * np.sqrt(3 / 100), np.sqrt(3 / 200))):
            largest = np.abs(layers[layer]["kernel"]).max()
            assert 0.95 * bound < largest <= bound
            assert not layers[layer]["bias"].any()
    assert (params["policy"]["Dense_0"]["kernel"] != params["value"]["Dense_0"]["kernel"]).any()


def test_observations_of_whole_numbers_on_several_axes():
    network = actor_critic(spec(Discrete(2), (2, 3), np.uint8), (4,))
    params, x = some_params(network), np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    (logits, V), _ = jax.jit(network.apply)(params, x, network.initial_carry(len(x)))
    expected = written_out(params["policy"], x.reshape(4, 6).astype(float), lambda x: np.maximum(x, 0))
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
    assert V.shape == (4,)


def test_methods_find_the_hidden_units_of_both():
    network = actor_critic(spec(Continuous(2)), (4, 3))
    wiring = trace(network.apply, some_params(network), trees.normal(0, 6, 5), network.initial_carry(6))
    sizes = {name: group.units for name, group in wiring.items()}
    assert sizes == {"policy/Dense_0": 4, "policy/Dense_1": 3, "value/Dense_0": 4, "value/Dense_1": 3}
