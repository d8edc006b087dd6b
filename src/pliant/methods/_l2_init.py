"""L2 Init, or regenerative regularization: decay every weight towards its initial value."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pliant.core.base import Params
from pliant.core.settings import AtLeast, require, require_one_of
from pliant.core.units import Wiring
from pliant.surgery.norms import Norms, left_alone, map_except


class L2InitState(NamedTuple):
    initial: Params  # like params: the parameters as they were before the first step


def l2_init(
    strength: float = 1e-3,
    penalty: Literal["program", "equation"] = "program",
    norms: Norms = "keep",
    wiring: Wiring | None = None,
) -> optax.GradientTransformation:
    r"""L2 Init, regenerative regularization: decays every parameter towards its initial value $w^0$.

    The gradient of a penalty on the distance is added before the optimizer. The penalty of the authors' program has a
    factor of one half, and the penalty of their equation has none:

    | penalty | in the loss | gradient |
    |---|---|---|
    | `program` | $\frac \lambda 2 \lVert w - w^0 \rVert^2$ | $g \leftarrow g + \lambda (w - w^0)$ |
    | `equation` | $\lambda \lVert w - w^0 \rVert^2$ | $g \leftarrow g + 2 \lambda (w - w^0)$ |

    Args:
        strength: $\lambda$, at least 0. With `program` it compares to the weight decay of `l2`. Published, for their
            program: 1e-2 to 1e-5, by problem.
        penalty: whose penalty, see the table.
        norms: whether the scales and shifts of norm layers are `keep`, treated as other parameters, or `skip`, left
            alone. Running statistics are left alone in any case.
        wiring: of the whole network, in which `norms="skip"` finds the norms.

    Raises:
        ValueError: for a value outside its range; for `norms="skip"` without a wiring.

    Differs from the authors' code: by default the parameters of norm layers are decayed as well; `norms="skip"` leaves
    them alone, as the authors' code does. Where another method reinitializes a weight, $w^0$ stays the value at the
    start of training.

    References:
        Kumar, Marklund and Van Roy, `Maintaining plasticity in continual learning via regenerative regularization
        <https://arxiv.org/abs/2308.11958>`_, 2023.

    Example:
        >>> import optax, pliant
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.l2_init(strength=1e-3))
    """
    require("strength", strength, AtLeast(0))
    require_one_of("penalty", penalty, ("program", "equation"))
    alone = left_alone(norms, wiring, "l2_init")
    pull = strength if penalty == "program" else 2 * strength

    def init(params: Params) -> L2InitState:
        # A copy: a training step may donate the buffers of the parameters, and cannot donate one twice.
        return L2InitState(initial=jax.tree.map(jnp.array, params))

    def update(grads, state: L2InitState, params: Params):
        pulled = map_except(lambda g, w, w0: g + (pull * (w - w0)).astype(g.dtype), alone, grads, params, state.initial)
        return pulled, state

    return optax.GradientTransformation(init, update)
