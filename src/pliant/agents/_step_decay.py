"""Learning rates that fall at given epochs of each task."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from pliant.core.base import Array, Params
from pliant.core.clock import Clock

_DECIMALS = 5  # to which the published program rounds a rate


def read_epochs(text: str) -> tuple[int, ...]:
    """The epochs of a setting such as `60,120,160`, in ascending order.

    Raises:
        ValueError: if these are not ascending whole numbers from 1 on.
    """
    parts = [part.strip() for part in text.split(",")] if text else []
    epochs = tuple(int(part) for part in parts if part.isdecimal())
    if len(epochs) < len(parts) or 0 in epochs or tuple(sorted(set(epochs))) != epochs:
        raise ValueError(f"decay_epochs={text!r}: write ascending epochs of a task, counted from 0, such as 60,120,160")
    return epochs


def rate_at(clock: Clock, learning_rate: float | Array, epochs: tuple[int, ...], factor: float | Array) -> Array:
    """The learning rate `()`: multiplied by the factor at each of the epochs, and rounded to five decimals.

    Args:
        clock: with the epoch in its task.
        learning_rate: at the start of each task.
        epochs: from `read_epochs`.
        factor: below 1.
    """
    falls = (clock.epoch >= jnp.asarray(epochs)).sum()
    # Rounded like the published rates: 0.1 becomes 0.02, 0.004 and 0.0008.
    powers = [learning_rate, *(jnp.round(learning_rate * factor**k, _DECIMALS) for k in range(1, len(epochs) + 1))]
    return jnp.stack([jnp.asarray(power, jnp.float32) for power in powers])[falls]


def with_rate(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """An optimizer of learning rate 1, made to take the rate as the signal `learning_rate`."""

    def update(updates: Params, state: Any, params: Params | None = None, *, learning_rate: Array, **signals: Any):
        del signals
        updates, state = optimizer.update(updates, state, params)
        return jax.tree.map(lambda u: (learning_rate * u).astype(u.dtype), updates), state

    # optax's types know of no signal that must be given.
    return optax.GradientTransformationExtraArgs(optimizer.init, update)  # pyright: ignore[reportArgumentType]
