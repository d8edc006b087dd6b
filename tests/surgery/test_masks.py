import jax
import numpy as np
import pytest

from pliant.surgery.masks import allot, grow_and_prune, largest, masked, ordered, owned_until


def marks(mask):
    return "".join(".x"[int(there)] for there in np.ravel(mask))


def mask_of(text):
    return np.array([letter == "x" for letter in text])


def test_masked_leaves_are_zero_where_the_mask_is_false_and_the_others_are_left_out():
    found = jax.jit(masked)({"a": np.arange(1.0, 4.0), "b": np.ones(2)}, {"a": mask_of("x.x")})
    assert {path: leaf.tolist() for path, leaf in found.items()} == {"a": [1, 0, 3]}


# Growth and pruning

topology_step = jax.jit(lambda mask, worth, demand, grown, pruned, ties: grow_and_prune(
    mask, ordered(worth), ordered(demand), grown=grown, pruned=pruned, ties=ties
))  # fmt: skip
WORTH = np.array([9.0, 1.0, 5.0, 7.0, 3.0, 8.0])  # of weights that are there: 9, 1, 5
DEMAND = np.array([0.0, 6.0, 1.0, 2.0, 4.0, 3.0])


@pytest.mark.parametrize(
    "grown, pruned, expected",
    [
        (0, 0, "xxx..."),
        (1, 0, "xxx.x."),  # of the missing, 2, 4 and 3 are asked for
        (2, 0, "xxx.xx"),
        (0, 1, "x.x..."),  # the 1 is worth least
        (1, 1, "xxx..."),  # and comes back, for of all that are out it is asked for most
        (2, 1, "xxx.x."),
        (3, 2, "xx..xx"),  # 1 and 5 go; 6, 4, 3 come
        (9, 0, "xxxxxx"),  # more than are missing
        (0, 9, "......"),  # more than there are
        (-1, 0, "xxx..."),  # none grows
    ],
)
def test_the_least_worth_go_and_the_most_wanted_come(grown, pruned, expected):
    ties = np.array([0, 0], np.uint32)
    found = topology_step(mask_of("xxx..."), WORTH, DEMAND, np.int32(grown), np.int32(pruned), ties)
    assert marks(found) == expected


def test_a_negative_number_of_pruned_weights_adds_missing_ones_at_random():
    found = {
        marks(topology_step(mask_of("xxx..."), WORTH, DEMAND, np.int32(0), np.int32(-1), np.array([tie, 0], np.uint32)))
        for tie in range(12)
    }
    assert found == {"xxxx..", "xxx.x.", "xxx..x"}


def test_equal_weights_grow_by_chance_and_a_present_one_is_kept_before_a_missing_one():
    equal, found = np.ones(6), set()
    for tie in range(30):
        ties = np.array([0, tie], np.uint32)
        found.add(marks(topology_step(mask_of("xxx..."), equal, equal, np.int32(1), np.int32(0), ties)))
    assert found == {"xxxx..", "xxx.x.", "xxx..x"}


# The largest

choose = jax.jit(largest)


@pytest.mark.parametrize(
    "count, expected", [(-1, "....."), (0, "....."), (1, "...x."), (2, ".x.x."), (4, "xxxx."), (9, "xxxx.")]
)
def test_the_largest_keys_are_chosen_and_those_of_0_never(count, expected):
    keys = np.array([[2, 2**31 + 7, 1, 2**32 - 1, 0]], np.uint32)
    chosen = choose(keys, np.int32(count), np.uint32(0))
    assert chosen.shape == (1, 5) and marks(chosen) == expected


def test_equal_keys_are_chosen_by_chance_and_exactly_as_many():
    keys = np.where(np.arange(200) < 100, 5, 7).astype(np.uint32)
    keys[3] = 9  # one 9, 100 sevens, 99 fives
    seeds = np.arange(400, dtype=np.uint32)
    chosen = np.asarray(jax.jit(jax.vmap(lambda keys, seed: largest(keys, 31, seed), (None, 0)))(keys, seeds))
    assert (chosen.sum(1) == 31).all() and chosen[:, 3].all()
    often = chosen[:, 100:].mean(0)  # each 30 % of the time, with a standard deviation of 2.3 %
    assert often.min() > 0.2 and often.max() < 0.4 and not chosen[:, :3].any()
    assert (chosen[0] != chosen[1]).any() and (choose(keys, np.int32(31), seeds[1]) == chosen[1]).all()


def test_bits_are_ordered_as_the_numbers():
    numbers = np.sort(np.abs(np.random.default_rng(0).normal(size=50)) ** 9)
    numbers = np.concatenate([[0.0], numbers, [np.inf]]).astype(np.float32)
    bits = np.asarray(jax.jit(ordered)(numbers)).astype(np.int64)
    assert (np.diff(bits) > 0).all() and bits[-1] < 2**31
    half = jax.jit(ordered)(np.array([1.5], jax.numpy.bfloat16))
    assert half == np.float32(1.5).view(np.uint32)


# Owners

allotted = jax.jit(allot)
WEIGHTS = np.array([-7, 1, 6, -2, 5, 3, -4, 0], np.float32)


@pytest.mark.parametrize(
    "owners, rank, expected",
    [
        ("........", 6, "2.2....."),  # magnitudes 0 1 2 3 4 5 6 7: the sixth is 5
        ("0.0.....", 6, "0.0.2.2."),  # 0 0 0 1 2 3 4 5 with the owned ones as 0: the sixth is 3
        ("0.0.1.1.", 6, "0.02121."),  # 0 0 0 0 0 1 2 3: the sixth is 1, and the weights 3 and -2 are above it
        ("010.1111", 6, "01021111"),  # seven of 0: what is left is above them
        ("01021111", 6, "01021111"),  # and then nothing is
        ("........", 0, "2222222."),  # a weight of 0 is above no rank
        ("........", 8, "........"),
    ],
)
def test_an_owner_gets_the_free_weights_above_a_rank_among_all(owners, rank, expected):
    owners = np.array([-1 if letter == "." else int(letter) for letter in owners], np.int8)
    found = allotted(owners, WEIGHTS, np.int32(2), np.int32(rank))
    assert found.dtype == np.int8
    assert "".join("." if owner < 0 else str(owner) for owner in np.asarray(found)) == expected


def test_equal_weights_at_the_rank_stay_free():
    # Of the magnitudes 1 2 2 3 the third is 2, and only 3 is above it.
    found = allotted(np.full(4, -1, np.int8), np.float32([2, 3, -2, 1]), np.int32(0), np.int32(3))
    np.testing.assert_array_equal(found, [-1, 0, -1, -1])


def test_weights_owned_until_an_owner():
    assert marks(jax.jit(owned_until)(np.array([-1, 0, 1, 2], np.int8), np.int32(1))) == ".xx."
