"""Active units: the fraction of samples on which a unit is not zero."""

import jax.numpy as jnp

from pliant.core.base import Array, Features
from pliant.core.diagnostic import Diagnostic, matrices, with_average
from pliant.core.units import Wiring


def active_fraction_of(*activations: Array) -> Array:
    """The fraction of pairs of a sample and a unit that are not zero; see `active_fraction`.

    Args:
        activations: the activations of the same units, `(*samples, units)` each; most often one. Each has the same
            weight.

    Returns:
        `()` float32, in [0, 1].
    """
    return jnp.stack([(activation != 0).mean() for activation in activations]).mean()


def active_fraction(wiring: Wiring) -> Diagnostic:
    r"""Fraction of pairs of a sample and a unit in which the unit is not zero.

    $$\frac{1}{Nn} \sum_{j=1}^{N} \sum_{i=1}^{n} [h_i(x_j) \ne 0]$$

    For rectifiers this is the fraction of active units (FAU), defined by $h > 0$. Units that are seldom exactly zero
    (tanh, leaky ReLU) count as active. It is not one minus `dormant_fraction`: a unit active on 1 % of the samples
    counts as 1 %. Samples are batch and space. The row `""` is the average over all units of all groups.

    Args:
        wiring: whose units to measure.

    Signals:
        features: activations of a forward pass (`wiring.apply`).

    References:
        Ma et al., `Revisiting plasticity in visual reinforcement learning <https://arxiv.org/abs/2310.07418>`_,
        ICLR 2024. Liu et al., `Neuroplastic expansion in deep reinforcement learning
        <https://arxiv.org/abs/2410.07994>`_, ICLR 2025.

    Example:
        >>> import jax, numpy as np
        >>> from pliant import Group, Outgoing, Wiring
        >>> from pliant.diagnostics import active_fraction
        >>> wiring = Wiring({"h": Group("h", 2, (), (), (Outgoing("out", 0, feature="h"),))})
        >>> rows = jax.jit(active_fraction(wiring))(features={"h": np.array([[0.0, 1.0], [2.0, 3.0]])})
        >>> float(rows["h"])
        0.75
    """

    def measure(*, features: Features, **signals) -> dict[str, Array]:
        del signals
        fractions = {name: active_fraction_of(*matrices(features, group).values()) for name, group in wiring.items()}
        return with_average(fractions, {name: group.units for name, group in wiring.items()})

    return measure
