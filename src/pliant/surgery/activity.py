"""The activity of units, and of the unit that each weight feeds."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Bool, Float

from pliant.core.base import Array, Features
from pliant.core.diagnostic import float32_at_least
from pliant.core.units import Wiring, activation


def mean_magnitude(activation: Array) -> Float[Array, " units"]:
    """The mean of $|h_i|$ over all samples, in float32 at least, whatever the network computes in.

    Args:
        activation: `(*samples, units)`.
    """
    h = float32_at_least(activation)
    return jnp.abs(h).mean(tuple(range(h.ndim - 1)))


def is_dormant(activation: Array, threshold: float | Array) -> Bool[Array, " units"]:
    r"""Whether the mean magnitude of each unit, relative to its group's, is $\tau$ at most.

    Args:
        activation: `(*samples, units)` of a whole group.
        threshold: $\tau$.
    """
    magnitude = mean_magnitude(activation)
    # Multiplied out, so that in a group that is dead as a whole, where the score is 0 / 0, every unit is dormant.
    return magnitude <= threshold * magnitude.mean()


def scores(wiring: Wiring, weights: Mapping[str, Array], features: Features) -> dict[str, Float[Array, "..."]]:
    r"""The activity of the unit that each weight feeds, relative to the mean of the unit's group.

    The score of unit $i$ is $\overline{\lvert h_i \rvert} / \frac 1 n \sum_k \overline{\lvert h_k \rvert}$, with means
    over the batch; the largest over the readers of the group; 0 in a group that is dead as a whole. A weight that feeds
    several units has the largest of their scores, a weight that feeds none infinity.

    Args:
        wiring: the groups.
        weights: the leaves by path.
        features: activations of the groups.

    Returns:
        `{path: like the leaf}` for each leaf that feeds units.
    """
    by_path: dict[str, Array] = {}
    for group in wiring.values():
        score = jnp.zeros(group.units)
        for reader in group.outgoing:
            magnitude = mean_magnitude(activation(features, reader, group))
            mean = magnitude.mean()
            score = jnp.maximum(score, jnp.where(mean > 0, magnitude / jnp.where(mean > 0, mean, 1), 0))
        for slot in group.incoming:
            shape = weights[slot.path].shape
            entries = jnp.arange(group.units)[None] if slot.indices is None else slot.indices
            along = jnp.full(shape[slot.axis], -1.0).at[entries].set(score[None])
            others = [axis for axis in range(len(shape)) if axis != slot.axis]
            of_slot = jnp.broadcast_to(jnp.expand_dims(along, others), shape)
            by_path[slot.path] = jnp.maximum(by_path[slot.path], of_slot) if slot.path in by_path else of_slot
    return {path: jnp.where(score < 0, jnp.inf, score) for path, score in by_path.items()}
