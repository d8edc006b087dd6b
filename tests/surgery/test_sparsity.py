import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant.surgery.masks import largest, ordered
from pliant.surgery.sparsity import erdos_renyi

H = 256


@pytest.mark.parametrize(
    "observations, actions, actor, critic",
    [
        (17, 6, [0, 0.8719, 0], [0.0188, 0.8382, 0.8382, 0]),  # HalfCheetah, Walker2d
        (11, 3, [0, 0.8438, 0], [0, 0.8250, 0.8250, 0]),  # Hopper
        (27, 8, [0.3382, 0.8737, 0], [0.3184, 0.8360, 0.8360, 0]),  # Ant
        (111, 8, [0.7480, 0.8476, 0], [0.7193, 0.8219, 0.8219, 0]),  # Ant with contact forces
        (376, 17, [0.8343, 0.8028, 0], [0.8229, 0.7855, 0.7855, 0]),  # Humanoid
    ],
)
def test_the_published_networks_at_a_sparsity_of_80_percent(observations, actions, actor, critic):
    layers = [(observations, H), (H, H), (H, actions)]
    np.testing.assert_allclose(erdos_renyi(layers, 0.8), actor, atol=5e-5)
    layers = [(observations + actions, H), (H, H), (H, H), (H, 1)] * 2  # twins, each with a LayerNorm of 256 scales
    np.testing.assert_allclose(erdos_renyi(layers, 0.8, whole=2 * H), critic * 2, atol=5e-5)


def test_by_hand():
    # p: 9/20, 6/5; 38 % of 25 weights are 9.5 = epsilon (9 + 6): epsilon 0.6333, densities 0.285 and 0.76.
    np.testing.assert_allclose(erdos_renyi([(4, 5), (5, 1)], 0.62), [0.715, 0.24])
    # 80 % are 20 = 15 epsilon: the second would be more than full, 1.6; the first has the other 15 of its 20.
    np.testing.assert_allclose(erdos_renyi([(4, 5), (5, 1)], 0.2), [0.25, 0], atol=1e-12)
    # With 5 whole weights besides, 20 % of 30 missing are 6 of the first 20.
    np.testing.assert_allclose(erdos_renyi([(4, 5), (5, 1)], 0.2, whole=5), [0.3, 0], atol=1e-12)
    np.testing.assert_array_equal(erdos_renyi([(4, 5), (5, 1)], 0.0), [0, 0])


def test_a_traced_sparsity_gives_the_same():
    layers, values = [(17, H), (H, H), (H, 6), (3, 3, 8, 8)], jnp.array([0.0, 0.2, 0.8, 0.99])
    traced = jax.jit(jax.vmap(lambda s: erdos_renyi(layers, s)))(values)
    np.testing.assert_allclose(traced, [erdos_renyi(layers, s) for s in (0.0, 0.2, 0.8, 0.99)], atol=1e-6)


def test_more_whole_weights_than_there_shall_be_are_refused():
    error = r"^sparsity=0.9: of 25 weights 5 belong to norms, of which none can be missing; write at most 0.8$"
    with pytest.raises(ValueError, match=error):
        erdos_renyi([(4, 5)], 0.9, whole=5)


choose = jax.jit(largest)


@pytest.mark.parametrize(
    "count, expected",
    [(-1, ".....|"), (0, ".....|"), (1, "...x.|"), (2, ".x.x.|"), (4, "xxxx.|"), (9, "xxxx.|")],
)
def test_the_largest_keys_are_chosen_and_those_of_0_never(count, expected):
    keys = jnp.array([[2, 2**31 + 7, 1, 2**32 - 1, 0]], jnp.uint32)
    chosen = choose(keys, jnp.int32(count), jnp.uint32(0))
    assert chosen.shape == (1, 5) and "".join(".x"[int(c)] for c in chosen[0]) + "|" == expected


def test_equal_keys_are_chosen_by_chance_and_exactly_as_many():
    keys = jnp.where(jnp.arange(200) < 100, 5, 7).astype(jnp.uint32).at[3].set(9)  # one 9, 100 sevens, 99 fives
    chosen = jax.jit(jax.vmap(lambda seed: largest(keys, 31, seed)))(jnp.arange(400, dtype=jnp.uint32))
    assert (chosen.sum(1) == 31).all() and chosen[:, 3].all()
    often = np.asarray(chosen[:, 100:]).mean(0)  # each 30 % of the time, with a standard deviation of 2.3 %
    assert often.min() > 0.2 and often.max() < 0.4 and not chosen[:, :3].any()
    assert (chosen[0] != chosen[1]).any() and (choose(keys, 31, jnp.uint32(1)) == chosen[1]).all()


def test_bits_are_ordered_as_the_numbers():
    numbers = np.sort(np.abs(np.random.default_rng(0).normal(size=50)) ** 9).astype(np.float32)
    numbers = np.concatenate([[0.0], numbers, [np.inf]]).astype(np.float32)
    assert (np.diff(np.asarray(ordered(jnp.asarray(numbers))).astype(np.int64)) > 0).all()
    assert ordered(jnp.bfloat16(1.5)) == ordered(jnp.float32(1.5))
    assert int(ordered(jnp.float32(jnp.inf))) < 2**31
