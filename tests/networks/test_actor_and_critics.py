"""The networks of actors and critics, once more in NumPy."""

import jax
import numpy as np
import pytest
import trees

from pliant.core.units import leaves
from pliant.networks import critic_ensemble, deterministic_actor, normal_actor
from pliant.networks._activations import activation_function
from pliant.tracing.trace import trace


def some_params(network):
    return trees.random_like(jax.eval_shape(network.init, trees.key(0)))


def perceptron(params, x, activation, norm=None):
    layers = [params[name] for name in sorted(params) if name.startswith("Dense")]
    for i, layer in enumerate(layers):
        x = x @ layer["kernel"] + layer["bias"]
        if i == len(layers) - 2 and norm is not None:
            x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
            x = x * norm["scale"] + norm["bias"]
        x = activation(x) if i < len(layers) - 1 else x
    return x


def leaky(x):
    return np.where(x > 0, x, 0.25 * x)


def test_a_policy_has_a_mean_and_a_log_deviation_of_each_number():
    network = normal_actor(5, 2, (4, 3), "leaky_relu", 0.25)
    params, x = some_params(network), trees.normal(1, 7, 5)
    mean, log_std = jax.jit(network.apply)(params, x)
    outputs = perceptron(params["actor"], x, leaky)
    np.testing.assert_allclose(np.concatenate([mean, log_std], 1), outputs, rtol=1e-4, atol=1e-4)
    assert (network.activation, network.initializer) == ("leaky_relu", "default")


def test_a_deterministic_policy_stays_within_its_bound():
    network = deterministic_actor(5, 2, (4, 3), bound=3.0)
    params, x = some_params(network), trees.normal(1, 7, 5)
    action = 3 * np.tanh(perceptron(params["actor"], x, lambda x: np.maximum(x, 0)))
    np.testing.assert_allclose(jax.jit(network.apply)(params, x), action, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("critics", "layer_norm"), [(1, False), (3, True)])
def test_critics_are_separate_networks(critics, layer_norm):
    network = critic_ensemble(5, (4, 3), critics, layer_norm, "leaky_relu", 0.25)
    params, x = some_params(network), trees.normal(1, 7, 5)
    values = np.concatenate([perceptron(one, x, leaky, one.get("LayerNorm")) for one in params.values()], axis=1)
    np.testing.assert_allclose(jax.jit(network.apply)(params, x), values, rtol=1e-3, atol=1e-3)
    assert list(params) == [f"critic_{i}" for i in range(critics)]
    initial = leaves(jax.jit(network.init)(trees.key(0)))
    first = [np.asarray(initial[f"critic_{i}/Dense_0/kernel"]) for i in range(critics)]
    assert len({kernel.tobytes() for kernel in first}) == critics


def test_units_of_all_critics_are_found():
    network = critic_ensemble(5, (4, 3), 3, activation="leaky_relu", negative_slope=0.2)
    wiring = trace(network.apply, jax.eval_shape(network.init, trees.key(0)), jax.ShapeDtypeStruct((7, 5), np.float32))
    assert sorted(wiring) == [f"critic_{i}/Dense_{j}" for i in range(3) for j in range(2)]


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation='mish': write one of 'relu', 'leaky_relu'"):
        activation_function("mish")
