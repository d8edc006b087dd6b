"""What is read from a program: which axes of which parameters are summed over and made, and where others meet data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant.tracing.inlining import inline
from pliant.tracing.labels import atoms
from pliant.tracing.reading import read

X = np.ones((2, 4), np.float32)
IMAGE = np.ones((2, 8, 8, 3), np.float32)


def notes_of(apply, shapes, *inputs):
    """The notes of `apply(params, *inputs)` with parameters of these shapes."""
    params = {path: jax.ShapeDtypeStruct(shape, np.float32) for path, shape in shapes.items()}
    return read(inline(jax.make_jaxpr(apply)(params, *inputs)), sorted(params))


def axes_of(path, *axes):
    return {(path, axis) for axis in axes}


def convolved(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize(
    ("apply", "shape", "x", "reads", "makes", "axes"),
    [
        (lambda p, x: x @ p["w"], (4, 5), X, [0], [1], (1,)),
        (lambda p, x: p["w"] @ x.T, (5, 4), X, [1], [0], (0,)),
        (lambda p, x: x @ p["w"].T, (5, 4), X, [1], [0], (1,)),
        (lambda p, x: x @ p["w"].reshape(4, 6), (4, 2, 3), X, [0], [1, 2], (1,)),
        (lambda p, x: x @ p["w"].reshape(4, 6), (2, 2, 6), X, [0, 1], [2], (1,)),
        (lambda p, x: convolved(x, p["w"]), (3, 3, 3, 5), IMAGE, [2], [3], (3,)),
        (lambda p, x: jnp.einsum("bhwc,hwco->bo", x, p["w"]), (8, 8, 3, 5), IMAGE, [0, 1, 2], [3], (1, 2, 3)),
        (lambda p, x: jnp.sum(x) * jnp.ones(4) @ p["w"], (4,), X, [0], [], (0,)),
    ],
    ids=["dense", "left", "transposed", "heads", "flattened", "convolution", "einsum", "vector"],
)
def test_a_contraction_is_noted_with_the_axes_that_it_sums_over_and_makes(apply, shape, x, reads, makes, axes):
    [contraction] = notes_of(apply, {"w": shape}, x).contractions
    assert contraction.kernels == ("w",)
    assert contraction.reads == axes_of("w", *reads)
    assert contraction.makes == axes_of("w", *makes)
    assert sorted(contraction.axes) == list(axes)


def test_weights_that_are_added_before_they_meet_data_are_one_contraction():
    def apply(params, x, noise):
        return x @ (params["mu"] + noise * params["sigma"])

    notes = notes_of(apply, {"mu": (4, 5), "sigma": (4, 5)}, X, np.ones((4, 5), np.float32))
    [contraction] = notes.contractions
    assert set(contraction.kernels) == {"mu", "sigma"}
    assert contraction.reads == axes_of("mu", 0) | axes_of("sigma", 0)


def test_data_is_active_once_a_weight_has_met_it():
    shapes = {"w0": (4, 5), "w1": (5, 2)}
    first, second = notes_of(lambda p, x: jax.nn.relu(x @ p["w0"]) @ p["w1"], shapes, X).contractions
    assert not first.operand.active
    assert second.operand.active
    [reader] = second.axes
    assert {atom.maker for atom in atoms(second.operand.axes[reader])} == {"w0"}


# --- Biases and other vectors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("apply", "biases"),
    [
        (lambda p, x: x @ p["w"] + p["b"][None], {0: "b"}),
        (lambda p, x: p["b"][None] + x @ p["w"], {0: "b"}),
        (lambda p, x: (x @ p["w"]).astype(jnp.bfloat16) + p["b"].astype(jnp.bfloat16)[None], {0: "b"}),
        (lambda p, x: (out := x @ p["w"]) + jnp.broadcast_to(p["b"], out.shape), {0: "b"}),
        (lambda p, x: x @ p["w"] + x @ p["w"] + p["b"][None], {0: "b", 1: "b"}),  # the bias of both
        (lambda p, x: (x @ p["w"]) * p["b"][None], {}),
        (lambda p, x: jnp.tanh(x @ p["w"]) + p["b"][None], {}),
        (lambda p, x: x @ p["w"] - p["b"][None], {}),
        (lambda p, x: x @ p["w"] + x.sum() + p["b"][None], {}),  # only the first that is added
        (lambda p, x: x @ p["w"] + p["b"][0], {}),  # one number for all outputs
        (lambda p, x: jnp.tile(x[:1], (5, 1)) @ p["w"] + p["b"][:, None], {}),  # a number for each sample
    ],
    ids=[
        "added",
        "added_to",
        "cast",
        "repeated",
        "two_contractions",
        "scale",
        "behind_tanh",
        "subtracted",
        "second",
        "number",
        "samples",
    ],
)
def test_the_bias_of_a_contraction_is_what_is_added_to_its_plain_sum(apply, biases):
    assert notes_of(apply, {"w": (4, 5), "b": (5,)}, X).biases == biases


@pytest.mark.parametrize(
    ("meet", "neutral"),
    [
        (lambda h, v: h + v, 0.0),
        (lambda h, v: h - v, 0.0),
        (lambda h, v: h * v, 1.0),
        (lambda h, v: h / v, 1.0),
        (lambda h, v: h * (1 + v), 0.0),
        (lambda h, v: h * jnp.exp(v), 0.0),  # exp(0) = 1
        (lambda h, v: h * jnp.sqrt(v + 1e-5), 1.0),  # sqrt(1) = 1
        (lambda h, v: h * jax.lax.rsqrt(v + 1e-5), 1.0),
        (lambda h, v: h * jnp.tanh(v), 1.0),  # tanh(1) = 0.76 is nearer to 1 than tanh(0) = 0
    ],
    ids=["plus", "minus", "times", "over", "one_plus", "exp", "sqrt", "rsqrt", "tanh"],
)
def test_a_vectors_neutral_value_leaves_data_as_it_is(meet, neutral):
    def apply(params, x):
        return meet(x @ params["w"], params["v"][None])

    assert notes_of(apply, {"w": (4, 5), "v": (5,)}, X).neutral("v") == neutral


def test_running_statistics_that_meet_data_only_in_their_average_are_told_by_squares():
    def apply(params, x):
        h = x @ params["w"]
        mean, square = h.mean(0), (h**2).mean(0)
        var = square - mean**2
        moved = 0.9 * params["mean"] + 0.1 * mean, 0.9 * params["var"] + 0.1 * var
        return (h - mean[None]) / jnp.sqrt(var + 1e-5)[None], moved

    notes = notes_of(apply, {"w": (4, 5), "mean": (5,), "var": (5,)}, X)
    assert (notes.neutral("mean"), notes.neutral("var")) == (0.0, 1.0)


# --- Which arrays are the same --------------------------------------------------------------------------------------


def test_an_array_that_is_computed_twice_is_one_variable():
    def apply(params, x):
        h = x @ params["w"]
        return jnp.tanh(h) @ params["a"], jnp.tanh(h) @ params["b"], jnp.sin(h) @ params["c"]

    _, a, b, c = notes_of(apply, {"w": (4, 5), "a": (5, 2), "b": (5, 2), "c": (5, 2)}, X).contractions
    assert a.operand.variable is b.operand.variable
    assert a.operand.variable is not c.operand.variable
