"""The groups that `trace` finds, on networks of many styles, and what it refuses."""

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox
import flax.linen as nn
import jax
import jax.numpy as jnp
import networks_zoo
import numpy as np
import pytest
import trees

from pliant.core.units import Group, Slot, Wiring
from pliant.tracing.trace import TracingError, trace

UNIT = 1  # the unit that is changed, of each group

NOISY = {"dropout_training", "noisy_weights"}  # each unit has noise of its own, so they cannot change places

every_network = pytest.mark.parametrize("name", networks_zoo.ZOO)


@functools.cache
def traced(name: str) -> tuple[networks_zoo.Network, Wiring]:
    network = networks_zoo.ZOO[name]()
    return network, trace(network.apply, network.params, *network.inputs, skip=bool(network.skipped))


class Programs(NamedTuple):
    """Compiled once for a network, for all tests: `(params, *inputs) -> (output, features, gradients)`."""

    plain: Callable[..., tuple[Any, Any, Any]]  # the network as it is, without features
    wired: Callable[..., tuple[Any, Any, Any]]  # the wiring's function


@functools.cache
def programs(name: str) -> Programs:
    network, wiring = traced(name)

    def of(run: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any, Any]]:
        def loss(params, *inputs):
            returned, features = run(params, *inputs)
            output = network.output(returned)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(output)), (returned, features)

        def program(params, *inputs):
            gradients, (returned, features) = jax.grad(loss, has_aux=True)(params, *inputs)
            return returned, features, gradients

        return jax.jit(program)

    return Programs(of(lambda *args: (network.apply(*args), {})), of(wiring.apply))


def slots(group: Group) -> tuple[Slot, ...]:
    return (*group.incoming, *group.vectors, *group.outgoing)


def slot_of(slot: Slot, *extra: Any) -> tuple[Any, ...]:
    return (slot.path, slot.axis, *extra)


@every_network
def test_finds_exactly_the_groups(name):
    network, wiring = traced(name)
    assert list(wiring) == list(network.groups)
    assert set(wiring.skipped) == network.skipped
    for group in wiring.values():
        expected = network.groups[group.name]
        assert group.units == expected.units
        assert group.coupled == expected.coupled
        assert [slot_of(s, s.fan_in, s.fan_out) for s in group.incoming] == list(expected.incoming)
        assert [slot_of(s, s.neutral) for s in group.vectors] == list(expected.vectors)
        assert [slot_of(s, s.feature, s.bias) for s in group.outgoing] == list(expected.outgoing)
        indices = {s.path: s.indices for s in slots(group) if s.indices is not None}
        trees.assert_equal(indices, dict(expected.rows))


@every_network
def test_returns_the_output_the_gradients_and_the_features(name):
    network, _ = traced(name)
    output, _, gradients = programs(name).plain(network.params, *network.inputs)
    wired_output, features, wired_gradients = programs(name).wired(network.params, *network.inputs)
    trees.assert_close(wired_output, output, atol=1e-4)
    trees.assert_close(wired_gradients, gradients, atol=1e-4)
    shapes = {feature: shape for group in network.groups.values() for feature, shape in group.features.items()}
    assert {feature: array.shape for feature, array in features.items()} == shapes


@every_network
def test_a_unit_without_outgoing_weights_moves_the_output_only_if_coupled(name):
    network, wiring = traced(name)

    def run(params):
        return network.output(programs(name).plain(params, *network.inputs)[0])

    for group in wiring.values():
        silent = trees.edited(network.params, group.outgoing, np.zeros_like, UNIT)
        changed = trees.edited(silent, made_by(group), lambda entries: 2.5 * entries + 0.5, UNIT)
        # A weight that both makes and reads units is silent again.
        changed = trees.edited(changed, group.outgoing, np.zeros_like, UNIT)
        assert trees.differs(run(silent), run(changed)) == group.coupled, group.name
        everyone = trees.edited(network.params, group.outgoing, np.zeros_like, slice(None))
        assert trees.differs(run(network.params), run(everyone)), group.name


def made_by(group: Group) -> tuple[Slot, ...]:
    return group.incoming + group.vectors


@pytest.mark.parametrize("name", [name for name in networks_zoo.ZOO if name not in NOISY])
def test_units_can_be_permuted(name):
    network, wiring = traced(name)
    output, features, _ = programs(name).wired(network.params, *network.inputs)
    for group in wiring.values():
        order = np.array(network.groups[group.name].order or np.roll(np.arange(group.units), 1))
        permuted_params = trees.reordered(network.params, slots(group), order)
        permuted, moved, _ = programs(name).wired(permuted_params, *network.inputs)
        trees.assert_close(network.output(permuted), network.output(output), atol=1e-4)
        for feature in group.features:
            trees.assert_close(moved[feature], np.asarray(features[feature])[..., order], atol=1e-4)


def test_features_of_an_mlp_are_its_activations():
    def apply(params, x):
        return jnp.maximum(x @ params["w0"], 0) @ params["w1"]

    # Two samples; the first hidden unit is x0 - x1, the second x1.
    params = {"w0": np.array([[1.0, 0.0], [-1.0, 1.0]], np.float32), "w1": np.ones((2, 1), np.float32)}
    x = np.array([[3.0, 1.0], [1.0, 2.0]], np.float32)
    _, features = jax.jit(trace(apply, params, x).apply)(params, x)
    np.testing.assert_array_equal(features["w0"], [[2.0, 1.0], [0.0, 2.0]])


def test_features_of_a_flattened_image_have_the_units_last():
    network, _ = traced("conv_net")
    [(image,), variables] = network.inputs, network.params["params"]

    def convolve(x, module, stride):
        dimensions = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, module["kernel"], (stride, stride), "SAME", dimension_numbers=dimensions)
        return jax.nn.relu(y + module["bias"][None, None, None])

    def by_hand(image):
        pooled = convolve(image, variables["Conv_0"], 2).reshape(-1, 2, 2, 2, 2, 4).max(axis=(2, 4))
        convolved = convolve(pooled, variables["Conv_1"], 1)
        padded = jnp.pad(convolved, ((0, 0), (0, 1), (0, 1), (0, 0)))
        averaged = sum(padded[:, i : i + 2, j : j + 2] for i in range(2) for j in range(2)) / 4
        return pooled, averaged.reshape(-1, 4, 6)

    _, features, _ = programs("conv_net").wired(network.params, image)
    trees.assert_close([features["Conv_0"], features["Conv_1"]], list(jax.jit(by_hand)(image)), atol=1e-4)


def test_relu_keeps_its_own_derivative_at_zero():
    def apply(params, x):
        return jnp.sum(jax.nn.relu(x @ params["w0"]) @ params["w1"])

    params = {"w0": np.zeros((2, 3), np.float32), "w1": np.ones((3, 1), np.float32)}
    x = np.ones((1, 2), np.float32)
    wiring = trace(apply, params, x)
    gradient = jax.jit(jax.grad(lambda params: wiring.apply(params, x)[0]))(params)
    np.testing.assert_array_equal(gradient["w0"], np.zeros((2, 3)))


@pytest.mark.parametrize("name", ["linen_mlp", "group_norm", "resnet_training"])
def test_maps_over_members(name):
    network, wiring = traced(name)
    members = [jax.tree.map(lambda leaf, k=k: leaf * np.float32(1 + 0.1 * k), network.params) for k in range(2)]
    mapped = jax.jit(jax.vmap(lambda params: wiring.apply(params, *network.inputs)))(trees.stacked(members))
    looped = [programs(name).wired(member, *network.inputs)[:2] for member in members]
    trees.assert_close(mapped, trees.stacked(looped), atol=1e-4)


@every_network
def test_finds_the_same_groups_at_batch_size_one(name):
    network, wiring = traced(name)

    def first(x):
        return x[:1] if x.shape[:1] == (networks_zoo.BATCH,) else x

    # apply refuses other groups than those that were traced
    jax.eval_shape(wiring.apply, network.params, *jax.tree.map(first, network.inputs))


@pytest.mark.parametrize("name", ["linen_mlp", "conv_net", "patches", "actor_critic"])
def test_takes_other_batch_sizes(name):
    network, wiring = traced(name)
    [x] = network.inputs
    more = np.concatenate([x, x, x])
    output, features = jax.jit(wiring.apply)(network.params, more)
    once, _, _ = programs(name).plain(network.params, x)
    trees.assert_close(output, jax.tree.map(lambda leaf: np.concatenate([leaf] * 3), trees.numpy(once)), atol=1e-4)
    assert all(array.shape[0] == len(more) for array in features.values())


def test_reads_each_shape_once_and_none_after_that():
    calls = []

    def apply(params, x):
        calls.append(x.shape)
        return jax.nn.relu(x @ params["w0"]) @ params["w1"]

    params = {"w0": np.ones((4, 3), np.float32), "w1": np.ones((3, 1), np.float32)}
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    wiring = trace(apply, shapes, jax.ShapeDtypeStruct((2, 4), np.float32))
    for batch in (2, 5, 2, 5):
        # A function of its own for each call, so that JAX traces each.
        jax.eval_shape(lambda *args: wiring.apply(*args), params, np.ones((batch, 4), np.float32))
    assert calls == [(2, 4), (5, 4)]


class Normed(nn.Module):
    """A network whose batch statistics are those of all devices."""

    train: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Dense(5)(x)
        x = nn.BatchNorm(use_running_average=not self.train, axis_name="devices" if self.train else None)(x)
        return nn.Dense(2)(nn.relu(x))


def test_a_function_over_devices_is_to_be_traced_inside():
    mesh, whole = jax.sharding.Mesh(jax.devices()[:1], "devices"), jax.sharding.PartitionSpec()
    mapped = jax.shard_map(lambda p, x: x @ p["w0"] @ p["w1"], mesh=mesh, in_specs=whole, out_specs=whole)
    with pytest.raises(TracingError, match=r"`shard_map`.*'w0'.*maps a function over devices.*Trace inside of it, or"):
        trace(mapped, WEIGHTS, X)


@pytest.mark.parametrize("check_vma", [True, False])
def test_traces_and_runs_where_data_is_spread_over_devices(check_vma):
    x, wirings = np.ones((4, 3), np.float32), []
    params = networks_zoo.linen_params(Normed(train=False), x)
    wirings.append(trace(Normed(train=False).apply, params, x[:2]))

    def step(params, x):
        wirings.append(trace(lambda *args: Normed(train=True).apply(*args, mutable=["batch_stats"]), params, x))
        return [wiring.apply(params, x)[1] for wiring in wirings]

    mesh, spread = jax.sharding.Mesh(jax.devices(), "devices"), jax.sharding.PartitionSpec("devices")
    mapped = jax.shard_map(step, mesh=mesh, in_specs=(None, spread), out_specs=spread, check_vma=check_vma)
    features = jax.eval_shape(mapped, params, x)
    assert [f["Dense_0"].shape for f in features] == [(4, 5), (4, 5)]
    for wiring in wirings:
        neutral = {vector.path: vector.neutral for vector in wiring["Dense_0"].vectors}
        assert neutral == {
            "params/Dense_0/bias": 0, "params/BatchNorm_0/bias": 0, "params/BatchNorm_0/scale": 1,
            "batch_stats/BatchNorm_0/mean": 0, "batch_stats/BatchNorm_0/var": 1,
        }  # fmt: skip


class EquinoxNormed(equinox.Module):
    linear: equinox.nn.Linear
    norm: equinox.nn.BatchNorm
    head: equinox.nn.Linear

    def __init__(self, mode: Any):
        self.linear = equinox.nn.Linear(4, 5, key=jax.random.key(0))
        self.norm = equinox.nn.BatchNorm(5, "batch", mode=mode)
        self.head = equinox.nn.Linear(5, 2, key=jax.random.key(0))

    def __call__(self, x: jax.Array, state: equinox.nn.State) -> tuple[jax.Array, equinox.nn.State]:
        hidden, state = self.norm(self.linear(x), state)
        return self.head(jax.nn.relu(hidden)), state


@pytest.mark.parametrize("mode", ["batch", "ema"])
def test_finds_batch_statistics_over_an_axis_of_vmap(mode):
    made = equinox.filter_eval_shape(equinox.nn.make_with_state(EquinoxNormed), mode)
    params, static = equinox.partition(made, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))

    def apply(params, x):
        module, state = equinox.combine(params, static)
        y, state = jax.vmap(module, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)
        return y, equinox.filter(state, equinox.is_array)

    [group] = trace(apply, params, X).values()
    assert not group.coupled
    neutral = {vector.path: vector.neutral for vector in group.vectors}
    # The state holds the means, and then the variances.
    assert neutral == {"0/linear/bias": 0, "0/norm/weight": 1, "0/norm/bias": 0, "1/1/0": 0, "1/1/1": 1}


def test_tokens_that_weights_mix_are_no_units():
    def apply(params, x):  # x: (2 tokens, 4)
        tokens = x @ params["w0"]
        tokens = tokens + (jnp.tanh(tokens.T @ params["mix"]) @ params["back"]).T
        return tokens @ params["w1"]

    params = WEIGHTS | {"mix": np.ones((2, 5), np.float32), "back": np.ones((5, 2), np.float32)}
    wiring = trace(apply, params, X)
    # The tokens are made by `back` and read by `mix`, but they are also where the inputs are.
    assert {name: group.units for name, group in wiring.items()} == {"w0": 6, "mix": 5}


@pytest.mark.parametrize(
    "meet",
    [
        lambda rows, params, start: rows + jax.lax.dynamic_slice_in_dim(params["beside"], start, 2, 0),
        lambda rows, params, start: rows + params["table"][start + np.arange(2)] * params["beside"][:1],
        lambda rows, params, start: jnp.concatenate([rows, params["beside"]], axis=0),
    ],
    ids=["positions", "scale", "more_rows"],
)
def test_parameters_that_meet_rows_that_are_looked_up_are_vectors_of_the_units(meet):
    def apply(params, tokens, start):
        return meet(params["table"][tokens], params, start) @ params["w1"]

    params = {"table": np.ones((5, 6), np.float32), "beside": np.ones((4, 6), np.float32), "w1": WEIGHTS["w1"]}
    [group] = trace(apply, params, np.array([1, 2]), np.int32(1)).values()
    assert [slot_of(slot) for slot in slots(group)] == [("table", 1), ("beside", 1), ("w1", 0)]


def test_runs_in_a_scan_and_closes_over_traced_arrays():
    def step(carry, x):
        def apply(params, x):
            return jax.nn.relu(x @ params["w0"] + carry) @ params["w1"]

        params = {"w0": jnp.ones((4, 3)), "w1": jnp.ones((3, 1))}
        output, features = trace(apply, params, x).apply(params, x)
        return carry + output.sum(), features["w0"]

    _, features = jax.jit(lambda xs: jax.lax.scan(step, 0.0, xs))(np.ones((2, 2, 4), np.float32))
    # First carry: 0, so that units are 4 and the output is 12 for each of two samples; then units are 4 + 24.
    np.testing.assert_array_equal(features, [np.full((2, 3), 4.0), np.full((2, 3), 28.0)])


def test_describes_the_groups():
    table = traced("concatenated_action")[1].describe()
    assert "encoder" in table
    assert "joint[0]" in table
    assert "coupled" in traced("layer_norm_before")[1].describe()


# --- What happens to outputs is no concern of trace -----------------------------------------------------------------


def test_outputs_may_be_sorted_picked_and_sampled():
    def apply(params, x, key):
        logits = jax.nn.relu(x @ params["w0"]) @ params["w1"]
        action = jax.random.categorical(key, logits)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], axis=1)
        return jnp.sort(logits), jnp.argmax(logits, axis=1), chosen, logits @ logits.T

    params = {"w0": np.ones((4, 3), np.float32), "w1": np.ones((3, 2), np.float32)}
    assert list(trace(apply, params, X, trees.key(0))) == ["w0"]


# --- What it refuses ------------------------------------------------------------------------------------------------

WEIGHTS = {"w0": np.ones((4, 6), np.float32), "w1": np.ones((6, 3), np.float32)}
X = np.ones((2, 4), np.float32)


def recurrent(params, x):
    def cell(hidden, step):
        return jnp.tanh(hidden @ params["square"] + step @ params["w0"]), None

    return jax.lax.scan(cell, jnp.zeros((2, 6)), x[None])[0] @ params["w1"]


def branching(params, x):
    return jax.lax.cond(x.sum() > 0, lambda: x @ params["w0"], lambda: x @ params["w0"]) @ params["w1"]


def attention(params, x):
    query, key = x @ params["w0"], x @ params["keys"]
    return jax.nn.softmax(query @ key.T) @ (x @ params["w0"]) @ params["w1"]


def grouped_convolution(params, x):
    image = (x @ params["w0"]).reshape(2, 6, 1).transpose(0, 2, 1)
    dimensions = ("NWC", "WIO", "NWC")
    return jax.lax.conv_general_dilated(
        image, params["grouped"], (1,), "SAME", dimension_numbers=dimensions, feature_group_count=3
    )


def ensemble(params, x):
    hidden = jax.nn.relu(jax.vmap(lambda w: x @ w)(params["members"]))
    return jax.vmap(jnp.matmul)(hidden, params["heads"])


def stacked_layers(params, x):
    hidden = x @ params["w0"]
    for layer in range(2):
        hidden = hidden + jax.nn.relu(hidden @ params["up"][layer]) @ params["down"][layer]
    return hidden @ params["w1"]


def soft_lookup(params, x):
    """Words that are looked up by index, and mixed by a softmax over the same words."""
    words = params["table"][x[:, 0].astype(int)]
    return jax.nn.softmax(words @ params["table"].T) @ params["table"] @ params["w1"]


def clashing_groups(params, x):
    hidden = x @ params["w0"]
    pairs = hidden.reshape(2, 2, 3)
    triples = hidden.reshape(2, 3, 2)
    return sum((split / split.sum(-1, keepdims=True)).reshape(2, 6) for split in (pairs, triples)) @ params["w1"]


def along_units(function):
    def apply(params, x):
        return function(x @ params["w0"]) @ params["w1"]

    return apply


def window_over_units(params, x):
    hidden = (x @ params["w0"])[..., None]
    dimensions = ("NWC", "WIO", "NWC")
    return jax.lax.conv_general_dilated(hidden, params["kernel"], (1,), "SAME", dimension_numbers=dimensions)


REFUSED = {
    "recurrent": (recurrent, {"square": (6, 6)}, "`scan`.*'square'.*'w0'.*recurrent"),
    "branching": (branching, {}, "`cond`.*'w0'"),
    "attention": (attention, {"keys": (4, 6)}, "`dot_general`.*'w0'.*attention.*'w1'"),
    "grouped_convolution": (
        grouped_convolution,
        {"grouped": (3, 2, 6)},
        "`conv_general_dilated`.*'grouped'.*grouped",
    ),
    "ensemble": (ensemble, {"members": (2, 4, 6), "heads": (2, 6, 3)}, "`dot_general`.*'heads'.*ensemble.*vmap"),
    "stacked_layers": (
        stacked_layers,
        {"up": (2, 6, 5), "down": (2, 5, 6)},
        "`slice`.*'up'.*weights of several layers",
    ),
    "two_stacked_layers": (
        lambda p, x: jnp.tanh(jnp.tanh(x @ p["stack"][0]) @ p["stack"][1]) @ p["square"],
        {"stack": (2, 4, 4), "square": (4, 3)},
        "`slice`.*'stack'.*weights of several layers",
    ),
    "layers_side_by_side": (
        lambda p, x: jnp.tanh(jnp.tanh(x @ p["wide"][:, :4]) @ p["wide"][:, 4:]) @ p["square"],
        {"wide": (4, 8), "square": (4, 3)},
        "`slice`.*'wide'.*weights of inputs, and the others of the units that these make",
    ),
    "soft_lookup": (soft_lookup, {"table": (5, 6)}, "`gather`.*'table'.*by index along the axis of these units"),
    "clashing_groups": (clashing_groups, {}, "`add`.*'w0'.*do not fit"),
    "window_over_units": (window_over_units, {"kernel": (3, 1, 2)}, "`conv_general_dilated`.*'w0'"),
    "image_of_parameters": (
        lambda p, x: jax.lax.conv_general_dilated(
            p["image"], x[:, :, None], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        ),
        {"image": (2, 5, 4)},
        "`conv_general_dilated`.*'image'.*in the place of the image",
    ),
    "flipped_kernel": (
        lambda p, x: x @ p["w0"][::-1] @ p["w1"],
        {},
        "`dot_general`.*'w0'.*sums over an axis that is no longer an axis of the parameter",
    ),
    "outer_product": (
        lambda p, x: x @ (p["a"][:, None] * p["b"][None]) @ p["w1"],
        {"a": (4,), "b": (6,)},
        "`dot_general`.*'a', 'b'.*no parameter has both",
    ),
    "quadratic_form": (
        lambda p, x: jnp.tensordot((h := x @ p["w0"])[:, :, None] * h[:, None, :], p["form"], axes=2),
        {"form": (6, 6, 3)},
        "`dot_general`.*'form'.*sums over the same units along two axes",
    ),
    "low_rank": (lambda p, x: x @ (p["a"] @ p["b"]) @ p["w1"], {"a": (4, 2), "b": (2, 6)}, "`dot_general`.*'a'.*'b'"),
    "two_axes": (
        lambda p, x: jnp.einsum("bhd,hdo->bo", jnp.einsum("bi,ihd->bhd", x, p["heads"]), p["out"]),
        {"heads": (4, 2, 3), "out": (2, 3, 5)},
        "`dot_general`.*'heads'.*two of its axes.*reshape",
    ),
    "whole_and_parts": (
        lambda p, x: (x @ p["w0"]).reshape(2, 2, 3) @ p["part"] + ((x @ p["w0"]) @ p["w1"])[:, None],
        {"part": (3, 3)},
        "`reshape`.*'w0'.*as a whole",
    ),
    "written_out": (
        lambda p, x: ((x @ p["w0"])[:, :, None] * p["w1"][None]).sum(axis=1),
        {},
        "`mul`.*'w1'.*jnp.matmul",
    ),
    "written_out_for_one_output": (
        lambda p, x: (jnp.tanh(x @ p["w0"]) * p["vector"][None]).sum(-1),
        {"vector": (6,)},
        "`mul`.*'vector'.*jnp.matmul",
    ),
    "cumsum": (along_units(lambda h: jnp.cumsum(h, axis=1)), {}, "`cumsum`.*'w0'.*'w1'.*by hand"),
    "sort": (along_units(lambda h: jnp.sort(h, axis=1)), {}, "`sort`.*'w0'.*'w1'"),
    "fft": (along_units(lambda h: jnp.fft.fft(h).real), {}, "`fft`.*'w0'.*'w1'"),
    "flip": (along_units(lambda h: h[:, ::-1]), {}, "`rev`.*'w0'.*'w1'"),
    "stride": (along_units(lambda h: jnp.concatenate([h[:, ::2], h[:, 1::2]], 1)), {}, "`slice`.*'w0'.*'w1'"),
    "gather": (along_units(lambda h: h[:, jnp.arange(6)[::-1]]), {}, "`gather`.*'w0'.*'w1'"),
    "maxout": (
        along_units(lambda h: jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 3), (1, 1), "SAME")),
        {},
        "`reduce_window_max`.*'w0'.*'w1'",
    ),
    "unknown": (along_units(lambda h: jnp.linalg.qr(h.T)[0].T), {}, "`.*'w0'.*'w1'"),
    "product_of_units": (
        lambda p, x: ((h := x @ p["w0"])[:, :, None] * h[:, None, :]).reshape(2, -1) @ p["bilinear"],
        {"bilinear": (36, 3)},
        "'bilinear'.*twice",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_what_no_rule_follows(case):
    apply, shapes, message = REFUSED[case]
    params = WEIGHTS | {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    jax.eval_shape(apply, params, X)  # it is a network that JAX can run
    with pytest.raises(TracingError, match=message):
        trace(apply, params, X)


def residual(params, x):
    y = x @ params["w0"]
    return y + jax.nn.relu(y @ params["up"]) @ params["down"]


def test_units_of_the_only_output_are_not_hidden():
    params = WEIGHTS | {"up": np.ones((6, 5), np.float32), "down": np.ones((5, 6), np.float32)}
    assert list(trace(residual, params, X)) == ["up"]
    assert set(trace(lambda p, x: residual(p, x) @ p["w1"], params, X)) == {"w0", "up"}

    def in_part(params, x):
        hidden = jnp.tanh(x @ params["w0"])
        return hidden @ params["w1"] + hidden[:, :3]

    (group,) = trace(in_part, params, X).values()
    assert group.units == 3 and group.incoming[0].indices.tolist() == [[3, 4, 5]]


def test_units_that_come_out_beside_a_prediction_are_coupled():
    def features(params, x):
        hidden = jnp.tanh(x @ params["w0"])
        return hidden @ params["w1"], hidden

    assert trace(features, WEIGHTS, X)["w0"].coupled
    assert not trace(lambda p, x: features(p, x)[0], WEIGHTS, X)["w0"].coupled


def test_a_vector_may_weigh_units_in_a_sum_over_samples():
    def weighed(params, x):
        return (jnp.tanh(x[None] @ params["w0"]) * params["scale"][None, None]).sum(1) @ params["w1"]

    (group,) = trace(weighed, WEIGHTS | {"scale": np.ones(6, np.float32)}, X).values()
    assert [vector.path for vector in group.vectors] == ["scale"]


def test_gates_that_are_stacked_in_one_parameter_are_one_layer_at_each_step():
    def apply(params, xs):
        h = jnp.zeros((2, 6))
        for x in xs:
            encoded = jax.nn.relu(x @ params["w0"])
            gate, new = (encoded @ params["of_x"][k] + h @ params["of_h"][k] for k in range(2))
            h = jax.nn.sigmoid(gate) * jnp.tanh(new)
        return h @ params["w1"]

    wiring = trace(apply, WEIGHTS | {"of_x": np.ones((2, 6, 6)), "of_h": np.ones((2, 6, 6))}, (X, X, X))
    assert {name: [reader.path for reader in group.outgoing] for name, group in wiring.items()} == {
        "w0": ["of_x"],
        "of_x": ["of_h", "w1"],
    }


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_can_be_left_out(case):
    apply, shapes, _ = REFUSED[case]
    params = WEIGHTS | {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    wiring = trace(apply, params, X, skip=True)
    # Whatever they share a weight with is left out as well: here all but words that are read by `w1` alone.
    complete = {"soft_lookup": ["table"], "layers_side_by_side": ["wide"]}  # there, the units of the second layer
    assert list(wiring) == complete.get(case, [])
    assert wiring.skipped
    assert all(reason in wiring.describe() for reason in wiring.skipped.values())


def test_units_that_are_mixed_one_after_another_are_all_left_out():
    def apply(params, x):
        a, b, c, d = (x @ params[name] for name in "abcd")
        mixed = jnp.cumsum(jnp.concatenate([jnp.cumsum(a, axis=1), b], axis=1), axis=1)
        # Each has a reader of its own besides; `d` has nothing to do with the others.
        return (mixed + c) @ params["of_all"], *(h @ params[f"of_{name}"] for h, name in zip((a, b, c, d), "abcd"))

    shapes = {"a": (4, 3), "b": (4, 2), "c": (4, 5), "d": (4, 3), "of_all": (5, 2)}
    params = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    params |= {f"of_{name}": np.ones((shapes[name][1], 2), np.float32) for name in "abcd"}
    assert list(trace(apply, params, X, skip=True)) == ["d"]


@pytest.mark.parametrize(
    "mix",
    [
        lambda rows: rows[..., ::2],
        lambda rows: rows[..., ::-1],
        lambda rows: jnp.sort(rows, axis=-1),
        lambda rows: sum(jnp.unstack(rows, axis=-1))[..., None],
        lambda rows: jax.lax.reduce_window(rows, 0.0, jax.lax.add, (1, 2), (1, 1), "SAME"),
        lambda rows: rows[..., np.array([3, 1])],
    ],
    ids=["stride", "flip", "sort", "unstack", "pool", "gather"],
)
def test_rows_that_are_looked_up_are_units_before_a_weight_reads_them(mix):
    def apply(params, x):
        rows = params["table"][x[:, 0].astype(int)]
        return rows @ params["w1"], mix(rows) @ params["mixed"]

    inputs = jax.eval_shape(mix, jax.ShapeDtypeStruct((2, 6), np.float32)).shape[-1]
    params = {"table": np.ones((5, 6), np.float32), "w1": WEIGHTS["w1"], "mixed": np.ones((inputs, 3), np.float32)}
    with pytest.raises(TracingError, match=r"with 'table': .*, and 'mixed' reads the result"):
        trace(apply, params, X)
    assert list(trace(apply, params, X, skip=True)) == []


def test_refuses_parameters_that_are_no_arrays():
    with pytest.raises(TracingError, match=r"'activation' is a \w+, not an array; .*partition"):
        trace(lambda params, x: x, {"activation": abs}, X)


def test_refuses_a_network_that_changes_with_its_inputs():
    def apply(params, x):
        hidden = x @ params["w0"]
        return (hidden if len(x) == 2 else hidden / hidden.sum(axis=1, keepdims=True)) @ params["w1"]

    wiring = trace(apply, WEIGHTS, X)
    with pytest.raises(TracingError, match=r"other groups of units.*trace again"):
        wiring.apply(WEIGHTS, np.ones((3, 4), np.float32))


@pytest.mark.usefixtures("unchecked")
def test_refuses_the_parameters_in_place_of_the_function():
    with pytest.raises(
        TypeError, match=r"^trace got an object of type dict .*; write pliant.trace\(apply, params, x\), t"
    ):
        trace(WEIGHTS, lambda params, x: x, X)


def two_layers(params, x):
    return jax.nn.relu(x @ params["w0"]) @ params["w1"]


def test_a_wiring_can_be_copied_and_sent_to_another_process():
    wiring = trace(two_layers, WEIGHTS, X)
    for other in (copy.deepcopy(wiring), pickle.loads(pickle.dumps(wiring))):
        assert other.describe() == wiring.describe()
        shapes = [jax.eval_shape(each.apply, WEIGHTS, X) for each in (other, wiring)]
        assert shapes[0] == shapes[1]
