import dataclasses

import hand_wired
import jax
import numpy as np
import pytest
from flax import nnx

from pliant.core import units
from pliant.core.units import Group, Incoming, Outgoing, Vector, Wiring


def test_mean_magnitude():
    leaf = np.array([[1.0, -2.0], [-3.0, 4.0], [5.0, 6.0], [-7.0, 0.0]])
    # Unit 0 owns rows 0 and 2, unit 1 rows 1 and 3.
    flat = Outgoing("w", 0, np.array([[0, 1], [2, 3]]))
    slots = Outgoing("w", 0), Incoming("w", 1), flat
    rows, columns, pairs = jax.jit(lambda leaf: [units.mean_magnitude(leaf, slot) for slot in slots])(leaf)
    np.testing.assert_allclose(rows, [[1.5, 3.5, 5.5, 3.5]])
    np.testing.assert_allclose(columns, [[4.0, 3.0]])
    np.testing.assert_allclose(pairs, [[1.5, 3.5], [5.5, 3.5]])


def test_leaves_and_back():
    params = {"params": {"Dense_0": {"kernel": np.ones((1, 2))}}, "list": [np.zeros(1), np.ones(1)]}
    by_path = units.leaves(params)
    assert list(by_path) == ["list/0", "list/1", "params/Dense_0/kernel"]
    new = units.replace_leaves(params, {"list/1": np.full(1, 7.0)})
    assert new["list"][1] == 7 and new["list"][0] is params["list"][0]


def test_the_variables_of_flax_nnx_are_not_in_a_path():
    variable = nnx.Param(np.ones((1, 2)))
    params = {"first": {"value": np.zeros(1), "kernel": variable}, "value": nnx.Param(np.ones(3))}
    by_path = units.leaves(params)
    assert set(by_path) == {"first/value", "first/kernel", "value"}
    new = units.replace_leaves(params, {"first/kernel": np.full((1, 2), 7.0)})
    assert units.leaves(new)["first/kernel"][0, 0] == 7 and units.leaves(new)["value"] is by_path["value"]


def test_activation_shapes():
    def shape(group, feature):
        (reader,) = group.outgoing
        features = {group.name: np.zeros(feature)}
        return jax.eval_shape(lambda features: units.activation(features, reader, group), features).shape

    conv = hand_wired.normed_convnet()[0]["conv"]
    assert shape(conv, (8, 4, 3)) == (8, 4, 3)
    assert shape(conv, (2, 5, 4, 3)) == (10, 4, 3)
    hidden = hand_wired.mlp(2, 3, 1)["w0"]
    assert shape(hidden, (8, 3)) == (8, 1, 3)
    assert shape(hidden, (3,)) == (1, 1, 3)


@pytest.mark.usefixtures("unchecked")
def test_errors_teach():
    wiring = hand_wired.mlp(2, 3, 1)
    (reader,) = wiring["w0"].outgoing
    with pytest.raises(ValueError, match=r"^features has no 'w0'; it has: h; take them from wiring.apply$"):
        units.activation({"h": np.zeros(3)}, reader, wiring["w0"])
    with pytest.raises(ValueError, match=r"^features\['w0'\] has shape \(8, 4\), but the wiring expects \(..., 3\): "):
        units.activation({"w0": np.zeros((8, 4))}, reader, wiring["w0"])
    with pytest.raises(ValueError, match=r"^the wiring names a parameter 'w1', but the parameters are: w0, b0; trace"):
        units.find({"w0": np.zeros(1), "b0": np.zeros(1)}, reader)
    with pytest.raises(ValueError, match=r"^no group 'w7' in this wiring; it has: w0$"):
        wiring.only("w0", "w7")
    with pytest.raises(ValueError, match=r"^this Wiring was written by hand and has no function to run; "):
        Wiring({}).apply({}, 0)


def test_wiring_is_a_mapping_of_groups():
    wiring = hand_wired.mlp(2, 3, 4, 1)
    assert list(wiring) == ["w0", "w1"] and len(wiring) == 2 and wiring["w1"].units == 4
    assert list(wiring.only("w1")) == ["w1"] and wiring.only("w1").function is wiring.function
    group = Group(
        "g",
        2,
        (),
        (Vector("b", 0),),
        (Outgoing("w", 0, feature="x"), Outgoing("v", 0, feature="y"), Outgoing("u", 0, feature="x")),
    )
    assert group.features == ("x", "y")


def test_describes_what_was_left_out_once_for_each_reason():
    wiring = dataclasses.replace(
        hand_wired.mlp(2, 3, 1), skipped={"q": "`sort`: why", "s": "`scan`: no", "k": "`sort`: why"}
    )
    assert wiring.describe().splitlines()[-2:] == ["left out, `sort`: why: q, k", "left out, `scan`: no: s"]
    assert wiring.only("w0").skipped == wiring.skipped


def test_masks_of_some_leaves_are_a_tree_like_the_parameters():
    params = {"a": {"kernel": np.ones((2, 3)), "bias": np.ones(3)}, "scalar": np.ones(())}
    masks = units.mask_leaves(params, {"a/bias": np.array([True, False, True])})
    assert jax.tree.structure(masks) == jax.tree.structure(params)
    assert masks["a"]["bias"].tolist() == [True, False, True]
    assert masks["a"]["kernel"].tolist() == [[False]] and masks["scalar"].tolist() is False


@pytest.mark.parametrize(
    ("kernel", "shape", "expected"),
    [
        (Incoming("w", 1), (3, 5), (3, 5)),  # a dense layer sums 3 inputs, and each enters 5 sums
        (Outgoing("w", 0), (3, 5), (3, 5)),  # the same layer, as its inputs see it
        (Incoming("w", 0), (5, 3), (3, 5)),  # the transpose
        (Outgoing("w", 1), (5, 3), (3, 5)),
        (Incoming("w", 3), (2, 2, 4, 8), (16, 8)),  # a convolution of 2 x 2 windows over 4 channels
        (Incoming("w", 3, fan_in=16, fan_out=32), (2, 2, 4, 8), (16, 32)),
        (Outgoing("w", 2, fan_in=16, fan_out=32), (2, 2, 4, 8), (16, 32)),
    ],
)
def test_fans(kernel, shape, expected):
    assert units.fans(shape, kernel) == expected


def test_the_fans_of_an_outgoing_convolution_have_to_be_written():
    with pytest.raises(ValueError, match=r"^'w' has 4 axes \(2, 2, 4, 8\), and its .* write Outgoing\(..., fan_in=..."):
        units.fans((2, 2, 4, 8), Outgoing("w", 2))


def test_running_statistics_are_in_a_collection_of_their_own():
    assert units.is_statistic("statistics/Block_0/BatchNorm_0/mean") and units.is_statistic("batch_stats/norm/var")
    assert not units.is_statistic("params/BatchNorm_0/scale") and not units.is_statistic("params/statistics/kernel")


@pytest.mark.usefixtures("unchecked")
def test_a_method_needs_a_wiring_and_units_in_it():
    units.require_units(hand_wired.mlp(2, 3, 1), "redo")
    with pytest.raises(
        ValueError, match=r"^redo: this wiring has no groups of units, so there is nothing to act on; t"
    ):
        units.require_units(Wiring({}), "redo")
    with pytest.raises(ValueError, match=r"weights that read them: wiring.describe\(\) says why units were left out$"):
        units.require_units(Wiring({}, skipped={"w0": "it is sorted"}), "redo")
    with pytest.raises(
        TypeError, match=r"^redo got an object of type dict as its wiring; write pliant.redo\(pliant.tr"
    ):
        units.require_units({"w0": np.ones((2, 3))}, "redo")


def test_the_parameters_have_every_leaf_of_the_wiring():
    wiring, params = hand_wired.mlp(2, 3, 1), hand_wired.params(2, 3, 1)
    units.require_leaves(wiring, params)
    for missing in ("w0", "b0", "w1"):
        some = {path: leaf for path, leaf in params.items() if path != missing}
        with pytest.raises(ValueError, match=f"^the wiring names a parameter '{missing}', but the parameters are: b"):
            units.require_leaves(wiring, some)
