import jax
import numpy as np
import pytest
import trees

from pliant.agents._advantage import generalized_advantages, normalized

estimate = jax.jit(generalized_advantages)


def advantages(reward, value, next_value, terminated, ended, discount=0.99, gae_lambda=0.95):
    """Of one environment: lists of steps in, `(T,)` out."""
    columns = [np.array(x, np.float32)[:, None] for x in (reward, value, next_value)]
    ends = [np.array(x, bool)[:, None] for x in (terminated, ended)]
    return np.asarray(estimate(*columns, *ends, discount, gae_lambda))[:, 0]


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
    reward, V, next_V = trees.normal(0, 3, 6, 4)
    ended = trees.normal(1, 6, 4) > 0.5
    together = np.asarray(estimate(reward, V, next_V, ended, ended, 0.9, 0.8))
    for e in range(4):
        alone = advantages(reward[:, e], V[:, e], next_V[:, e], ended[:, e], ended[:, e], 0.9, 0.8)
        np.testing.assert_allclose(together[:, e], alone, rtol=1e-6)


def test_advantages_are_standardized():
    # The published numbers: mean 3.6162025, and standard deviation 2.1847... with three degrees of freedom.
    given = np.float32([2.4008, 1.6, 6.56501, 3.899]), np.full(4, 3.0, np.float32), np.full(1, 3.0, np.float32)
    A, equal, single = jax.jit(lambda given: [normalized(x) for x in given])(given)
    np.testing.assert_allclose(A, [-0.556345, -0.922907, 1.349802, 0.129449], rtol=1e-5)
    # Equal ones are only shifted, be they one or many.
    np.testing.assert_array_equal(equal, np.zeros(4))
    np.testing.assert_array_equal(single, np.zeros(1))


def test_refuses_arrays_that_it_would_broadcast():
    square, row, no = np.zeros((3, 2)), np.zeros((1, 2)), np.zeros((3, 2), bool)
    with pytest.raises(ValueError, match=r"value \(1, 2\), .*: pass arrays of one shape, with 2 axes each") as error:
        generalized_advantages(square, row, square, no, no, 0.9, 0.9)
    assert "\n" not in str(error.value)
