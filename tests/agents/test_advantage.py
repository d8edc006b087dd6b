import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant.agents._advantage import generalized_advantages


def advantages(reward, value, next_value, terminated, ended, discount=0.99, gae_lambda=0.95):
    """Of one environment: lists of steps in, `(T,)` out."""
    columns = [jnp.array(x, float)[:, None] for x in (reward, value, next_value)]
    ends = [jnp.array(x, bool)[:, None] for x in (terminated, ended)]
    return jax.jit(generalized_advantages)(*columns, *ends, discount, gae_lambda)[:, 0]


def test_published_numbers():
    # delta_3 = 4 + 0.99 * 0.1 - 0.2 = 3.899             A_3 = 3.899
    # delta_2 = 3 + 0.99 * 0.2 - 0.3 = 2.898             A_2 = 2.898 + 0.9405 * 3.899 = 6.56501
    # delta_1 = 2 - 0.4 = 1.6, for the episode is over   A_1 = 1.6
    # delta_0 = 1 + 0.99 * 0.4 - 0.5 = 0.896             A_0 = 0.896 + 0.9405 * 1.6 = 2.4008
    done = [0, 1, 0, 0]
    A = advantages([1, 2, 3, 4], [0.5, 0.4, 0.3, 0.2], [0.4, 0.3, 0.2, 0.1], done, done)
    np.testing.assert_allclose(A, [2.4008, 1.6, 6.56501, 3.899], rtol=1e-5)


def test_an_episode_cut_short_is_worth_what_would_have_followed_but_not_what_the_next_one_brings():
    # With discount 0.5 and lambda 0.5: A_2 = 4 + 0.5 * 6 - 2 = 5, A_1 = 2 + 0.5 * 8 - 1 = 5 and A_0 =
    # 1 + 0.5 * 1 - 1 + 0.25 * 5 = 1.75. Had the episode gone on at step 1 it were 5 + 0.25 * 5; had it ended, 2 - 1.
    A = advantages([1, 2, 4], [1, 1, 2], [1, 8, 6], [0, 0, 0], [0, 1, 0], 0.5, 0.5)
    np.testing.assert_allclose(A, [1.75, 5, 5])


@pytest.mark.parametrize("gae_lambda", [0.0, 1.0])
def test_lambda_0_looks_one_step_ahead_and_lambda_1_to_the_end(gae_lambda):
    # Rewards 1, 2, 3 until the end, discount 0.5. One step: r + 0.5 V' - V = 1 + 2 - 2, 2 + 1 - 4, 3 - 2. To the end:
    # the returns 1 + 1 + 0.75, 2 + 1.5, 3 minus V.
    A = advantages([1, 2, 3], [2, 4, 2], [4, 2, 9], [0, 0, 1], [0, 0, 1], 0.5, gae_lambda)
    np.testing.assert_allclose(A, [1, -1, 1] if gae_lambda == 0 else [0.75, -0.5, 1])


def test_environments_do_not_mix():
    reward, V, next_V = jax.random.normal(jax.random.key(0), (3, 6, 4))
    ended = jax.random.bernoulli(jax.random.key(1), 0.3, (6, 4))
    together = jax.jit(generalized_advantages)(reward, V, next_V, ended, ended, 0.9, 0.8)
    for e in range(4):
        alone = advantages(reward[:, e], V[:, e], next_V[:, e], ended[:, e], ended[:, e], 0.9, 0.8)
        np.testing.assert_allclose(together[:, e], alone, rtol=1e-6)
