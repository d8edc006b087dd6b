"""Dormant units: units of almost no activity, compared with the rest of their group."""

import jax.numpy as jnp

from pliant.core.base import Array, Features
from pliant.core.diagnostic import Diagnostic, matrices, with_average
from pliant.core.units import Wiring
from pliant.surgery.activity import is_dormant


def dormant_fraction_of(*activations: Array, threshold: float = 0.0) -> Array:
    """The fraction of units that are dormant in each of their activations; see `dormant_fraction`.

    Args:
        activations: the activations of the same units, `(*samples, units)` each; most often one.
        threshold: as in `dormant_fraction`.

    Returns:
        `()` float32, in [0, 1].
    """
    return jnp.stack([is_dormant(activation, threshold) for activation in activations]).all(0).mean()


def dormant_fraction(wiring: Wiring, *, threshold: float = 0.0) -> Diagnostic:
    r"""Fraction of units with a mean magnitude, relative to their group's, of at most a threshold.

    With means over the samples and over the $n$ units of the group, unit $i$ is dormant if

    $$s_i = \frac{\overline{\lvert h_i \rvert}}{\frac 1 n \sum_k \overline{\lvert h_k \rvert}} \le \tau.$$

    A unit with several activations is dormant if all of them are. The row `""` is the fraction
    among the units of all groups together.

    Args:
        wiring: whose units to measure.
        threshold: $\tau$, at least 0. 0 gives the fraction of dead units, zero on every sample. Published: 0.025
            and 0.1.

    Signals:
        features: activations of a forward pass (`wiring.apply`).

    Raises:
        ValueError: if the threshold is negative.

    Differs from the authors' code: in a group that is dead as a whole, where the score is 0 / 0, all units are dormant.

    References:
        Sokar et al., `The dormant neuron phenomenon in deep reinforcement learning
        <https://arxiv.org/abs/2302.12902>`_, ICML 2023.

    Example:
        >>> import jax, numpy as np
        >>> from pliant import Group, Outgoing, Wiring
        >>> from pliant.diagnostics import dormant_fraction
        >>> wiring = Wiring({"h": Group("h", 2, (), (), (Outgoing("out", 0, feature="h"),))})
        >>> rows = jax.jit(dormant_fraction(wiring, threshold=0.1))(features={"h": np.array([[0.0, 1.0], [0.1, 3.0]])})
        >>> float(rows["h"])
        0.5
    """
    if threshold < 0:
        raise ValueError(f"dormant_fraction(threshold={threshold}): write 0 (dead units) or more")

    def measure(*, features: Features, **signals) -> dict[str, Array]:
        del signals
        fractions = {
            name: dormant_fraction_of(*matrices(features, group).values(), threshold=threshold)
            for name, group in wiring.items()
        }
        return with_average(fractions, {name: group.units for name, group in wiring.items()})

    return measure
