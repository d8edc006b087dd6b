"""The keys of surgeries: each member has its own, and files can hold them."""

import flax.serialization
import hand_wired
import jax
import numpy as np
import optax
import trees
from surgeries import path_of, recreating

from pliant.core import keys
from pliant.core.base import Edit, stateless_surgery
from pliant.core.plastic import plastic

WIRING, PARAMS = hand_wired.mlp(3, 4, 2), hand_wired.params(3, 4, 2)


def noise(params, *, random, **signals):
    return Edit(jax.random.normal(random, params.shape))


def test_the_key_lives_in_the_state():
    surgery, start = stateless_surgery(noise), np.ones(3)

    def after_each_step(key, start=start):
        return path_of(plastic(optax.sgd(0.0), surgery, key=key), start, start, 2)[0]

    def of_two(key):
        return path_of(plastic(optax.sgd(0.0), surgery, surgery, key=key), start, start, 1)[0]

    def run(key):
        return after_each_step(0), after_each_step(1), after_each_step(0, 2 * start), after_each_step(key), of_two(0)

    run = jax.jit(run)
    of_zero, of_one, of_others, of_key, twice = map(np.asarray, run(trees.key(2)))
    different = [*of_zero, *of_one, *of_others, *of_key, *twice]
    assert len({tuple(x.tolist()) for x in different}) == len(different)
    again = run(trees.key(2))
    trees.assert_equal(again[0], of_zero)
    trees.assert_equal(again[3], of_key)


def test_each_member_of_an_ensemble_draws_for_itself():
    tx = plastic(optax.sgd(0.1), recreating(WIRING, at=1))
    members = trees.stacked([hand_wired.params(3, 4, 2, seed=seed) for seed in range(8)])

    def step(params, state):
        return tx.step(params, state, params)[0]

    # The eight fresh units of index 1, under `vmap` around the initial state, and within a compiled function.
    new = jax.jit(lambda members: jax.vmap(step)(members, jax.vmap(jax.jit(tx.init))(members)))(members)
    assert len({tuple(unit) for unit in np.asarray(new["w0"])[:, :, 1].tolist()}) == 8


def test_a_key_is_taken_as_it_is():
    def of(key):
        return plastic(optax.sgd(0.1), recreating(WIRING), key=key).init(PARAMS).key

    data = np.array([0, 7], np.uint32)
    found = jax.jit(lambda typed, data: (of(typed), of(data)))(trees.key(7), data)
    np.testing.assert_array_equal(found, [data, data])


def test_a_key_of_another_generator_stays_one():
    def draws(key):
        tx = plastic(optax.sgd(0.1), stateless_surgery(noise), key=key)
        state = tx.init(key_like)
        return state.key, tx.step(key_like, state, key_like)[0]

    key_like = np.ones(3)
    words, new = jax.jit(draws)(jax.random.wrap_key_data(np.arange(4, dtype=np.uint32), impl="rbg"))
    np.testing.assert_array_equal(words, [0, 1, 2, 3])
    assert trees.finite(new)


def test_files_hold_the_state(tmp_path):
    tx = plastic(optax.adam(0.1), recreating(WIRING, at=1))
    state = trees.numpy(jax.jit(tx.init)(PARAMS))
    back = flax.serialization.from_bytes(state, flax.serialization.to_bytes(state))
    trees.assert_equal(back, state)
    leaves, structure = jax.tree.flatten(jax.jit(tx.init)(PARAMS))
    np.savez(tmp_path / "state.npz", *leaves)
    with np.load(tmp_path / "state.npz") as file:
        trees.assert_equal(structure.unflatten(file.values()), state)


def test_any_number_of_the_parameters_changes_the_key_of_a_seed():
    # The words of -1.5 and 2 differ from those of 0 in their bits, the sum of two leaves from each.
    trees_of_one = [{"a": np.zeros(2, np.float32), "b": np.int32(0)} for _ in range(3)]
    trees_of_one[1]["a"][1], trees_of_one[2]["b"] = -1.5, np.int32(2)
    found = jax.jit(lambda trees: [keys.initial(0, tree) for tree in trees])(trees_of_one)
    assert len({tuple(np.asarray(key).tolist()) for key in found}) == 3
