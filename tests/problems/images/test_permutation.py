import jax
import numpy as np
import trees

from pliant.problems.images._permutation import permutation


def test_a_permutation_of_a_few_moves_a_random_choice_among_each_other():
    drawn = jax.jit(jax.vmap(lambda key: permutation(key, 6, 3)))(trees.keys(range(200)))
    drawn = np.asarray(drawn)
    assert (np.sort(drawn, 1) == np.arange(6)).all() and ((drawn != np.arange(6)).sum(1) <= 3).all()
    # Each of the 6 places is moved in 3/6 x 2/3 of the draws.
    np.testing.assert_allclose((drawn != np.arange(6)).mean(0), 1 / 3, atol=0.12)
