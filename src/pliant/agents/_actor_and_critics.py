"""An actor and critics side by side: each with its own network, wiring, methods, and optimizer."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pliant.core.agent import MethodsFor
from pliant.core.base import Key
from pliant.core.kept import kept
from pliant.core.plastic import Plastic, plastic
from pliant.core.problem import Network
from pliant.core.settings import AtLeast, Between, FromUpTo
from pliant.core.units import Wiring
from pliant.surgery.adam import adam
from pliant.tracing.trace import trace

from . import _off_policy


@dataclasses.dataclass(frozen=True)
class Config(_off_policy.Config):
    """Settings of the networks and of their optimizer."""

    learning_rate: Annotated[float, AtLeast(0)] = 3e-4
    """Learning rate of Adam, for all networks."""
    optimizer: Literal["adam", "per_weight_adam"] = "adam"
    """Adam, or Adam with a step count per weight, which restarts with the weight."""
    b1: Annotated[float, FromUpTo(0, 1)] = 0.9
    """Decay of Adam's first moment."""
    b2: Annotated[float, FromUpTo(0, 1)] = 0.999
    """Decay of Adam's second moment."""
    eps: Annotated[float, AtLeast(0)] = 1e-8
    """Added to the denominator for numerical stability."""
    reset_moments: bool = True
    """Whether Adam's moments of weights that a method reinitialized restart at zero."""
    hidden_units: Annotated[int, Between(1, 65_536)] = 256
    """Units of each hidden layer, of actor and critics."""
    actor_layers: Annotated[int, Between(1, 100)] = 2
    """Hidden layers of the actor."""
    critic_layers: Annotated[int, Between(1, 100)] = 3
    """Hidden layers of each critic; 2 in the original TD3."""
    layer_norm: bool = True
    """Whether the last hidden layer of the critics is normalized before its rectifier; false in the original TD3."""
    tau: Annotated[float, Between(0, 1)] = 0.005
    """Rate at which the targets move towards the networks that they follow."""


class Both(NamedTuple):
    """A pair: one for the actor, one for the critics."""

    actor: Any
    critics: Any

    def merged(self) -> dict[str, Any]:
        """The two dictionaries in one; their keys differ."""
        return self.actor | self.critics


class Learners(NamedTuple):
    wiring: Both  # Wirings
    tx: Both  # Plastics
    init: Callable[[Both, Key], tuple[Both, Both]]  # (whole params, key) -> params and optimizer states


@kept
def _wiring_of(network: Network | None, samples: int, size: int) -> Wiring:
    """The units of a network of vectors `(samples, size)`; none where they are not known."""
    if network is None:
        return Wiring({})
    x = jax.ShapeDtypeStruct((samples, size), jnp.float32)
    return trace(network.apply, jax.eval_shape(network.init, jax.random.key(0)), x)


def learners(
    config: Config, networks: Both, inputs: Both, methods_for: Both, updates: int, learning_rates: Both
) -> Learners:
    """Finds the units of both networks, and makes their optimizers with the methods.

    Args:
        config: settings of Adam, and the batch size.
        networks: `Network`s of vectors; `None`: one without units that are known.
        inputs: sizes of their input vectors.
        methods_for: `MethodsFor` of each.
        updates: in a whole run.
        learning_rates: of their optimizers.
    """

    def transformation(
        network: Any, wiring: Wiring, methods_for: MethodsFor, learning_rate: float, key: Key | int
    ) -> Plastic:
        make = adam if config.optimizer == "per_weight_adam" else optax.adam
        optimizer = make(learning_rate, config.b1, config.b2, config.eps)
        return plastic(optimizer, *methods_for(wiring, network, updates), key=key, reset_moments=config.reset_moments)

    wiring = Both(*(_wiring_of(network, config.batch_size, size) for network, size in zip(networks, inputs)))

    def transformations(keys: Any) -> Both:
        return Both(*map(transformation, networks, wiring, methods_for, learning_rates, keys))

    def init(whole: Both, key: Key) -> tuple[Both, Both]:
        made = transformations(jax.random.split(key))
        params = Both(*(tx.prepare(part) for tx, part in zip(made, whole)))
        return params, Both(*(tx.init(part) for tx, part in zip(made, params)))

    return Learners(wiring, transformations((0, 0)), init)


def signals(previous: Both, params: Both, features: Both, grads: Both, optimizer: Both) -> dict[str, Any]:
    """The signals for the diagnostics, see `Agent.signals`."""
    return {
        "params": params.merged(),
        "previous_params": previous.merged(),
        "features": features.merged(),
        "grads": grads.merged(),
        "method_state": optimizer,
    }
