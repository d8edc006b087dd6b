"""Advantage actor-critic (A2C): act for a few steps, then make one step of the optimizer with all of them.

for each call of `learn`, after `horizon` steps of all environments:
    advantages, returns <- generalized advantage estimation, with the values at the time
    loss, features      <- policy loss + value loss - entropy   (features for the plasticity methods)
    params              <- methods and optimizer (gradients, features)
"""

import dataclasses
from typing import Annotated, Literal

import optax

from pliant.core.agent import Agent, MethodsFor
from pliant.core.base import Array
from pliant.core.initializers import Activation, Initializer
from pliant.core.problem import Arena, HostArena
from pliant.core.settings import AtLeast, Between, FromUpTo

from . import _on_policy

LEARNS_FROM = "arena"


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of A2C; the defaults are those of torch-ac and its starter files."""

    horizon: Annotated[int, AtLeast(1)] = 8
    """Steps that each environment takes between two steps of the optimizer."""
    recurrence: Annotated[int, AtLeast(1)] = 1
    """Length of the sequences along which a network with a memory learns (steps); 1 for a network without."""
    step_size: Annotated[float, AtLeast(0)] = 1e-3
    """Step size of RMSprop."""
    decay: Annotated[float, FromUpTo(0, 1)] = 0.99
    """Decay of RMSprop's mean of squared gradients."""
    epsilon: Annotated[float, AtLeast(0)] = 1e-8
    """What RMSprop adds to the root of that mean."""
    clear_memory: bool = False
    """Whether RMSprop forgets its mean of weights that a method made anew."""
    discount: Annotated[float, Between(0, 1)] = 0.99
    """Discount per step."""
    trace_decay: Annotated[float, Between(0, 1)] = 0.95
    """Lambda of generalized advantage estimation."""
    value_coefficient: Annotated[float, AtLeast(0)] = 0.5
    """Weight of the mean squared error of the values."""
    entropy_coefficient: Annotated[float, AtLeast(0)] = 0.01
    """Weight of the policy's entropy, which is to be high."""
    max_gradient_norm: Annotated[float, AtLeast(0)] = 0.5
    """Norm to which longer gradients are scaled down, before any method acts on them; 0: none."""
    normalize_advantages: Literal["round", "none"] = "none"
    """Whether advantages are shifted and scaled to mean 0 and (unbiased) standard deviation 1."""
    truncation: Literal["terminal", "bootstrap"] = "terminal"
    """Whether nothing comes after a time limit, or the value of the observation there."""
    hidden_units: Annotated[int, AtLeast(1)] = 64
    """Units of each hidden layer, of the policy and of the value network; not where the problem brings a network."""
    hidden_layers: Annotated[int, AtLeast(0)] = 2
    """Hidden layers of each network."""
    activation: Activation = "tanh"
    """Nonlinearity."""
    initializer: Initializer = "lecun"
    """Initializer of all weights, those of the output layers included."""


def make(config: Config, arena: Arena | HostArena, methods_for: MethodsFor) -> Agent:
    r"""Makes the agent for one member of a population.

    $$L = -\overline{A \log \pi(a \mid s)} + c_v \overline{(R - V)^2} - c_e \overline{H}.$$

    Args:
        config: the settings; numbers may be traced.
        arena: where to act: its observations, its actions, the length of the run, and its network if it has one.
        methods_for: makes the plasticity methods.

    Raises:
        ValueError: if the sequences do not divide the horizon, the run is shorter than a round, or the settings do not
            fit the arena's network.

    Differs from the authors' code: nothing, in torch-ac. There the help says 5 steps, the code takes 8, and so do we.

    References:
        Mnih et al., `Asynchronous methods for deep reinforcement learning <https://arxiv.org/abs/1602.01783>`_, ICML
        2016.
    """

    def optimizer(updates: int) -> optax.GradientTransformation:
        del updates  # the step size stays
        return optax.rmsprop(config.step_size, config.decay, config.epsilon, eps_in_sqrt=False)

    def policy_loss(log_prob: Array, old_log_prob: Array, A: Array) -> tuple[Array, dict[str, Array]]:
        del old_log_prob  # nothing was learned meanwhile
        return -log_prob * A, {}

    settings = _on_policy.Settings(
        horizon=config.horizon,
        epochs=1,
        minibatches=1,
        recurrence=config.recurrence,
        alternate=False,
        clear_memory=config.clear_memory,
        discount=config.discount,
        trace_decay=config.trace_decay,
        value_clip=0.0,
        value_coefficient=config.value_coefficient,
        entropy_coefficient=config.entropy_coefficient,
        max_gradient_norm=config.max_gradient_norm,
        normalize_advantages=config.normalize_advantages,
        truncation=config.truncation,
    )
    network = _on_policy.network_for(arena, config)
    return _on_policy.make(settings, network, arena, optimizer, policy_loss, methods_for)
