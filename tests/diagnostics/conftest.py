"""A network of two groups: a convolution read behind a flattening layer, and a stream read through two activations."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant.core.units import Group, Incoming, Outgoing, Vector, Wiring


@pytest.fixture
def wiring():
    # conv: 3 channels at 4 positions, channel i owns rows i, 3 + i, 6 + i, 9 + i of the kernel of `stream`.
    rows = np.arange(12).reshape(4, 3)
    return Wiring(
        {
            "conv": Group(
                "conv",
                units=3,
                incoming=(Incoming("conv/kernel", axis=3),),
                vectors=(Vector("conv/bias", axis=0),),
                outgoing=(Outgoing("stream/kernel", axis=0, indices=rows, feature="conv", bias="stream/bias"),),
            ),
            "stream": Group(
                "stream",
                units=2,
                incoming=(Incoming("stream/kernel", axis=1),),
                vectors=(Vector("stream/bias", axis=0),),
                outgoing=(
                    Outgoing("left/kernel", axis=0, feature="stream@left"),
                    Outgoing("right/kernel", axis=0, feature="stream@right"),
                ),
            ),
        }
    )


class UnitState(NamedTuple):
    age: dict
    utility: dict
    replaced: dict


class Masks(NamedTuple):
    mask: dict
    previous_mask: dict
    initial_mask: dict
    topology_steps: jax.Array


class Nested(NamedTuple):
    inner: object


@pytest.fixture
def make_signals():
    """`make_signals(seed)`: all signals that a loop could pass, drawn at random."""

    def draw(seed):
        keys = iter(jax.random.split(jax.random.key(seed), 30))

        def tree():
            return {
                "conv": {"kernel": jax.random.normal(next(keys), (2, 2, 1, 3)), "bias": jnp.zeros(3)},
                "stream": {"kernel": jax.random.normal(next(keys), (12, 2)), "bias": jnp.ones(2)},
                "left": {"kernel": jax.random.normal(next(keys), (2, 1))},
                "right": {"kernel": jax.random.normal(next(keys), (2, 1))},
                "batches": jnp.array(7),
            }

        return {
            "features": {
                "conv": jax.nn.relu(jax.random.normal(next(keys), (5, 4, 3))),
                "stream@left": jax.nn.relu(jax.random.normal(next(keys), (5, 2)) - 1),
                "stream@right": jnp.tanh(jax.random.normal(next(keys), (5, 2))),
            },
            "params": tree(),
            "previous_params": tree(),
            "grads": tree(),
            "method_state": (
                Nested(
                    UnitState(
                        age={"conv": jax.random.randint(next(keys), (3,), 0, 9), "stream": jnp.array([4, 0])},
                        utility={"conv": jax.random.uniform(next(keys), (3,)), "stream": jnp.array([0.5, 0.25])},
                        replaced={"conv": jax.random.randint(next(keys), (), 0, 9), "stream": jnp.array(3)},
                    )
                ),
                Masks(
                    *({"stream/kernel": jax.random.bernoulli(next(keys), 0.5, (12, 2))} for _ in range(3)),
                    topology_steps=jax.random.randint(next(keys), (), 0, 9),
                ),
            ),
            "loss": jax.random.uniform(next(keys)),
        }

    return draw
