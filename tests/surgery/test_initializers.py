import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.core.units import Group, Incoming, Outgoing, Wiring
from pliant.surgery.initializers import from_uniform, gain, kernel_init, lecun_normal, normal_deviation, uniform_bound


@pytest.mark.parametrize(
    "activation, expected",
    [
        ("relu", math.sqrt(2)),
        ("elu", math.sqrt(2)),
        ("swish", math.sqrt(2)),
        ("gelu", math.sqrt(2)),
        ("leaky_relu", 1.414143),  # sqrt(2 / (1 + 0.01^2))
        ("tanh", 5 / 3),
        ("sigmoid", 1.0),
        ("linear", 1.0),
        ("selu", 0.75),
    ],
)
def test_gain(activation, expected):
    assert gain(activation) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "initializer, activation, fan_in, fan_out, expected",
    [
        ("kaiming", "relu", 3, 4, math.sqrt(2)),  # sqrt(2) * sqrt(3 / 3), printed by the authors' code as 1.414214
        ("kaiming", "linear", 4, 2, math.sqrt(3) / 2),  # 1 * sqrt(3 / 4) = 0.866025
        ("kaiming", "tanh", 12, 5, 5 / 6),  # 5/3 * sqrt(3 / 12)
        ("xavier", "sigmoid", 10, 14, 0.5),  # sqrt(6 / 24)
        ("xavier", "tanh", 10, 14, 5 / 6),  # 5/3 * 1/2
        ("lecun", "relu", 12, 5, 0.5),  # sqrt(3 / 12), whatever the gain
        ("lecun", "relu", 111, 256, 0.164399),  # the first layer of the policy on Ant
        ("kaiming", "selu", 12, 5, 0.5),  # selu is always LeCun
        ("default", "relu", 16, 5, 0.25),  # 1 / sqrt(16)
        ("default", "relu", 75, 32, 0.115470),  # the first convolution of continual ImageNet, 3 x 5 x 5 inputs
    ],
)
def test_uniform_bound(initializer, activation, fan_in, fan_out, expected):
    assert uniform_bound(initializer, activation, fan_in, fan_out) == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"^activation='rellu': write one of 'relu', 'leaky_relu', "):
        gain("rellu")
    with pytest.raises(ValueError, match=r"^initializer='he': write one of 'kaiming', 'xavier', 'lecun', 'default'$"):
        uniform_bound("he", "relu", 3, 4)


@pytest.mark.parametrize(
    "activation, fan_in, expected",
    [
        ("relu", 27, 0.272166),  # sqrt(2 / 27), the first convolution of incremental CIFAR
        ("linear", 512, 0.044194),  # 1 / sqrt(512), its linear layer
        ("tanh", 25, 1 / 3),  # 5/3 / 5
        ("selu", 16, 0.25),  # 1 / sqrt(16): as in `kaiming`, without the gain
    ],
)
def test_normal_deviation(activation, fan_in, expected):
    assert normal_deviation(activation, fan_in) == pytest.approx(expected, rel=1e-5)


def test_fresh_weights_from_uniform_numbers():
    # A normal number is within one deviation with probability 0.682689, within two with 0.954500: of u uniform in
    # (-1, 1) these are the quantiles of one and two deviations. With fan-in 8 the deviation is sqrt(2 / 8) = 0.5.
    u = np.array([0, 0.6826895, -0.9544997], np.float32)
    normal, uniform = jax.jit(
        lambda u: [from_uniform(u, name, "relu", 8, 3) for name in ("kaiming_normal", "default")]
    )(u)
    np.testing.assert_allclose(normal, [0, 0.5, -1], rtol=1e-5)
    np.testing.assert_allclose(uniform, u / 8**0.5, rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_fresh_weights_of_an_unknown_initializer_are_refused():
    known = "'kaiming', 'xavier', 'lecun', 'default', 'kaiming_normal'"
    with pytest.raises(ValueError, match=rf"^initializer='he_normal': write one of {known}$"):
        from_uniform(np.zeros(3, np.float32), "he_normal", "relu", 3, 4)


def test_kernels_of_convolutions_have_fans_of_all_pixels():
    # 3 x 3 pixels of 8 channels: fan-in 72, and a deviation of sqrt(2 / 72) = 1/6. For 40 channels xavier's bound is
    # sqrt(2) sqrt(6 / (72 + 360)) = 1/6 as well. 2880 numbers: a standard error of 1/6 / sqrt(2 x 2880) = 0.0022.
    normal, uniform = jax.jit(
        lambda key: [kernel_init(name, "relu")(key, (3, 3, 8, 40)) for name in ("kaiming_normal", "xavier")]
    )(trees.key(0))
    normal, uniform = np.asarray(normal), np.asarray(uniform)
    assert normal.std() == pytest.approx(1 / 6, abs=0.009) and abs(normal.mean()) < 0.0125
    assert np.abs(normal).max() > 0.5 and 0.99 / 6 < np.abs(uniform).max() <= 1 / 6


def test_lecun_normal_by_fan_in():
    # The first layer sums 100 inputs: a standard deviation of 0.1. For the second, which only reads units, the wiring
    # gives a fan-in of 25, unlike its shape: 0.2. Both are cut off at two deviations of the uncut normal.
    wiring = Wiring(
        {"h": Group("h", 50, (Incoming("w0", 1),), (), (Outgoing("w1", 0, feature="h", fan_in=25, fan_out=2000),))}
    )
    weights = {"w0": np.zeros((100, 50), np.float32), "w1": np.zeros((50, 100), jnp.bfloat16)}
    drawn = jax.jit(lambda key: lecun_normal(key, wiring, weights))(trees.key(0))
    assert {path: (w.shape, w.dtype) for path, w in drawn.items()} == {
        p: (w.shape, w.dtype) for p, w in weights.items()
    }
    for path, deviation in (("w0", 0.1), ("w1", 0.2)):
        w = np.asarray(drawn[path], float)
        # Of 5000 numbers the deviation has a standard error of a hundredth of it.
        assert w.std() == pytest.approx(deviation, rel=0.04) and abs(w.mean()) < 4 * deviation / np.sqrt(5000)
        assert 1.9 * deviation / 0.87962566 < np.abs(w).max() < 2.01 * deviation / 0.87962566
