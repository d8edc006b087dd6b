import jax
import numpy as np
import pytest
import trees

from pliant.networks import conv_net
from pliant.tracing.trace import trace

SMALL = conv_net((14, 14, 2), 3, channels=(4, 5), kernels=(5, 2), units=(6,))


def test_the_published_size():
    # (75 + 1) x 32 + (288 + 1) x 64 + (576 + 1) x 128 + (512 + 1) x 128 + (128 + 1) x 128 + (128 + 1) x 2
    params = jax.eval_shape(conv_net((32, 32, 3)).init, trees.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 177_218


def test_weights_and_biases_fill_the_default_bound():
    params = trees.numpy(jax.jit(conv_net((32, 32, 3)).init)(trees.key(0)))["params"]
    # 1 / sqrt of 3 x 5 x 5, 32 x 3 x 3, 64 x 3 x 3, 512, 128 and 128 inputs.
    bounds = [0.11547, 0.058926, 0.041667, 0.044194, 0.088388, 0.088388]
    assert [*params] == ["Conv_0", "Conv_1", "Conv_2", "Dense_0", "Dense_1", "Dense_2"]
    for layer, bound in zip(params.values(), bounds):
        assert 0.95 * bound < np.abs(layer["kernel"]).max() <= 1.0001 * bound
        assert np.abs(layer["bias"]).max() <= 1.0001 * bound and layer["bias"].std() > 0.3 * bound
    assert conv_net((32, 32, 3)).initializer == "default"


def test_methods_find_channels_and_units():
    # 14 pixels: 10 behind the kernel of 5, 5 behind the pooling, 4 behind the kernel of 2, and 2 x 2 in the end.
    params = jax.eval_shape(SMALL.init, trees.key(0))
    wiring = trace(SMALL.apply, params, jax.ShapeDtypeStruct((7, 14, 14, 2), np.float32))
    assert {name: group.units for name, group in wiring.items()} == {"Conv_0": 4, "Conv_1": 5, "Dense_0": 6}
    [reader] = wiring["Conv_1"].outgoing
    # Unit i owns the rows 5 x position + i of the layer behind the flattened image.
    np.testing.assert_array_equal(reader.indices, np.arange(20).reshape(4, 5))


def test_refuses_images_that_are_too_small_and_kernels_without_channels():
    with pytest.raises(ValueError, match=r"^image=\(20, 21, 3\) leaves no pixel behind 3 convolutions; write a larger"):
        conv_net((20, 21, 3))  # 16, 8, 6, 3, 1, 0
    with pytest.raises(ValueError, match=r"^channels=\(3,\) and kernels=\(5, 3, 3\): write one of each for every conv"):
        conv_net((32, 32, 3), channels=(3,))
