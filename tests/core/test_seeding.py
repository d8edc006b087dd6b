"""The keys of training and evaluation, worked out from what `jax.random` splits and folds."""

import jax
import numpy as np
import pytest

from pliant.core.seeding import agent_keys, evaluation_keys, learner_keys

SEEDS = np.arange(6, dtype=np.uint32)


@pytest.fixture(scope="module")
def keys():
    """By their names, the data `(6, ..., 2)` of the keys of six seeds, and of two evaluations of each."""

    def of_seed(seed):
        made = {
            "learning": learner_keys(seed),
            "acting": agent_keys(seed),
            "evaluations": [evaluation_keys(seed, evaluation) for evaluation in (0, 7)],
            "split": jax.random.split(jax.random.key(seed)),
        }
        return jax.tree.map(jax.random.key_data, made)

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(of_seed))(SEEDS))


def test_a_problem_has_the_same_key_whatever_learns_from_it(keys):
    # The first half of the split key is the problem's, the second the learner's; an agent that acts splits it again.
    problem, learner = keys["learning"]
    np.testing.assert_array_equal(problem, keys["split"][:, 0])
    np.testing.assert_array_equal(learner, keys["split"][:, 1])
    np.testing.assert_array_equal(keys["acting"].problem, problem)
    assert (keys["acting"].agent != learner).any() and (keys["acting"].agent != keys["acting"].acting).any()


def test_no_key_of_the_training_is_used_in_an_evaluation(keys):
    # What is trained splits the seed's key again and again, by two or more: here four times, by three.
    def split_again(seed):
        tree, all_of_them = jax.random.key(seed)[None], []
        for _ in range(4):
            tree = jax.vmap(lambda key: jax.random.split(key, 3))(tree).reshape(-1)
            all_of_them.append(jax.random.key_data(tree))
        return all_of_them

    trees = [*map(np.asarray, jax.jit(jax.vmap(split_again))(SEEDS)), keys["split"]]
    training = set(map(tuple, np.concatenate([tree.reshape(-1, 2) for tree in trees]).tolist()))
    evaluations = np.stack([key for two in keys["evaluations"] for key in two])  # (4, 6, 2)
    evaluations = list(map(tuple, evaluations.reshape(-1, 2).tolist()))
    assert len(set(evaluations)) == len(evaluations) == 6 * 2 * 2
    assert not training & set(evaluations)
