"""How the predictions of a network are judged: a loss to descend, and metrics to report."""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from .base import Array


class Judgement(NamedTuple):
    """The judgement of a batch of predictions."""

    loss: Array  # () mean over the batch
    metrics: dict[str, Array]  # () each, means over the batch: accuracy


def squared_error(prediction: Array, y: Array) -> Judgement:
    r"""The mean of $(\hat y - y)^2$ over examples and outputs.

    Args:
        prediction: `(batch, *output)`.
        y: `(batch, *output)`.

    Raises:
        ValueError: if the shapes differ.
    """
    if prediction.shape != y.shape:
        raise ValueError(
            f"the network predicts {prediction.shape}, and y has shape {y.shape}; give y the shape of the predictions"
        )
    return Judgement(jnp.mean((prediction - y) ** 2), {})


def cross_entropy(prediction: Array, y: Array) -> Judgement:
    r"""The mean of $-\log \text{softmax}(z)_y$, and the accuracy: the largest logit being at $y$.

    Args:
        prediction: `(batch, classes)` logits $z$.
        y: `(batch,)` int, below `classes`.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if prediction.shape[:-1] != y.shape:
        raise ValueError(
            f"the network predicts {prediction.shape}, and y has shape {y.shape}; "
            "logits have one axis more than y, that of the classes"
        )
    loss = optax.losses.softmax_cross_entropy_with_integer_labels(prediction, y).mean()
    return Judgement(loss, {"accuracy": (prediction.argmax(-1) == y).mean()})
