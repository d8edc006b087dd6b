"""Continual backpropagation on a ResNet-18, whose channels are shared along the residual stream.

The network is written down here layer by layer: no wiring tells which kernels make and read a channel.
"""

import jax
import numpy as np
import optax
import pytest
import trees

from pliant.core.lookup import replacements
from pliant.core.plastic import plastic
from pliant.methods import continual_backprop
from pliant.networks import resnet18
from pliant.tracing.trace import trace

WIDTHS = (3, 4, 4, 5)
NETWORK = resnet18((8, 8, 3), 10, WIDTHS)
FIRST = [0, 2, 4, 6]  # block of each stage, in which the shortcut is a convolution but in stage 0


def layers():
    """`name -> (units, convolutions that make the channels, norms behind these, features and their readers)`."""
    groups = {}
    for block in range(8):
        b = f"Block_{block}"
        groups[f"{b}/Conv_0"] = (
            WIDTHS[block // 2], [f"{b}/Conv_0"], [f"{b}/BatchNorm_0"], [(f"{b}/Conv_0", [f"{b}/Conv_1"])]
        )  # fmt: skip
    for stage, block in enumerate(FIRST):
        a, b, following = (f"Block_{block + i}" for i in range(3))
        name = f"{a}/Conv_1" if stage else "Conv_0"
        convolutions, norms = [f"{a}/Conv_1", f"{b}/Conv_1"], [f"{a}/BatchNorm_1", f"{b}/BatchNorm_1"]
        convolutions += [f"{a}/Conv_2" if stage else "Conv_0"]
        norms += [f"{a}/BatchNorm_2" if stage else "BatchNorm_0"]
        read = [(f"{name}@{b}/Conv_0", [f"{b}/Conv_0"])]
        if stage == 0:  # the stem is read as well
            read += [(f"{name}@{a}/Conv_0", [f"{a}/Conv_0"])]
        if stage < 3:  # the main branch and the shortcut of the next stage
            read += [(f"{name}@{following}/Conv_0", [f"{following}/Conv_0", f"{following}/Conv_2"])]
        else:
            read += [(f"{name}@Dense_0", ["Dense_0"])]
        groups[name] = WIDTHS[stage], convolutions, norms, read
    return groups


def module(tree, name):
    for part in name.split("/"):
        tree = tree[part]
    return tree


def test_a_traced_step_on_resnet18_equals_an_independent_computation_for_each_layer():
    shapes = jax.eval_shape(NETWORK.init, trees.key(0))
    before = trees.random_like(shapes, 1)
    wiring = trace(NETWORK.train, shapes, jax.ShapeDtypeStruct((6, 8, 8, 3), np.float32))
    _, features = jax.eval_shape(wiring.apply, before, np.zeros((6, 8, 8, 3), np.float32))
    features = trees.random_like(features, 2)
    # 0.34 of 3, 4 and 5 channels are one channel and a fraction: one is replaced in each group at the first step.
    method = continual_backprop(wiring, replacement_rate=0.34, maturity=0, initializer="kaiming_normal", max_per_step=2)
    tx = plastic(optax.sgd(0.1), method)
    zeros = jax.tree.map(np.zeros_like, before)
    after, state = trees.numpy(
        jax.jit(lambda params, features: tx.step(zeros, tx.init(params), params, features=features))(before, features)
    )
    assert replacements(state) == dict.fromkeys(layers(), 1)

    expected = jax.tree.map(np.array, before)
    chosen = {}
    for name, (units, _, _, read) in layers().items():
        # The contribution: the mean over all weights that read a channel, each times the channel's activation.
        total, count = np.zeros(units), 0
        for feature, readers in read:
            h = np.abs(features[feature]).reshape(-1, units).mean(0)
            for reader in readers:
                w = np.abs(module(before["params"], reader)["kernel"])
                w = w.reshape(-1, units, w.shape[-1])  # (pixels, inputs, outputs)
                total, count = total + h * w.sum((0, 2)), count + w.shape[0] * w.shape[2]
        chosen[name] = (total / count).argmin()
    for name, (_, convolutions, norms, _) in layers().items():
        unit = chosen[name]
        for convolution in convolutions:
            # What is drawn is not known beforehand, but its size: within five deviations, and no zero.
            kernel = module(after["params"], convolution)["kernel"]
            deviation = np.sqrt(2 / np.prod(kernel.shape[:-1]))
            assert np.abs(kernel[..., unit]).max() < 5 * deviation and kernel[..., unit].any()
            module(expected["params"], convolution)["kernel"][..., unit] = kernel[..., unit]
            module(expected["params"], convolution)["bias"][unit] = 0
        for norm in norms:
            module(expected["params"], norm)["scale"][unit] = 1
            module(expected["params"], norm)["bias"][unit] = 0
            module(expected["statistics"], norm)["mean"][unit] = 0
            module(expected["statistics"], norm)["var"][unit] = 1
    for name, (_, _, _, read) in layers().items():
        for reader in [reader for _, readers in read for reader in readers]:
            module(expected["params"], reader)["kernel"][..., chosen[name], :] = 0
    trees.assert_equal(after, expected)
    # Fresh weights are not all tiny: pooled over all layers they have the deviation of the initializer.
    drawn = np.concatenate([
        (module(after["params"], c)["kernel"][..., chosen[name]] / deviation_of(module(after["params"], c))).ravel()
        for name, (_, convolutions, _, _) in layers().items() for c in convolutions
    ])  # fmt: skip
    drawn = drawn[drawn != 0]
    assert drawn.std() == pytest.approx(1, abs=4 / np.sqrt(2 * drawn.size))


def deviation_of(layer):
    return np.sqrt(2 / np.prod(layer["kernel"].shape[:-1]))
