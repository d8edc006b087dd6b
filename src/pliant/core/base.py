"""Contracts of the plasticity methods.

A method is one of three things:

* a gradient piece: an ordinary `optax.GradientTransformation`, which acts on the gradients before the optimizer;
* a `Surgery`: two pure functions that edit the weights, in general after the optimizer's step;
* a `Topology`: both at once with one state, for methods that decide which weights there are.

A method may also be a tuple of these pieces. `plastic` composes any number of them.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import optax

Array: TypeAlias = jax.Array
Params: TypeAlias = Any  # a pytree of arrays: what flax, equinox, haiku or a plain function keeps its weights in
Key: TypeAlias = jax.Array  # a typed PRNG key; the function that receives it consumes it
Activation: TypeAlias = Literal["relu", "leaky_relu", "elu", "selu", "swish", "gelu", "tanh", "sigmoid", "linear"]
Initializer: TypeAlias = Literal["kaiming", "xavier", "lecun", "default", "kaiming_normal"]
FreshInitializer: TypeAlias = Literal["network", Initializer]  # of fresh weights: the network's own, or another
Features: TypeAlias = dict[str, Array]  # activation -> (*samples, units)


class Edit(NamedTuple):
    """The changes of a surgery to the weights."""

    params: Params
    fresh: Params | None = None  # like params, bool, each broadcastable to its leaf: True where it is reinitialized
    reset_count: Params | None = None  # like fresh: True where only the weight's step count is reset


def _keys(key: Key, params: Params, steps: int) -> Key:
    del params
    return jax.random.split(key, steps)


class Surgery(NamedTuple):
    """Two pure functions that edit the weights next to the optimizer's step, and a third that draws for them.

    Attributes:
        init: `params -> state`.
        operate: `(params, state, *, random, **signals) -> (Edit, state)`. It names the signals that it needs after `*`
            (`features`, ...), and ignores the others.
        draw: `(key, params, steps) -> random`, the random numbers of many steps, on a leading axis; `operate` gets
            the numbers of one step. Drawing is separate because a thousand steps' numbers cost little more than ten
            steps'. The key is consumed. By default `random` is a key, for a surgery that seldom draws.
        before_step: whether it edits the weights that the gradients were taken of, before the gradient pieces and the
            optimizer's step, which then moves fresh weights by the gradient of the old ones; otherwise after the step.
        begin_task: `(params, state, *, random, clock) -> (Edit, state)`, before the first update of each task; `None`:
            nothing changes. `random` is a key. See `each_task`.
    """

    init: Callable[[Params], Any]
    operate: Callable[..., tuple[Edit, Any]]
    draw: Callable[[Key, Params, int], Any] = _keys
    before_step: bool = False
    begin_task: Callable[..., tuple[Edit, Any]] | None = None


def stateless_surgery(operate: Callable[..., Edit], draw: Callable[[Key, Params, int], Any] = _keys) -> Surgery:
    """A surgery without a state, as `optax.stateless` makes a gradient transformation.

    Args:
        operate: `(params, *, random, **signals) -> Edit`.
        draw: see `Surgery`.

    Returns:
        The surgery; its state is `optax.EmptyState()`.

    Example:
        >>> import jax, optax, pliant
        >>> def add_noise(params, *, random, **signals):
        ...     return pliant.Edit(params + 0.01 * jax.random.normal(random, params.shape))
        >>> tx = pliant.plastic(optax.sgd(0.1), pliant.stateless_surgery(add_noise))
    """

    def init(params: Params) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    @functools.wraps(operate)  # so that the signals that it needs can be seen
    def operate_with_state(params: Params, state: optax.EmptyState, **signals: Any) -> tuple[Edit, optax.EmptyState]:
        return operate(params, **signals), state

    return Surgery(init, operate_with_state, draw)


class Topology(NamedTuple):
    """Pure functions on both sides of the optimizer, with one state: a method that decides which weights there are.

    Attributes:
        init: `params -> state`; masked params and whole params give the same state.
        mask: `(params, state) -> params`: the network, or a copy that follows it, with the missing weights at 0.
        before: `(grads, params, state, *, random, **signals) -> (grads, skip, state)`. It receives the gradients of all
            weights, and returns the gradients for the optimizer. Where `skip` `()` is true the optimizer does not
            step, and its state stays as it is.
        after: `(params, state, *, random, **signals) -> (Edit, state)`, after the optimizer and all surgeries.
        draw: as in `Surgery`; `before` and `after` get the same numbers.
    """

    init: Callable[[Params], Any]
    mask: Callable[[Params, Any], Params]
    before: Callable[..., tuple[Params, Array, Any]]
    after: Callable[..., tuple[Edit, Any]]
    draw: Callable[[Key, Params, int], Any] = _keys


Method: TypeAlias = optax.GradientTransformation | Surgery | Topology | tuple["Method", ...]


def require_signals(method: Callable[..., Any], signals: Mapping[str, Any]) -> None:
    """Refuses to call a method without a signal that it needs.

    Args:
        method: names the signals that it needs after `*`.
        signals: those that `update` got.

    Raises:
        TypeError: naming the signal, and what to write.
    """
    for name, parameter in inspect.signature(method).parameters.items():
        needed = parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        if needed and name not in ("random", *signals):
            how = (
                "with the features of wiring.apply(params, x); or take the gradients of pliant.value_and_grad, which "
                "bring them along, also through flax's TrainState"
                if name == "features"
                else "see the method's docstring"
            )
            raise TypeError(
                f"a method needs the signal {name!r}, which update did not get; "
                f"write tx.update(grads, state, params, {name}={name}), {how}"
            )
