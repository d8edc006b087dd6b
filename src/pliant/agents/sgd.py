"""Online supervised learning: one optimizer step for each batch of a stream.

at the end of each task the continual method sees inputs of the task
for each batch (x, y):
    loss, features <- forward pass, with the params before the update
    gradients      <- backward pass, with the penalty of the continual method
    params         <- methods and optimizer (gradients, features)
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pliant.core.agent import Learner, MethodsFor
from pliant.core.base import Array, Features, Key, Params
from pliant.core.clock import Clock
from pliant.core.continual import ContinualFor, Update, beside, no_continual
from pliant.core.judgement import Judgement
from pliant.core.kept import kept
from pliant.core.likelihood import Likelihood, categorical, unit_normal
from pliant.core.plastic import plastic, take_keys
from pliant.core.problem import Batch, Network, Stream
from pliant.core.settings import AtLeast, Between, FromUpTo
from pliant.core.units import Wiring, is_statistic
from pliant.surgery.adam import adam
from pliant.tracing.trace import trace

from ._step_decay import rate_at, rates_of, read_epochs, with_rate

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
    decay_epochs: str = ""
    """Epochs of each task at which the learning rate falls, such as 60,120,160; none: it is constant."""
    decay_factor: Annotated[float, Between(0, 1)] = 0.2
    """Factor by which the learning rate falls then."""
    decay_decimals: Annotated[int, Between(1, 30)] = 5
    """Decimals to which the rates that have fallen are rounded, as in the published program."""
    reset_moments: bool = True
    """Whether the optimizer's state of reinitialized weights restarts; the published programs with momentum keep it."""
    early_stopping: bool = False
    """Whether a task ends with the parameters of its epoch of the best validation accuracy."""


class Best(NamedTuple):
    params: Params  # after the best epoch of this task so far, with its running statistics
    accuracy: Array  # () on the validation split, then; 0 before the first epoch


class State(NamedTuple):
    params: Params
    optimizer: Any  # PlasticState: the optimizer's and the methods'
    best: Best | tuple[()] = ()  # empty without early stopping
    continual: Any = ()  # the continual method's
    latest: Array | tuple[()] = ()  # (samples, *input): the newest inputs of the task, if that method needs some


@kept
def _traced(network: Network, x: jax.ShapeDtypeStruct) -> tuple[Params, Wiring]:
    """Shapes of the parameters, and the units, of a network for batches like `x`."""
    params = jax.eval_shape(network.init, jax.random.key(0))
    return params, trace(network.train or network.apply, params, x)


def make(
    config: Config, stream: Stream, methods_for: MethodsFor, continual_for: ContinualFor = no_continual
) -> Learner:
    """Makes the learner for one member of a population.

    Args:
        config: the settings; numbers may be traced.
        stream: its network and its judge.
        methods_for: makes the plasticity methods.
        continual_for: makes the continual method, which sees the newest inputs of each task. The newest parameters
            predict, whatever the method stores for earlier tasks.

    Raises:
        ValueError: for early stopping on a stream without a validation split, epochs that cannot be read, or a learning
            rate that is rounded to 0.
    """
    if config.early_stopping:
        _refuse_early_stopping(stream)
    decay_epochs = read_epochs(config.decay_epochs)
    rates = rates_of(config.learning_rate, len(decay_epochs), config.decay_factor, config.decay_decimals)
    network = stream.network
    some_key = jax.random.key(0)
    x = stream.batches().x
    params_shape, wiring = _traced(network, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))

    one = jax.ShapeDtypeStruct(x.shape[2:], x.dtype)
    continual = continual_for(initialize=network.init, apply=network.apply, likelihood=_likelihood(stream), inputs=one)

    def transformation(key: Key):
        methods = beside(continual, methods_for(wiring, network, stream.steps))
        return plastic(_optimizer(config, params_shape), *methods, key=key, reset_moments=config.reset_moments)

    tx = transformation(some_key)

    def init(key: Key) -> State:
        params_key, methods_key = jax.random.split(key)
        params = tx.prepare(network.init(params_key))
        best = Best(jax.tree.map(jnp.array, params), jnp.zeros(())) if config.early_stopping else ()
        latest = jnp.zeros((continual.samples, *one.shape), one.dtype) if continual.samples else ()
        return State(params, transformation(methods_key).init(params), best, continual.init(params), latest)

    def loss(params: Params, batch: Batch) -> tuple[Array, tuple[Judgement, Params, Features, Array]]:
        """The loss; and the judgement, the parameters with running statistics moved on, features, and predictions."""
        output, features = wiring.apply(params, batch.x)
        prediction, moved = output if network.train else (output, params)
        judgement = stream.judge(prediction, batch.y)
        return judgement.loss, (judgement, moved, features, prediction)

    def whole_loss(
        params: Params, batch: Batch, state: Any, clock: Clock
    ) -> tuple[Array, tuple[Judgement, Params, Features]]:
        """The loss with the penalty of the continual method."""
        L, (judgement, moved, features, prediction) = loss(params, batch)
        penalty = continual.penalty(params, state, Update(clock, batch.x, prediction))
        return L + penalty, (judgement, moved, features)

    def rate(clock: Clock) -> dict[str, Array]:
        """The signal of an optimizer whose learning rate falls."""
        if not decay_epochs:
            return {}
        return {"learning_rate": rate_at(clock, rates, decay_epochs)}

    def begun(state: State, clock: Clock) -> State:
        """The state after what the continual method does before a later task."""
        if continual_for is no_continual:
            return state
        [key], optimizer = take_keys(state.optimizer, 1)
        params, of_method = jax.lax.cond(
            (clock.task_update == 1) & (clock.task > 0),
            lambda: continual.begin_task(state.params, state.continual, clock=clock, key=key),
            lambda: (state.params, state.continual),
        )
        return state._replace(params=params, optimizer=optimizer, continual=of_method)

    def learn(state: State, batches: Batch, clock: Clock) -> tuple[State, Judgement]:
        steps = batches.x.shape[0]
        state = begun(state, clock)
        params, optimizer = tx.before_update(state.params, state.optimizer, clock)
        [draw_key], optimizer = take_keys(optimizer, 1)
        draws = tx.draw(draw_key, params, steps)

        def update(state: State, this: tuple[Batch, Any, Array]) -> tuple[State, Judgement]:
            batch, draw, number = this
            now = clock.later(number)
            grads, (judgement, moved, features) = jax.grad(whole_loss, has_aux=True)(
                state.params, batch, state.continual, now
            )
            changed = continual.changed(grads, moved, state.continual, now)
            params, optimizer = tx.step(
                changed, state.optimizer, moved, random=draw, clock=now, features=features, **rate(clock)
            )
            params, of_method = continual.after_update(params, state.continual, previous=state.params, grads=grads)
            latest = _newest(state.latest, batch.x, now)
            after = state._replace(params=params, optimizer=optimizer, continual=of_method, latest=latest)
            return after, judgement

        state = state._replace(params=continual.kept(params, state.continual, state.params), optimizer=optimizer)
        return jax.lax.scan(update, state, (batches, draws, jnp.arange(steps)))

    def predict(state: State, x: Array) -> Array:
        return network.apply(state.params, x)

    def end_epoch(state: State, judgements: Mapping[str, Judgement], clock: Clock) -> State:
        del clock
        accuracy = judgements["validation"].metrics["accuracy"]
        best, better = state.best, accuracy > state.best.accuracy
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), Best(state.params, accuracy), best)
        return state._replace(best=kept)

    def best_of_task(state: State) -> State:
        """The best parameters of the task; the states of the optimizer and of the methods go on."""
        found = state.best.accuracy > 0
        params = jax.tree.map(lambda best, last: jnp.where(found, best, last), state.best.params, state.params)
        return state._replace(params=params, best=state.best._replace(accuracy=jnp.zeros(())))

    def end_task(state: State, clock: Clock) -> State:
        state = best_of_task(state) if config.early_stopping else state
        if continual_for is no_continual:
            return state
        [trained_key, key], optimizer = take_keys(state.optimizer, 2)
        params, of_method = continual.end_training(state.params, state.continual, clock=clock, key=trained_key)
        params, of_method = continual.end_task(
            params, of_method, inputs=_seen(state.latest, x, clock), clock=clock, key=key
        )
        return state._replace(params=params, optimizer=optimizer, continual=of_method)

    def signals(previous: State, state: State, batch: Batch) -> dict[str, Any]:
        grads, (_, _, features, _) = jax.grad(loss, has_aux=True)(state.params, batch)
        return {
            "params": state.params,
            "previous_params": previous.params,
            "features": features,
            "grads": grads,
            "method_state": state.optimizer,
        }

    drawn = jax.eval_shape(lambda key, params: tx.draw(key, params, 1), some_key, params_shape)
    learner = Learner(init, learn, predict, signals, sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(drawn)))
    if config.early_stopping:
        learner = learner._replace(end_epoch=end_epoch, watched=("validation",))
    ends_tasks = config.early_stopping or continual_for is not no_continual
    return learner._replace(end_task=end_task) if ends_tasks else learner


def _likelihood(stream: Stream) -> Likelihood:
    """That of the stream's judge: labels are whole numbers."""
    y = stream.batches().y
    labels = getattr(y, "y", y)
    return categorical if jnp.issubdtype(labels.dtype, jnp.integer) else unit_normal


def _newest(latest: Any, x: Array, clock: Clock) -> Any:
    """The ring of the newest inputs with those of an update."""
    if isinstance(latest, tuple):
        return latest
    before, x = (clock.task_update - 1) * len(x), x[-len(latest) :]
    return latest.at[(before + jnp.arange(len(x))) % len(latest)].set(x)


def _seen(latest: Any, x: jax.ShapeDtypeStruct, clock: Clock) -> Any:
    """The ring of the newest inputs of a task; after a short task it repeats them."""
    if isinstance(latest, tuple):
        return jnp.zeros((0, *x.shape[2:]), x.dtype)
    filled = jnp.minimum(clock.task_update * x.shape[1], len(latest))
    return latest[jnp.arange(len(latest)) % jnp.maximum(filled, 1)]


def _refuse_early_stopping(stream: Stream) -> None:
    if "validation" not in stream.splits:
        has = f"its splits are: {', '.join(stream.splits)}" if stream.splits else "it has none"
        raise ValueError(f"early_stopping needs a stream with a split named validation, and {has}; leave it out")


def _optimizer(config: Config, params: Params) -> optax.GradientTransformation:
    """The optimizer of all weights; running statistics stay, whatever gradient pieces add to their gradient."""
    optimizer = _of_params(config)
    if config.decay_epochs:
        optimizer = with_rate(_of_params(dataclasses.replace(config, learning_rate=1.0)))
    if not (isinstance(params, Mapping) and any(map(is_statistic, params))):
        return optimizer
    still = {name: is_statistic(name) for name in params}
    weights = {name: not is_still for name, is_still in still.items()}
    return optax.chain(optax.masked(optimizer, weights), optax.masked(optax.set_to_zero(), still))


def _of_params(config: Config) -> optax.GradientTransformation:
    if config.optimizer == "adam":
        return optax.adam(config.learning_rate, config.b1, config.b2)
    if config.optimizer == "per_weight_adam":
        return adam(config.learning_rate, config.b1, config.b2)
    # Without momentum sgd keeps no moments; with a swept momentum, a tracer, it always does.
    no_momentum = isinstance(config.momentum, float | int) and config.momentum == 0
    return optax.sgd(config.learning_rate, None if no_momentum else config.momentum)
