"""Proximal policy optimization: act for a while, then learn from what happened in several passes over it.

for each call of `learn`, after `horizon` steps of all environments:
    value, log probability <- of everything that was seen, before learning
    advantages, returns    <- generalized advantage estimation
    for each epoch:
        for each minibatch of a random order:
            loss, features <- clipped policy loss + value loss - entropy   (features for the plasticity methods)
            params         <- methods and optimizer (gradients, features)
"""

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pliant.core.agent import Agent, MethodsFor, Transitions
from pliant.core.base import Array, Key, Params, plastic
from pliant.core.initializers import Activation, Initializer
from pliant.core.problem import Arena, Continuous, HostArena
from pliant.core.settings import AtLeast, Between, FromUpTo
from pliant.core.tracing import trace
from pliant.networks import actor_critic

from ._advantage import generalized_advantages
from ._distributions import distribution

LEARNS_FROM = "arena"

_PROBE = 1000  # last observations of a horizon on which diagnostics are measured, as published


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of PPO; the defaults are those of the Nature experiments with plain Adam."""

    horizon: Annotated[int, AtLeast(1)] = 2048
    """Steps that each environment takes between two rounds of learning."""
    epochs: Annotated[int, AtLeast(1)] = 10
    """Passes over these steps in a round."""
    minibatches: Annotated[int, AtLeast(1)] = 16
    """Pieces of a pass, one optimizer step each; horizon × environments must be a multiple."""
    step_size: Annotated[float, AtLeast(0)] = 1e-4
    """Step size of Adam."""
    schedule: Literal["constant", "linear"] = "constant"
    """Whether the step size stays, or falls linearly to 0 at the end of the run."""
    b1: Annotated[float, FromUpTo(0, 1)] = 0.9
    """Decay of Adam's first moment."""
    b2: Annotated[float, FromUpTo(0, 1)] = 0.999
    """Decay of Adam's second moment; published as proper Adam: 0.99, with b1 = 0.99."""
    epsilon: Annotated[float, AtLeast(0)] = 1e-8
    """What Adam adds to the root of the second moment."""
    clear_memory: bool = False
    """Whether Adam forgets its moments of weights that a method made anew."""
    discount: Annotated[float, Between(0, 1)] = 0.99
    """Discount per step."""
    trace_decay: Annotated[float, Between(0, 1)] = 0.95
    """Lambda of generalized advantage estimation."""
    clip: Annotated[float, AtLeast(0)] = 0.2
    """How far the ratio of new to old probability counts, from 1."""
    value_clip: Annotated[float, AtLeast(0)] = 0.0
    """How far a value may move from the old one before its error counts in full; 0: any distance."""
    value_coefficient: Annotated[float, AtLeast(0)] = 1.0
    """Weight of the mean squared error of the values."""
    entropy_coefficient: Annotated[float, AtLeast(0)] = 0.0
    """Weight of the policy's entropy, which is to be high."""
    max_gradient_norm: Annotated[float, AtLeast(0)] = 0.0
    """Norm to which longer gradients are scaled down, before any method acts on them; 0: none."""
    normalize_advantages: Literal["round", "minibatch", "none"] = "round"
    """Over what advantages are shifted and scaled to mean 0 and (unbiased) standard deviation 1."""
    truncation: Literal["terminal", "bootstrap"] = "terminal"
    """Whether nothing comes after a time limit, as published, or the value of the observation there."""
    hidden_units: Annotated[int, AtLeast(1)] = 256
    """Units of each hidden layer, of the policy and of the value network."""
    hidden_layers: Annotated[int, AtLeast(0)] = 2
    """Hidden layers of each network."""
    activation: Activation = "relu"
    """Nonlinearity."""
    initializer: Initializer = "lecun"
    """Initializer of all weights, those of the output layers included."""


class State(NamedTuple):
    params: Params
    optimizer: Any  # PlasticState: the optimizer's and the methods'


class _Samples(NamedTuple):
    """What the losses need; leading axis of samples."""

    observation: Array
    action: Array
    log_prob: Array  # of the action, when it was taken
    value: Array  # before learning
    returns: Array
    advantage: Array


def make(config: Config, arena: Arena | HostArena, methods_for: MethodsFor) -> Agent:
    r"""Makes the agent for one member of a population.

    With the ratio $\rho = \pi(a \mid s) / \pi_{\text{old}}(a \mid s)$ the loss is

    $$L = \overline{\max(-\rho A, -\operatorname{clip}(\rho, 1 - \epsilon, 1 + \epsilon) A)}
    + c_v \overline{(R - V)^2} - c_e \overline{H}.$$

    Args:
        config: the settings; numbers may be traced.
        arena: where to act: its observations, its actions and the length of the run.
        methods_for: makes the plasticity methods.

    Raises:
        ValueError: if the minibatches do not divide a round, or the run is shorter than a round.

    Differs from the authors' code: nothing, with the settings of the presets. A method that acts on gradients does so
    after their norm was clipped, as the weight decay of PyTorch's Adam does.

    References:
        Schulman et al., `Proximal policy optimization algorithms <https://arxiv.org/abs/1707.06347>`_, 2017. Dohare et
        al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_, Nature 2024.
    """
    samples = config.horizon * arena.environments
    if samples % config.minibatches:
        raise ValueError(
            f"minibatches={config.minibatches} do not divide the {samples} samples of a round "
            f"(horizon={config.horizon} x environments={arena.environments}); write a divisor of {samples}"
        )
    if arena.steps < samples:
        raise ValueError(
            f"steps={arena.steps} are fewer than the {samples} of one round (horizon={config.horizon} x "
            f"environments={arena.environments}); write at least {samples} steps, or a shorter horizon"
        )
    size = samples // config.minibatches
    updates = config.epochs * config.minibatches
    rounds = -(-arena.steps // samples)

    network = actor_critic(
        arena.spec, (config.hidden_units,) * config.hidden_layers, config.activation, config.initializer
    )
    some_key = jax.random.key(0)
    params_shape = jax.eval_shape(network.init, some_key)
    observation = arena.spec.observation
    wiring = trace(network.apply, params_shape, jax.ShapeDtypeStruct((size, *observation.shape), observation.dtype))

    def transformation(key: Key):
        step_size = config.step_size
        if config.schedule == "linear":
            step_size = optax.linear_schedule(config.step_size, 0, rounds * updates)
        adam = optax.adam(step_size, config.b1, config.b2, config.epsilon)
        return plastic(adam, *methods_for(wiring, network), key=key, clear_memory=config.clear_memory)

    tx = transformation(some_key)

    def init(key: Key) -> State:
        params_key, methods_key = jax.random.split(key)
        params = network.init(params_key)
        return State(params, transformation(methods_key).init(params))

    def act(policy: Params, memory: tuple[()], observation: Array, begins: Array, key: Key, *, greedy: bool = False):
        del begins  # this policy remembers nothing
        outputs, _ = network.apply(policy, observation)
        pi = distribution(arena.spec.action, outputs)
        action = pi.mode() if greedy else pi.sample(key)
        return memory, action, pi.log_prob(action)

    def loss(params: Params, batch: _Samples) -> tuple[Array, tuple[dict[str, Array], dict[str, Array]]]:
        (outputs, V), features = wiring.apply(params, batch.observation)
        pi = distribution(arena.spec.action, outputs)
        A = batch.advantage
        if config.normalize_advantages == "minibatch":
            A = _normalized(A)

        rho = jnp.exp(pi.log_prob(batch.action) - batch.log_prob)
        clipped = jnp.clip(rho, 1 - config.clip, 1 + config.clip)
        policy_loss = jnp.maximum(-rho * A, -clipped * A).mean()
        value_loss = jnp.mean(_squared_errors(V, batch, config.value_clip))
        H = pi.entropy().mean()
        total = policy_loss + config.value_coefficient * value_loss - config.entropy_coefficient * H
        metrics = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": H,
            "clipped_fraction": jnp.mean(jnp.abs(rho - 1) > config.clip),
        }
        return total, (features, metrics)

    def prepare(params: Params, transitions: Transitions) -> _Samples:
        """Advantages and returns, with the values before learning; all samples on one axis."""
        T, E = transitions.reward.shape

        def values(observation: Array) -> Array:
            V = network.apply(params, observation.reshape(-1, *observation.shape[2:]))[1]
            return V.reshape(observation.shape[:2])

        V = values(transitions.observation)
        ended = transitions.terminated | transitions.truncated
        if config.truncation == "bootstrap":
            next_V, terminated = values(transitions.next_observation), transitions.terminated
        else:  # within an episode what followed is what was acted upon next: only the last is new
            next_V = jnp.concatenate([V[1:], values(transitions.next_observation[-1:])])
            terminated = ended
        A = generalized_advantages(
            transitions.reward, V, next_V, terminated, ended, config.discount, config.trace_decay
        )
        returns = A + V
        if config.normalize_advantages == "round":
            A = _normalized(A)
        batch = _Samples(transitions.observation, transitions.action, transitions.said, V, returns, A)
        return jax.tree.map(lambda x: x.reshape(T * E, *x.shape[2:]), batch)

    def learn(state: State, transitions: Transitions, calls: Array) -> tuple[State, dict[str, Array]]:
        batch = prepare(state.params, transitions)
        key, *keys = jax.random.split(state.optimizer.key, 1 + config.epochs)

        def epoch(state: State, this: tuple[Key, Array]) -> tuple[State, dict[str, Array]]:
            key, number = this
            order_key, draw_key = jax.random.split(key)
            order = jax.random.permutation(order_key, samples).reshape(config.minibatches, size)
            draws = tx.draw(draw_key, state.params, config.minibatches)

            def update(state: State, this: tuple[Array, Any, Array]) -> tuple[State, dict[str, Array]]:
                chosen, draw, number = this
                minibatch = jax.tree.map(lambda x: x[chosen], batch)
                grads, (features, metrics) = jax.grad(loss, has_aux=True)(state.params, minibatch)
                if config.max_gradient_norm > 0:
                    grads, _ = optax.clip_by_global_norm(config.max_gradient_norm).update(grads, optax.EmptyState())
                new = tx.step(grads, state.optimizer, state.params, random=draw, step=number, features=features)
                return State(*new), metrics

            return jax.lax.scan(update, state, (order, draws, number + 1 + jnp.arange(config.minibatches)))

        state = state._replace(optimizer=state.optimizer._replace(key=key))
        numbers = calls * updates + config.minibatches * jnp.arange(config.epochs)
        state, metrics = jax.lax.scan(epoch, state, (jnp.stack(keys), numbers))
        metrics = jax.tree.map(jnp.mean, metrics)
        if isinstance(arena.spec.action, Continuous):
            metrics["action_magnitude"] = jnp.abs(transitions.action).mean()
        return state, metrics

    def signals(previous: State, state: State, transitions: Transitions) -> dict[str, Any]:
        probe = jax.tree.map(lambda x: x[-_PROBE:], prepare(previous.params, transitions))
        grads, (features, _) = jax.grad(loss, has_aux=True)(previous.params, probe)
        return {
            "params": state.params,
            "previous_params": previous.params,
            "features": features,
            "grads": grads,
            "method_state": state.optimizer,
        }

    return Agent(
        horizon=config.horizon,
        init=init,
        policy=lambda state: state.params,
        remember=lambda environments: (),
        act=act,
        learn=learn,
        signals=signals,
    )


def _normalized(A: Array) -> Array:
    """Advantages with mean 0 and standard deviation 1; if all are equal they are only shifted."""
    std = A.std(ddof=1)
    return (A - A.mean()) / jnp.where(std > 0, std, 1)


def _squared_errors(V: Array, batch: _Samples, clip: float | Array) -> Array:
    errors = (batch.returns - V) ** 2
    if clip > 0:
        near = batch.value + jnp.clip(V - batch.value, -clip, clip)
        return jnp.maximum(errors, (batch.returns - near) ** 2)
    return errors
