"""Gradients that carry the features of their forward pass to `plastic`."""

import dataclasses
from collections.abc import Callable
from typing import Any, NoReturn

import jax


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Gradients:
    """Gradients and the features of their forward pass, for `update` of `plastic`.

    It is not a tree: code that computes with gradients would also compute with features. Take `tree`, and pass on
    `tx.update(tree, state, params, features=features)`.

    Attributes:
        tree: like the parameters.
        features: activation -> `(*samples, units)`, as `Wiring.apply` returns them.
    """

    tree: Any
    features: Any

    def __contains__(self, name: object) -> bool:
        """Whether the tree has a branch of this name, as flax's `TrainState` asks."""
        return name in self.tree

    def __repr__(self) -> str:
        """For errors of JAX: what to write in place of them."""
        return "<Gradients for tx.update of plastic; elsewhere write grads.tree and grads.features>"

    def __pow__(self, *_: Any) -> Any:
        """Raises an error: code that takes the object for an array computes with it."""
        raise TypeError(
            "Gradients of pliant.value_and_grad cannot be computed with: only tx.update of plastic takes them; write "
            "grads.tree and grads.features elsewhere"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __neg__ = __pow__

    def __getattr__(self, name: str) -> NoReturn:
        """Raises an error: code that takes the object for an array or a tree reads other attributes."""
        raise AttributeError(
            f"Gradients of pliant.value_and_grad have no {name!r}: only tx.update of plastic takes them, and optax's "
            "other transformations belong inside of plastic; write grads.tree and grads.features elsewhere"
        )


def value_and_grad(loss: Callable[..., Any], has_aux: bool = False) -> Callable[..., tuple[Any, Gradients]]:
    """As `jax.value_and_grad`, for a loss with features: the gradients carry the features to `plastic`.

    Nothing else of the loop changes: `tx.update(grads, state, params)` finds the features in the gradients. That
    includes `apply_gradients(grads=grads)` of flax's `TrainState`. Call both in one jitted function, as in the example:
    gradients with features are no tree, so that they cannot leave it.

    Args:
        loss: `(params, *inputs) -> (value, features)`: `wiring.apply`, where the wiring is traced from the loss; or a
            function that calls `wiring.apply`. The value is a scalar `()`.
        has_aux: whether the value is a pair of the scalar and something more.

    Returns:
        `(params, *inputs) -> (value, gradients)`.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> def loss(params, x, y):
        ...     return ((jax.nn.relu(x @ params["in"]) @ params["out"] - y) ** 2).mean()
        >>> params, x, y = {"in": np.ones((3, 4)), "out": np.ones((4, 1))}, np.ones((8, 3)), np.ones((8, 1))
        >>> wiring = pliant.trace(loss, params, x, y)
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.redo(wiring))
        >>> @jax.jit
        ... def step(params, state):
        ...     error, grads = pliant.value_and_grad(wiring.apply)(params, x, y)
        ...     return tx.update(grads, state, params)
        >>> updates, state = step(params, jax.jit(tx.init)(params))
    """

    def split(params: Any, *inputs: Any) -> tuple[Any, tuple[Any, Any]]:
        returned = loss(params, *inputs)
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise TypeError(
                f"the loss of pliant.value_and_grad returned a {type(returned).__name__}, and not (value, features); "
                "write pliant.value_and_grad(wiring.apply), with wiring = pliant.trace(loss, params, *inputs)"
            )
        value, features = returned
        return (value[0] if has_aux else value), (value, features)

    def value_and_gradients(params: Any, *inputs: Any) -> tuple[Any, Gradients]:
        (_, (value, features)), grads = jax.value_and_grad(split, has_aux=True)(params, *inputs)
        return value, Gradients(grads, features)

    return value_and_gradients
