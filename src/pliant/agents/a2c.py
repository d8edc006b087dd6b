"""Advantage actor-critic (A2C): one update with all of the latest steps.

for each call of `learn`, after `horizon` steps of all environments:
    advantages, returns <- generalized advantage estimation
    loss, features      <- policy loss + value loss - entropy bonus
    params              <- methods and optimizer (gradients, features)
"""

import dataclasses
from typing import Annotated

import optax

from pliant.core.agent import Agent, MethodsFor
from pliant.core.base import Array
from pliant.core.continual import ContinualFor, no_continual
from pliant.core.problem import Environment, HostEnvironment
from pliant.core.settings import AtLeast, FromUpTo

from . import _on_policy
from ._shapes import require_rank

LEARNS_FROM = "environment"


@dataclasses.dataclass(frozen=True)
class Config(_on_policy.Config):
    """Settings of A2C; the defaults are those of torch-ac and its starter files."""

    horizon: Annotated[int, AtLeast(1)] = 8
    decay: Annotated[float, FromUpTo(0, 1)] = 0.99
    """Decay of RMSprop's mean of squared gradients."""


def policy_gradient_loss(log_prob: Array, A: Array) -> Array:
    r"""The loss of each sample, $-A \log \pi(a \mid s)$.

    Args:
        log_prob: $\log \pi(a \mid s)$, `(samples,)`.
        A: advantages, `(samples,)`, constants of the gradient.
    """
    require_rank(1, log_prob=log_prob, A=A)
    return -log_prob * A


def make(
    config: Config,
    environment: Environment | HostEnvironment,
    methods_for: MethodsFor,
    continual_for: ContinualFor = no_continual,
) -> Agent:
    r"""Makes the agent for one member of a population.

    $$L = -\overline{A \log \pi(a \mid s)} + c_v \overline{(R - V)^2} - c_e \overline{H}.$$

    Args:
        config: the settings; numbers may be traced.
        environment: its observations and actions, the length of the run, and its network if it has one.
        methods_for: makes the plasticity methods.
        continual_for: makes the continual method.

    Raises:
        ValueError: if the sequences do not divide the horizon, the run is shorter than a round, or the settings do not
            fit the environment's network.

    Differs from the authors' code: nothing; the code is torch-ac. Its help text gives a horizon of 5, and its code
    takes 8, the default here.

    References:
        Mnih et al., `Asynchronous methods for deep reinforcement learning <https://arxiv.org/abs/1602.01783>`_, ICML
        2016.
    """

    def optimizer(updates: int) -> optax.GradientTransformation:
        del updates  # the learning rate stays
        return optax.rmsprop(config.learning_rate, config.decay, config.eps, eps_in_sqrt=False)

    def policy_loss(log_prob: Array, old_log_prob: Array, A: Array) -> tuple[Array, dict[str, Array]]:
        del old_log_prob  # it equals log_prob: each sample is used once
        return policy_gradient_loss(log_prob, A), {}

    return _on_policy.make(config, environment, optimizer, policy_loss, methods_for, continual_for)
