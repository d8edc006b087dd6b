import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import trees

from pliant.agents._distributions import Categorical, DiagonalNormal, distribution
from pliant.core.problem import Continuous, Discrete

MEAN = np.array([[0.5, -2.0, 0.0], [3.0, 0.1, -0.7]], np.float32)
LOG_STD = np.array([0.3, -1.0, 0.0], np.float32)
LOGITS = np.array([[0.0, 1.0, -2.0, 0.5], [50.0, 0.0, 49.0, -50.0]], np.float32)
DRAWS = 20_000


def softmax(logits):
    odds = np.exp(logits.astype(float) - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def many(pi):
    """`(DRAWS, batch, ...)` samples."""
    return np.asarray(jax.jit(jax.vmap(pi.sample))(trees.keys(range(DRAWS))))


def test_normal_density_and_entropy_are_scipys():
    pi, action = DiagonalNormal(MEAN, LOG_STD), np.array([[0.0, -2.2, 4.0], [3.0, 0.5, 0.0]], np.float32)
    parts = scipy.stats.norm(MEAN.astype(float), np.exp(LOG_STD.astype(float)))
    np.testing.assert_allclose(jax.jit(pi.log_prob)(action), parts.logpdf(action).sum(1), rtol=1e-5)
    np.testing.assert_allclose(jax.jit(pi.entropy)(), parts.entropy().sum(1), rtol=1e-6)
    np.testing.assert_array_equal(pi.mode(), MEAN)


def test_normal_samples_have_its_moments():
    drawn, std = many(DiagonalNormal(MEAN, LOG_STD)), np.exp(LOG_STD)
    five = 5 / np.sqrt(DRAWS)  # five standard errors of a mean in standard deviations; a std's error is less
    np.testing.assert_array_less(np.abs(drawn.mean(0) - MEAN) / std, five)
    np.testing.assert_array_less(np.abs(drawn.std(0) / std - 1), five)
    # All numbers of a batch are independent of each other.
    correlation = np.corrcoef(drawn.reshape(DRAWS, -1).T)
    np.testing.assert_array_less(np.abs(correlation - np.eye(6)), five)


def test_categorical_probability_and_entropy_are_scipys():
    pi, p = Categorical(LOGITS), softmax(LOGITS)
    log_prob = jax.jit(pi.log_prob)
    for action in range(4):
        np.testing.assert_allclose(log_prob(np.full(2, action, np.int32)), np.log(p[:, action]), rtol=1e-5)
    np.testing.assert_allclose(log_prob(np.int32([2, 1])), np.log([p[0, 2], p[1, 1]]), rtol=1e-5)
    entropy, mode = jax.jit(lambda pi: (pi.entropy(), pi.mode()))(pi)
    np.testing.assert_allclose(entropy, scipy.stats.entropy(p, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(mode, [1, 0])


def test_categorical_samples_have_its_frequencies():
    drawn, p = many(Categorical(LOGITS)), softmax(LOGITS)
    assert drawn.dtype == np.int32
    for row in range(2):
        frequency = np.bincount(drawn[:, row], minlength=4) / DRAWS
        np.testing.assert_array_less(np.abs(frequency - p[row]), 5 * np.sqrt(p[row] * (1 - p[row]) / DRAWS) + 1e-9)


def test_a_distribution_suits_the_actions():
    assert isinstance(distribution(Continuous(3), (MEAN, LOG_STD)), DiagonalNormal)
    assert isinstance(distribution(Discrete(4), LOGITS), Categorical)


@pytest.mark.parametrize("pi", [DiagonalNormal(MEAN, LOG_STD), Categorical(LOGITS)], ids=["normal", "categorical"])
def test_shapes(pi):
    def everything(key):
        action = pi.sample(key)
        return action, jnp.asarray(pi.mode()), pi.log_prob(action), pi.entropy()

    action, mode, log_prob, entropy = jax.eval_shape(everything, trees.key(0))
    assert action.shape == mode.shape and action.dtype == mode.dtype
    assert log_prob.shape == entropy.shape == (2,)
