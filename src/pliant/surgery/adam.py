"""Adam with a step count for each weight, which is reset where the weight is reinitialized."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pliant.core.base import Array, Params
from pliant.core.settings import AtLeast, FromUpTo, require, require_one_of


class PerWeightAdamState(NamedTuple):
    count: Params  # like params, int32: steps since the weight was initialized
    mu: Params  # like params: first moment
    nu: Params  # like params: second moment


def adam(
    learning_rate: optax.ScalarOrSchedule = 1e-3,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    correction: Literal["intended", "published"] = "intended",
) -> optax.GradientTransformation:
    r"""Adam with a step count for each weight.

    For a weight with gradient $g$, initialized $t - 1$ steps ago,

    $$m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
    w \leftarrow w - \alpha \, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}.$$

    While no weight is reinitialized it equals `optax.adam`. Where a method reinitializes a weight, `plastic` resets
    $m$, $v$ *and* $t$: the first steps of a fresh weight are then as long as at the start of training. With one count
    for all weights they are $(1 - \beta_1) / \sqrt{1 - \beta_2}$ times as long, 3.2 times for the defaults.

    Args:
        learning_rate: $\alpha$, a number or a schedule of the steps since the start of training.
        b1: $\beta_1$ in [0, 1).
        b2: $\beta_2$ in [0, 1).
        eps: $\epsilon$, at least 0, added to the denominator for numerical stability.
        correction: `intended`: as above; `published`: as in the authors' code of 2024, by a slip
            $w \leftarrow w - \alpha (1 - \beta_2^t) \, m / (\sqrt v + \epsilon)$: a long warm-up, repeated for each
            fresh weight.

    Returns:
        An optax transformation; its state has the fields `count`, `mu` and `nu`, each like the parameters.

    Raises:
        ValueError: for a value outside its range.

    Differs from the authors' code: by default the correction is the intended one, and $\epsilon$ is added where Kingma
    and Ba add it (the authors' code adds it to the uncorrected $\sqrt v$).

    References:
        Kingma and Ba, `Adam: a method for stochastic optimization <https://arxiv.org/abs/1412.6980>`_, ICLR 2015.
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024.

    Example:
        >>> import optax, pliant
        >>> tx = pliant.plastic(pliant.adam(1e-3), optax.clip_by_global_norm(1.0))
    """
    require("b1", b1, FromUpTo(0, 1))
    require("b2", b2, FromUpTo(0, 1))
    require("eps", eps, AtLeast(0))
    require_one_of("correction", correction, ("intended", "published"))

    def init(params: Params) -> PerWeightAdamState:
        return PerWeightAdamState(
            count=jax.tree.map(lambda w: jnp.zeros(jnp.shape(w), jnp.int32), params),
            mu=jax.tree.map(jnp.zeros_like, params),
            nu=jax.tree.map(jnp.zeros_like, params),
        )

    def update(updates: Params, state: PerWeightAdamState, params: Params | None = None):
        del params
        count = jax.tree.map(optax.safe_increment, state.count)
        mu = jax.tree.map(lambda g, m: (b1 * m + (1 - b1) * g).astype(m.dtype), updates, state.mu)
        nu = jax.tree.map(lambda g, v: (b2 * v + (1 - b2) * g**2).astype(v.dtype), updates, state.nu)
        return jax.tree.map(direction, count, mu, nu), PerWeightAdamState(count, mu, nu)

    def direction(t: Array, m: Array, v: Array) -> Array:
        # 1 - b^t in float32 whatever the weights are, since bfloat16 rounds the powers to 1; expm1 is both finer than
        # the power and several times faster.
        t = t.astype(jnp.float32)
        m_correction = -jnp.expm1(t * jnp.log(jnp.float32(b1))).astype(m.dtype)
        v_correction = -jnp.expm1(t * jnp.log(jnp.float32(b2))).astype(v.dtype)
        if correction == "published":
            return v_correction * m / (jnp.sqrt(v) + eps)
        return (m / m_correction) / (jnp.sqrt(v / v_correction) + eps)

    # optax takes any state, and `update` its own.
    adam = optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]
    return optax.chain(adam, optax.scale_by_learning_rate(learning_rate))
