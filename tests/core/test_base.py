import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from surgeries import adding, missing, recreating, train

from pliant.core.base import Edit, Surgery, plastic
from pliant.core.timing import every
from pliant.surgery.adam import adam

# What plastic composes


def test_gradient_pieces_come_before_and_surgeries_after_each_in_order():
    # Gradient 1: doubled, plus 1, is 3; a step of 0.1 * 3 from 1 gives 0.7; times 10, plus 5, is 12.
    def scaling(params, state, *, random, **signals):
        return Edit(params * 10), state

    plus_one = optax.stateless(lambda g, p: g + 1)
    tx = plastic(optax.sgd(0.1), Surgery(lambda p: (), scaling), optax.scale(2.0), (adding(5.0), plus_one))
    params, _ = train(tx, jnp.ones(()), jnp.ones(()), 1)
    np.testing.assert_allclose(params, 12.0, rtol=1e-6)


def test_without_methods_it_is_the_optimizer():
    params, grads = {"a": jnp.ones(3), "b": jnp.zeros((2, 2))}, {"a": jnp.arange(3.0), "b": jnp.ones((2, 2))}
    ours, _ = train(plastic(optax.adam(0.1)), params, grads, 5)
    theirs, _ = train(optax.adam(0.1), params, grads, 5)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_the_key_lives_in_the_state(key):
    def noise(params, state, *, random, **signals):
        return Edit(jax.random.normal(random, params.shape)), state

    def after(tx, steps):
        return train(tx, jnp.zeros(3), jnp.zeros(3), steps)[0]

    surgery = Surgery(lambda params: (), noise)
    np.testing.assert_array_equal(
        after(plastic(optax.sgd(0.0), surgery), 2), after(plastic(optax.sgd(0.0), surgery), 2)
    )
    different = [
        after(plastic(optax.sgd(0.0), surgery, key=0), 1),
        after(plastic(optax.sgd(0.0), surgery, key=1), 1),
        after(plastic(optax.sgd(0.0), surgery, key=jax.random.key(2)), 1),
        after(plastic(optax.sgd(0.0), surgery, key=0), 2),
        *train(plastic(optax.sgd(0.0), surgery, surgery), jnp.zeros(3), jnp.zeros(3), 1)[0][None],
    ]
    assert len({tuple(np.asarray(x).tolist()) for x in different}) == len(different)


def test_draws_ahead_equal_draws_inside(key):
    wiring, initialize = hand_wired.mlp(3, 4, 2), hand_wired.initializer(3, 4, 2)
    tx = plastic(optax.sgd(0.1), recreating(wiring, at=1), adding(0.0))
    params = initialize(key)
    state = tx.init(params)
    inside, _ = jax.jit(tx.update)(params, state, params)
    _, step_key = jax.random.split(state.key)
    drawn = jax.tree.map(lambda drawn: drawn[0], tx.draw(step_key, params, 1))
    ahead, left = jax.jit(tx.update)(params, state, params, random=drawn)
    jax.tree.map(np.testing.assert_array_equal, inside, ahead)
    assert (jax.random.key_data(left.key) == jax.random.key_data(state.key)).all()  # no draw, so no key was spent


def test_step_is_update_and_apply_updates(key):
    wiring, params = hand_wired.mlp(3, 4, 2), hand_wired.initializer(3, 4, 2)(key)
    tx = plastic(optax.adam(0.1), optax.scale(2.0), recreating(wiring, at=1), adding(0.5))
    state = tx.init(params)
    updates, updated = jax.jit(tx.update)(params, state, params, features=0)
    new, stepped = jax.jit(tx.step)(params, state, params, features=0)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), new, optax.apply_updates(params, updates)
    )
    jax.tree.map(
        lambda a, b: (
            np.testing.assert_array_equal(*map(jax.random.key_data, (a, b)))
            if a.dtype == updated.key.dtype
            else np.testing.assert_array_equal(a, b)
        ),
        stepped,
        updated,
    )


def test_unknown_signals_are_ignored_and_a_missing_one_is_named():
    def needing(params, state, *, random, features, **signals):
        return Edit(params + features), state

    tx = plastic(optax.sgd(0.1), optax.scale(1.0), Surgery(lambda params: (), needing))
    params = jnp.ones(2)
    state = tx.init(params)
    updates, _ = tx.update(params, state, params, features=1.0, weather="fine")
    np.testing.assert_allclose(updates, [0.9, 0.9], rtol=1e-6)
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'features'"):
        tx.update(params, state, params)


def test_update_needs_the_params():
    tx = plastic(optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"^plastic edits weights: call tx.update\(grads, state, params, ...\), with"):
        tx.update(jnp.ones(1), tx.init(jnp.ones(1)))


@pytest.mark.parametrize("method", [optax.sgd, "redo", None, [adding(1.0)]])
def test_refuses_what_is_no_method(method):
    with pytest.raises(
        TypeError, match=r"which is no plasticity method; write an optax.GradientTransformation, a plia"
    ):
        plastic(optax.sgd(0.1), (adding(1.0), method))


# Topologies


def test_a_topology_has_the_last_word_on_both_sides():
    # Wherever it stands: it sees the gradient of 1 doubled, the optimizer sees none of the missing weight, and what a
    # surgery adds to that goes.
    tx = plastic(optax.sgd(0.1, 0.9), missing(1), optax.scale(2.0), adding(5.0))
    params = tx.prepare(jnp.ones(3))
    assert params.tolist() == [1, 0, 1]
    params, state = train(tx, params, jnp.ones(3), 1)
    np.testing.assert_allclose(params, [1 - 0.2 + 5, 0, 1 - 0.2 + 5], rtol=1e-6)
    np.testing.assert_array_equal(optax.tree.get(state.optimizer, "trace"), [2, 0, 2])
    np.testing.assert_array_equal(state.after[1][1], [2, 2, 2])
    assert tx.mask(jnp.full(3, 7.0), state).tolist() == [7, 0, 7]


def test_without_topologies_nothing_is_prepared():
    params = {"a": jnp.ones(3)}
    tx = plastic(optax.adam(0.1), adding(1.0))
    assert tx.prepare(params) is params
    assert tx.mask(params, tx.init(params)) is params


def test_a_skipped_step_leaves_weights_and_memory_and_not_the_surgeries():
    # Gradient 1 with momentum 0.5: steps of 0.1, none, 0.15. The surgery adds 10 at each of the three.
    tx = plastic(optax.sgd(0.1, 0.5), adding(10.0), missing(1, skip_at=2), missing(2))
    params, state = train(tx, tx.prepare(jnp.ones(3)), jnp.ones(3), 3)
    np.testing.assert_allclose(params, [31 - 0.25, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(optax.tree.get(state.optimizer, "trace"), [1.5, 0, 0])
    assert tx.mask(jnp.full(3, 7.0), state).tolist() == [7, 0, 0]


def test_counts_of_steps_can_begin_anew_alone():
    tx = plastic(adam(0.1), missing(1, reset_count=True), reset_moments=False)
    _, state = train(tx, jnp.ones(3), jnp.ones(3), 2)
    assert optax.tree.get(state.optimizer, "count").tolist() == [0, 0, 0]
    np.testing.assert_allclose(optax.tree.get(state.optimizer, "mu"), [0.19, 0, 0.19], rtol=1e-6)
    with pytest.raises(
        ValueError, match=r"has one count for all weights; write pliant.adam \(per_weight_adam\), or turn"
    ):
        train(plastic(optax.adam(0.1), missing(1, reset_count=True)), jnp.ones(3), jnp.ones(3), 1)


# Where it goes


def test_vmap_equals_a_loop(key):
    wiring, initialize = hand_wired.mlp(3, 4, 2), hand_wired.initializer(3, 4, 2)

    def run(seed):
        params_key, method_key = jax.random.split(jax.random.fold_in(key, seed))
        tx = plastic(optax.adam(0.1), recreating(wiring), key=method_key)
        params = initialize(params_key)
        return train(tx, params, params, 5)[0]

    together = jax.vmap(run)(jnp.arange(3))
    for i in range(3):
        alone = run(i)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6), together, alone)


def test_settings_can_be_injected():
    def make(rate, amount):
        return plastic(optax.sgd(rate), adding(amount))

    tx = optax.inject_hyperparams(make)(rate=0.1, amount=optax.linear_schedule(0.0, 2.0, 2))
    # Steps -0.1 + 0, -0.1 + 1, -0.1 + 2 from 0.
    params, _ = train(tx, jnp.zeros(()), jnp.ones(()), 3)
    np.testing.assert_allclose(params, 2.7, rtol=1e-6)


def test_settings_can_be_swept(key):
    final = jax.vmap(lambda a, n: train(plastic(optax.sgd(0.0), every(n, adding(a))), jnp.zeros(()), 0.0, 6)[0])(
        jnp.array([1.0, 2.0]), jnp.array([2, 3])
    )
    np.testing.assert_allclose(final, [3.0, 4.0])  # three times 1, twice 2


def test_multi_steps():
    # Every second call steps: by the mean gradient, and then the surgery adds 1.
    tx = optax.MultiSteps(plastic(optax.sgd(1.0), adding(1.0)), every_k_schedule=2)
    for calls, expected in [(1, 0.0), (2, 0.5), (3, 0.5), (4, 1.0)]:
        params, _ = train(tx, jnp.zeros(()), jnp.full((), 0.5), calls)
        np.testing.assert_allclose(params, expected, atol=1e-6)


def test_masked_with_some_of_the_groups(key):
    wiring, params = hand_wired.mlp(3, 4, 5, 2), hand_wired.initializer(3, 4, 5, 2)(key)
    mask = {name: name in ("w1", "b1", "w2", "b2") for name in params}
    tx = optax.masked(plastic(optax.adam(0.1), recreating(wiring.only("w1"), group="w1", at=1)), mask)
    new, _ = train(tx, params, jax.tree.map(jnp.zeros_like, params), 1)
    for name in ("w0", "b0", "b2"):
        np.testing.assert_array_equal(new[name], params[name])
    assert not new["w2"][1].any() and new["b1"][1] == 0 and (new["w1"][:, 1] != params["w1"][:, 1]).all()

    with pytest.raises(ValueError, match=r"^the wiring names a parameter 'w0', but the parameters are: .*only\(...\)$"):
        whole = optax.masked(plastic(optax.adam(0.1), recreating(wiring, at=1)), mask)
        whole.update(params, whole.init(params), params)


def test_a_training_step_may_donate(key):
    wiring, params = hand_wired.mlp(3, 4, 2), hand_wired.initializer(3, 4, 2)(key)
    tx = plastic(optax.adam(0.1), recreating(wiring, at=1))
    state = jax.jit(tx.init)(params)

    def step(params, state):
        updates, state = tx.update(params, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step, donate_argnums=(0, 1))
    for _ in range(3):
        params, state = step(params, state)
    assert step._cache_size() == 1 and jnp.isfinite(params["w0"]).all()


# The optimizer's memory of what went

OPTIMIZERS = {
    "adam": optax.adam(0.01),
    "adamw": optax.adamw(0.01),
    "nadam": optax.nadam(0.01),
    "rmsprop": optax.rmsprop(0.01, initial_scale=0.5, momentum=0.9),
    "momentum": optax.sgd(0.01, 0.9),
    "adagrad": optax.adagrad(0.01),  # whose memory begins at 0.1
    "lion": optax.lion(0.01),
    "amsgrad": optax.amsgrad(0.01),
    "adadelta": optax.adadelta(0.01),
    "clip_adam": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01)),
    "two_rates": optax.chain(optax.adam(0.01), optax.trace(0.5)),
    "injected": optax.inject_hyperparams(optax.adam)(0.01),
    "per_weight_adam": adam(0.01),
}
NETWORKS = {
    # name: (wiring, initializer, paths -> which entries of a leaf belong to the unit of index 1)
    "mlp": (
        hand_wired.mlp(3, 4, 2),
        hand_wired.initializer(3, 4, 2),
        "w0",
        {"w0": np.s_[:, 1], "b0": np.s_[1], "w1": np.s_[1]},
    ),
    # Without biases, and with a norm between: whoever counts on weight, bias, weight, bias clears the wrong leaves.
    "mlp_without_bias": (
        hand_wired.mlp(3, 4, 2, bias=False),
        hand_wired.initializer(3, 4, 2, bias=False),
        "w0",
        {"w0": np.s_[:, 1], "w1": np.s_[1]},
    ),
    "normed_convnet": (
        *hand_wired.normed_convnet(),
        "conv",
        {
            "conv/kernel": np.s_[..., 1],
            "norm/scale": np.s_[1],
            "norm/shift": np.s_[1],
            "out/kernel": np.s_[1::3],
        },
    ),
}


@pytest.mark.parametrize(
    "optimizer, network, reset_moments",
    [(optimizer, "mlp", True) for optimizer in OPTIMIZERS]
    + [("adam", network, clear) for network in NETWORKS for clear in (True, False)][1:],
)
def test_memory_of_a_unit_made_anew_is_as_at_the_start(key, optimizer, network, reset_moments):
    wiring, initialize, group, owned = NETWORKS[network]
    optimizer, params = OPTIMIZERS[optimizer], initialize(key)
    grads = jax.tree.map(lambda w: jnp.sign(w) + w, params)
    surgery = recreating(wiring, group=group, at=3)
    _, with_surgery = train(plastic(optimizer, surgery, reset_moments=reset_moments), params, grads, 3)
    _, without = train(plastic(optimizer), params, grads, 3)
    initial = optimizer.init(params)

    def check(now, reference, start, path):
        now, expected = np.asarray(now), np.array(reference)
        if reset_moments and path in owned:
            assert not np.allclose(expected[owned[path]], np.asarray(start)[owned[path]])
            expected[owned[path]] = np.asarray(start)[owned[path]]
        np.testing.assert_allclose(now, expected, rtol=1e-6)

    paths = jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/"), params
    )
    memory_paths = optax.tree.map_params(
        optimizer, lambda _, path: path, initial, paths, transform_non_params=lambda _: "shared"
    )
    jax.tree.map(check, with_surgery.optimizer, without.optimizer, initial, memory_paths)


def test_memory_that_weights_share_stays(key):
    # Adafactor keeps means over rows and columns: no unit owns them, so they are as without the surgery.
    wiring, params = hand_wired.mlp(130, 140, 129), hand_wired.initializer(130, 140, 129)(key)
    optimizer = optax.adafactor(0.01, min_dim_size_to_factor=128)
    _, ours = train(plastic(optimizer, recreating(wiring, at=2)), params, params, 2)
    _, theirs = train(plastic(optimizer), params, params, 2)
    ours, theirs = (optax.tree.get(s.optimizer, "FactoredState") for s in (ours, theirs))
    for name in ("w0", "w1"):
        assert ours.v_row[name].size > 1
        np.testing.assert_allclose(ours.v_row[name], theirs.v_row[name], rtol=1e-6)
        np.testing.assert_allclose(ours.v_col[name], theirs.v_col[name], rtol=1e-6)
    # The biases are not factored: what belongs to the unit alone begins anew.
    np.testing.assert_allclose(ours.v["b0"][1], 0.0)
    np.testing.assert_allclose(ours.v["b0"][2], theirs.v["b0"][2], rtol=1e-6)


def test_several_surgeries_clear_what_any_made_anew(key):
    wiring, params = hand_wired.mlp(3, 4, 2), hand_wired.initializer(3, 4, 2)(key)
    tx = plastic(optax.sgd(0.1, 0.9), recreating(wiring, unit=0), adding(0.0), recreating(wiring, unit=2))
    _, state = train(tx, params, jax.tree.map(jnp.ones_like, params), 3)
    trace = optax.tree.get(state.optimizer, "trace")
    # Gradients of 1 sum to 1 + 0.9 + 0.81 = 2.71.
    np.testing.assert_allclose(trace["b0"], [0, 2.71, 0, 2.71], rtol=1e-6)
    np.testing.assert_allclose(trace["w0"], [[0, 2.71, 0, 2.71]] * 3, rtol=1e-6)
    np.testing.assert_allclose(trace["w1"], [[0, 0], [2.71, 2.71], [0, 0], [2.71, 2.71]], rtol=1e-6)


def test_nan_in_a_unit_made_anew_does_not_survive_in_memory_or_update(key):
    wiring, params = hand_wired.mlp(3, 4, 2), hand_wired.initializer(3, 4, 2)(key)
    tx = plastic(optax.adam(0.1), recreating(wiring, at=1))
    grads = jax.tree.map(jnp.ones_like, params)
    grads["w0"] = grads["w0"].at[:, 1].set(jnp.nan)
    grads["w1"] = grads["w1"].at[1].set(jnp.inf)
    new, state = train(tx, params, grads, 1)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((new, state.optimizer)))
    assert not new["w1"][1].any()


def test_nan_in_the_weights_of_a_unit_made_anew_does_not_survive_a_step(key):
    # A difference to NaN is NaN: of the two ways only `step` heals.
    wiring, params = hand_wired.mlp(3, 4, 2), hand_wired.initializer(3, 4, 2)(key)
    grads = jax.tree.map(jnp.zeros_like, params)
    params["w0"] = params["w0"].at[:, 1].set(jnp.nan)
    params["w1"] = params["w1"].at[1].set(jnp.nan)
    tx = plastic(optax.adam(0.1), recreating(wiring, at=1))
    new, state = jax.jit(tx.step)(grads, tx.init(params), params)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((new, state.optimizer)))
