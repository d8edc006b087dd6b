"""Proximal policy optimization: act for a while, then learn from what happened in several passes over it.

for each call of `learn`, after `horizon` steps of all environments:
    advantages, returns <- generalized advantage estimation, with the values and probabilities at the time
    for each epoch:
        for each minibatch of a random order:
            loss, features <- clipped policy loss + value loss - entropy   (features for the plasticity methods)
            params         <- methods and optimizer (gradients, features)
"""

import dataclasses
from typing import Annotated, Literal

import jax.numpy as jnp
import optax

from pliant.core.agent import Agent, MethodsFor
from pliant.core.base import Activation, Array
from pliant.core.problem import Environment, HostEnvironment
from pliant.core.settings import AtLeast, FromUpTo

from . import _on_policy

LEARNS_FROM = "environment"


@dataclasses.dataclass(frozen=True)
class Config(_on_policy.Config):
    """Settings of PPO; the defaults are those of the Nature experiments with plain Adam."""

    horizon: Annotated[int, AtLeast(1)] = 2048
    epochs: Annotated[int, AtLeast(1)] = 10
    """Passes over these steps in a round."""
    minibatches: Annotated[int, AtLeast(1)] = 16
    """Pieces of a pass, one optimizer step each; horizon × environments must be a multiple."""
    alternate: bool = False
    """Whether every second epoch of a round cuts sequences elsewhere, leaving out one of each environment."""
    learning_rate: Annotated[float, AtLeast(0)] = 1e-4
    schedule: Literal["constant", "linear"] = "constant"
    """Whether the step size stays, or falls linearly to 0 at the end of the run."""
    b1: Annotated[float, FromUpTo(0, 1)] = 0.9
    """Decay of Adam's first moment."""
    b2: Annotated[float, FromUpTo(0, 1)] = 0.999
    """Decay of Adam's second moment; published as proper Adam: 0.99, with b1 = 0.99."""
    clip: Annotated[float, AtLeast(0)] = 0.2
    """How far the ratio of new to old probability counts, from 1."""
    value_clip: Annotated[float, AtLeast(0)] = 0.0
    """How far a value may move from the old one before its error counts in full; 0: any distance."""
    value_coefficient: Annotated[float, AtLeast(0)] = 1.0
    entropy_coefficient: Annotated[float, AtLeast(0)] = 0.0
    max_gradient_norm: Annotated[float, AtLeast(0)] = 0.0
    normalize_advantages: Literal["round", "minibatch", "none"] = "round"
    hidden_units: Annotated[int, AtLeast(1)] = 256
    activation: Activation = "relu"


def make(config: Config, environment: Environment | HostEnvironment, methods_for: MethodsFor) -> Agent:
    r"""Makes the agent for one member of a population.

    With the ratio $\rho = \pi(a \mid s) / \pi_{\text{old}}(a \mid s)$ the loss is

    $$L = \overline{\max(-\rho A, -\operatorname{clip}(\rho, 1 - \epsilon, 1 + \epsilon) A)}
    + c_v \overline{(R - V)^2} - c_e \overline{H}.$$

    Args:
        config: the settings; numbers may be traced.
        environment: where to act: its observations, its actions, the length of the run, and its network if it has one.
        methods_for: makes the plasticity methods.

    Raises:
        ValueError: if the minibatches or sequences do not divide a round, the run is shorter than a round, or the
            settings do not fit the arena's network.

    Differs from the authors' code: nothing, with the settings of the presets. A method that acts on gradients does so
    after their norm was clipped, as the weight decay of PyTorch's Adam does. With `alternate` and an odd number of
    epochs torch-ac goes on counting from one round to the next; here each round begins with a whole epoch.

    References:
        Schulman et al., `Proximal policy optimization algorithms <https://arxiv.org/abs/1707.06347>`_, 2017. Dohare et
        al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_, Nature 2024.
    """

    def optimizer(updates: int) -> optax.GradientTransformation:
        learning_rate = config.learning_rate
        if config.schedule == "linear":
            learning_rate = optax.linear_schedule(config.learning_rate, 0, updates)
        return optax.adam(learning_rate, config.b1, config.b2, config.eps)

    def policy_loss(log_prob: Array, old_log_prob: Array, A: Array) -> tuple[Array, dict[str, Array]]:
        rho = jnp.exp(log_prob - old_log_prob)
        clipped = jnp.clip(rho, 1 - config.clip, 1 + config.clip)
        return jnp.maximum(-rho * A, -clipped * A), {"clipped_fraction": jnp.mean(jnp.abs(rho - 1) > config.clip)}

    return _on_policy.make(
        config,
        environment,
        optimizer,
        policy_loss,
        methods_for,
        epochs=config.epochs,
        minibatches=config.minibatches,
        alternate=config.alternate,
        value_clip=config.value_clip,
    )
