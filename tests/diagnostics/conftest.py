"""A network of two groups: a convolution read behind a flattening layer, and a stream read through two activations."""

from typing import NamedTuple

import numpy as np
import pytest

from pliant.core.units import Group, Incoming, Outgoing, Vector, Wiring


@pytest.fixture(scope="session")
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
    topology_steps: np.ndarray


class Nested(NamedTuple):
    inner: object


@pytest.fixture(scope="session")
def make_signals():
    """`make_signals(seed)`: all signals that a loop could pass, drawn at random."""

    def draw(seed):
        generator = np.random.default_rng(seed)

        def normal(*shape):
            return generator.normal(size=shape).astype(np.float32)

        def whole(*shape):
            return generator.integers(0, 9, shape, np.int32)

        def tree():
            return {
                "conv": {"kernel": normal(2, 2, 1, 3), "bias": np.zeros(3, np.float32)},
                "stream": {"kernel": normal(12, 2), "bias": np.ones(2, np.float32)},
                "left": {"kernel": normal(2, 1)},
                "right": {"kernel": normal(2, 1)},
                "batches": np.int32(7),
            }

        return {
            "features": {
                "conv": np.maximum(normal(5, 4, 3), 0),
                "stream@left": np.maximum(normal(5, 2) - 1, 0),
                "stream@right": np.tanh(normal(5, 2)),
            },
            "params": tree(),
            "previous_params": tree(),
            "grads": tree(),
            "method_state": (
                Nested(
                    UnitState(
                        age={"conv": whole(3), "stream": np.array([4, 0], np.int32)},
                        utility={"conv": normal(3) ** 2, "stream": np.array([0.5, 0.25], np.float32)},
                        replaced={"conv": whole(), "stream": np.int32(3)},
                    )
                ),
                Masks(*({"stream/kernel": generator.random((12, 2)) < 0.5} for _ in range(3)), topology_steps=whole()),
            ),
            "loss": np.float32(generator.random()),
        }

    return draw
