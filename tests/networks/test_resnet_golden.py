"""The ResNet-18 of incremental CIFAR-100, and its learner, against steps that the authors' program left."""

import ast
import pathlib

import jax
import numpy as np
import pytest
import torch_nets
import trees
from single_steps import single_steps

from pliant.agents import sgd
from pliant.core.problem import Batch
from pliant.core.units import fans
from pliant.methods import l2
from pliant.networks import resnet18
from pliant.surgery.initializers import normal_deviation
from pliant.tracing.trace import trace

FILE = pathlib.Path(__file__).parents[1] / "golden" / "resnet_cbp_contribution.npz"
CLOSE = dict(rtol=5e-5, atol=5e-6)
# The features in the order of the forward pass: the residual stream as each block reads it, and the inside of the
# block; the mean over the image in the end.
STREAMS = ["Conv_0", "Block_2/Conv_1", "Block_4/Conv_1", "Block_6/Conv_1"]
FEATURES = [name for i in range(8) for name in (f"{STREAMS[max(0, i - 1) // 2]}@Block_{i}/Conv_0", f"Block_{i}/Conv_0")]
FEATURES += ["Block_6/Conv_1@Dense_0"]


@pytest.fixture(scope="module")
def recording():
    """The recording, the variables before and after each step, the network of the classes of the loss, and batches."""
    data = dict(np.load(FILE, allow_pickle=False))
    settings = ast.literal_eval(str(data["config"]))
    after = torch_nets.resnet18(torch_nets.recorded(data, "after_"))
    before = torch_nets.resnet18(torch_nets.recorded(data, "before_"))
    before = jax.tree.map(lambda first, after: np.concatenate([first, after[:-1]]), before, after)
    x = torch_nets.images(data["pool_x"])
    whole = resnet18(x.shape[1:], settings["num_classes"], settings["widths"])

    def train(variables, x):
        logits, moved = whole.train(variables, x)
        return logits[:, data["classes"]], moved

    batches = Batch(x[data["batch"]], data["pool_y"][data["batch"]].astype(np.int32))
    return data, settings, before, after, whole._replace(train=train), batches


def test_outputs_steps_and_running_statistics_match_the_recorded_ones(recording):
    data, settings, before, after, network, batches = recording
    momentum = torch_nets.resnet18(torch_nets.recorded(data, "momentum_"))
    ran = single_steps(
        network, sgd.Config(learning_rate=settings["step_size"], momentum=settings["momentum"]),
        lambda *_: (l2(settings["weight_decay"]),),
        before, jax.tree.map(lambda after: np.concatenate([np.zeros_like(after[:1]), after[:-1]]), momentum), batches,
    )  # fmt: skip
    np.testing.assert_allclose(ran.judged.loss, data["loss"], **CLOSE)
    np.testing.assert_allclose(ran.judged.metrics["logits"], data["output"], **CLOSE)
    trees.assert_close(ran.momentum, momentum, **CLOSE)
    # At two steps with replacements the variables before these are recorded as well.
    stepped = torch_nets.resnet18(torch_nets.recorded(data, "stepped_"))
    trees.assert_close(trees.at(ran.params, data["stepped_steps"]), stepped, **CLOSE)
    kept = [t for t in range(len(data["loss"])) if not any(data[f"replaced{i}"][t].any() for i in range(17))]
    assert len(kept) > 5
    trees.assert_close(trees.at(ran.params, kept), trees.at(after, kept), **CLOSE)


def test_features_match_the_recorded_ones(recording):
    data, _, before, _, network, batches = recording
    last = trees.at(before, -1)
    wiring = trace(network.train, last, batches.x[-1])
    _, features = trees.numpy(jax.jit(wiring.apply)(last, batches.x[-1]))
    assert set(features) == set(FEATURES)
    for i, name in enumerate(FEATURES):
        theirs = data[f"last_features{i}"]
        np.testing.assert_allclose(features[name], torch_nets.images(theirs) if theirs.ndim == 4 else theirs, **CLOSE)


def test_deviations_of_fresh_weights_match_the_recorded_ones(recording):
    data, _, before, _, network, batches = recording
    wiring = trace(network.train, trees.at(before, 0), batches.x[0])
    kernels = {slot.path: slot for group in wiring.values() for slot in group.incoming}
    for name, deviation in zip(data["layer_names"][:-1], data["stds"]):
        path = "/".join(["params", *torch_nets.resnet_module(name), "kernel"])
        fan_in, _ = fans(np.shape(torch_nets.conv_kernel(data[f"before_{name}.weight"][0])), kernels[path])
        assert normal_deviation("relu", fan_in) == pytest.approx(deviation, rel=1e-6)
