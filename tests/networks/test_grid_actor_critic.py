import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.core.units import leaves, replace_leaves
from pliant.networks import grid_actor_critic
from pliant.surgery.recreation import draw_rows, recreate
from pliant.tracing.trace import trace

MISSION = "Go to the door, go!"
WORDS = [1, 2, 3, 4, 1]  # numbered in order of first appearance, letters only, in lower case


def some_params(network):
    """Random ones from NumPy: to compile the initializer takes longer than what is tested with them."""
    return trees.random_like(jax.eval_shape(network.init, trees.key(0)), scale=1 / 8)


def some_images(batch, seed=1):
    """Whole numbers as the agent sees them: walls side by side, so that pooled results are often equal."""
    return np.random.default_rng(seed).choice([0, 1, 2, 5, 8], size=(batch, 7, 7, 1)).repeat(3, -1).astype(np.uint8)


def some_memory(batch):
    return tuple(trees.normal(seed, batch, 64) for seed in (2, 3))


def image_embedding(params, images):
    """With the convolutions and the pooling of the library."""
    x = images.astype(jnp.float32)
    for layer in range(3):
        p = params[f"Conv_{layer}"]
        x = jax.lax.conv_general_dilated(x, p["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + p["bias"][None, None, None])
        if layer == 0:
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return x.reshape(len(images), -1)


def head(params, x):
    first, second = params["Dense_0"], params["Dense_1"]
    tanh = np.tanh if isinstance(x, np.ndarray) else jnp.tanh
    return tanh(x @ first["kernel"] + first["bias"][None]) @ second["kernel"] + second["bias"][None]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gates(params, name, x):
    return np.asarray(x) @ np.asarray(params[f"{name}_kernel"]) + np.asarray(params[f"{name}_bias"])


def test_convolves_pools_and_flattens_like_the_library():
    network, images = grid_actor_critic(7), some_images(6)
    params = some_params(network)
    weights = np.random.default_rng(4).normal(size=(6, 8)).astype(np.float32)

    def outputs(params):
        (logits, V), carry = network.apply(params, images, network.initial_carry(6))
        assert logits.shape == (6, 7) and V.shape == (6,) and carry == ()
        return jnp.concatenate([logits, V[:, None]], 1)

    def expected(params):
        x = image_embedding(params["image"], images)
        return jnp.concatenate([head(params["policy"], x), head(params["value"], x)], 1)

    def with_gradient(function):
        def weighted(params):
            y = function(params)
            return (y * weights).sum(), y

        return jax.jit(jax.grad(weighted, has_aux=True))(params)

    (gradient, y), (expected_gradient, expected_y) = with_gradient(outputs), with_gradient(expected)
    np.testing.assert_allclose(y, expected_y, rtol=1e-4, atol=1e-5)
    for (path, leaf), other in zip(leaves(gradient).items(), leaves(expected_gradient).values()):
        np.testing.assert_allclose(leaf, other, atol=1e-5 * np.abs(other).max(), err_msg=path)


def test_remembers_and_is_told_as_written_out():
    network, images, (h, c) = grid_actor_critic(3, recurrent=True, mission=MISSION), some_images(4), some_memory(4)
    params = some_params(network)
    (logits, V), (new_h, new_c) = jax.jit(network.apply)(params, images, (h, c))

    x = jax.jit(image_embedding)(params["image"], images)
    i, f, g, o = np.split(gates(params["lstm"], "input", x) + gates(params["lstm"], "recurrent", h), 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    np.testing.assert_allclose(new_c, c, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new_h, h, rtol=1e-4, atol=1e-5)

    sentence, state = params["mission"]["sentence"], np.zeros(128)
    for word in WORDS:
        of_word = gates(sentence, "input", params["mission"]["words"]["embedding"][word])
        (r, z, n), (r_h, z_h, n_h) = np.split(of_word, 3), np.split(gates(sentence, "recurrent", state), 3)
        r, z = sigmoid(r + r_h), sigmoid(z + z_h)
        state = (1 - z) * np.tanh(n + r * n_h) + z * state
    x = np.concatenate([h, np.tile(state, (4, 1))], axis=1)
    np.testing.assert_allclose(logits, head(params["policy"], x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(V, head(params["value"], x)[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("recurrent", "mission", "number"),
    [
        # Convolutions 208 + 2,080 + 8,256; heads 4,160 + 455 and 4,160 + 65.
        (False, None, 19_384),
        # Two kernels of 64 x 256, two biases of 256.
        (True, None, 19_384 + 33_280),
        # Words 100 x 32; kernels of 32 x 384 and 128 x 384, two biases of 384; 128 more inputs of both heads' 64 units.
        (False, MISSION, 19_384 + 3_200 + 62_208 + 16_384),
    ],
)
def test_has_as_many_parameters_as_published(recurrent, mission, number):
    network = grid_actor_critic(7, recurrent, mission)
    shapes = jax.eval_shape(network.init, trees.key(0))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == number
    assert [x.shape for x in network.initial_carry(5)] == ([(5, 64)] * 2 if recurrent else [])
    assert not any(x.any() for x in network.initial_carry(5))


def test_initial_weights(key):
    params = trees.numpy(jax.jit(grid_actor_critic(7, True, MISSION).init)(key))
    for layers in (params["policy"], params["value"]):
        for layer in layers.values():
            np.testing.assert_allclose(np.linalg.norm(layer["kernel"], axis=0), 1, rtol=1e-5)
            assert not layer["bias"].any()
    # One over the root of the inputs that a unit sums; of the units, in a recurrent layer.
    bounds = {"image/Conv_0": 12, "image/Conv_1": 64, "image/Conv_2": 128, "lstm": 64, "mission/sentence": 128}
    for path, leaf in leaves(params).items():
        if (name := path.rpartition("/")[0]) in bounds:
            bound, largest = bounds[name] ** -0.5, np.abs(leaf).max()
            # The largest of n uniform numbers falls short of the bound by 1 / n; of 16 biases seldom by a third.
            assert (0.66 if leaf.ndim == 1 else 0.95) * bound < largest <= bound, path
            assert leaf.min() < 0 < leaf.max()
    words = params["mission"]["words"]["embedding"]  # standard normal: 3,200 of them
    assert abs(words.mean()) < 0.06 and words.std() == pytest.approx(1, abs=0.05)
    firsts = [float(leaf.reshape(-1)[0]) for leaf in jax.tree.leaves(params) if leaf.any()]
    assert len(set(firsts)) == len(firsts)  # no key was used twice


def in_sequence(network):
    """Two steps in a row: what is remembered in the first is read in the second."""

    def apply(params, observation, next_observation, carry):
        first, carry = network.apply(params, observation, carry)
        second, _ = network.apply(params, next_observation, carry)
        return first, second

    return apply


CONVOLUTIONS = {
    "image/Conv_0": (16, [("image/Conv_0/kernel", 3, 12)], [("image/Conv_1/kernel", 2, "image/Conv_0")]),
    "image/Conv_1": (32, [("image/Conv_1/kernel", 3, 64)], [("image/Conv_2/kernel", 2, "image/Conv_1")]),
}


def heads(inputs):
    return {
        f"{name}/Dense_0": (
            64,
            [(f"{name}/Dense_0/kernel", 1, inputs)],
            [(f"{name}/Dense_1/kernel", 0, f"{name}/Dense_0")],
        )
        for name in ("policy", "value")
    }


def readers(feature):
    return [(f"{name}/Dense_0/kernel", 0, feature) for name in ("policy", "value")]


def embedding(outgoing):
    return {"image/Conv_2": (64, [("image/Conv_2/kernel", 3, 128)], outgoing)}


def recurrent(name, units, inputs, outgoing):
    kernels = [(f"{name}/input_kernel", 1, inputs), (f"{name}/recurrent_kernel", 1, units)]
    return {name: (units, kernels, outgoing)}


GROUPS = {
    (False, None): CONVOLUTIONS | embedding(readers("image/Conv_2")) | heads(64),
    (True, None): CONVOLUTIONS
    | embedding([("lstm/input_kernel", 0, "image/Conv_2")])
    | recurrent("lstm", 64, 64, [*readers("lstm"), ("lstm/recurrent_kernel", 0, "lstm")])
    | heads(64),
    (True, MISSION): CONVOLUTIONS
    | embedding([("lstm/input_kernel", 0, "image/Conv_2")])
    | recurrent("lstm", 64, 64, [*readers("lstm@policy/Dense_0"), ("lstm/recurrent_kernel", 0, "lstm@lstm")])
    | {
        "mission/words": (
            32,
            [("mission/words/embedding", 1, 100)],
            [("mission/sentence/input_kernel", 0, "mission/words")],
        )
    }
    | recurrent(
        "mission/sentence",
        128,
        32,
        [
            ("mission/sentence/recurrent_kernel", 0, "mission/sentence@mission/sentence"),
            *readers("mission/sentence@policy/Dense_0"),
        ],
    )
    | heads(192),
}


@pytest.mark.parametrize(("recurrent", "mission"), GROUPS, ids=["plain", "lstm", "memory_and_mission"])
def test_methods_find_the_hidden_units(recurrent, mission):
    network = grid_actor_critic(7, recurrent, mission)
    params = jax.eval_shape(network.init, trees.key(0))
    images = np.zeros((2, 7, 7, 3), np.uint8)
    wiring = trace(in_sequence(network), params, images, images, network.initial_carry(2))
    found = {
        group.name: (
            group.units,
            [(slot.path, slot.axis, slot.fan_in) for slot in group.incoming],
            [(slot.path, slot.axis, slot.feature) for slot in group.outgoing],
        )
        for group in wiring.values()
    }
    assert found == GROUPS[recurrent, mission]
    biases = {path for path in leaves(params) if path.endswith("bias") and "Dense_1" not in path}
    assert {slot.path for group in wiring.values() for slot in group.vectors} == biases
    assert not any(group.coupled for group in wiring.values())
    for name, units in (("lstm", 64), ("mission/sentence", 128)):
        for slot in (*wiring[name].incoming, *wiring[name].vectors) if name in wiring else ():
            # One column in each gate.
            np.testing.assert_array_equal(slot.indices, np.arange(len(slot.indices) * units).reshape(-1, units))
    if mission:
        # The heads read 64 units of the memory, then 128 of the mission.
        assert [slot.indices[0, 0] for slot in wiring["lstm"].outgoing[:2]] == [0, 0]
        assert [slot.indices[0, 0] for slot in wiring["mission/sentence"].outgoing[1:]] == [64, 64]


def test_units_without_outgoing_weights_do_not_change_the_output(key):
    network = grid_actor_critic(3, True, MISSION)
    params, carry = some_params(network), some_memory(4)
    inputs = (some_images(4), some_images(4, seed=5), carry)
    wiring = trace(in_sequence(network), params, *inputs)
    silent = {path: np.array(leaf) for path, leaf in leaves(params).items()}
    for group in wiring.values():
        for slot in group.outgoing:
            mine = [2] if slot.indices is None else slot.indices[:, 2]
            np.moveaxis(silent[slot.path], slot.axis, 0)[mine] = 0
    params = replace_leaves(params, silent)
    drawn = jax.eval_shape(lambda p: draw_rows(key, p, wiring, 1), params)
    rows = jax.tree.map(lambda drawn: np.ones(drawn.shape[1:], np.float32), drawn)  # of the only step
    chosen = {name: np.array([2]) for name in wiring}
    new = trees.numpy(jax.jit(lambda *given: recreate(given[0], wiring, *given[1:]).params)(params, chosen, rows))
    for group in wiring.values():
        for slot in group.incoming:
            assert (leaves(new)[slot.path] != leaves(params)[slot.path]).any(), slot.path
    apply = jax.jit(wiring.apply)
    outputs, features = apply(new, *inputs)
    before, _ = apply(params, *inputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), outputs, before)
    assert features["lstm@lstm"].shape == (4, 64) and features["mission/words"].shape == (5, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"actions": 0}, "actions=0.* at least 1"),
        ({"actions": 7, "mission": "7 8!"}, "'7 8!' has 0 different words; write from 1 to 99"),
        (
            {"actions": 7, "mission": " ".join(f"{a}{b}" for a in "abcdefghij" for b in "klmnopqrst")},
            "has 100 different words; write from 1 to 99",
        ),
    ],
)
def test_refuses_what_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        grid_actor_critic(**arguments)


def test_refuses_other_images():
    network = grid_actor_critic(7)
    params = jax.eval_shape(network.init, trees.key(0))
    with pytest.raises(ValueError, match=r"shape \(9, 9, 3\), but this network is for images \(7, 7, 3\)"):
        jax.eval_shape(network.apply, params, np.zeros((1, 9, 9, 3)), ())
