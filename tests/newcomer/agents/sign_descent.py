"""Sign descent: every weight moves by the same distance against the sign of its gradient."""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pliant.core.agent import Learner, MethodsFor
from pliant.core.base import Array, Features, Key, Params
from pliant.core.clock import Clock
from pliant.core.judgement import Judgement
from pliant.core.plastic import plastic
from pliant.core.problem import Batch, Stream
from pliant.core.settings import AtLeast
from pliant.tracing.trace import trace

LEARNS_FROM = "stream"


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of sign descent."""

    learning_rate: Annotated[float, AtLeast(0)] = 0.001
    """Step size of the optimizer."""


class State(NamedTuple):
    params: Params
    optimizer: Any  # PlasticState: the optimizer's and the methods'


def make(config: Config, stream: Stream, methods_for: MethodsFor) -> Learner:
    """Makes the learner for one member of a population."""
    network, some_key = stream.network, jax.random.key(0)
    params_shape = jax.eval_shape(network.init, some_key)
    x = stream.batches().x
    wiring = trace(network.apply, params_shape, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))
    methods = methods_for(wiring, network, stream.steps)

    def transformation(key: Key):
        return plastic(optax.sign_sgd(config.learning_rate), *methods, key=key)

    def init(key: Key) -> State:
        params_key, methods_key = jax.random.split(key)
        params = network.init(params_key)
        return State(params, transformation(methods_key).init(params))

    def loss(params: Params, batch: Batch) -> tuple[Array, tuple[Judgement, Features]]:
        logits, features = wiring.apply(params, batch.x)
        judgement = stream.judge(logits, batch.y)
        return judgement.loss, (judgement, features)

    def learn(state: State, batches: Batch, clock: Clock) -> tuple[State, Judgement]:
        tx = transformation(some_key)

        def update(state: State, this: tuple[Batch, Array]) -> tuple[State, Judgement]:
            batch, number = this
            grads, (judgement, features) = jax.grad(loss, has_aux=True)(state.params, batch)
            new = tx.step(grads, state.optimizer, state.params, clock=clock.later(number), features=features)
            return State(*new), judgement

        return jax.lax.scan(update, state, (batches, jnp.arange(len(batches.x))))

    def predict(state: State, x: Array) -> Array:
        return network.apply(state.params, x)

    def signals(previous: State, state: State, batch: Batch) -> dict[str, Any]:
        grads, (_, features) = jax.grad(loss, has_aux=True)(state.params, batch)
        return {
            "params": state.params,
            "previous_params": previous.params,
            "features": features,
            "grads": grads,
            "method_state": state.optimizer,
        }

    return Learner(init, learn, predict, signals)
