"""The networks that the problems need, as flax modules."""

from ._mlp import MLP as MLP
