import dataclasses

import hand_wired
import jax
import networks_zoo
import numpy as np
import pytest

from pliant.core.units import Group, Incoming, Outgoing, Vector, Wiring
from pliant.surgery.list_order import in_list_order
from pliant.tracing.trace import trace


def traced(apply, **shapes):
    """The wiring of a function of leaves with these shapes and an input of three numbers."""
    params = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    return trace(apply, params, jax.ShapeDtypeStruct((8, 3), np.float32))


def layers(wiring):
    """Name, units, kernels, vectors and readers of each group."""
    return [
        (name, g.units, *([slot.path for slot in slots] for slots in (g.incoming, g.vectors, g.outgoing)))
        for name, g in wiring.items()
    ]


def test_a_residual_network_is_the_published_list_of_convolutions():
    # Depth first, without the projection shortcuts: the stem, sixteen convolutions of blocks, the head. Each has the
    # norm behind it, with its running statistics, and the channels that the next one reads.
    network = networks_zoo.ZOO["resnet_training"]()
    wiring = trace(network.apply, network.params, *network.inputs)
    names = ["Conv_0", *(f"Block_{block}/Conv_{k}" for block in range(8) for k in range(2)), "Dense_0"]
    listed = in_list_order(wiring)
    assert [group.incoming[0].path for group in listed.values()] == [f"params/{name}/kernel" for name in names[:-1]]
    assert [group.outgoing[0].path for group in listed.values()] == [f"params/{name}/kernel" for name in names[1:]]
    for name, group in zip(names, listed.values()):
        norm = name.replace("Conv", "BatchNorm")
        leaves = ("params/{}/bias", "params/{}/scale", "batch_stats/{}/mean", "batch_stats/{}/var")
        assert {vector.path for vector in group.vectors} == {leaf.format(norm) for leaf in leaves}
        assert len(group.incoming) == len(group.outgoing) == 1
    # A part keeps what it reads: the feature of the stream at its reader. Only the first keeps the stream's name.
    assert list(listed)[:4] == ["Conv_0", "Block_0/Conv_0", "Conv_0@Block_0/Conv_1", "Block_1/Conv_0"]
    assert listed["Conv_0@Block_0/Conv_1"].features == ("Conv_0@Block_1/Conv_0",)
    assert listed.function is wiring.function and sum(group.units for group in listed.values()) == 15 + 16 + 20 + 24


def test_a_plain_network_stays_as_it_is():
    def apply(w, x):
        return jax.nn.relu(jax.nn.relu(x @ w["w0"] + w["b0"]) @ w["w1"] + w["b1"]) @ w["w2"]

    wiring = traced(apply, w0=(3, 4), b0=(1, 4), w1=(4, 5), b1=(1, 5), w2=(5, 1))
    assert layers(in_list_order(wiring)) == layers(wiring)


def test_a_shortcut_that_is_computed_first_is_not_in_the_list():
    # The projection `p` and the branch `a`, `b` are added: `b` reads newer units than `p`, so `p` is left out, and its
    # bias with it.
    def apply(w, x):
        h = jax.nn.relu(x @ w["stem"])
        shortcut = h @ w["p"] + w["p_bias"]
        h = jax.nn.relu(shortcut + (jax.nn.relu(h @ w["a"]) @ w["b"] + w["b_bias"]))
        return h @ w["out"]

    shapes = {"stem": (3, 4), "p": (4, 6), "p_bias": (1, 6), "a": (4, 5), "b": (5, 6), "b_bias": (1, 6), "out": (6, 1)}
    found = layers(in_list_order(traced(apply, **shapes)))
    assert [(kernel, vectors) for _, _, (kernel,), vectors, _ in found] == [("stem", []), ("a", []), ("b", ["b_bias"])]
    assert [reader for *_, (reader,) in found] == ["a", "b", "out"]


def test_branches_of_the_same_depth_are_one_layer():
    def apply(w, x):
        h = jax.nn.relu(x @ w["a"] + w["a_bias"]) + jax.nn.relu(x @ w["b"] + w["b_bias"])
        return h @ w["out"]

    [layer] = layers(in_list_order(traced(apply, a=(3, 4), a_bias=(1, 4), b=(3, 4), b_bias=(1, 4), out=(4, 1))))
    assert layer == ("a", 4, ["a", "b"], ["a_bias", "b_bias"], ["out"])


def test_of_two_heads_the_first_reads():
    def apply(w, x):
        h = jax.nn.relu(x @ w["torso"])
        return h @ w["policy"], h @ w["value"]

    [(*_, readers)] = layers(in_list_order(traced(apply, torso=(3, 4), policy=(4, 2), value=(4, 1))))
    assert readers == ["policy"]


def test_a_vector_before_all_kernels_belongs_to_the_first():
    incoming = (Incoming("a", 1, order=1), Incoming("b", 1, order=3))
    vectors = tuple(Vector(f"v{order}", 0, order=order) for order in (0, 1, 2, 3, 9))
    outgoing = (Outgoing("c", 0, order=2, feature="x"), Outgoing("d", 0, order=4, feature="y"))
    listed = in_list_order(Wiring({"s": Group("s", 2, incoming, vectors, outgoing, coupled=True)}))
    assert layers(listed) == [("s", 2, ["a"], ["v0", "v1", "v2"], ["c"]), ("s@b", 2, ["b"], ["v3", "v9"], ["d"])]
    assert all(group.coupled for group in listed.values())


def test_a_wiring_without_an_order_is_refused():
    with pytest.raises(ValueError, match=r"^'w1' has no order, .*; trace the network with pliant.trace, or write "):
        in_list_order(hand_wired.mlp(3, 4, 2))
    outgoing = (Outgoing("w1", 0, order=1, feature="w0"),)
    group = dataclasses.replace(hand_wired.mlp(3, 4, 2)["w0"], outgoing=outgoing)
    with pytest.raises(ValueError, match=r"^'w0' has no order"):
        in_list_order(Wiring({"w0": group}))
