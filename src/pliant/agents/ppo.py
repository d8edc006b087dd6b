"""Proximal policy optimization (PPO): several epochs of minibatches on the latest steps.

for each call of `learn`, after `horizon` steps of all environments:
    advantages, returns <- generalized advantage estimation
    for each epoch:
        for each minibatch of a random order:
            loss, features <- clipped policy loss + value loss - entropy bonus
            params         <- methods and optimizer (gradients, features)
"""

import dataclasses
from typing import Annotated, Literal

import jax.numpy as jnp
import optax

from pliant.core.agent import Agent, MethodsFor
from pliant.core.base import Activation, Array
from pliant.core.continual import ContinualFor, no_continual
from pliant.core.problem import Environment, HostEnvironment
from pliant.core.settings import AtLeast, Between, FromUpTo

from . import _on_policy
from ._shapes import require_rank

LEARNS_FROM = "environment"


@dataclasses.dataclass(frozen=True)
class Config(_on_policy.Config):
    """Settings of PPO; the defaults are those of the Nature experiments with plain Adam."""

    horizon: Annotated[int, AtLeast(1)] = 2048
    epochs: Annotated[int, Between(1, 1000)] = 10
    """Passes over the samples of a round."""
    minibatches: Annotated[int, AtLeast(1)] = 16
    """Minibatches of an epoch, one update each; must divide horizon × num_envs."""
    alternate: bool = False
    """Whether every second epoch shifts its sequences by half their length, and so leaves out one per environment."""
    learning_rate: Annotated[float, AtLeast(0)] = 1e-4
    schedule: Literal["constant", "linear"] = "constant"
    """Whether the learning rate stays, or falls linearly to 0 at the end of the run."""
    b1: Annotated[float, FromUpTo(0, 1)] = 0.9
    """Decay of Adam's first moment."""
    b2: Annotated[float, FromUpTo(0, 1)] = 0.999
    """Decay of Adam's second moment; published as proper Adam: 0.99, with b1 = 0.99."""
    clip: Annotated[float, AtLeast(0)] = 0.2
    """Clip range of the ratio of new to old probability, around 1."""
    value_clip: Annotated[float, AtLeast(0)] = 0.0
    """Clip range of a new value around the old value, in the value loss; 0: no clipping."""
    value_coefficient: Annotated[float, AtLeast(0)] = 1.0
    entropy_coefficient: Annotated[float, AtLeast(0)] = 0.0
    max_gradient_norm: Annotated[float, AtLeast(0)] = 0.0
    normalize_advantages: Literal["round", "minibatch", "none"] = "round"
    hidden_units: Annotated[int, Between(1, 65_536)] = 256
    activation: Activation = "relu"


def clipped_policy_loss(
    log_prob: Array, old_log_prob: Array, A: Array, clip: float | Array
) -> tuple[Array, dict[str, Array]]:
    r"""The loss of each sample, with the ratio $\rho = \pi(a \mid s) / \pi_{\text{old}}(a \mid s)$:

    $$\max(-\rho A, -\operatorname{clip}(\rho, 1 - \epsilon, 1 + \epsilon) A).$$

    Args:
        log_prob: $\log \pi(a \mid s)$, `(samples,)`.
        old_log_prob: $\log \pi_{\text{old}}(a \mid s)$, `(samples,)`.
        A: advantages, `(samples,)`.
        clip: $\epsilon$, at least 0.

    Returns:
        The losses, `(samples,)`, and as a metric the fraction of ratios outside the clip range.
    """
    require_rank(1, log_prob=log_prob, old_log_prob=old_log_prob, A=A)
    rho = jnp.exp(log_prob - old_log_prob)
    clipped = jnp.clip(rho, 1 - clip, 1 + clip)
    return jnp.maximum(-rho * A, -clipped * A), {"clipped_fraction": jnp.mean(jnp.abs(rho - 1) > clip)}


def make(
    config: Config,
    environment: Environment | HostEnvironment,
    methods_for: MethodsFor,
    continual_for: ContinualFor = no_continual,
) -> Agent:
    r"""Makes the agent for one member of a population.

    $$L = \overline{\max(-\rho A, -\operatorname{clip}(\rho, 1 - \epsilon, 1 + \epsilon) A)}
    + c_v \overline{(R - V)^2} - c_e \overline{H}.$$

    Args:
        config: the settings; numbers may be traced.
        environment: its observations and actions, the length of the run, and its network if it has one.
        methods_for: makes the plasticity methods.
        continual_for: makes the continual method.

    Raises:
        ValueError: if the minibatches or sequences do not divide a round, the run is shorter than a round, or the
            settings do not fit the environment's network.

    Differs from the authors' code: nothing, with the settings of the presets. A method that acts on gradients acts
    after their norm is clipped, as the weight decay of PyTorch's Adam does. With `alternate` and an odd number of
    epochs torch-ac continues the alternation from one round to the next; here each round begins with a whole epoch.

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
        return clipped_policy_loss(log_prob, old_log_prob, A, config.clip)

    return _on_policy.make(
        config,
        environment,
        optimizer,
        policy_loss,
        methods_for,
        continual_for,
        epochs=config.epochs,
        minibatches=config.minibatches,
        alternate=config.alternate,
        value_clip=config.value_clip,
    )
