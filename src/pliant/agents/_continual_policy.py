"""Continual methods of a network of policy and value function."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array, Params
from pliant.core.continual import Continual, ContinualFor, no_continual
from pliant.core.likelihood import categorical, gaussian
from pliant.core.problem import ActorCritic, Continuous, Environment, HostEnvironment


def continual_method(
    continual_for: ContinualFor, network: ActorCritic, environment: Environment | HostEnvironment
) -> Continual:
    """The continual method of a network, whose outputs are those of the policy.

    Args:
        continual_for: makes the method.
        network: policy and value function.
        environment: its observations and actions.

    Raises:
        ValueError: for a method and a recurrent network.
    """
    if jax.tree.leaves(network.initial_carry(1)) and continual_for is not no_continual:
        raise ValueError("a continual method is for networks without a recurrent state; write recurrent=false")

    def apply(params: Params, observation: Array) -> Any:
        (outputs, _), _ = network.apply(params, observation, ())
        return of_policy(environment, outputs)

    return continual_for(
        initialize=network.init,
        apply=apply,
        likelihood=gaussian if isinstance(environment.spec.action, Continuous) else categorical,
        inputs=environment.spec.observation,
    )


def of_policy(environment: Environment | HostEnvironment, outputs: Any) -> Any:
    """The outputs of a policy, each with a leading axis of the batch."""
    if not isinstance(environment.spec.action, Continuous):
        return outputs
    mean, log_std = outputs
    return mean, jnp.broadcast_to(log_std, mean.shape)


def evenly(observations: Array, samples: int) -> Any:
    """So many of a round's observations, `(steps, *observation)`, at even distances; empty for none."""
    if not samples:
        return ()
    return observations[np.arange(samples, dtype=np.int64) * len(observations) // samples]
