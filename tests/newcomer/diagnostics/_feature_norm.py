"""Feature norm: how large the activations of a layer are."""

from collections.abc import Mapping

import jax.numpy as jnp

from pliant.core.base import Array
from pliant.core.diagnostic import Diagnostic
from pliant.core.units import Wiring


def feature_norm(wiring: Wiring) -> Diagnostic:
    r"""Feature norm: mean Euclidean norm of a layer's features, over the samples of a batch.

    $\overline{\lVert h(x) \rVert_2}$, a row for each feature.

    Args:
        wiring: not needed: all features are measured.

    Signals:
        features: `(batch, units)` each.
    """
    del wiring

    def measure(*, features: Mapping[str, Array], **signals) -> dict[str, Array]:
        del signals
        return {name: jnp.linalg.norm(feature, axis=-1).mean() for name, feature in features.items()}

    return measure
