"""Small networks of many styles, each with the groups of units that `trace` must find in it.

A builder returns a `Network`. What it expects of a slot is written `(path, axis)`, with what its kind adds: fans of
incoming weights, the neutral value of vectors, feature and bias of outgoing weights. Where a slot has indices, they
are in `rows`, under its path.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

BATCH = 3
SEED = 0  # of the parameters of modules: one that leaves no unit dead


@dataclasses.dataclass(frozen=True)
class Expected:
    """A group as plain data."""

    units: int
    incoming: Sequence[tuple[str, int, int, int]]  # path, axis, fan_in, fan_out
    outgoing: Sequence[tuple[str, int, str, str | None]]  # path, axis, feature, bias
    features: Mapping[str, tuple[int, ...]]  # shapes
    vectors: Sequence[tuple[str, int, float]] = ()  # path, axis, neutral
    coupled: bool = False
    rows: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # path -> indices
    order: Sequence[int] | None = None  # a permutation that the network allows, where it does not allow any


@dataclasses.dataclass(frozen=True)
class Network:
    """`apply(params, *inputs)` and the groups in it.

    Args:
        output: takes the output of the network out of what `apply` returns.
        skipped: paths of the weights whose units are left out, for a network that is traced with `skip=True`.
    """

    apply: Callable[..., Any]
    params: Any
    inputs: tuple[Any, ...]
    groups: Mapping[str, Expected]
    output: Callable[[Any], Any] = lambda returned: returned
    skipped: frozenset[str] = frozenset()


ZOO: dict[str, Callable[[], Network]] = {}


def member(builder: Callable[[], Network]) -> Callable[[], Network]:
    ZOO[builder.__name__] = builder
    return builder


def drawn(seed: int, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def drawn_like(shapes: Any) -> Any:
    """Parameters in which each number matters: kernels that keep the scale of data, and vectors far above 0.

    Args:
        shapes: a tree of `jax.ShapeDtypeStruct`, so that a module's own initializer is not compiled.
    """
    generator = np.random.default_rng(SEED)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        noise = generator.normal(size=leaf.shape)
        fan_in = np.prod(leaf.shape[:-1])
        return (noise / np.sqrt(fan_in) if noise.ndim > 1 else 0.5 + abs(noise)).astype(leaf.dtype)

    return jax.tree.map(draw, shapes)


def vectors_of(sample: int = 4) -> np.ndarray:
    return drawn(1, x=(BATCH, sample))["x"]


def images(channels: int = 2, side: int = 8) -> np.ndarray:
    return drawn(2, x=(BATCH, side, side, channels))["x"]


def dense(x: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
    return x @ w + b[None]


def linen_params(module: nn.Module, *inputs: np.ndarray) -> Any:
    return drawn_like(jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs)))


def linen(module: nn.Module, *inputs: np.ndarray, groups: Mapping[str, Expected]) -> Network:
    return Network(module.apply, linen_params(module, *inputs), inputs, groups)


# --- Plain functions ----------------------------------------------------------------------------------------------


@member
def plain_without_bias() -> Network:
    def apply(params, x):
        return jax.nn.relu(jax.nn.relu(x @ params["w0"]) @ params["w1"]) @ params["w2"]

    return Network(
        apply,
        drawn(0, w0=(4, 5), w1=(5, 6), w2=(6, 2)),
        (vectors_of(),),
        {
            "w0": Expected(5, [("w0", 1, 4, 5)], [("w1", 0, "w0", None)], {"w0": (BATCH, 5)}),
            "w1": Expected(6, [("w1", 1, 5, 6)], [("w2", 0, "w1", None)], {"w1": (BATCH, 6)}),
        },
    )


@member
def plain_with_bias() -> Network:
    def apply(params, x):
        (w0, b0), (w1, b1) = params
        return dense(jnp.tanh(dense(x, w0, b0)), w1, b1)

    layers = drawn(0, w0=(4, 5), b0=(5,), w1=(5, 2), b1=(2,))
    return Network(
        apply,
        [(layers["w0"], layers["b0"]), (layers["w1"], layers["b1"])],
        (vectors_of(),),
        {"0": Expected(5, [("0/0", 1, 4, 5)], [("1/0", 0, "0", "1/1")], {"0": (BATCH, 5)}, [("0/1", 0, 0.0)])},
    )


@member
def repeated_biases() -> Network:
    """Biases that are repeated over the batch before they are added, as haiku does; its modules have slashes."""

    def linear(params, x):
        out = x @ params["w"]
        return out + jnp.broadcast_to(params["b"], out.shape)

    def apply(params, x):
        return linear(params["mlp/~/linear_1"], jax.nn.relu(linear(params["mlp/~/linear_0"], x)))

    return Network(
        apply,
        {"mlp/~/linear_0": drawn(0, w=(4, 5), b=(5,)), "mlp/~/linear_1": drawn(1, w=(5, 2), b=(2,))},
        (vectors_of(),),
        {
            "mlp/~/linear_0": Expected(
                5,
                [("mlp/~/linear_0/w", 1, 4, 5)],
                [("mlp/~/linear_1/w", 0, "mlp/~/linear_0", "mlp/~/linear_1/b")],
                {"mlp/~/linear_0": (BATCH, 5)},
                [("mlp/~/linear_0/b", 0, 0.0)],
            )
        },
    )


@member
def one_sample() -> Network:
    def apply(params, x):
        return jax.nn.relu(x @ params["w0"] + params["b0"]) @ params["w1"] + params["b1"]

    return Network(
        apply,
        drawn(0, w0=(4, 5), b0=(5,), w1=(5, 2), b1=(2,)),
        (vectors_of()[0],),
        {"w0": Expected(5, [("w0", 1, 4, 5)], [("w1", 0, "w0", "b1")], {"w0": (5,)}, [("b0", 0, 0.0)])},
    )


@member
def torch_layout() -> Network:
    def apply(params, x):
        return dense(
            jax.nn.relu(dense(x, params["l0.weight"].T, params["l0.bias"])), params["l1.weight"].T, params["l1.bias"]
        )

    shapes = {"l0.weight": (5, 4), "l0.bias": (5,), "l1.weight": (2, 5), "l1.bias": (2,)}
    return Network(
        apply,
        drawn(0, **shapes),
        (vectors_of(),),
        {
            "l0.weight": Expected(
                5,
                [("l0.weight", 0, 4, 5)],
                [("l1.weight", 1, "l0.weight", "l1.bias")],
                {"l0.weight": (BATCH, 5)},
                [("l0.bias", 0, 0.0)],
            )
        },
    )


@member
def twin_critics() -> Network:
    def critic(p, x):
        return dense(jax.nn.relu(dense(x, p["w0"], p["b0"])), p["w1"], p["b1"])

    def apply(params, observation, action):
        x = jnp.concatenate([observation, action], axis=-1)
        return critic(params["q0"], x), critic(params["q1"], x)

    params = {f"q{k}": drawn(k, w0=(6, 5), b0=(5,), w1=(5, 1), b1=(1,)) for k in range(2)}
    return Network(
        apply,
        params,
        (vectors_of(4), vectors_of(2)),
        {
            name: Expected(
                5,
                [(f"{name}/w0", 1, 6, 5)],
                [(f"{name}/w1", 0, name, f"{name}/b1")],
                {name: (BATCH, 5)},
                [(f"{name}/b0", 0, 0.0)],
            )
            for name in ("q0", "q1")
        },
    )


@member
def concatenated_action() -> Network:
    def apply(params, observation, action):
        hidden = jax.nn.relu(observation @ params["encoder"])
        return jax.nn.relu(jnp.concatenate([action, hidden], axis=-1) @ params["joint"]) @ params["out"]

    return Network(
        apply,
        drawn(0, encoder=(4, 5), joint=(7, 6), out=(6, 1)),
        (vectors_of(4), vectors_of(2)),
        {
            "encoder": Expected(
                5,
                [("encoder", 1, 4, 5)],
                [("joint", 0, "encoder", None)],
                {"encoder": (BATCH, 1, 5)},
                rows={"joint": np.arange(2, 7)[None]},
            ),
            "joint": Expected(6, [("joint", 1, 7, 6)], [("out", 0, "joint", None)], {"joint": (BATCH, 6)}),
        },
    )


@member
def two_branches() -> Network:
    def apply(params, x, y):
        joined = jnp.concatenate([jax.nn.relu(x @ params["a"]), jax.nn.relu(y @ params["b"])], axis=-1)
        return joined @ params["out"]

    return Network(
        apply,
        drawn(0, a=(4, 5), b=(3, 6), out=(11, 2)),
        (vectors_of(4), vectors_of(3)),
        {
            "a": Expected(
                5, [("a", 1, 4, 5)], [("out", 0, "a", None)], {"a": (BATCH, 1, 5)}, rows={"out": np.arange(5)[None]}
            ),
            "b": Expected(
                6, [("b", 1, 3, 6)], [("out", 0, "b", None)], {"b": (BATCH, 1, 6)}, rows={"out": np.arange(5, 11)[None]}
            ),
        },
    )


@member
def concatenated_relu() -> Network:
    def apply(params, x):
        hidden = x @ params["w0"]
        return jnp.concatenate([jax.nn.relu(hidden), jax.nn.relu(-hidden)], axis=-1) @ params["w1"]

    return Network(
        apply,
        drawn(0, w0=(4, 5), w1=(10, 2)),
        (vectors_of(),),
        {
            "w0": Expected(
                5,
                [("w0", 1, 4, 5)],
                [("w1", 0, "w0", None)],
                {"w0": (BATCH, 2, 5)},
                rows={"w1": np.arange(10).reshape(2, 5)},
            )
        },
    )


@member
def gated_halves() -> Network:
    def apply(params, x):
        value, gate = jnp.split(dense(x, params["w0"], params["b0"]), 2, axis=-1)
        return (value * jax.nn.sigmoid(gate)) @ params["w1"]

    return Network(
        apply,
        drawn(0, w0=(4, 10), b0=(10,), w1=(5, 2)),
        (vectors_of(),),
        {
            "w0": Expected(
                5,
                [("w0", 1, 4, 10)],
                [("w1", 0, "w0", None)],
                {"w0": (BATCH, 5)},
                [("b0", 0, 0.0)],
                rows={"w0": np.arange(10).reshape(2, 5), "b0": np.arange(10).reshape(2, 5)},
            )
        },
    )


@member
def halves_rejoined() -> Network:
    def apply(params, x):
        left, right = jnp.split(x @ params["w0"], [2], axis=-1)
        return jnp.concatenate([jax.nn.relu(left), jnp.tanh(right)], axis=-1) @ params["w1"]

    return Network(
        apply,
        drawn(0, w0=(4, 5), w1=(5, 2)),
        (vectors_of(),),
        {"w0": Expected(5, [("w0", 1, 4, 5)], [("w1", 0, "w0", None)], {"w0": (BATCH, 5)}, order=[1, 0, 4, 2, 3])},
    )


@member
def residual() -> Network:
    def apply(params, x):
        hidden = dense(x, params["stem"], params["stem_bias"])
        hidden = hidden + jax.nn.relu(hidden) @ params["square"]
        hidden = hidden + dense(
            jax.nn.relu(dense(hidden, params["up"], params["up_bias"])), params["down"], params["down_bias"]
        )
        return hidden @ params["out"]

    shapes = {"stem": (4, 5), "stem_bias": (5,), "square": (5, 5), "up": (5, 6), "up_bias": (6,), "down": (6, 5)}
    return Network(
        apply,
        drawn(0, **shapes, down_bias=(5,), out=(5, 2)),
        (vectors_of(),),
        {
            "stem": Expected(
                5,
                [("stem", 1, 4, 5), ("square", 1, 5, 5), ("down", 1, 6, 5)],
                [
                    ("square", 0, "stem@square", None),
                    ("up", 0, "stem@up", "up_bias"),
                    ("out", 0, "stem@out", None),
                ],
                {"stem@square": (BATCH, 5), "stem@up": (BATCH, 5), "stem@out": (BATCH, 5)},
                [("down_bias", 0, 0.0), ("stem_bias", 0, 0.0)],
            ),
            "up": Expected(
                6, [("up", 1, 5, 6)], [("down", 0, "up", "down_bias")], {"up": (BATCH, 6)}, [("up_bias", 0, 0.0)]
            ),
        },
    )


@member
def tied_layers() -> Network:
    def apply(params, x):
        hidden = jax.nn.relu(x @ params["stem"])
        for _ in range(2):
            hidden = jnp.tanh(hidden @ params["square"])
        return hidden @ params["out"]

    return Network(
        apply,
        drawn(0, stem=(4, 5), square=(5, 5), out=(5, 2)),
        (vectors_of(),),
        {
            "stem": Expected(
                5,
                [("stem", 1, 4, 5), ("square", 1, 5, 5)],
                [("square", 0, "stem@square", None), ("out", 0, "stem@out", None)],
                {"stem@square": (BATCH, 5), "stem@out": (BATCH, 5)},
            )
        },
    )


@member
def tied_autoencoder() -> Network:
    def apply(params, x):
        return jax.nn.relu(x @ params["w"]) @ params["w"].T

    return Network(
        apply,
        drawn(0, w=(4, 5)),
        (vectors_of(),),
        {"w": Expected(5, [("w", 1, 4, 5)], [("w", 1, "w", None)], {"w": (BATCH, 5)})},
    )


@member
def token_embedding() -> Network:
    """Rows that are looked up, and positions that are added to them."""

    def apply(params, tokens):
        x = params["tokens"][tokens] + params["positions"][jnp.arange(tokens.shape[1])][None]
        return jnp.tanh(x).mean(axis=1) @ params["out"]

    return Network(
        apply,
        drawn(0, tokens=(7, 5), positions=(4, 5), out=(5, 2)),
        (np.array([[0, 1, 2, 1], [3, 4, 5, 6], [1, 1, 6, 0]]),),
        {
            "tokens": Expected(
                5,
                [("tokens", 1, 1, 5)],
                [("out", 0, "tokens", None)],
                {"tokens": (BATCH, 5)},
                [("positions", 1, 0.0)],
            )
        },
    )


@member
def head_per_task() -> Network:
    def apply(params, x, task):
        hidden = jax.nn.relu(x @ params["w0"][task] + params["b0"][task][None])
        return hidden @ params["heads"][task] + params["biases"][task][None]

    return Network(
        apply,
        drawn(0, w0=(3, 4, 5), b0=(3, 5), heads=(3, 5, 2), biases=(3, 2)),
        (vectors_of(), np.int32(1)),
        {
            "w0": Expected(5, [("w0", 2, 4, 5)], [("heads", 1, "w0", None)], {"w0": (BATCH, 5)}, [("b0", 1, 0.0)]),
        },
    )


@member
def shifted_products() -> Network:
    """A convolution along time that is written as a sum of products: its kernel is one weight."""

    def apply(params, x):
        hidden = jnp.tanh(x @ params["w0"])
        return sum(hidden[:, k : k + 3] @ params["kernel"][k] for k in range(2))

    return Network(
        apply,
        drawn(0, w0=(2, 5), kernel=(2, 5, 3)),
        (drawn(1, x=(BATCH, 4, 2))["x"],),
        {"w0": Expected(5, [("w0", 1, 2, 5)], [("kernel", 1, "w0", None)], {"w0": (BATCH, 3, 5)})},
    )


@member
def rms_norm() -> Network:
    def apply(params, x):
        hidden = x @ params["w0"]
        hidden = hidden * jax.lax.rsqrt(jnp.mean(hidden**2, axis=-1, keepdims=True) + 1e-6)
        return jax.nn.relu(hidden * (1 + params["scale"][None])) @ params["w1"]

    return Network(
        apply,
        drawn(0, w0=(4, 5), scale=(5,), w1=(5, 2)),
        (vectors_of(),),
        {
            "w0": Expected(
                5, [("w0", 1, 4, 5)], [("w1", 0, "w0", None)], {"w0": (BATCH, 5)}, [("scale", 0, 0.0)], coupled=True
            )
        },
    )


@member
def normalized_weights() -> Network:
    """Weights divided by the norm of all: a unit then changes the others through it."""

    def apply(params, x):
        w = params["w0"] / jnp.sqrt(jnp.sum(params["w0"] ** 2))
        return jax.nn.relu(x @ w) @ params["w1"]

    return Network(
        apply,
        drawn(0, w0=(4, 5), w1=(5, 2)),
        (vectors_of(),),
        {"w0": Expected(5, [("w0", 1, 4, 5)], [("w1", 0, "w0", None)], {"w0": (BATCH, 5)}, coupled=True)},
    )


@member
def standardized_weights() -> Network:
    """Weights minus their mean over the inputs: a unit without outgoing weights is read all the same."""

    def apply(params, x):
        w = params["w1"] - jnp.mean(params["w1"], axis=0, keepdims=True)
        w = w / jnp.sqrt(jnp.mean(w**2, axis=0, keepdims=True) + 1e-4)
        return jax.nn.relu(jax.nn.relu(x @ params["w0"]) @ w) @ (params["w2"] / (1 + jnp.sum(params["w2"] ** 2)))

    return Network(
        apply,
        drawn(0, w0=(4, 5), w1=(5, 6), w2=(6, 2)),
        (vectors_of(),),
        {
            "w0": Expected(5, [("w0", 1, 4, 5)], [("w1", 0, "w0", None)], {"w0": (BATCH, 5)}, coupled=True),
            "w1": Expected(6, [("w1", 1, 5, 6)], [("w2", 0, "w1", None)], {"w1": (BATCH, 6)}),
        },
    )


@member
def stacked_branches() -> Network:
    """Two layers side by side: the network pairs their units, for one weight reads both along one axis."""

    def apply(params, x):
        both = jnp.stack([x @ params["a"], jnp.tanh(x @ params["b"])], axis=1)
        return jax.nn.relu(both @ params["shared"]).sum(axis=1)

    return Network(
        apply,
        drawn(0, a=(4, 5), b=(4, 5), shared=(5, 2)),
        (vectors_of(),),
        {
            "a": Expected(5, [("a", 1, 4, 5), ("b", 1, 4, 5)], [("shared", 0, "a", None)], {"a": (BATCH, 2, 5)}),
        },
    )


@member
def noisy_weights() -> Network:
    def apply(params, x, noise):
        w = params["mu"] + params["sigma"] * noise
        return jax.nn.relu(x @ w) @ params["out"]

    return Network(
        apply,
        drawn(0, mu=(4, 5), sigma=(4, 5), out=(5, 2)),
        (vectors_of(), drawn(3, noise=(4, 5))["noise"]),
        {"mu": Expected(5, [("mu", 1, 4, 5), ("sigma", 1, 4, 5)], [("out", 0, "mu", None)], {"mu": (BATCH, 5)})},
    )


@member
def patches() -> Network:
    """Convolutions written as products over patches: fast on a CPU, and under vmap."""

    def convolve(x, kernel, bias):
        height, width = (n - 2 for n in x.shape[1:3])
        shifted = [x[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1]) + bias[None, None, None]

    def apply(params, x):
        hidden = jax.nn.relu(convolve(x, params["c0"], params["b0"]))
        hidden = jax.nn.relu(convolve(hidden, params["c1"], params["b1"]))
        return hidden.reshape(hidden.shape[0], -1) @ params["out"]

    shapes = {"c0": (3, 3, 2, 4), "b0": (4,), "c1": (3, 3, 4, 5), "b1": (5,), "out": (20, 3)}
    return Network(
        apply,
        drawn(0, **shapes),
        (images(side=6),),
        {
            "c0": Expected(
                4, [("c0", 3, 18, 36)], [("c1", 2, "c0", "b1")], {"c0": (BATCH, 2, 2, 9, 4)}, [("b0", 0, 0.0)]
            ),
            "c1": Expected(
                5,
                [("c1", 3, 36, 45)],
                [("out", 0, "c1", None)],
                {"c1": (BATCH, 4, 5)},
                [("b1", 0, 0.0)],
                rows={"out": np.arange(20).reshape(4, 5)},
            ),
        },
    )


@member
def decoder() -> Network:
    def apply(params, z):
        hidden = jax.nn.relu(z @ params["w0"]).reshape(-1, 4, 4, 3)
        dimensions = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(hidden, params["c0"], (1, 1), "SAME", dimension_numbers=dimensions)

    return Network(
        apply,
        drawn(0, w0=(4, 48), c0=(3, 3, 3, 2)),
        (vectors_of(),),
        {
            "w0": Expected(
                3,
                [("w0", 1, 4, 48)],
                [("c0", 2, "w0", None)],
                {"w0": (BATCH, 4, 4, 3)},
                rows={"w0": np.arange(48).reshape(16, 3)},
            )
        },
    )


# --- Flax linen -----------------------------------------------------------------------------------------------------


class Mlp(nn.Module):
    """Two hidden layers with a norm before or after the nonlinearity."""

    before: Callable[[], nn.Module] | None = None
    after: Callable[[], nn.Module] | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for units in (5, 6):
            x = nn.Dense(units)(x)
            x = self.before()(x) if self.before else x
            x = nn.relu(x)
            x = self.after()(x) if self.after else x
        return nn.Dense(2)(x)


def mlp_groups(norm: str = "", coupled: bool = False) -> dict[str, Expected]:
    """Of `Mlp`, whose norms are called `norm`."""

    def vectors(k: int) -> list[tuple[str, int, float]]:
        own = [(f"params/Dense_{k}/bias", 0, 0.0)]
        if not norm:
            return own
        of_norm = [(f"params/{norm}_{k}/bias", 0, 0.0)] if norm == "LayerNorm" else []
        of_norm += [(f"params/{norm}_{k}/scale", 0, 1.0)]
        return own + of_norm

    return {
        f"Dense_{k}": Expected(
            units,
            [(f"params/Dense_{k}/kernel", 1, fan_in, units)],
            [(f"params/Dense_{k + 1}/kernel", 0, f"Dense_{k}", f"params/Dense_{k + 1}/bias")],
            {f"Dense_{k}": (BATCH, units)},
            vectors(k),
            coupled,
        )
        for k, (fan_in, units) in enumerate([(4, 5), (5, 6)])
    }


@member
def linen_mlp() -> Network:
    return linen(Mlp(), vectors_of(), groups=mlp_groups())


@member
def layer_norm_before() -> Network:
    return linen(Mlp(before=nn.LayerNorm), vectors_of(), groups=mlp_groups("LayerNorm", coupled=True))


@member
def layer_norm_after() -> Network:
    return linen(Mlp(after=nn.LayerNorm), vectors_of(), groups=mlp_groups("LayerNorm", coupled=True))


@member
def rms_norm_before() -> Network:
    return linen(Mlp(before=nn.RMSNorm), vectors_of(), groups=mlp_groups("RMSNorm", coupled=True))


def _dropout(deterministic: bool) -> Network:
    module = Mlp(after=lambda: nn.Dropout(0.5, deterministic=deterministic))
    params = linen_params(Mlp(), vectors_of())

    def apply(params, x):
        return module.apply(params, x, rngs={"dropout": jax.random.key(5)})

    return Network(apply, params, (vectors_of(),), mlp_groups())


@member
def dropout_training() -> Network:
    return _dropout(deterministic=False)


@member
def dropout_evaluation() -> Network:
    return _dropout(deterministic=True)


class ActorCritic(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = nn.tanh(nn.Dense(5, name="torso")(x))
        policy = nn.Dense(3, name="policy")(x)
        value = nn.Dense(1, name="value")(nn.tanh(nn.Dense(6, name="hidden")(x)))
        return nn.softmax(policy), value[:, 0]


@member
def actor_critic() -> Network:
    groups = {
        "torso": Expected(
            5,
            [("params/torso/kernel", 1, 4, 5)],
            [
                ("params/policy/kernel", 0, "torso", "params/policy/bias"),
                ("params/hidden/kernel", 0, "torso", "params/hidden/bias"),
            ],
            {"torso": (BATCH, 5)},
            [("params/torso/bias", 0, 0.0)],
        ),
        "hidden": Expected(
            6,
            [("params/hidden/kernel", 1, 5, 6)],
            [("params/value/kernel", 0, "hidden", "params/value/bias")],
            {"hidden": (BATCH, 6)},
            [("params/hidden/bias", 0, 0.0)],
        ),
    }
    return linen(ActorCritic(), vectors_of(), groups=groups)


@member
def half_precision_twins() -> Network:
    """Two heads cast the same torso for themselves."""

    def apply(params, x):
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
        hidden = jax.nn.relu(x @ params["w0"].astype(x.dtype))
        heads = [hidden.astype(jnp.bfloat16) @ params[name] for name in ("a", "b")]
        return [head.astype(jnp.float32) for head in heads]

    return Network(
        apply,
        drawn(0, w0=(4, 5), a=(5, 2), b=(5, 1)),
        (vectors_of(),),
        {"w0": Expected(5, [("w0", 1, 4, 5)], [("a", 0, "w0", None), ("b", 0, "w0", None)], {"w0": (BATCH, 5)})},
    )


class ConvNet(nn.Module):
    """Stride and pool, then a dense layer behind a flattened image."""

    norm: Callable[[], nn.Module] | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(4, (3, 3), strides=(2, 2))(x)
        x = self.norm()(x) if self.norm else x
        x = nn.max_pool(nn.relu(x), (2, 2), (2, 2))
        x = nn.avg_pool(nn.relu(nn.Conv(6, (3, 3))(x)), (2, 2), (1, 1), padding="SAME")
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(5)(x))
        return nn.Dense(2)(x)


def conv_groups(vectors: Sequence[tuple[str, int, float]] = (), **first: Any) -> dict[str, Expected]:
    return {
        "Conv_0": Expected(
            4,
            [("params/Conv_0/kernel", 3, 18, 36)],
            [("params/Conv_1/kernel", 2, "Conv_0", "params/Conv_1/bias")],
            {"Conv_0": (BATCH, 2, 2, 4)},
            [("params/Conv_0/bias", 0, 0.0), *vectors],
            **first,
        ),
        "Conv_1": Expected(
            6,
            [("params/Conv_1/kernel", 3, 36, 54)],
            [("params/Dense_0/kernel", 0, "Conv_1", "params/Dense_0/bias")],
            {"Conv_1": (BATCH, 4, 6)},
            [("params/Conv_1/bias", 0, 0.0)],
            rows={"params/Dense_0/kernel": np.arange(24).reshape(4, 6)},
        ),
        "Dense_0": Expected(
            5,
            [("params/Dense_0/kernel", 1, 24, 5)],
            [("params/Dense_1/kernel", 0, "Dense_0", "params/Dense_1/bias")],
            {"Dense_0": (BATCH, 5)},
            [("params/Dense_0/bias", 0, 0.0)],
        ),
    }


@member
def conv_net() -> Network:
    return linen(ConvNet(), images(), groups=conv_groups())


@member
def group_norm() -> Network:
    vectors = [("params/GroupNorm_0/bias", 0, 0.0), ("params/GroupNorm_0/scale", 0, 1.0)]
    return linen(
        ConvNet(lambda: nn.GroupNorm(2)), images(), groups=conv_groups(vectors, coupled=True, order=[1, 0, 3, 2])
    )


class ConvNeXtBlock(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = nn.Conv(4, (3, 3), feature_group_count=4)(x)
        hidden = nn.gelu(nn.Dense(6)(nn.LayerNorm()(hidden)))
        scale = self.param("scale", nn.initializers.ones, (4,))
        return x + scale[None, None, None] * nn.Dense(4)(hidden)


class ConvNeXt(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = ConvNeXtBlock()(nn.Conv(4, (2, 2), (2, 2))(x))
        return nn.Dense(2)(x.mean(axis=(1, 2)))


@member
def depthwise_convolution() -> Network:
    """Its kernel belongs to the channels that it filters, one by one: 3 x 3 inputs each."""
    block = "params/ConvNeXtBlock_0"
    return linen(
        ConvNeXt(),
        images(side=6),
        groups={
            "Conv_0": Expected(
                4,
                [
                    ("params/Conv_0/kernel", 3, 8, 16),
                    (f"{block}/Conv_0/kernel", 3, 9, 9),
                    (f"{block}/Dense_1/kernel", 1, 6, 4),
                ],
                [
                    (f"{block}/Dense_0/kernel", 0, "Conv_0@ConvNeXtBlock_0/Dense_0", f"{block}/Dense_0/bias"),
                    ("params/Dense_0/kernel", 0, "Conv_0@Dense_0", "params/Dense_0/bias"),
                ],
                {"Conv_0@ConvNeXtBlock_0/Dense_0": (BATCH, 3, 3, 4), "Conv_0@Dense_0": (BATCH, 4)},
                [
                    *((f"{block}/{name}/bias", 0, 0.0) for name in ("Conv_0", "Dense_1", "LayerNorm_0")),
                    (f"{block}/LayerNorm_0/scale", 0, 1.0),
                    (f"{block}/scale", 0, 1.0),
                    ("params/Conv_0/bias", 0, 0.0),
                ],
                coupled=True,
            ),
            "ConvNeXtBlock_0/Dense_0": Expected(
                6,
                [(f"{block}/Dense_0/kernel", 1, 4, 6)],
                [(f"{block}/Dense_1/kernel", 0, "ConvNeXtBlock_0/Dense_0", f"{block}/Dense_1/bias")],
                {"ConvNeXtBlock_0/Dense_0": (BATCH, 3, 3, 6)},
                [(f"{block}/Dense_0/bias", 0, 0.0)],
            ),
        },
    )


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        token = self.param("token", nn.initializers.normal(), (1, 1, 4))
        x = jax.lax.concatenate([jax.lax.broadcast(token[0], (len(x),)), nn.Dense(4)(x)], 1)
        x = x + nn.MultiHeadDotProductAttention(2)(x)
        hidden = nn.gelu(nn.Dense(6)(x))
        x = x + nn.Dense(4)(hidden)
        return nn.Dense(2)(x)


@member
def transformer() -> Network:
    """Its attention is left out; the stream of tokens, with a class token, and the MLP are found."""
    module, x, attention = Transformer(), drawn(1, x=(BATCH, 2, 3))["x"], "params/MultiHeadDotProductAttention_0"
    groups = {
        "Dense_0": Expected(
            4,
            [
                ("params/Dense_0/kernel", 1, 3, 4),
                (f"{attention}/out/kernel", 2, 4, 4),
                ("params/Dense_2/kernel", 1, 6, 4),
            ],
            [
                (f"{attention}/query/kernel", 0, "Dense_0@MultiHeadDotProductAttention_0/query", None),
                (f"{attention}/key/kernel", 0, "Dense_0@MultiHeadDotProductAttention_0/query", None),
                (f"{attention}/value/kernel", 0, "Dense_0@MultiHeadDotProductAttention_0/query", None),
                ("params/Dense_1/kernel", 0, "Dense_0@Dense_1", "params/Dense_1/bias"),
                ("params/Dense_3/kernel", 0, "Dense_0@Dense_3", "params/Dense_3/bias"),
            ],
            {
                "Dense_0@MultiHeadDotProductAttention_0/query": (BATCH, 3, 4),
                "Dense_0@Dense_1": (BATCH, 3, 4),
                "Dense_0@Dense_3": (BATCH, 3, 4),
            },
            [
                ("params/Dense_0/bias", 0, 0.0),
                ("params/Dense_2/bias", 0, 0.0),
                (f"{attention}/out/bias", 0, 0.0),
                ("params/token", 2, 0.0),
            ],
        ),
        "Dense_1": Expected(
            6,
            [("params/Dense_1/kernel", 1, 4, 6)],
            [("params/Dense_2/kernel", 0, "Dense_1", "params/Dense_2/bias")],
            {"Dense_1": (BATCH, 3, 6)},
            [("params/Dense_1/bias", 0, 0.0)],
        ),
    }
    skipped = frozenset(f"{attention}/{name}/kernel" for name in ("query", "key", "value"))
    return Network(module.apply, linen_params(module, x), (x,), groups, skipped=skipped)


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.RNN(nn.SimpleCell(4))(nn.relu(nn.Dense(3)(x)))
        x = nn.relu(nn.Dense(5)(x[:, -1]))
        return nn.Dense(2)(x)


@member
def recurrent_encoder() -> Network:
    """Its loop is left out, with the units that enter it; the layers behind it are found."""
    module, x = Recurrent(), drawn(1, x=(BATCH, 2, 3))["x"]
    groups = {
        "Dense_1": Expected(
            5,
            [("params/Dense_1/kernel", 1, 4, 5)],
            [("params/Dense_2/kernel", 0, "Dense_1", "params/Dense_2/bias")],
            {"Dense_1": (BATCH, 5)},
            [("params/Dense_1/bias", 0, 0.0)],
        )
    }
    cell = ("h/kernel", "i/kernel", "i/bias")
    skipped = frozenset({"params/Dense_0/kernel", *(f"params/SimpleCell_0/{name}" for name in cell)})
    return Network(module.apply, linen_params(module, x), (x,), groups, skipped=skipped)


class Block(nn.Module):
    channels: int
    stride: int
    norm: Callable[[], nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        stride = (self.stride, self.stride)
        y = nn.relu(self.norm()(nn.Conv(self.channels, (3, 3), stride, use_bias=False)(x)))
        y = self.norm()(nn.Conv(self.channels, (3, 3), use_bias=False)(y))
        if y.shape != x.shape:
            x = self.norm()(nn.Conv(self.channels, (1, 1), stride, use_bias=False)(x))
        return nn.relu(x + y)


class ResNet18(nn.Module):
    training: bool
    widths = (3, 4, 5, 6)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def norm() -> nn.Module:
            return nn.BatchNorm(use_running_average=not self.training, momentum=0.9)

        x = nn.relu(norm()(nn.Conv(self.widths[0], (3, 3), use_bias=False)(x)))
        for task, channels in enumerate(self.widths):
            for block in range(2):
                x = Block(channels, 2 if task and not block else 1, norm)(x)
        return nn.Dense(2)(x.mean(axis=(1, 2)))


def norm_vectors(*names: str) -> list[tuple[str, int, float]]:
    found = [
        (f"batch_stats/{name}/{key}", 0, neutral) for name in names for key, neutral in (("mean", 0.0), ("var", 1.0))
    ]
    return found + [
        (f"params/{name}/{key}", 0, neutral) for name in names for key, neutral in (("bias", 0.0), ("scale", 1.0))
    ]


def resnet_groups(side: int) -> dict[str, Expected]:
    """The residual stream of each task is one group, the inside of each block another."""
    groups: dict[str, Expected] = {}
    widths = ResNet18.widths
    sides = [side, side, -(-side // 2), -(-side // 4), -(-side // 8)]
    for task, units in enumerate(widths):
        first, second = f"Block_{2 * task}", f"Block_{2 * task + 1}"
        here = (BATCH, sides[task + 1], sides[task + 1], units)
        name = "Conv_0" if task == 0 else f"{first}/Conv_1"
        fan = 9 * units
        incoming = [(f"params/{first}/Conv_1/kernel", 3, fan, fan), (f"params/{second}/Conv_1/kernel", 3, fan, fan)]
        norms = [f"{first}/BatchNorm_1", f"{second}/BatchNorm_1"]
        if task == 0:
            incoming.insert(0, ("params/Conv_0/kernel", 3, 9 * 2, fan))
            norms.insert(0, "BatchNorm_0")
        else:
            incoming.insert(1, (f"params/{first}/Conv_2/kernel", 3, widths[task - 1], units))
            norms.insert(1, f"{first}/BatchNorm_2")
        readers = [f"{first}/Conv_0"] if task == 0 else []
        readers += [f"{second}/Conv_0"]
        outgoing = [(f"params/{reader}/kernel", 2, f"{name}@{reader}", None) for reader in readers]
        features = {f"{name}@{reader}": here for reader in readers}
        if task == len(widths) - 1:
            outgoing.append(("params/Dense_0/kernel", 0, f"{name}@Dense_0", "params/Dense_0/bias"))
            features[f"{name}@Dense_0"] = (BATCH, units)
        else:
            last = f"Block_{2 * task + 2}"
            outgoing += [(f"params/{last}/Conv_{k}/kernel", 2, f"{name}@{last}/Conv_0", None) for k in (0, 2)]
            features[f"{name}@{last}/Conv_0"] = here
        stream = Expected(units, incoming, outgoing, features, norm_vectors(*norms))
        inner = {
            f"{block}/Conv_0": Expected(
                units,
                [
                    (
                        f"params/{block}/Conv_0/kernel",
                        3,
                        9 * widths[task - 1 if task and block == first else task],
                        fan,
                    )
                ],
                [(f"params/{block}/Conv_1/kernel", 2, f"{block}/Conv_0", None)],
                {f"{block}/Conv_0": here},
                norm_vectors(f"{block}/BatchNorm_0"),
            )
            for block in (first, second)
        }
        groups |= (
            {name: stream, **inner}
            if task == 0
            else {f"{first}/Conv_0": inner[f"{first}/Conv_0"], name: stream, **inner}
        )
    return groups


def _resnet(training: bool) -> Network:
    module, x = ResNet18(training), images()
    params = linen_params(module, x)

    def apply(params, x):
        return module.apply(params, x, mutable=["batch_stats"])

    return Network(apply, params, (x,), resnet_groups(8), output=lambda returned: returned[0])


@member
def resnet_training() -> Network:
    return _resnet(training=True)


@member
def resnet_evaluation() -> Network:
    return _resnet(training=False)


class NormAfterRelu(nn.Module):
    """The running mean of something that is never negative is not a variance for that."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.BatchNorm(use_running_average=False)(nn.relu(nn.Dense(5, use_bias=False)(x)))
        return nn.Dense(2, use_bias=False)(x)


@member
def batch_norm_after_relu() -> Network:
    module, x = NormAfterRelu(), vectors_of()
    groups = {
        "Dense_0": Expected(
            5,
            [("params/Dense_0/kernel", 1, 4, 5)],
            [("params/Dense_1/kernel", 0, "Dense_0", None)],
            {"Dense_0": (BATCH, 5)},
            norm_vectors("BatchNorm_0"),
        )
    }
    network = linen(module, x, groups=groups)

    def apply(params, x):
        return module.apply(params, x, mutable=["batch_stats"])

    return dataclasses.replace(network, apply=apply, output=lambda returned: returned[0])


# --- Flax nnx and equinox -------------------------------------------------------------------------------------------


class NnxMlp(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.inner = nnx.Linear(4, 5, rngs=rngs)
        self.norm = nnx.BatchNorm(5, rngs=rngs)
        self.outer = nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.outer(nnx.relu(self.norm(self.inner(x))))


@member
def nnx_mlp() -> Network:
    graph, shapes = nnx.split(nnx.eval_shape(lambda: NnxMlp(nnx.Rngs(0))))

    def apply(params, x):
        module = nnx.merge(graph, params)
        return module(x), nnx.state(module)

    vectors = [("inner/bias", 0, 0.0), ("norm/bias", 0, 0.0), ("norm/mean", 0, 0.0), ("norm/scale", 0, 1.0)]
    return Network(
        apply,
        drawn_like(shapes),
        (vectors_of(),),
        {
            "inner": Expected(
                5,
                [("inner/kernel", 1, 4, 5)],
                [("outer/kernel", 0, "inner", "outer/bias")],
                {"inner": (BATCH, 5)},
                [*vectors, ("norm/var", 0, 1.0)],
            )
        },
        output=lambda returned: returned[0],
    )


@member
def equinox_mlp() -> Network:
    module = equinox.filter_eval_shape(lambda: equinox.nn.MLP(4, 2, 5, 2, key=jax.random.key(0)))
    shapes, static = equinox.partition(module, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))

    def apply(params, x):
        return jax.vmap(equinox.combine(params, static))(x)

    return Network(
        apply,
        drawn_like(shapes),
        (vectors_of(),),
        {
            f"layers/{k}": Expected(
                5,
                [(f"layers/{k}/weight", 0, fan_in, 5)],
                [(f"layers/{k + 1}/weight", 1, f"layers/{k}", f"layers/{k + 1}/bias")],
                {f"layers/{k}": (BATCH, 5)},
                [(f"layers/{k}/bias", 0, 0.0)],
            )
            for k, fan_in in enumerate((4, 5))
        },
    )
