"""Static sparse training: most weights are missing, the same ones throughout."""

from typing import NamedTuple

import jax.numpy as jnp

from pliant.core import units
from pliant.core.base import Array, Edit, Params, Topology
from pliant.core.settings import FromUpTo, require
from pliant.core.units import Wiring, require_units
from pliant.surgery.masks import masked
from pliant.surgery.sparsity import initial_mask


class StaticSparseState(NamedTuple):
    mask: dict[str, Array]  # {path: like the leaf} bool: the present weights


def static_sparse(wiring: Wiring, sparsity: float = 0.8) -> Topology:
    r"""Static sparse training: masks most weights before the first step, and trains the rest.

    The baseline of methods that change the topology (`neuroplastic_expansion`): the same initial masks, without growth.
    Each layer keeps its largest weights, as many as `pliant.surgery.sparsity.erdos_renyi` gives it. Layers are the
    weights with at least two axes that make or read the wiring's units. The scales of norms count as weights, but are
    never missing; biases do not count. Missing weights stay 0, and the optimizer sees no gradient of them.

    Args:
        wiring: the groups whose weights can be missing. All layers share one allotment, so give an actor and a critic
            a method each.
        sparsity: in [0, 1), the fraction of missing weights. Published: 0.8 (TD3).

    Raises:
        ValueError: for a value outside its range; for a wiring without units; if the norms alone have more weights than
            the sparsity leaves.

    Differs from the authors' code: layers are found by their connections, not by their order. The scales of norms
    stay whole also where the allotment would thin them out. Equal weights are ranked by chance.

    References:
        Evci et al., `Rigging the lottery: making all tickets winners <https://arxiv.org/abs/1911.11134>`_, ICML 2020.
        Liu et al., `Neuroplastic expansion in deep reinforcement learning <https://arxiv.org/abs/2410.07994>`_,
        ICLR 2025.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> params = {"in": np.ones((10, 20), np.float32), "out": np.ones((20, 1), np.float32)}
        >>> wiring = pliant.trace(lambda w, x: jax.nn.relu(x @ w["in"]) @ w["out"], params, np.ones((8, 10)))
        >>> tx = pliant.plastic(optax.adam(3e-4), pliant.static_sparse(wiring, sparsity=0.5))
        >>> params = jax.jit(tx.prepare)(params)  # from here on half of the weights are missing
        >>> print({path: int((w != 0).sum()) for path, w in params.items()})
        {'in': 90, 'out': 20}
    """
    require("sparsity", sparsity, FromUpTo(0, 1))
    require_units(wiring, "static_sparse")

    def init(params: Params) -> StaticSparseState:
        return StaticSparseState(initial_mask(wiring, units.leaves(params), sparsity))

    def mask(tree: Params, state: StaticSparseState) -> Params:
        return units.replace_leaves(tree, masked(units.leaves(tree), state.mask))

    def before(grads: Params, params: Params, state: StaticSparseState, **signals):
        del params, signals
        return mask(grads, state), jnp.bool_(False), state

    def after(params: Params, state: StaticSparseState, **signals):
        del signals
        return Edit(mask(params, state)), state

    return Topology(init, mask, before, after)
