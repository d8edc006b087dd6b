"""The network of continual ImageNet, and its learner, against steps that the authors' program left."""

import ast
import pathlib

import jax
import numpy as np
import torch_nets
import trees
from single_steps import single_steps

from pliant.agents import sgd
from pliant.core.problem import Batch
from pliant.networks import conv_net
from pliant.tracing.trace import trace

FILE = pathlib.Path(__file__).parents[1] / "golden" / "conv_cbp_adaptable_contribution_momentum.npz"


def test_outputs_features_and_steps_match_the_recorded_ones():
    data = dict(np.load(FILE, allow_pickle=False))
    settings = ast.literal_eval(str(data["config"]))
    before, after, momentum, stepped = (
        torch_nets.conv_net(torch_nets.recorded(data, f"{name}_"))
        for name in ("before", "after", "momentum", "stepped")
    )
    before = jax.tree.map(lambda first, after: np.concatenate([first, after[:-1]]), before, after)
    batches = Batch(torch_nets.images(data["pool_x"])[data["batch"]], data["pool_y"][data["batch"]].astype(np.int32))
    network = conv_net(
        (*settings["image"], 3), settings["classes"], channels=settings["channels"], units=settings["units"]
    )

    ran = single_steps(
        network, sgd.Config(learning_rate=settings["step_size"], momentum=settings["momentum"]), lambda *_: (),
        before, jax.tree.map(lambda after: np.concatenate([np.zeros_like(after[:1]), after[:-1]]), momentum), batches,
    )  # fmt: skip
    close = dict(rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(ran.judged.loss, data["loss"], **close)
    np.testing.assert_allclose(ran.judged.metrics["logits"], data["output"], **close)
    trees.assert_close(ran.momentum, momentum, **close)
    # Where the authors' program replaced units, it left the weights of before as well.
    replaced = data["replacement_steps"]
    trees.assert_close(trees.at(ran.params, replaced), stepped, **close)
    kept = np.delete(np.arange(len(data["loss"])), replaced)
    assert len(kept) > 5 and len(replaced) > 5
    trees.assert_close(trees.at(ran.params, kept), trees.at(after, kept), **close)

    wiring = trace(network.apply, trees.at(before, 0), batches.x[0])
    steps = len(data["loss"])
    _, features = trees.numpy(jax.jit(jax.vmap(wiring.apply))(before, batches.x))
    for i, name in enumerate(["Conv_0", "Conv_1", "Conv_2", "Dense_0", "Dense_1"]):
        theirs = data[f"features{i}"]
        if i < 2:
            theirs = torch_nets.images(theirs)
        elif i == 2:  # flattened channel by channel
            theirs = theirs.reshape(*theirs.shape[:2], settings["channels"][2], -1).swapaxes(2, 3)
        assert len(theirs) == steps
        np.testing.assert_allclose(features[name].reshape(theirs.shape), theirs, **close)
