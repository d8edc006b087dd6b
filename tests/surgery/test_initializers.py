import math

import pytest

from pliant.surgery.initializers import gain, uniform_bound


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


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"^activation='rellu': write one of 'relu', 'leaky_relu', "):
        gain("rellu")
    with pytest.raises(ValueError, match=r"^initializer='he': write one of 'kaiming', 'xavier', 'lecun', 'default'$"):
        uniform_bound("he", "relu", 3, 4)
