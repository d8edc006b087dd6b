"""Saturated units: activations at the flat ends of a tanh, where gradients vanish."""

import jax.numpy as jnp

from pliant.core.base import Array, Features
from pliant.core.diagnostic import Diagnostic, matrices, with_average
from pliant.core.units import Wiring


def saturated_fraction_of(*activations: Array, threshold: float = 0.9) -> Array:
    """The fraction of pairs of a sample and a unit that are saturated; see `saturated_fraction`.

    Args:
        activations: the activations of the same units, `(*samples, units)` each; most often one. Each has the same
            weight.
        threshold: as in `saturated_fraction`.

    Returns:
        `()` float32, in [0, 1].
    """
    return jnp.stack([(jnp.abs(activation) > threshold).mean() for activation in activations]).mean()


def saturated_fraction(wiring: Wiring, *, threshold: float = 0.9) -> Diagnostic:
    r"""Fraction of pairs of a sample and a unit in which the unit's magnitude is above a threshold.

    $$\frac{1}{Nn} \sum_{j=1}^{N} \sum_{i=1}^{n} [\lvert h_i(x_j) \rvert > \theta]$$

    It suits activations that are bounded by ±1, such as tanh. Samples are batch and space. The row `""` is the average
    over all units of all groups.

    Args:
        wiring: whose units to measure.
        threshold: $\theta$, at least 0.

    Signals:
        features: activations of a forward pass (`wiring.apply`).

    Raises:
        ValueError: if the threshold is negative.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024: the online regression's log of tanh networks.

    Example:
        >>> import jax, numpy as np
        >>> from pliant import Group, Outgoing, Wiring
        >>> from pliant.diagnostics import saturated_fraction
        >>> wiring = Wiring({"h": Group("h", 2, (), (), (Outgoing("out", 0, feature="h"),))})
        >>> rows = jax.jit(saturated_fraction(wiring))(features={"h": np.array([[0.95, 0.1], [-0.99, 0.2]])})
        >>> float(rows["h"])
        0.5
    """
    if threshold < 0:
        raise ValueError(f"saturated_fraction(threshold={threshold}): write a magnitude, 0 or more")

    def measure(*, features: Features, **signals) -> dict[str, Array]:
        del signals
        fractions = {
            name: saturated_fraction_of(*matrices(features, group).values(), threshold=threshold)
            for name, group in wiring.items()
        }
        return with_average(fractions, {name: group.units for name, group in wiring.items()})

    return measure
