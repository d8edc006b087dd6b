import dataclasses

import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trees
from surgeries import adding, missing, path_of, recreating, train, trajectory

from pliant.core.base import Edit, stateless_surgery
from pliant.core.plastic import Plastic, plastic
from pliant.core.timing import every
from pliant.surgery.adam import adam

ZERO, ONE = np.zeros(()), np.ones(())
WIRING, PARAMS = hand_wired.mlp(3, 4, 2), hand_wired.params(3, 4, 2)
ONES, ZEROS = (jax.tree.map(function, PARAMS) for function in (np.ones_like, np.zeros_like))

# What plastic composes


def test_gradient_pieces_come_before_and_surgeries_after_each_in_order():
    # Gradient 1: doubled, plus 1, is 3; a step of 0.1 * 3 from 1 gives 0.7; times 10, plus 5, is 12.
    plus_one = optax.stateless(lambda g, p: g + 1)
    scaling = stateless_surgery(lambda params, **signals: Edit(params * 10))
    tx = plastic(optax.sgd(0.1), scaling, optax.scale(2.0), (adding(5.0), plus_one))
    params, _ = train(tx, ONE, ONE, 1)
    np.testing.assert_allclose(params, 12.0, rtol=1e-6)


def test_a_surgery_before_the_step_comes_first_of_all():
    # 1 plus 5 is 6; with a weight decay of 0.5 the gradient of 1 is 1 + 0.5 * 6 = 4, and 6 - 0.1 * 4 = 5.6; times 10.
    decay = optax.stateless(lambda g, w: g + 0.5 * w)
    scaling = stateless_surgery(lambda params, **signals: Edit(params * 10))
    tx = plastic(optax.sgd(0.1), scaling, decay, adding(5.0)._replace(before_step=True))
    params, state = train(tx, ONE, ONE, 1)
    np.testing.assert_allclose(params, 56.0, rtol=1e-6)
    assert state.after[1] == 1  # each state is in its place


def test_a_weight_that_is_fresh_before_the_step_moves_at_once_without_old_momentum():
    # Momentum of gradients of 1 with decay 0.9: 1, 1.9 and 2.71, of which the third is 1 where a unit is fresh before
    # the third step: 0 - 0.1 * 1 in its outgoing weights. With the old momentum it is 0 - 0.1 * 2.71.
    for reset, moved in ((True, -0.1), (False, -0.271)):
        surgery = recreating(WIRING, at=3)._replace(before_step=True)
        params, _ = train(plastic(optax.sgd(0.1, 0.9), surgery, reset_moments=reset), PARAMS, ONES, 3)
        np.testing.assert_allclose(params["w1"][1], moved, rtol=1e-5)
        np.testing.assert_allclose(params["w1"][0], PARAMS["w1"][0] - 0.561, rtol=1e-5)


def test_without_methods_it_is_the_optimizer():
    params, grads = {"a": np.ones(3), "b": np.zeros((2, 2))}, {"a": np.arange(3.0), "b": np.ones((2, 2))}
    ours, _ = train(plastic(optax.adam(0.1)), params, grads, 5)
    theirs, _ = train(optax.adam(0.1), params, grads, 5)
    trees.assert_equal(ours, theirs)


def test_draws_ahead_equal_draws_inside():
    tx = plastic(optax.sgd(0.1), recreating(WIRING, at=1), adding(0.0))

    def both(params):
        state = tx.init(params)
        drawn = jax.tree.map(lambda drawn: drawn[0], tx.draw(jax.random.split(state.key)[1], params, 1))
        inside, _ = tx.update(params, state, params)
        ahead, left = tx.update(params, state, params, random=drawn)
        return inside, ahead, left.key, state.key

    inside, ahead, left, given = jax.jit(both)(PARAMS)
    trees.assert_equal(inside, ahead)
    trees.assert_equal(left, given)  # no draw, so no key was spent


def test_step_is_update_and_apply_updates():
    tx = plastic(optax.adam(0.1), optax.scale(2.0), recreating(WIRING, at=1), adding(0.5))

    def both(params):
        state = tx.init(params)
        updates, updated = tx.update(params, state, params, features=0)
        return (optax.apply_updates(params, updates), updated), tx.step(params, state, params, features=0)

    (applied, updated), (new, stepped) = jax.jit(both)(PARAMS)
    trees.assert_close(new, applied, rtol=1e-6, atol=1e-7)
    trees.assert_equal(stepped, updated)


def test_unknown_signals_are_ignored_and_a_missing_one_is_named():
    def needing(params, *, random, features, **signals):
        return Edit(params + features)

    tx = plastic(optax.sgd(0.1), optax.scale(1.0), stateless_surgery(needing))

    def update(params, **signals):
        return tx.update(params, tx.init(params), params, **signals)[0]

    updates = jax.jit(lambda params: update(params, features=1.0, weather="fine"))(np.ones(2))
    np.testing.assert_allclose(updates, [0.9, 0.9], rtol=1e-6)
    error = (
        r"^a method needs the signal 'features', .* write tx.update\(grads, state, params, features=features\), with"
    )
    with pytest.raises(TypeError, match=error):
        jax.eval_shape(update, np.ones(2))


def test_update_needs_the_params():
    tx = plastic(optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"^plastic edits weights: call tx.update\(grads, state, params, ...\), with"):
        jax.eval_shape(lambda params: tx.update(params, tx.init(params)), np.ones(1))


@pytest.mark.parametrize(
    "optimizer, error",
    [
        (optax.adam, r"as its optimizer; call it, as in optax.adam\(1e-3\)$"),
        (adding(1.0), r"^plastic got a method as its optimizer; write pliant.plastic\(optimizer, \*methods\)$"),
        ((optax.identity(), adding(1.0)), r"^plastic got a method as its optimizer; write"),
        ({"w": 1.0}, r"^plastic got {'w': 1.0} as its optimizer; write plastic\(optax.adam\(1e-3\), \*methods\)$"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_the_first_argument_is_an_optimizer(optimizer, error):
    with pytest.raises(TypeError, match=error):
        plastic(optimizer, adding(1.0))


@pytest.mark.usefixtures("unchecked")
def test_the_second_argument_of_update_is_the_state():
    tx = plastic(optax.sgd(0.1))
    with pytest.raises(
        TypeError, match=r"^tx.update got an object of type dict as its state; write tx.update\(grads, st"
    ):
        jax.eval_shape(lambda params: tx.update(tx.init(params), params, params), PARAMS)


@pytest.mark.parametrize("method", [optax.sgd, "redo", None, [adding(1.0)]])
@pytest.mark.usefixtures("unchecked")
def test_refuses_what_is_no_method(method):
    with pytest.raises(
        TypeError,
        match=r"which is not a plasticity method; (call it first, or )?write an optax.GradientTransformation, a plia",
    ):
        plastic(optax.sgd(0.1), (adding(1.0), method))


# Topologies


def test_a_topology_has_the_last_word_on_both_sides():
    # Wherever it stands: it sees the gradient of 1 doubled, the optimizer sees none of the missing weight, and what a
    # surgery adds to that goes.
    tx = plastic(optax.sgd(0.1, 0.9), missing(1), optax.scale(2.0), adding(5.0))

    @jax.jit
    def run(params):
        prepared = tx.prepare(params)
        new, state = tx.step(params, tx.init(prepared), prepared)
        return prepared, new, state, tx.mask(7 * params, state)

    prepared, params, state, copy = run(np.ones(3))
    assert prepared.tolist() == [1, 0, 1]
    np.testing.assert_allclose(params, [1 - 0.2 + 5, 0, 1 - 0.2 + 5], rtol=1e-6)
    np.testing.assert_array_equal(optax.tree.get(state.optimizer, "trace"), [2, 0, 2])
    np.testing.assert_array_equal(state.after[1][1], [2, 2, 2])
    assert copy.tolist() == [7, 0, 7]


def test_without_topologies_nothing_is_prepared():
    params = {"a": np.ones(3)}
    tx = plastic(optax.adam(0.1), adding(1.0))
    assert tx.prepare(params) is params
    assert tx.mask(params, jax.eval_shape(tx.init, params)) is params


def test_a_skipped_step_leaves_weights_and_optimizer_and_not_the_surgeries():
    # Gradient 1 with momentum 0.5: steps of 0.1, none, 0.15. The surgery adds 10 at each of the three.
    tx = plastic(optax.sgd(0.1, 0.5), adding(10.0), missing(1, skip_at=2), missing(2))

    @jax.jit
    def run(params):
        new, states = path_of(tx, tx.prepare(params), jnp.ones(3), 3)
        last = jax.tree.map(lambda leaf: leaf[-1], states)
        return new[-1], last, tx.mask(7 * params, last)

    params, state, copy = run(np.ones(3))
    np.testing.assert_allclose(params, [31 - 0.25, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(optax.tree.get(state.optimizer, "trace"), [1.5, 0, 0])
    assert copy.tolist() == [7, 0, 0]


def test_counts_of_steps_can_be_reset_alone():
    tx = plastic(adam(0.1), missing(1, reset_count=True), reset_moments=False)
    _, state = train(tx, np.ones(3), np.ones(3), 2)
    assert optax.tree.get(state.optimizer, "count").tolist() == [0, 0, 0]
    np.testing.assert_allclose(optax.tree.get(state.optimizer, "mu"), [0.19, 0, 0.19], rtol=1e-6)
    with pytest.raises(ValueError, match=r"has one count for all weights; write pliant.adam \(per_weight_adam\), or t"):
        train(plastic(optax.adam(0.1), missing(1, reset_count=True)), np.ones(3), np.ones(3), 1)


# Where it can be used


def test_it_is_a_frozen_dataclass_and_optax_takes_it_for_its_own():
    tx = plastic(optax.sgd(0.1), adding(1.0))
    assert isinstance(tx, Plastic) and optax.with_extra_args_support(tx) is tx
    init, update = tx
    assert init is tx.init and update is tx.update
    with pytest.raises(dataclasses.FrozenInstanceError):
        tx.step = None
    for replaced in (dataclasses.replace(tx, step=train), tx._replace(step=train)):
        assert replaced.step is train and replaced.prepare is tx.prepare and replaced.init is tx.init


def test_vmap_equals_a_loop():
    def run(key):
        params_key, method_key = jax.random.split(key)
        params = hand_wired.initializer(3, 4, 2)(params_key)
        tx = plastic(optax.adam(0.1), recreating(WIRING), key=method_key)
        return path_of(tx, params, params, 5)[0]

    together, alone = jax.jit(jax.vmap(run))(trees.keys(range(3))), jax.jit(run)
    for i in range(3):
        trees.assert_close(trees.at(together, i), alone(trees.key(i)), rtol=1e-5, atol=1e-6)


def test_settings_can_be_injected():
    def make(rate, amount):
        return plastic(optax.sgd(rate), adding(amount))

    tx = optax.inject_hyperparams(make)(rate=0.1, amount=optax.linear_schedule(0.0, 2.0, 2))
    # Steps -0.1 + 0, -0.1 + 1, -0.1 + 2 from 0.
    params, _ = train(tx, ZERO, ONE, 3)
    np.testing.assert_allclose(params, 2.7, rtol=1e-6)


def test_settings_can_be_swept():
    def final(amount, period):
        return path_of(plastic(optax.sgd(0.0), every(period, adding(amount))), jnp.zeros(()), jnp.zeros(()), 6)[0][-1]

    found = jax.jit(jax.vmap(final))(np.array([1.0, 2.0]), np.array([2, 3]))
    np.testing.assert_allclose(found, [3.0, 4.0])  # three times 1, twice 2


def test_multi_steps():
    # Every second call steps: by the mean gradient, and then the surgery adds 1.
    tx = optax.MultiSteps(plastic(optax.sgd(1.0), adding(1.0)), every_k_schedule=2)
    params, _ = trajectory(tx, ZERO, np.full((), 0.5), 4)
    np.testing.assert_allclose(params, [0.0, 0.5, 0.5, 1.0], atol=1e-6)


def test_masked_with_some_of_the_groups():
    wiring, params = hand_wired.mlp(3, 4, 5, 2), hand_wired.params(3, 4, 5, 2)
    mask = {name: name in ("w1", "b1", "w2", "b2") for name in params}
    tx = optax.masked(plastic(optax.adam(0.1), recreating(wiring.only("w1"), group="w1", at=1)), mask)
    new, _ = trees.numpy(train(tx, params, jax.tree.map(np.zeros_like, params), 1))
    for name in ("w0", "b0", "b2"):
        np.testing.assert_array_equal(new[name], params[name])
    assert not new["w2"][1].any() and new["b1"][1] == 0 and (new["w1"][:, 1] != params["w1"][:, 1]).all()

    whole = optax.masked(plastic(optax.adam(0.1), recreating(wiring, at=1)), mask)
    with pytest.raises(ValueError, match=r"^the wiring names a parameter 'w0', but the parameters are: .*only\(...\)"):
        jax.eval_shape(lambda params: whole.update(params, whole.init(params), params), params)


def test_a_training_step_may_donate():
    tx = plastic(optax.adam(0.1), recreating(WIRING, at=1))
    params, state = jax.jit(lambda params: (params, tx.init(params)))(PARAMS)

    def step(params, state):
        updates, state = tx.update(params, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step, donate_argnums=(0, 1))
    for _ in range(3):
        params, state = step(params, state)
    assert step._cache_size() == 1 and trees.finite(params["w0"])


# Weights and gradients that are not finite


def with_nan_in_unit_1(tree):
    tree = trees.changed(tree, "w0", lambda w: np.where(np.arange(4) == 1, np.nan, w))
    return trees.changed(tree, "w1", lambda w: np.where(np.arange(4)[:, None] == 1, np.inf, w))


def test_nan_in_the_gradient_of_a_reinitialized_unit_survives_neither_in_the_state_nor_in_the_update():
    tx = plastic(optax.adam(0.1), recreating(WIRING, at=1))
    new, state = trees.numpy(train(tx, PARAMS, with_nan_in_unit_1(ONES), 1))
    assert trees.finite((new, state.optimizer)) and not new["w1"][1].any()


def test_nan_in_the_weights_of_a_reinitialized_unit_does_not_survive_a_step():
    # A difference to NaN is NaN: of the two ways only `step` heals.
    tx = plastic(optax.adam(0.1), recreating(WIRING, at=1))
    new, state = jax.jit(lambda params: tx.step(ZEROS, tx.init(params), params))(with_nan_in_unit_1(PARAMS))
    assert trees.finite((new, state.optimizer))
