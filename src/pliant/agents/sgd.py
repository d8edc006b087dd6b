"""Online supervised learning: one optimizer step for each batch of a stream.

for each batch (x, y):
    loss, features <- forward pass, with the params before the update
    gradients      <- backward pass
    params         <- methods and optimizer (gradients, features)
"""

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pliant.core.agent import Learner, MethodsFor
from pliant.core.base import Array, Key, Params
from pliant.core.plastic import plastic, take_keys
from pliant.core.problem import Batch, Stream
from pliant.core.settings import AtLeast, FromUpTo
from pliant.surgery.adam import adam
from pliant.tracing.trace import trace

LEARNS_FROM = "stream"


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of online supervised learning."""

    optimizer: Literal["sgd", "adam", "per_weight_adam"] = "sgd"
    """Gradient descent with momentum; Adam; or Adam with a step count per weight, which restarts with the weight."""
    learning_rate: Annotated[float, AtLeast(0)] = 0.01
    """Learning rate of the optimizer."""
    momentum: Annotated[float, FromUpTo(0, 1)] = 0.0
    """Momentum of sgd."""
    b1: Annotated[float, FromUpTo(0, 1)] = 0.9
    """Decay of Adam's first moment."""
    b2: Annotated[float, FromUpTo(0, 1)] = 0.999
    """Decay of Adam's second moment."""


class State(NamedTuple):
    params: Params
    optimizer: Any  # PlasticState: the optimizer's and the methods'


def make(config: Config, stream: Stream, methods_for: MethodsFor) -> Learner:
    """Makes the learner for one member of a population.

    Args:
        config: the settings; numbers may be traced.
        stream: its network and its loss.
        methods_for: makes the plasticity methods.
    """
    network = stream.network
    some_key = jax.random.key(0)
    params_shape = jax.eval_shape(network.init, some_key)
    x = jax.eval_shape(lambda key: stream.draw(stream.init(key), 1)[1].x, some_key)
    wiring = trace(network.apply, params_shape, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))

    def transformation(key: Key):
        return plastic(_optimizer(config), *methods_for(wiring, network, stream.steps), key=key)

    tx = transformation(some_key)

    def init(key: Key) -> State:
        params_key, methods_key = jax.random.split(key)
        params = tx.prepare(network.init(params_key))
        return State(params, transformation(methods_key).init(params))

    def loss(params: Params, batch: Batch) -> tuple[Array, dict[str, Array]]:
        prediction, features = wiring.apply(params, batch.x)
        if stream.loss == "mse":
            return jnp.mean((prediction - batch.y) ** 2), features
        return optax.losses.softmax_cross_entropy_with_integer_labels(prediction, batch.y).mean(), features

    def learn(state: State, batches: Batch, step: Array) -> tuple[State, Array]:
        steps = batches.x.shape[0]
        [draw_key], optimizer = take_keys(state.optimizer, 1)
        draws = tx.draw(draw_key, state.params, steps)

        def update(state: State, this: tuple[Batch, Any, Array]) -> tuple[State, Array]:
            batch, draw, number = this
            (error, features), grads = jax.value_and_grad(loss, has_aux=True)(state.params, batch)
            new = tx.step(
                grads, state.optimizer, state.params,
                random=draw, step=number, steps_before=number - 1, features=features,
            )  # fmt: skip
            return State(*new), error

        state = state._replace(optimizer=optimizer)
        return jax.lax.scan(update, state, (batches, draws, step + 1 + jnp.arange(steps)))

    def signals(previous: State, state: State, batch: Batch) -> dict[str, Any]:
        (_, features), grads = jax.value_and_grad(loss, has_aux=True)(state.params, batch)
        return {
            "params": state.params,
            "previous_params": previous.params,
            "features": features,
            "grads": grads,
            "method_state": state.optimizer,
        }

    drawn = jax.eval_shape(lambda key, params: tx.draw(key, params, 1), some_key, params_shape)
    return Learner(init, learn, signals, sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(drawn)))


def _optimizer(config: Config) -> optax.GradientTransformation:
    if config.optimizer == "adam":
        return optax.adam(config.learning_rate, config.b1, config.b2)
    if config.optimizer == "per_weight_adam":
        return adam(config.learning_rate, config.b1, config.b2)
    # Without momentum sgd keeps no moments; with a swept momentum, a tracer, it always does.
    no_momentum = isinstance(config.momentum, float | int) and config.momentum == 0
    return optax.sgd(config.learning_rate, None if no_momentum else config.momentum)
