"""Slowly-changing regression: a small network tracks a target function of inputs that change bit by bit.

The target is a random network of 100 linear threshold units. Most input bits keep their value for 10,000 examples
and then change. The learner is far smaller than the target, and has to track it after each change. With plain
backpropagation its error grows with the number of changes.

The changes are not tasks of a run. The target function stays the same and only its inputs drift, and neither learner
nor method is told of a change. A run may change the bits at each example, and may end between two changes; tasks have
whole blocks of examples.
"""

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Activation, Array, Key
from pliant.core.judgement import squared_error
from pliant.core.problem import Batch, Network, Stream
from pliant.core.settings import AtLeast, Between
from pliant.networks import MLP

AGENTS = {"sgd": {}}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of slowly-changing regression; the defaults are the paper's."""

    examples: Annotated[int, AtLeast(1)] = 1_000_000
    """Length of a run (examples; one update each)."""
    inputs: Annotated[int, AtLeast(1)] = 20
    """Input bits of the target and the learner."""
    flipping_bits: Annotated[int, AtLeast(1)] = 15
    """Input bits that change slowly; the others, at most 12, are drawn for each example."""
    flip_every: Annotated[int, AtLeast(1)] = 10_000
    """Examples between two changes of the slow bits."""
    flip: Literal["resample_all", "one"] = "resample_all"
    """At a change, draw all slow bits (as in the published figure), or flip one of them (as in the paper's text)."""
    target_units: Annotated[int, Between(1, 1_000_000)] = 100
    """Linear threshold units of the target."""
    beta: Annotated[float, Between(0, 1)] = 0.7
    """Fraction of a target unit's inputs that agree with its weights at its threshold."""
    hidden_units: Annotated[int, Between(0, 65_536)] = 5
    """Hidden units of the learner; 0 stands for a linear learner, the baseline."""
    activation: Activation = "relu"
    """Nonlinearity of the learner."""


class State(NamedTuple):
    weights: Array  # (target_units, inputs) of -1, 1
    biases: Array  # (target_units,) of -1, 1
    readout: Array  # (target_units,) of -1, 1
    offset: Array  # () -1 or 1
    slow: Array  # (flipping_bits,) of 0, 1: at the next example
    changes_key: Key
    examples_key: Key
    count: Array  # () examples so far


def make(config: Config) -> Stream:
    r"""The problem as a stream of single examples under the squared error.

    With weights $W \in \{\pm 1\}^{F \times m}$, biases $b$, readout $v$ and offset $c$ all drawn from $\pm 1$, the
    target is

    $$y = c + \sum_i v_i \, [\, W_i x + b_i > \tau_i \,], \qquad \tau_i = \beta (m + 1) - S_i, \qquad
    S_i = \tfrac12 \Big(m - \sum_j W_{ij} + b_i\Big),$$

    for inputs $x \in \{0, 1\}^m$. There is no noise.

    Raises:
        ValueError: if `flipping_bits` exceeds `inputs`, or leaves more than 12 fast bits.

    Differs from the authors' code: examples are drawn from the key during the run; none are stored.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024, Extended Data Fig. 2.
    """
    m, slow_bits, fast_bits = config.inputs, config.flipping_bits, config.inputs - config.flipping_bits
    if not 0 <= fast_bits <= 12:
        raise ValueError(
            f"inputs={m} and flipping_bits={slow_bits} leave {fast_bits} fast bits; write numbers that leave 0 to 12"
        )

    # All values of the fast bits. Between two changes of the slow bits there are no other inputs, so the target is
    # computed once for each input, and looked up for each example.
    patterns = (np.arange(2**fast_bits)[:, None] >> np.arange(fast_bits) & 1).astype(np.float32)

    def init(data: Any, key: Key) -> State:
        del data  # examples are made
        signs_key, slow_key, changes_key, examples_key = jax.random.split(key, 4)
        F = config.target_units
        signs = jax.random.rademacher(signs_key, (F * (m + 2) + 1,), jnp.float32)
        weights, biases, readout, offset = jnp.split(signs, np.cumsum([F * m, F, F]))
        slow = jax.random.bernoulli(slow_key, shape=(slow_bits,)).astype(jnp.float32)
        return State(
            weights.reshape(F, m), biases, readout, offset[0], slow, changes_key, examples_key, jnp.zeros((), jnp.int32)
        )

    def change(state: State, slow: Array, number: Array) -> Array:
        """The slow bits after change `number` (1, 2, ...)."""
        key = jax.random.fold_in(state.changes_key, number)
        if config.flip == "resample_all":
            return jax.random.bernoulli(key, shape=slow.shape).astype(slow.dtype)
        flipped = jax.random.randint(key, (), 0, slow_bits)
        return jnp.where(jnp.arange(slow_bits) == flipped, 1 - slow, slow)

    def target(state: State, x: Array) -> Array:
        """$y$ `()` for inputs `(m,)`."""
        S = (m - state.weights.sum(1) + state.biases) / 2
        tau = config.beta * (m + 1) - S
        fires = state.weights @ x + state.biases > tau
        return state.offset + state.readout @ fires.astype(x.dtype)

    def draw(data: Any, state: State, steps: int) -> tuple[State, Batch]:
        del data
        T = config.flip_every
        position = state.count % T + jnp.arange(steps)  # counted from the last change
        changes = state.count // T + 1 + jnp.arange((T - 1 + steps) // T)  # numbers of the next changes
        _, slow = jax.lax.scan(lambda old, number: (change(state, old, number),) * 2, state.slow, changes)
        slow = jnp.concatenate([state.slow[None], slow])  # (regimes, slow_bits)

        # Each example has a key for its fast bits, so that they do not depend on the lengths of chunks.
        keys = jax.vmap(jax.random.fold_in, (None, 0))(state.examples_key, state.count + jnp.arange(steps))
        pattern = jax.vmap(jax.random.bits)(keys) % 2**fast_bits

        shape = (len(slow), len(patterns))
        grid = jnp.concatenate(
            [
                jnp.broadcast_to(slow[:, None], (*shape, slow_bits)),
                jnp.broadcast_to(patterns, (*shape, fast_bits)),
            ],
            axis=-1,
        )
        here = (position // T, pattern)
        y = jax.vmap(jax.vmap(lambda x: target(state, x)))(grid)
        batch = Batch(x=grid[here][:, None], y=y[here][:, None, None])
        now = (state.count % T + steps) // T
        return state._replace(slow=slow[now], count=state.count + steps), batch

    mlp = MLP((config.hidden_units,) if config.hidden_units else (), 1, config.activation)
    network = Network(lambda key: mlp.init(key, jnp.zeros((1, m))), mlp.apply, config.activation)
    return Stream(init, draw, squared_error, network, config.examples)
