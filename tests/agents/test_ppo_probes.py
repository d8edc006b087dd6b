"""PPO on problems with known answers, each of which asks for one thing more than those before it."""

import dataclasses

import environments
import numpy as np
import on_policy
import pytest

from pliant.agents import ppo

DISCOUNT = 0.9
CONFIG = ppo.Config(
    horizon=16, epochs=4, minibatches=4, learning_rate=0.01, schedule="linear", hidden_units=16, hidden_layers=1,
    activation="tanh", discount=DISCOUNT, truncation="bootstrap",
)  # fmt: skip


def train(environment, *seen, config=CONFIG, **how):
    return on_policy.train(ppo.make, config, environment, *seen, **how)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def assert_close(actual, expected, tolerance):
    np.testing.assert_allclose(actual, np.broadcast_to(expected, actual.shape), atol=tolerance)


def test_a_reward_to_come_is_discounted():
    # The reward of 1 comes at once where 1 is seen, and a step later where 0 is.
    assert_close(train(environments.delayed_reward(), 0, 1)[1], [DISCOUNT, 1], 0.05)


@pytest.mark.parametrize("truncation", ["bootstrap", "terminal"])
def test_a_time_limit_is_no_end_unless_it_is_taken_for_one(truncation):
    # Each step is worth 1, so that all that are to come are worth 1 / (1 - 0.9) = 10. If the limit of 4 steps is the
    # end, there are 4, 3, 2 or 1 of them, which cannot be told apart: with lambda = 1 the value is the mean of their
    # discounted sums, (1 + 1.9 + 2.71 + 3.439) / 4 = 2.262.
    config = dataclasses.replace(CONFIG, truncation=truncation, gae_lambda=1.0)
    V = train(environments.always_rewarded(), 1, time_limit=4, config=config)[1]
    assert_close(V, 10 if truncation == "bootstrap" else 2.262, 0.05)


def test_the_action_depends_on_what_is_seen():
    logits, V = train(environments.action_by_sight(), 1, -1)
    p = softmax(logits)
    assert (p[:, 0, 1] > 0.95).all() and (p[:, 1, 0] > 0.95).all()
    assert_close(V, 1, 0.05)


def test_the_mean_of_continuous_actions_moves_to_the_target():
    # Whatever is not the target costs, so that the standard deviation shrinks.
    (mean, log_std), _ = train(environments.aiming(), 1, -1)
    assert_close(mean[..., 0], [environments.target(1), environments.target(-1)], 0.05)
    assert (log_std < -1).all()
