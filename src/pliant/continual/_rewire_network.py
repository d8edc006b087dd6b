"""The network of Rewire: dense layers whose units have an order, and a head for each kind of task."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array, Key, Params
from pliant.core.continual import DenseLayers
from pliant.core.settings import is_traced
from pliant.surgery.soft_sort import evenly_spaced, soft_sorted

_GUMBEL_FLOOR = 1e-20


class Draw(NamedTuple):
    """What one forward pass of an update gets beside the inputs."""

    slot: Array  # () int32: of the head
    mode: Array  # () int32: whose scores order the units
    other_mode: Array  # () int32: that the divergence compares with
    uniforms: tuple[Array, ...]  # (units,) of each hidden layer, in [0, 1), for the noise of the scores
    dropout: tuple[Array, ...]  # (batch, units) factors of each hidden layer; () where nothing drops out
    other_dropout: tuple[Array, ...]  # the same, in the forward pass of the other mode


class Route(NamedTuple):
    """How the network acts."""

    slot: Array  # () int32: of the head
    is_stored: Array  # () bool: whether the order of the units is the stored one, or that of a mode
    wiring: tuple[Array, ...]  # (units,) int32 of each hidden layer: the stored order
    mode: Array  # () int32: of the first environment
    stride: Array  # () int32: from the mode of an environment to the mode of the next
    learns: Array  # () bool: whether modes are drawn and units drop out, unless the network acts greedily


@dataclasses.dataclass(frozen=True)
class RewiredNetwork:
    """Hidden layers that all tasks share, with scores of the units in several modes, and a head for each slot.

    Parameters: `body` has the hidden layers; `heads` have a leading axis of slots; `mode_scores` are `(modes, units)`
    of each hidden layer; `output_scores` `(units,)` and `input_scores` `(inputs,)` align a layer with its anchor.

    Args:
        layers: of the plain network.
        modes: orders of the units that are learned at once.
        slots: heads.
        temperature: of the gradients of the scores.
        noise: factor of the Gumbel noise of the scores.
        dropout: the probability that a unit drops out, where `noise` is 0.
    """

    layers: DenseLayers
    modes: int
    slots: int
    temperature: float
    noise: float
    dropout: float

    @functools.cached_property
    def units(self) -> tuple[int, ...]:
        """Units of each hidden layer."""
        return self.layers.sizes[1:-1]

    @functools.cached_property
    def hidden(self) -> tuple[str, ...]:
        """Names of the hidden layers."""
        return tuple(f"Dense_{layer}" for layer in range(len(self.units)))

    @property
    def drops(self) -> bool:
        """Whether units may drop out; where a sweep traces the noise, its values decide."""
        return is_traced(self.noise) or self.noise == 0

    def even_scores(self) -> tuple[Params, Params]:
        """Output and input scores that align each unit with itself."""
        even = {name: evenly_spaced(jnp.arange(units)) for name, units in zip(self.hidden, self.units)}
        return even, {name: even[below] for below, name in itertools.pairwise(self.hidden)}

    def init(self, key: Key) -> Params:
        """Parameters before the first task: all modes keep the order of the units, and all heads are the same."""
        body = dict(self.layers.initialize(key, self.layers.sizes))
        head = body.pop(f"Dense_{len(self.units)}")
        outputs, inputs = self.even_scores()
        return {
            "body": body,
            "heads": jax.tree.map(lambda x: jnp.repeat(x[None], self.slots, axis=0), head),
            "mode_scores": jax.tree.map(lambda x: jnp.repeat(x[None], self.modes, axis=0), outputs),
            "output_scores": outputs,
            "input_scores": inputs,
        }

    def draw(self, slot: Array, batch: int, key: Key) -> Draw:
        """Two modes, noise and dropout of one forward pass with the head of a slot. The key is consumed."""
        mode_key, other_key, noise_key, dropout_key, other_dropout_key = jax.random.split(key, 5)
        mode = jax.random.randint(mode_key, (), 0, self.modes)
        further = jax.random.randint(other_key, (), 1, max(self.modes, 2))
        return Draw(
            slot,
            mode,
            (mode + further) % self.modes,
            self._by_layer(jax.random.uniform(noise_key, (sum(self.units),))),
            self._draw_dropout(dropout_key, batch),
            self._draw_dropout(other_dropout_key, batch),
        )

    def apply(self, params: Params, inputs: Array, draw: Draw) -> Any:
        r"""Outputs in a mode, with the noise $g$ of a forward pass: scores $s + \beta g$ order the units.

        The gradient of the scores is multiplied by the number of modes, because an update sees one of them.
        """

        def reorder(layer: int, u: Array) -> Array:
            scores = params["mode_scores"][self.hidden[layer]][draw.mode]
            scores = scores + (self.modes - 1) * (scores - jax.lax.stop_gradient(scores))
            return soft_sorted(u, scores + self.noise * _gumbel(draw.uniforms[layer]), self.temperature)

        return self._forward(params, inputs, draw.slot, reorder, draw.dropout)

    def apply_other(self, params: Params, inputs: Array, draw: Draw) -> Any:
        """Outputs in the other mode, without noise and without gradients."""
        params = jax.lax.stop_gradient(params)

        def reorder(layer: int, u: Array) -> Array:
            return u[:, jnp.argsort(params["mode_scores"][self.hidden[layer]][draw.other_mode])]

        return self._forward(params, inputs, draw.slot, reorder, draw.other_dropout)

    def act(
        self, params: Params, route: Route, carry: Any, inputs: Array, *, is_first: Array, key: Key, greedy: bool
    ) -> tuple[Any, Any, Array]:
        """One step of all environments, see `TaskNetwork`; a drawn mode is the same in all environments."""
        del is_first
        num_envs = inputs.shape[0]
        modes = (route.mode + route.stride * jnp.arange(num_envs)) % self.modes
        dropout = ()
        if not greedy:
            mode_key, dropout_key = jax.random.split(key)
            modes = jnp.where(route.learns, jax.random.randint(mode_key, (), 0, self.modes), modes)
            drawn = self._draw_dropout(dropout_key, num_envs)
            dropout = tuple(jnp.where(route.learns, factors, 1.0) for factors in drawn)

        def reorder(layer: int, u: Array) -> Array:
            orders = jnp.argsort(params["mode_scores"][self.hidden[layer]])
            orders = jnp.where(route.is_stored, route.wiring[layer][None], orders)
            return jnp.take_along_axis(u, orders[modes], axis=1)

        return carry, self._forward(params, inputs, route.slot, reorder, dropout), jnp.zeros((num_envs, 0))

    def alignment(self, params: Params, anchor: Params, temperature: float) -> Array:
        r"""The squared distance of the body to the anchor in a learned order of the anchor's units, but for a constant.

        With the permutations $Z$ of the output scores and $A$ of the input scores, and kernels written
        `(outputs, inputs)`,

        $$\sum_l \|W_l\|^2 - 2 \langle Z_l^\top \bar W_l A_l, W_l \rangle + \|b_l\|^2 -
        2 \langle Z_l^\top \bar b_l, b_l \rangle.$$

        The code reorders the network in the place of the anchor: $\langle Z^\top \bar W A, W \rangle =
        \langle \bar W, Z W A^\top \rangle$.

        Args:
            params: of the network.
            anchor: like `body`.
            temperature: of the gradients of the scores.
        """
        total = jnp.zeros(())
        for name in self.hidden:
            layer = jnp.concatenate([params["body"][name]["kernel"], params["body"][name]["bias"][None]])
            aligned = soft_sorted(layer, params["output_scores"][name], temperature)
            kernel, bias = aligned[:-1], aligned[-1]
            if name in params["input_scores"]:
                kernel = soft_sorted(kernel.T, params["input_scores"][name], temperature).T
            near = jnp.vdot(anchor[name]["kernel"], kernel) + jnp.vdot(anchor[name]["bias"], bias)
            total = total + jnp.vdot(layer, layer) - 2 * near
        return total

    def _forward(
        self,
        params: Params,
        x: Array,
        slot: Array,
        reorder: Callable[[int, Array], Array],
        dropout: tuple[Array, ...],
    ) -> Any:
        """Outputs of a head.

        Args:
            params: of the network.
            x: `(batch, inputs)`.
            slot: `()` of the head.
            reorder: `(hidden layer, (batch, units)) -> (batch, units)`, before the activation.
            dropout: factors before the units are reordered, see `Draw`.
        """
        for layer, name in enumerate(self.hidden):
            u = x @ params["body"][name]["kernel"] + params["body"][name]["bias"][None]
            u = u * dropout[layer] if dropout else u
            x = self.layers.activation(reorder(layer, u))
        heads = params["heads"]
        return self.layers.outputs(x @ heads["kernel"][slot] + heads["bias"][slot][None])

    def _draw_dropout(self, key: Key, batch: int) -> tuple[Array, ...]:
        """Factors 0 or 1 / (1 - p) of all units, by 16 random bits each, because a CPU draws random bits slowly."""
        if not self.drops:
            return ()
        p = jnp.where(jnp.asarray(self.noise) == 0, self.dropout, 0.0)
        shape = batch, sum(self.units)
        words = jax.random.bits(key, (-(-shape[0] * shape[1] // 2),), jnp.uint32)
        bits = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[: shape[0] * shape[1]].reshape(shape)
        return self._by_layer(jnp.where(bits.astype(jnp.float32) < 2**16 * p, 0.0, 1 / (1 - p)))

    def _by_layer(self, x: Array) -> tuple[Array, ...]:
        """The numbers of the units of each hidden layer, of the last axis."""
        return tuple(jnp.split(x, np.cumsum(self.units)[:-1], axis=-1))


def _gumbel(uniforms: Array) -> Array:
    """Numbers of the Gumbel distribution, of numbers in [0, 1)."""
    return -jnp.log(-jnp.log(uniforms + _GUMBEL_FLOOR) + _GUMBEL_FLOOR)
