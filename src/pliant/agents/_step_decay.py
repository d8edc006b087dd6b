"""Learning rates that fall at given epochs of each task."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax

from pliant.core.base import Array, Params
from pliant.core.clock import Clock
from pliant.core.settings import is_traced

Number: TypeAlias = float | Array


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


def rates_of(learning_rate: Number, falls: int, factor: Number, decimals: Number) -> list[Number]:
    r"""The learning rates of a task: at its start $\eta$, and after fall $k$ the rounded $\eta f^k$.

    Args:
        learning_rate: $\eta$.
        falls: how many.
        factor: $f$ in [0, 1].
        decimals: to which a rate that has fallen is rounded: 0.1 becomes 0.02, 0.004 and 0.0008.

    Raises:
        ValueError: if a rate above 0 becomes 0 by rounding.
    """
    if is_traced(learning_rate, factor, decimals):
        scale = 10.0**decimals
        return [learning_rate, *(jnp.round(learning_rate * factor**k * scale) / scale for k in range(1, falls + 1))]
    fallen = [round(float(learning_rate) * float(factor) ** k, int(decimals)) for k in range(1, falls + 1)]
    if 0 in fallen and learning_rate * factor > 0:
        raise ValueError(
            f"decay_decimals={decimals}: after {fallen.index(0) + 1} of {falls} falls by {factor} the learning_rate "
            f"{learning_rate} is rounded to 0; write a larger decay_decimals"
        )
    return [learning_rate, *fallen]


def rate_at(clock: Clock, rates: list[Number], epochs: tuple[int, ...]) -> Array:
    """The learning rate `()`: it falls at each of the epochs.

    Args:
        clock: with the epoch in its task.
        rates: from `rates_of`.
        epochs: from `read_epochs`.
    """
    falls = (clock.epoch >= jnp.asarray(epochs)).sum()
    return jnp.stack([jnp.asarray(rate, jnp.float32) for rate in rates])[falls]


def with_rate(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """An optimizer of learning rate 1, made to take the rate as the signal `learning_rate`."""

    def update(updates: Params, state: Any, params: Params | None = None, *, learning_rate: Array, **signals: Any):
        del signals
        updates, state = optimizer.update(updates, state, params)
        return jax.tree.map(lambda u: (learning_rate * u).astype(u.dtype), updates), state

    # optax's types know of no signal that must be given.
    return optax.GradientTransformationExtraArgs(optimizer.init, update)  # pyright: ignore[reportArgumentType]
