import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.problems.scenarios._rarely import rarely

KEYS, X = trees.keys(range(4)).reshape(2, 2), np.arange(4, dtype=np.float32).reshape(2, 2)


def drawn(key, x):
    jax.debug.callback(lambda: calls.append(1))
    return jax.random.normal(key, (3,)) + x, 2 * x


def chosen(condition, key, x):
    return rarely(condition, drawn, (jnp.zeros(3), -x), key, x)


def plain(condition, key, x):
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), drawn(key, x), (jnp.zeros(3), -x))


calls = []
ours, expected = (jax.jit(jax.vmap(jax.vmap(f))) for f in (chosen, plain))


@pytest.mark.parametrize("where", [(0, 0), (1, 1)])
def test_each_member_has_its_own_choice(where):
    condition = np.zeros((2, 2), bool)
    condition[where] = True
    for one, other in zip(ours(condition, KEYS, X), expected(condition, KEYS, X)):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_members_may_share_the_operands():
    condition = np.array([True, False])
    values = trees.numpy(jax.jit(jax.vmap(chosen, (0, None, None)))(condition, trees.key(0), np.float32(3)))
    np.testing.assert_array_equal(values[1], [6, -3])
    assert values[0][0].all() and not values[0][1].any()


def test_nothing_is_computed_where_no_condition_holds():
    calls.clear()
    result = ours(np.zeros((2, 2), bool), KEYS, X)
    np.testing.assert_array_equal(result[1], -X)
    jax.effects_barrier()
    assert not calls
    jax.block_until_ready(ours(np.eye(2, dtype=bool), KEYS, X))
    jax.effects_barrier()
    assert calls
