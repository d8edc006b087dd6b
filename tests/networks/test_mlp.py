import jax
import numpy as np
import trees

from pliant.networks import MLP


def shapes(*, module, inputs):
    return jax.eval_shape(lambda key, x: module.init(key, x), trees.key(0), np.zeros((1, inputs), np.float32))["params"]


def test_the_published_network_of_permuted_mnist():
    # 784 x 2000 + 2000 x 2000 + 2000 x 2000 + 2000 x 10 weights.
    layers = shapes(module=MLP((2000,) * 3, 10), inputs=784)
    assert sum(layer["kernel"].size for layer in layers.values()) == 9_588_000
    assert [layer["bias"].size for layer in layers.values()] == [2000, 2000, 2000, 10]


def test_weights_may_be_normal_and_biases_are_zero():
    # Deviations: sqrt(2 / 50) = 0.2 before ReLU, and 1 / sqrt(100) = 0.1 before the outputs. Of 5000 and 2000 numbers
    # they have standard errors of 0.002 and 0.0016.
    module = MLP((100,), 20, initializer="kaiming_normal")
    params = trees.numpy(jax.jit(module.init)(trees.key(0), np.zeros((1, 50), np.float32)))["params"]
    np.testing.assert_allclose([layer["kernel"].std() for layer in params.values()], [0.2, 0.1], atol=0.008)
    assert np.abs(params["Dense_0"]["kernel"]).max() > 0.6
    assert not params["Dense_0"]["bias"].any() and not params["Dense_1"]["bias"].any()
