"""Recurrent networks: what one step shows of them, and what two steps show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant.tracing.trace import TracingError, trace

BATCH, UNITS = 2, 5
H, C = np.zeros((BATCH, UNITS), np.float32), np.ones((BATCH, UNITS), np.float32)
PACKED = np.concatenate([H, C], axis=1)
X = np.ones((BATCH, UNITS), np.float32)  # as wide as the carry, which is the harder case


def weights(**columns):
    return {name: np.ones((UNITS, n), np.float32) for name, n in columns.items()}


def elman(params, h, x):
    h = jnp.tanh(h @ params["h"] + jax.nn.relu(x @ params["in"]) @ params["x"])
    return h, h @ params["out"]


def lstm(params, carry, x):
    h, c = carry
    i, f, g, o = jnp.split(jnp.concatenate([h, x], axis=1) @ params["gates"], 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h @ params["out"]


def lstm_of_arrays(params, h, c, x):
    (h, c), y = lstm(params, (h, c), x)
    return h, c, y


def gru(params, h, x):
    z = jax.nn.sigmoid(h @ params["zh"] + x @ params["zx"])
    h = z * h + (1 - z) * jnp.tanh(h @ params["h"] + x @ params["x"])
    return h, h @ params["out"]


def packed_lstm(params, carry, x):
    """A carry of one array, which is cut into two."""
    carry, y = lstm(params, jnp.split(carry, 2, axis=1), x)
    return jnp.concatenate(carry, axis=1), y


def leaky_packed_lstm(params, carry, x):
    """A carry that is cut into two, and as a whole added to the next one."""
    new, y = packed_lstm(params, carry, x)
    return 0.9 * carry + 0.1 * new, y


def in_half_precision(params, h, x):
    """A carry that comes out in another precision than it goes in."""
    return elman(params, h.astype(jnp.float32), x)


ELMAN = weights(h=UNITS, x=UNITS, out=3) | {"in": np.ones((UNITS, UNITS), np.float32)}
LSTM = {"gates": np.ones((2 * UNITS, 4 * UNITS), np.float32), "out": np.ones((UNITS, 3), np.float32)}
GRU = weights(zh=UNITS, zx=UNITS, h=UNITS, x=UNITS, out=3)


def readers(wiring):
    return {name: {reader.path for reader in group.outgoing} for name, group in wiring.items()}


@pytest.mark.parametrize(
    ("apply", "params", "inputs"),
    [
        (elman, ELMAN, (H, X)),
        (lstm, LSTM, ((H, C), X)),
        (lstm_of_arrays, LSTM, (H, C, X)),
        (packed_lstm, LSTM, (PACKED, X)),
        (leaky_packed_lstm, LSTM, (PACKED, X)),
        (gru, GRU, (H, X)),
        (in_half_precision, ELMAN, (H.astype(jnp.bfloat16), X)),
    ],
    ids=["elman", "lstm", "lstm_of_arrays", "packed_lstm", "leaky_packed_lstm", "gru", "in_half_precision"],
)
def test_one_step_that_lacks_readers_is_refused_or_left_out(apply, params, inputs):
    with pytest.raises(
        TracingError, match=r"^cannot trace one step with '.*': an input comes back .* Trace two steps, as "
    ):
        trace(apply, params, *inputs)
    wiring = trace(apply, params, *inputs, skip=True)
    # What lies in front of the carry is found: `x` reads the units of `in`.
    assert readers(wiring) == ({"in": {"x"}} if params is ELMAN else {})
    assert wiring.skipped


def test_two_steps_show_what_reads_the_carry():
    def two_elman(params, h, x):
        return elman(params, elman(params, h, x)[0], x)

    def two_gru(params, h, x):
        return gru(params, gru(params, h, x)[0], x)

    def two_lstm(params, carry, xs):
        carries, ys = [], []
        for x in xs:
            carry, y = lstm(params, carry, x)
            carries.append(carry)
            ys.append(y)
        return ys, carries

    def two_packed(params, carry, x):
        return packed_lstm(params, packed_lstm(params, carry, x)[0], x)

    assert readers(trace(two_packed, LSTM, PACKED, X)) == {"gates": {"gates", "out"}}
    assert readers(trace(two_elman, ELMAN, H, X)) == {"in": {"x"}, "h": {"h", "out"}}
    assert readers(trace(two_gru, GRU, H, X)) == {"zh": {"zh", "h", "out"}}
    assert readers(trace(two_lstm, LSTM, (H, C), (X, X))) == {"gates": {"gates", "out"}}


def test_hidden_units_of_the_shape_of_an_input_may_be_returned():
    def features(params, x):
        hidden = jnp.tanh(x @ params["x"])
        return hidden, hidden @ params["out"]

    def of_two(params, x, y):
        hidden, out = features(params, x + jnp.tanh(y @ params["h"]) @ params["h"])
        return hidden[None], out

    assert readers(trace(features, ELMAN, X)) == {"x": {"out"}}
    assert "x" in readers(trace(of_two, ELMAN, X, X))
