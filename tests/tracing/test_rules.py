"""Where units lie behind each primitive, and which primitives couple them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant.tracing.rules import RULES
from pliant.tracing.trace import TracingError, trace
from pliant.tracing.values import ELEMENTWISE

BATCH, TIME, UNITS = 2, 6, 3
X = np.ones((BATCH, TIME, 4), np.float32)


def traced(function, units=UNITS):
    """The wiring of `function(x @ w) @ reader`, where `function` gets `(BATCH, TIME, units)`."""
    made = jax.ShapeDtypeStruct((BATCH, TIME, units), np.float32)
    inputs = jax.eval_shape(function, made).shape[-1]
    params = {"w": np.ones((4, units), np.float32), "reader": np.ones((inputs, 2), np.float32)}
    return trace(lambda params, x: function(x @ params["w"]) @ params["reader"], params, X)


def reader_rows(function):
    """The rows of the reader that each unit owns, `(positions, units)`; `None` where unit `i` owns just row `i`."""
    [group] = traced(function).values()
    [slot] = group.outgoing
    return slot.indices


def over_time(window, stride):
    def pool(h):
        return jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, window, 1), (1, stride, 1), "VALID")

    return pool


# What comes before and behind the units is written out for three units a, b, c.
ROWS = {
    "pad": (lambda h: jnp.pad(h, ((0, 0), (0, 0), (1, 2))), [[1, 2, 3]]),  # 0 a b c 0 0
    "tile": (lambda h: jnp.tile(h, (1, 1, 2)), [[0, 1, 2], [3, 4, 5]]),  # a b c a b c
    "repeat": (lambda h: jnp.repeat(h, 2, axis=-1), [[0, 2, 4], [1, 3, 5]]),  # a a b b c c
    "concatenate": (lambda h: jnp.concatenate([h, -h], -1), [[0, 1, 2], [3, 4, 5]]),  # a b c a b c
    "joined": (lambda h: jnp.concatenate([jnp.ones_like(h[..., :2]), h], -1), [[2, 3, 4]]),  # 1 1 a b c
    # Two moments: a0 b0 c0 a1 b1 c1, and with the units first a0 a1 b0 b1 c0 c1.
    "flatten": (lambda h: h[:, :2].reshape(BATCH, -1), [[0, 1, 2], [3, 4, 5]]),
    "transpose": (lambda h: h[:, :2].transpose(0, 2, 1).reshape(BATCH, -1), [[0, 2, 4], [1, 3, 5]]),
    "stack": (lambda h: jnp.stack([h, -h], axis=-1).reshape(BATCH, TIME, -1), [[0, 2, 4], [1, 3, 5]]),
    "squeeze": (lambda h: h[:, :1].squeeze(1), None),
    "broadcast": (lambda h: jnp.broadcast_to(h[None], (5, BATCH, TIME, UNITS)), None),
    "cumsum": (lambda h: jnp.cumsum(h, axis=1), None),
    "sort": (lambda h: jnp.sort(h, axis=1), None),
    "rev": (lambda h: h[:, ::-1], None),
    "fft": (lambda h: jnp.fft.fft(h.transpose(0, 2, 1)).real.transpose(0, 2, 1), None),
    "pool": (over_time(2, 2), None),
    "slide": (over_time(3, 1), None),
    "slice": (lambda h: h[:, 1:5:2], None),
    "dynamic_slice": (lambda h: jax.lax.dynamic_slice_in_dim(h, 1, 2, axis=1), None),
    "gather": (lambda h: h[:, np.array([3, 0, 1])], None),
    "dynamic_update_slice": (lambda h: jax.lax.dynamic_update_slice_in_dim(0 * h, h[:, :2], 1, axis=1), None),
    "split": (lambda h: sum(jnp.split(h, 2, axis=1)), None),
    "unstack": (lambda h: sum(jnp.unstack(h, axis=1)), None),
    "argmax": (lambda h: h * jnp.argmax(h, axis=1, keepdims=True), None),
    "where": (lambda h: jnp.where(h > 0, h, jnp.zeros((UNITS,))[None, None]), None),
}


@pytest.mark.parametrize("case", ROWS)
def test_the_reader_has_the_units_where_the_primitive_puts_them(case):
    function, rows = ROWS[case]
    found = reader_rows(function)
    assert (found is None) == (rows is None)
    if rows is not None:
        np.testing.assert_array_equal(found, rows)


def test_units_whose_halves_change_places_are_two_groups():
    def swapped(h):
        left, right = jnp.split(h, [1], axis=-1)
        return jnp.concatenate([right, left], axis=-1)

    # a | b c becomes b c a: the reader has a in its last row.
    one, two = traced(swapped).values()
    assert [one.units, two.units] == [1, 2]
    np.testing.assert_array_equal(one.incoming[0].indices, [[0]])
    np.testing.assert_array_equal(one.outgoing[0].indices, [[2]])
    np.testing.assert_array_equal(two.incoming[0].indices, [[1, 2]])
    np.testing.assert_array_equal(two.outgoing[0].indices, [[0, 1]])


@pytest.mark.parametrize(
    ("function", "coupled"),
    [
        (jax.nn.softmax, True),
        (lambda h: jax.nn.softmax(h, axis=1), False),
        (lambda h: h - h.mean(-1, keepdims=True), True),
        (lambda h: h - h.mean(1, keepdims=True), False),
        (lambda h: h / h.max(-1, keepdims=True), True),
        (lambda h: h * h.sum(axis=(0, 1))[None, None], False),
    ],
    ids=["softmax", "softmax_over_time", "centred", "centred_over_time", "largest", "summed_over_batch"],
)
def test_units_are_coupled_by_what_runs_over_all_of_them(function, coupled):
    [group] = traced(function).values()
    assert group.coupled == coupled


@pytest.mark.parametrize(
    ("weight", "coupled"),
    [
        (lambda w: w - w.mean(0, keepdims=True), True),
        (lambda w: w - w.mean(1, keepdims=True), False),  # over the outputs: a row of 0 has the mean 0
        (lambda w: w / jnp.linalg.norm(w), False),
        (jnp.exp, True),
        (lambda w: jax.nn.relu(w) + jnp.tanh(w), False),
        (lambda w: jnp.where(np.eye(3, 2) > 0, w, 0.0), False),
        (lambda w: jnp.where(np.eye(3, 2) > 0, w, 0.1), True),
        (lambda w: w + jax.lax.stop_gradient(jnp.round(w) - w), False),
        (lambda w: 1.0 / w, True),
        (lambda w: w**3, False),
        (lambda w: w + 1e-3, True),
    ],
    ids=[
        "centred",
        "centred_rows",
        "normed",
        "exp",
        "relu",
        "masked",
        "filled",
        "rounded",
        "inverse",
        "cubed",
        "shifted",
    ],
)
def test_units_are_coupled_by_a_reader_whose_zeros_do_not_stay_zero(weight, coupled):
    params = {"w": np.ones((4, UNITS), np.float32), "reader": np.ones((UNITS, 2), np.float32)}
    [group] = trace(lambda p, x: jnp.tanh(x @ p["w"]) @ weight(p["reader"]), params, X).values()
    assert group.coupled == coupled


@pytest.mark.parametrize(
    ("function", "primitive", "why"),
    [
        (lambda h: jnp.cumsum(h, -1), "cumsum", "it mixes units"),
        (lambda h: jnp.sort(h, -1), "sort", "it mixes units"),
        (lambda h: h[..., ::-1], "rev", "it mixes units"),
        (lambda h: jnp.fft.fft(h).real, "fft", "it mixes units"),
        (lambda h: h * jnp.argmax(h, -1, keepdims=True), "argmax", "it picks among units"),
        (lambda h: h[..., ::2], "slice", "it takes every other unit"),
        (lambda h: sum(jnp.unstack(h, axis=-1))[..., None], "unstack", "it takes units apart"),
        (lambda h: h[..., np.array([2, 0])], "gather", "it picks units by index"),
        (lambda h: jax.lax.dynamic_slice_in_dim(h, 1, 2, -1), "dynamic_slice", "it picks units"),
        (
            lambda h: jax.lax.dynamic_update_slice_in_dim(h, h[..., :1], 1, -1),
            "dynamic_update_slice",
            "it overwrites units",
        ),
        (lambda h: jax.lax.pad(h, 0.0, ((0, 0, 0), (0, 0, 0), (0, 0, 1))), "pad", "it spreads units apart"),
        (
            lambda h: jax.lax.reduce_window(h, 0.0, jax.lax.add, (1, 1, 2), (1,) * 3, "SAME"),
            "reduce_window_sum",
            "its window slides",
        ),
        (lambda h: h.reshape(BATCH, 9, 2), "reshape", "the reshape does not keep units together"),
        (lambda h: jnp.linalg.qr(h)[0], "geqrf|householder|qr", "no rule says what it does to units"),
        (lambda h: jax.lax.scan(lambda c, x: (c, c * x), 1.0, h)[1], "scan", "no rule says what it does to units"),
    ],
)
def test_a_refusal_names_the_primitive_the_parameters_and_the_reason(function, primitive, why):
    with pytest.raises(TracingError, match=rf"cannot trace `({primitive})` with 'w': {why}.*, and 'reader' reads the"):
        traced(function)


def test_every_elementwise_primitive_has_a_rule():
    assert set(RULES) >= ELEMENTWISE
