"""Which parameters are those of norm layers, and methods that leave them alone."""

import hand_wired
import jax
import numpy as np
import optax
import pytest
import surgeries
import trees

from pliant.core.plastic import plastic
from pliant.core.units import Group, Incoming, Outgoing, Vector, Wiring
from pliant.methods import l2, l2_init, shrink_and_perturb
from pliant.surgery.norms import left_alone, map_except, parameters_of_norms

NORMED, _ = hand_wired.normed_convnet()
SKIPPING = {
    "l2": l2(0.5, norms="skip", wiring=NORMED),
    "l2_decoupled": l2(0.5, coupled=False, norms="skip", wiring=NORMED),
    "l2_init": l2_init(0.5, norms="skip", wiring=NORMED),
    "shrink_and_perturb": shrink_and_perturb(0.5, 0.1, 0.1, norms="skip", wiring=NORMED),
}


def group(*vectors):
    outgoing = Outgoing("head/kernel", 0, feature="hidden")
    return Wiring({"hidden": Group("hidden", 3, (Incoming("hidden/kernel", 1),), vectors, (outgoing,))})


def test_norms_are_modules_with_a_scale_and_without_a_kernel():
    assert parameters_of_norms(NORMED) == {"norm/scale", "norm/shift"}
    wiring = group(
        Vector("hidden/bias", 0),
        Vector("hidden/gain", 0, neutral=1.0),  # in the module of a kernel, whose bias is no shift
        Vector("params/norm/bias", 0),
        Vector("params/norm/scale", 0, neutral=1.0),
        Vector("batch_stats/norm/mean", 0),
        Vector("batch_stats/norm/var", 0, neutral=1.0),
    )
    found = {"hidden/gain", "params/norm/bias", "params/norm/scale", "batch_stats/norm/mean", "batch_stats/norm/var"}
    assert parameters_of_norms(wiring) == found
    assert parameters_of_norms(hand_wired.mlp(3, 4, 2)) == set()


def test_statistics_and_the_leaves_at_some_paths_are_left_alone():
    tree = {"a": {"b": np.ones(2), "c": np.ones(2)}, "d": np.ones(2), "statistics": {"norm": {"mean": np.ones(2)}}}
    new = jax.jit(lambda tree: map_except(lambda x, y: x + y, {"a/c"}, tree, tree))(tree)
    trees.assert_equal(new, {"a": {"b": [2, 2], "c": [1, 1]}, "d": [2, 2], "statistics": {"norm": {"mean": [1, 1]}}})


@pytest.mark.parametrize("name", SKIPPING)
def test_a_method_leaves_norms_alone(name):
    params, start = hand_wired.convnet_params(0), hand_wired.convnet_params(1)
    zeros = jax.tree.map(np.zeros_like, params)
    tx = plastic(optax.sgd(0.1), SKIPPING[name])

    def step(params, start):
        return tx.step(zeros, tx.init(start), params)[0]

    new = trees.numpy(jax.jit(step)(params | {"norm": {"scale": np.full(3, 5.0), "shift": np.full(3, 7.0)}}, start))
    assert (new["norm"]["scale"] == 5).all() and (new["norm"]["shift"] == 7).all()
    assert trees.differs(new["conv"], params["conv"]) and trees.differs(new["out"]["kernel"], params["out"]["kernel"])


def test_a_method_keeps_norms_by_default():
    params = {"scale": np.full(1, 2.0)}
    for method in (l2(0.5), l2(0.05, coupled=False)):  # 2 - 0.1 x 0.5 x 2, and 2 - 0.05 x 2
        new, _ = surgeries.train(plastic(optax.sgd(0.1), method), params, {"scale": np.zeros(1)}, 1)
        np.testing.assert_allclose(new["scale"], [1.9], rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_refuses_another_setting():
    with pytest.raises(ValueError, match=r"^norms='leave': write one of 'keep', 'skip'$"):
        left_alone("leave", None, "l2")


@pytest.mark.parametrize("method", [l2, l2_init, shrink_and_perturb])
def test_norms_are_found_in_a_wiring(method):
    error = (
        rf"^norms='skip': {method.__name__} finds .*; write pliant.{method.__name__}\(..., norms='skip', wiring=plian"
    )
    with pytest.raises(ValueError, match=error):
        method(norms="skip")
