import jax
import numpy as np
import pytest
import trees

from pliant.networks import dense_network


@pytest.mark.parametrize("hidden", [(), (4, 3)])
def test_rectifiers_between_dense_layers(hidden):
    network = dense_network((5, *hidden, 2))
    params = trees.random_like(jax.eval_shape(network.init, trees.key(0)))
    x = trees.normal(1, 7, 5)
    expected = x
    for layer in range(len(hidden)):
        expected = np.maximum(0, expected @ params[f"Dense_{layer}"]["kernel"] + params[f"Dense_{layer}"]["bias"])
    last = params[f"Dense_{len(hidden)}"]
    np.testing.assert_allclose(
        jax.jit(network.apply)(params, x), expected @ last["kernel"] + last["bias"], rtol=1e-5, atol=1e-5
    )


def test_weights_and_biases_are_those_of_pytorch():
    # Uniform within 1 / sqrt(16) and 1 / sqrt(400), so with deviations of 0.25 / sqrt(3) and 0.05 / sqrt(3).
    params = trees.numpy(jax.jit(dense_network((16, 400, 500)).init)(trees.key(0)))
    for layer, bound in enumerate((0.25, 0.05)):
        for array in params[f"Dense_{layer}"].values():
            assert bound * 0.97 < np.abs(array).max() <= bound
            np.testing.assert_allclose(array.std(), bound / np.sqrt(3), rtol=0.1)
