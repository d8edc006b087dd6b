"""Random networks: whatever `trace` finds in them is a group of units, and what it cannot follow is left out.

`make fuzz` tries more of them.
"""

import os
import random
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.tracing.trace import trace

NETWORKS = int(os.environ.get("PLIANT_FUZZ", "60")) // 10
BATCH, TIME = 2, 3
X, TOKENS = trees.normal(1, BATCH, TIME, 4), np.array([[0, 1, 2], [3, 1, 6]])
UNIT = 1  # the unit that is changed, of each group


class Building:
    """A network under construction.

    Attributes:
        params: by name.
        layers: each gets the parameters, the arrays of all earlier layers, and the tokens; it returns
            `(BATCH, TIME, width)`.
        widths: of the layers.
    """

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.params: dict[str, np.ndarray] = {}
        self.layers: list[Callable[..., Any]] = []
        self.widths: list[int] = []

    def weight(self, *shape: int) -> str:
        """The name of a new parameter."""
        name = f"p{len(self.params)}"
        self.params[name] = trees.normal(self.random.randrange(10**6), *shape) / np.float32(np.sqrt(shape[0]))
        return name

    def add(self, width: int, layer: Callable[..., Any]) -> None:
        self.widths.append(width)
        self.layers.append(layer)

    def as_wide_as(self, width: int) -> int:
        """A layer of this width."""
        return self.random.choice([k for k, n in enumerate(self.widths) if n == width])


LAYERS: list[Callable[[Building, int, int], None]] = []  # each adds a layer that reads layer `i`, of width `n`


def layer(build: Callable[[Building, int, int], None]) -> Callable[[Building, int, int], None]:
    LAYERS.append(build)
    return build


@layer
def dense(net: Building, i: int, n: int) -> None:
    m = net.random.choice([4, 6])
    w, b = net.weight(n, m), net.weight(m)
    net.add(m, lambda p, h, t: jnp.tanh(h[i] @ p[w] + p[b][None, None]))


@layer
def stacked_heads(net: Building, i: int, n: int) -> None:
    w, b = net.weight(7, n, 4), net.weight(7, 4)
    net.add(4, lambda p, h, t: jnp.einsum("btn,bnm->btm", h[i], p[w][t[:, 0]]) + p[b][t[:, 0]][:, None])


@layer
def tied(net: Building, i: int, n: int) -> None:
    w = net.weight(n, 5)
    net.add(n, lambda p, h, t: jax.nn.relu(h[i] @ p[w]) @ p[w].T)


@layer
def standardized(net: Building, i: int, n: int) -> None:
    w = net.weight(n, 5)
    net.add(5, lambda p, h, t: h[i] @ (p[w] - p[w].mean(axis=0, keepdims=True)))


@layer
def residual(net: Building, i: int, n: int) -> None:
    j = net.as_wide_as(n)
    net.add(n, lambda p, h, t: h[i] + jax.nn.sigmoid(h[j]))


@layer
def gated(net: Building, i: int, n: int) -> None:
    j = net.as_wide_as(n)
    net.add(n, lambda p, h, t: jnp.where((t % 2 == 0)[..., None], h[i], h[i] * h[j]))


@layer
def joined(net: Building, i: int, n: int) -> None:
    j = net.random.randrange(len(net.widths))
    net.add(n + net.widths[j], lambda p, h, t: jnp.concatenate([h[i], h[j]], axis=-1))


@layer
def conditioned(net: Building, i: int, n: int) -> None:
    table, place = net.weight(7, n), net.weight(9, n)
    net.add(
        n,
        lambda p, h, t: h[i] * (1 + p[table][t]) + jax.lax.dynamic_slice_in_dim(p[place], t[0, 0] % 3, TIME, 0)[None],
    )


@layer
def first_token(net: Building, i: int, n: int) -> None:
    token = net.weight(1, 1, n)
    net.add(n, lambda p, h, t: jnp.concatenate([jnp.tile(p[token], (BATCH, 1, 1)), h[i][:, 1:]], axis=1))


@layer
def normed(net: Building, i: int, n: int) -> None:
    scale = net.weight(n)
    net.add(n, lambda p, h, t: jax.nn.standardize(h[i], axis=-1, epsilon=0.1) * p[scale][None, None])


@layer
def attention(net: Building, i: int, n: int) -> None:
    queries, keys, values, out = (net.weight(*shape) for shape in ((n, 4), (n, 4), (n, 4), (4, n)))

    def attend(p, h, t):
        q, k, v = ((h[i] @ p[name]).reshape(BATCH, TIME, 2, 2) for name in (queries, keys, values))
        weights = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k))
        return h[i] + jnp.einsum("bhts,bshd->bthd", weights, v).reshape(BATCH, TIME, 4) @ p[out]

    net.add(n, attend)


@layer
def mixed_tokens(net: Building, i: int, n: int) -> None:
    mix, back = net.weight(TIME, 5), net.weight(5, TIME)
    net.add(n, lambda p, h, t: jnp.einsum("btn,tk,ks->bsn", h[i], p[mix], p[back]))


@layer
def loop(net: Building, i: int, n: int) -> None:
    w = net.weight(n, n)

    def along(p, h, t):
        _, hs = jax.lax.scan(lambda c, x: (jnp.tanh(c @ p[w] + x),) * 2, jnp.zeros((BATCH, n)), h[i].swapaxes(0, 1))
        return hs.swapaxes(0, 1)

    net.add(n, along)


@layer
def depthwise(net: Building, i: int, n: int) -> None:
    w, dimensions = net.weight(2, 1, n), ("NWC", "WIO", "NWC")
    net.add(
        n,
        lambda p, h, t: jax.lax.conv_general_dilated(
            h[i], p[w], (1,), "SAME", dimension_numbers=dimensions, feature_group_count=n
        ),
    )


@layer
def flattened(net: Building, i: int, n: int) -> None:
    w = net.weight(TIME * n, 6)
    net.add(6, lambda p, h, t: jnp.broadcast_to((h[i].reshape(BATCH, -1) @ p[w])[:, None], (BATCH, TIME, 6)))


@layer
def shuffled(net: Building, i: int, n: int) -> None:
    function = net.random.choice(
        [
            lambda x: jnp.cumsum(x, axis=-1),
            lambda x: jnp.sort(x, axis=-1),
            lambda x: x[..., ::-1],
            lambda x: x[:, ::-1],
            lambda x: x - x.max(axis=-1, keepdims=True),
            lambda x: jnp.cumsum(x, axis=1),
        ]
    )
    net.add(n, lambda p, h, t: function(h[i]))


def built(seed: int) -> tuple[Callable[..., Any], dict[str, np.ndarray]]:
    """A random network, and its parameters."""
    net = Building(seed)
    w = net.weight(7, 6) if seed % 2 else net.weight(4, 6)
    net.add(6, (lambda p, h, t: p[w][t]) if seed % 2 else (lambda p, h, t: h[-1] @ p[w]))
    for _ in range(net.random.randrange(2, 7)):
        i = net.random.randrange(len(net.widths))
        net.random.choice(LAYERS)(net, i, net.widths[i])
    read = [k for k in range(len(net.widths)) if net.random.random() < 0.3] + [len(net.widths) - 1]
    readers = [(k, net.weight(net.widths[k], 2)) for k in read]

    def apply(params, x, tokens):
        hidden: list[Any] = []
        for function in net.layers:
            hidden.append(function(params, hidden or [x], tokens))
        return sum(hidden[k] @ params[name] for k, name in readers)

    return apply, net.params


@pytest.mark.parametrize("seed", range(NETWORKS))
def test_each_group_can_be_permuted_and_made_silent(seed):
    apply, params = built(seed)
    wiring, program = trace(apply, params, X, TOKENS, skip=True), jax.jit(apply)

    def run(params):
        return program(params, X, TOKENS)

    for group in wiring.values():
        slots = (*group.incoming, *group.vectors, *group.outgoing)
        permuted = trees.reordered(params, slots, np.roll(np.arange(group.units), 1))
        trees.assert_close(run(permuted), run(params), rtol=1e-3, atol=2e-3)
        if not group.coupled:
            silent = trees.edited(params, group.outgoing, np.zeros_like, UNIT)
            changed = trees.edited(silent, (*group.incoming, *group.vectors), lambda entries: 2.5 * entries + 0.5, UNIT)
            changed = trees.edited(changed, group.outgoing, np.zeros_like, UNIT)  # where weights are tied
            trees.assert_close(run(changed), run(silent), rtol=1e-3, atol=1e-3)
