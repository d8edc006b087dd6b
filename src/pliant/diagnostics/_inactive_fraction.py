"""Inactive units: units that are zero on all but a few samples."""

from typing import Literal, TypeAlias, get_args

import jax.numpy as jnp

from pliant.core.base import Array, Features
from pliant.core.diagnostic import Diagnostic, matrices, with_average
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring

Count: TypeAlias = Literal["units", "activations"]


def inactive_fraction_of(*activations: Array, threshold: float = 0.01) -> Array:
    """The fraction of units that are inactive in each of their activations; see `inactive_fraction`.

    Args:
        activations: the activations of the same units, `(*samples, units)` each; most often one.
        threshold: as in `inactive_fraction`.

    Returns:
        `()` float32, in [0, 1].
    """
    return jnp.stack([_is_inactive(activation, threshold) for activation in activations]).all(0).mean()


def _is_inactive(activation: Array, threshold: float) -> Array:
    samples = activation.size // activation.shape[-1]
    active = (activation != 0).sum(tuple(range(activation.ndim - 1)))  # (units,)
    # Counts are compared, not fractions: a division could put 10 of 1000 on either side of 0.01.
    return active.astype(jnp.float32) < threshold * samples


def inactive_fraction(wiring: Wiring, *, threshold: float = 0.01, count: Count = "units") -> Diagnostic:
    """Fraction of units that are non-zero on less than a small fraction of the samples.

    Dohare et al. call such units dormant. Unlike in `dormant_fraction`, the size of the rare activations does not
    matter. It suits units that can be exactly zero, such as rectifiers. Samples are batch and space. The row `""` is
    the fraction among the units of all groups together.

    Args:
        wiring: whose units to measure.
        threshold: in (0, 1], the fraction of samples below which a unit is inactive.
        count: `units`: a unit with several activations, such as a channel of a residual stream, is inactive if all of
            them are; rows are named after groups. `activations`: each activation of a unit counts as a unit, as
            published for residual networks; rows are named after features.

    Signals:
        features: activations of a forward pass (`wiring.apply`); with fewer than 1 / threshold samples, only units
            that are zero on all of them are inactive.

    Raises:
        ValueError: if the threshold is outside (0, 1], or for another way to count.

    Differs from the authors' code: nothing, for their class-incremental experiments, where `count` is `activations`. In
    their reinforcement learning experiments a unit active on exactly the threshold is dormant too, and active means
    positive; for rectifiers the latter is the same.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024.

    Example:
        >>> import jax, numpy as np
        >>> from pliant import Group, Outgoing, Wiring
        >>> from pliant.diagnostics import inactive_fraction
        >>> wiring = Wiring({"h": Group("h", 2, (), (), (Outgoing("out", 0, feature="h"),))})
        >>> rows = jax.jit(inactive_fraction(wiring, threshold=0.6))(features={"h": np.array([[0.0, 1.0], [2.0, 3.0]])})
        >>> float(rows["h"])
        0.5
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"inactive_fraction(threshold={threshold}): write a fraction of the samples, in (0, 1]")
    require_one_of("count", count, get_args(Count))

    def measure(*, features: Features, **signals) -> dict[str, Array]:
        del signals
        fractions: dict[str, Array] = {}
        units: dict[str, int] = {}
        for name, group in wiring.items():
            found = matrices(features, group)
            counted = {name: tuple(found.values())} if count == "units" else {row: (h,) for row, h in found.items()}
            fractions |= {row: inactive_fraction_of(*h, threshold=threshold) for row, h in counted.items()}
            units |= dict.fromkeys(counted, group.units)
        return with_average(fractions, units)

    return measure
