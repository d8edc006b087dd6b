"""Steps of the supervised learner with momentum, each from a state of its own: for recordings of other programs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import trees

from pliant.agents import sgd
from pliant.core.agent import MethodsFor
from pliant.core.clock import Clock
from pliant.core.judgement import Judgement
from pliant.core.problem import Batch, Network, Stream


class Steps(NamedTuple):
    """What steps gave; arrays have a leading axis of steps."""

    params: Any  # with running statistics, after each step
    momentum: Any  # of the parameters, after each step
    judged: Judgement  # before each step, with the logits among the metrics


def single_steps(
    network: Network, config: sgd.Config, methods_for: MethodsFor, params: Any, momentum: Any, batches: Batch
) -> Steps:
    """One step of the learner from each of some states, under the cross-entropy.

    Args:
        network: of the stream.
        config: of the learner, with momentum.
        methods_for: makes the methods.
        params: before each step.
        momentum: before each step, like the parameters without running statistics.
        batches: of each step.
    """

    def judge(prediction, y):
        loss = optax.losses.softmax_cross_entropy_with_integer_labels(prediction, y).mean()
        return Judgement(loss, {"logits": prediction})

    stream = Stream(lambda *_: (), lambda data, state, steps: (state, batches), judge, network, len(batches.y))
    learner = sgd.make(config, stream, methods_for)
    start = jax.eval_shape(learner.init, trees.key(0))
    like = optax.tree.get(start.optimizer, "trace")

    def one(this):
        params, momentum, batch = this
        state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), start)
        optimizer = optax.tree.set(state.optimizer, trace={**like, **momentum})
        batch = jax.tree.map(lambda x: x[None], batch)
        state, judged = learner.learn(state._replace(params=params, optimizer=optimizer), batch, Clock(1))
        moved = {name: optax.tree.get(state.optimizer, "trace")[name] for name in momentum}
        return state.params, moved, jax.tree.map(lambda x: x[0], judged)

    return Steps(*trees.numpy(jax.jit(lambda *given: jax.lax.map(one, given))(params, momentum, batches)))
