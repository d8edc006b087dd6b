"""Judgements in numbers by hand."""

import jax
import numpy as np
import pytest

from pliant.core.judgement import cross_entropy, squared_error


def test_squared_error_and_cross_entropy():
    prediction, y = np.float32([[1, 2], [3, 4]]), np.float32([[1, 0], [3, 0]])
    logits = np.log(np.float32([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
    error, entropy = jax.jit(lambda: (squared_error(prediction, y), cross_entropy(logits, np.int32([0, 2]))))()
    assert float(error.loss) == 5 and error.metrics == {}
    np.testing.assert_allclose(entropy.loss, -(np.log(0.5) + np.log(0.1)) / 2, rtol=1e-6)
    assert float(entropy.metrics["accuracy"]) == 0.5


def test_shapes_that_would_broadcast_are_refused():
    column = np.zeros((4, 1), np.float32)
    with pytest.raises(
        ValueError,
        match=r"^the network predicts \(4, 1\), and y has shape \(4,\); give y the shape of the predictions$",
    ):
        squared_error(column, column[:, 0])
    with pytest.raises(ValueError, match=r"\(4, 1\), and y has shape \(4, 1\); logits have one axis more than y"):
        cross_entropy(column, np.zeros((4, 1), int))
