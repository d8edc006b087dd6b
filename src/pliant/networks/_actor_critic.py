"""Separate policy and value networks, as one function of one parameter tree."""

from typing import Any

import jax
import jax.numpy as jnp

from pliant.core.base import Activation, Array, Initializer, Key, Params
from pliant.core.kept import kept
from pliant.core.problem import ActorCritic, Continuous, Spec

from ._mlp import MLP


@kept
def actor_critic(
    spec: Spec, hidden: tuple[int, ...], activation: Activation = "relu", initializer: Initializer = "lecun"
) -> ActorCritic:
    """Two multilayer perceptrons without shared layers and without a carry.

    For continuous actions the standard deviation is 1 at first, and does not depend on the observation.

    Args:
        spec: of the environment.
        hidden: units of the hidden layers of each network.
        activation: the nonlinearity.
        initializer: of all weights, those of the output layers included.
    """
    continuous = isinstance(spec.action, Continuous)
    policy = MLP(hidden, spec.action.size if continuous else spec.action.n, activation, initializer)
    value = MLP(hidden, 1, activation, initializer)

    def flat(observation: Array) -> Array:
        return observation.reshape(observation.shape[0], -1).astype(jnp.float32)

    def init(key: Key) -> Params:
        policy_key, value_key = jax.random.split(key)
        observation = flat(jnp.zeros((1, *spec.observation.shape)))
        parts: dict[str, Any] = {
            "policy": policy.init(policy_key, observation),
            "value": value.init(value_key, observation),
        }
        params = {name: variables["params"] for name, variables in parts.items()}
        return {**params, "log_std": jnp.zeros(spec.action.size)} if continuous else params

    def apply(params: Params, observation: Array, carry: Any) -> tuple[tuple[Any, Array], Any]:
        x = flat(observation)
        outputs = policy.apply({"params": params["policy"]}, x)
        V: Any = value.apply({"params": params["value"]}, x)
        return ((outputs, params["log_std"]) if continuous else outputs, V[:, 0]), carry

    return ActorCritic(init, apply, lambda batch: (), activation, initializer)
