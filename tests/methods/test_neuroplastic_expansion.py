import itertools

import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trees

from pliant.core.clock import Clock
from pliant.core.plastic import plastic
from pliant.core.units import Group, Incoming, Outgoing, Vector, Wiring
from pliant.methods import neuroplastic_expansion
from pliant.surgery.adam import adam

# The network of these tests has layers of 4 x 5 and 5 x 1. At a sparsity of 0.62 they have the sparsities 0.715 and
# 0.24 (see `test_by_hand` of sparsity): missing are 14 of 20 and 1 of 5, so that 6 and 4 weights are there at first. At
# a rate of 0.5 grow 0.5 (0.62 * 20 - 6) = 3.2, that is 3, for which 0.4 * 3 = 1.2, that is 1, is pruned; in the second
# layer 0.5 (3.1 - 4) = -0.45, that is none.
QUICK = {"xla_backend_optimization_level": 0}  # nearly all the time goes into compiling
FAST = {"xla_backend_optimization_level": 2, "xla_llvm_disable_expensive_passes": False}  # or into hundreds of steps
WIRING = hand_wired.mlp(4, 5, 1, bias=False)
SETTINGS = {"initial_sparsity": 0.62, "final_sparsity": 0.1, "rate": 0.5, "period": 2, "end": 1000}
WEIGHTS = {  # the six largest of the first layer come first, then zeros that were larger than those behind them
    "w0": np.array([[9.0, -8.0, 7.0, 6.0, -5.0], [4.0, 0.9, 0.9, 0.9, 0.9], [0.1] * 5, [0.1] * 5], np.float32),
    "w1": np.array([[5.0], [4.0], [-3.0], [2.0], [1.0]], np.float32),
}


def rows(mask):
    return ["".join(".x"[int(there)] for there in row) for row in mask]


def step_of(*, optimizer=None, number=2, clock=1, **settings):
    """`(weights, grads, key, features) -> (params, state)`: a step at which the topology may change; not compiled."""
    method = neuroplastic_expansion(WIRING, **{**SETTINGS, **settings})

    def step(weights, grads, key, features):
        tx = plastic(optimizer or optax.sgd(1.0), method, key=key)
        params = tx.prepare(weights)
        state = tx.init(params)
        (topology,) = state.after
        state = state._replace(after=(topology._replace(clock=jnp.int32(clock)),))
        signals = {} if features is None else {"features": {"w0": features}}
        return tx.step(grads, state, params, clock=Clock(number), **signals)

    return step


def change(grads, features=None, *, seed=0, **settings):
    """Parameters and state after a step at which the topology may change."""
    step = jax.jit(step_of(**settings), compiler_options=QUICK)
    return trees.numpy(step(WEIGHTS, grads, trees.key(seed), features))


def gradients(*large):
    """All 0.01 but for these entries of the first layer, the first of which is the largest."""
    w0 = np.full((4, 5), 0.01, np.float32)
    for size, entry in enumerate(reversed(large)):
        w0[entry] = -1 - size
    return {"w0": w0, "w1": np.full((5, 1), 0.5, np.float32)}


def test_begins_with_the_largest_weights_and_steps_on_them_alone():
    params, state = change(gradients((3, 3)), number=1)
    mask = state.after[0].mask
    assert rows(mask["w0"]) == ["xxxxx", "x....", ".....", "....."] and rows(mask["w1"]) == ["x", "x", "x", "x", "."]
    expected = np.where(mask["w0"], WEIGHTS["w0"] - 0.01, 0)
    np.testing.assert_allclose(params["w0"], expected, rtol=1e-6)
    np.testing.assert_allclose(params["w1"][:, 0], [4.5, 3.5, -3.5, 1.5, 0])
    assert not state.after[0].changed


def test_grows_by_the_gradient_and_prunes_the_smallest_in_place_of_a_step():
    params, state = change(gradients((3, 3), (2, 0), (1, 4), (2, 2)))
    topology = state.after[0]
    assert rows(topology.mask["w0"]) == ["xxxxx", "....x", "x....", "...x."]  # 6 - 1 + 3
    assert rows(topology.mask["w1"]) == ["x", "x", "x", "x", "."]
    # No step was made, what was pruned is gone, and what has grown is zero.
    np.testing.assert_array_equal(params["w0"], WEIGHTS["w0"] * (np.arange(4) == 0)[:, None])
    np.testing.assert_array_equal(params["w1"][:, 0], [5, 4, -3, 2, 0])
    assert topology.changed and topology.topology_steps == 1 and (topology.previous_mask["w0"].sum() == 6)


def test_what_was_just_pruned_may_grow_again_and_is_what_it_was():
    params, state = change(gradients((1, 0), (2, 0), (1, 4)))
    assert rows(state.after[0].mask["w0"]) == ["xxxxx", "x...x", "x....", "....."] and params["w0"][1, 0] == 4


def test_the_optimizer_stays_as_it_was_at_a_topology_step():
    _, state = change(gradients((3, 3)), optimizer=optax.adam(0.1))
    assert optax.tree.get(state.optimizer, "count") == 0
    assert not any(leaf.any() for leaf in jax.tree.leaves(optax.tree.get(state.optimizer, "mu")))


def test_how_many_weights_there_are_after_a_topology_step():
    cases = [
        # settings, weights of the first layer, whether the topology changes
        ({}, 8, True),
        ({"prune": "none"}, 9, True),
        ({"prune_fraction": 1.0}, 6, True),
        ({"amount": "cosine", "end": 4}, 7, True),  # at t = 2 of 4 the cosine is 0: 0.5 * 3.2 is 1, and 0.4 is 0
        ({"end": 2}, 6, False),  # the topology stays from step 2 on
        ({"final_sparsity": 0.6}, 6, True),  # 15 of 25 are zero, which is enough: 0.2 * 6 churn, and 0.2 * 4
        ({"final_sparsity": 0.6, "churn": "none"}, 6, False),
        ({"final_sparsity": 0.6, "stop": "mask", "churn": "none"}, 6, False),
        ({"final_sparsity": 0.6, "stop": "never"}, 8, True),
    ]

    def run(weights, grads, key):
        return [step_of(**settings)(weights, grads, key, None)[1].after[0] for settings, *_ in cases]

    found = jax.jit(run, compiler_options=QUICK)(WEIGHTS, gradients((3, 3), (2, 0), (1, 4)), trees.key(0))
    for topology, (settings, active, changes) in zip(trees.numpy(found), cases):
        counts = {path: int(mask.sum()) for path, mask in topology.mask.items()}
        assert (counts, bool(topology.changed)) == ({"w0": active, "w1": 4}, changes), settings


def test_churns_once_growth_is_over_and_counts_its_time_from_there():
    # One of six goes, the 4, and the largest gradient takes its place.
    _, state = change(gradients((3, 3), (2, 0)), clock=501, final_sparsity=0.6)
    topology = state.after[0]
    assert rows(topology.mask["w0"]) == ["xxxxx", ".....", ".....", "...x."]
    assert topology.ended and topology.clock == 0


FEATURES = np.array([[1.0, 1.0, 0.0, 1.0, 0.2], [1.0, 1.0, 0.0, 1.0, 0.2]])  # unit 2 is dead; scores 1.56 and 0.31


def test_prunes_the_weights_of_dormant_units_and_no_others():
    # Two weights shall go: of unit 2 there is but one, the 7.
    settings = {"prune": "dormant", "prune_fraction": 0.8}
    grads = gradients((3, 3), (2, 0), (1, 4))
    _, state = change(grads, features=FEATURES, **settings)
    assert rows(state.after[0].mask["w0"]) == ["xx.xx", "x...x", "x....", "...x."]
    # Below 0.4 unit 4 is dormant, too.
    _, state = change(grads, features=FEATURES, threshold=0.4, **settings)
    assert rows(state.after[0].mask["w0"]) == ["xx.x.", "x...x", "x....", "...x."]


def test_prunes_the_weights_of_the_units_with_the_lowest_score():
    _, state = change(gradients((3, 3), (2, 0), (1, 4)), features=FEATURES, prune="redo", prune_fraction=0.8)
    assert rows(state.after[0].mask["w0"]) == ["xx.x.", "x...x", "x....", "...x."]


def test_the_paper_prunes_dormant_units_and_grows_to_full_size():
    grads = gradients((3, 3), (2, 0), (1, 4))
    _, state = change(grads, features=FEATURES, preset="paper", final_sparsity=0.6)
    assert rows(state.after[0].mask["w0"]) == ["xx.xx", "x...x", "x....", "...x."]
    with pytest.raises(TypeError, match="'dormant' needs the signal 'features', which update did not"):
        jax.eval_shape(step_of(preset="paper"), WEIGHTS, grads, trees.key(0), None)


def test_random_growth_follows_the_key():
    step = jax.jit(step_of(growth="random"), compiler_options=QUICK)
    first, second = (
        np.asarray(step(WEIGHTS, gradients((3, 3)), trees.key(seed), None)[1].after[0].mask["w0"]) for seed in (0, 1)
    )
    assert rows(first)[0] == rows(second)[0] == "xxxxx" and first.sum() == second.sum() == 8
    assert (first != second).any()


def test_the_gradient_is_averaged_over_the_last_passes():
    # Of steps 2 and 3 only, with a period of 3: in sum 4 at (3, 3) and 3 at (2, 0), whatever there was at step 1.
    tx = plastic(optax.sgd(0.0), neuroplastic_expansion(WIRING, **{**SETTINGS, "period": 3, "gradient_passes": 2}))
    w0 = np.zeros((3, 4, 5), np.float32)
    w0[0, 1, 4], w0[1, 2, 0], w0[2, 3, 3] = 9, 3, 4

    def run(weights, w0):
        params = tx.prepare(weights)
        state = tx.init(params)
        for grads in w0:
            params, state = tx.step({"w0": grads, "w1": jnp.zeros((5, 1))}, state, params)
        return state.after[0]

    topology = trees.numpy(jax.jit(run, compiler_options=QUICK)(WEIGHTS, w0))
    np.testing.assert_allclose(topology.dense_gradient["w0"], (w0[1] + w0[2]) / 2)
    grown = topology.mask["w0"] & ~topology.initial_mask["w0"]
    assert grown[2, 0] and grown[3, 3] and topology.mask["w0"].sum() == 8


def test_grown_weights_may_begin_as_in_a_new_layer():
    params, state = change(gradients((3, 3), (2, 0), (1, 4)), grown_weights="lecun")
    mask, values = state.after[0].mask["w0"], params["w0"]
    assert (values[1, 4], values[2, 0], values[3, 3]) != (0, 0, 0) and (values[1:][mask[1:]] != 0).all()
    np.testing.assert_array_equal(values[0], WEIGHTS["w0"][0])
    assert not values[~mask].any() and (np.abs(values[1:]) < 2 / np.sqrt(4) / 0.879).all()


@pytest.mark.parametrize("clear_grown", [False, True])
def test_the_optimizer_state_of_grown_weights_is_kept_or_reset(clear_grown):
    tx = plastic(optax.sgd(0.1, 0.9), neuroplastic_expansion(WIRING, **SETTINGS, clear_grown=clear_grown))
    grads = gradients((3, 3), (2, 0), (1, 4))

    def run(weights):
        params = tx.prepare(weights)
        state = tx.init(params)
        ones = jax.tree.map(jnp.ones_like, state.optimizer)
        return tx.step(grads, state._replace(optimizer=ones), params, clock=Clock(2))[1]

    trace = np.asarray(optax.tree.get(jax.jit(run, compiler_options=QUICK)(WEIGHTS).optimizer, "trace")["w0"])
    assert [trace[entry] for entry in ((3, 3), (2, 0), (1, 4))] == [not clear_grown] * 3
    assert trace.sum() == 20 - 3 * clear_grown


def test_counts_of_steps_are_reset_in_sparse_layers_alone():
    # At a sparsity of 0.2 the second layer is full.
    tx = plastic(
        adam(0.1),
        neuroplastic_expansion(WIRING, initial_sparsity=0.2, final_sparsity=0.1, period=3, counter_reset=True),
    )

    def step(carry, _):
        carry = tx.step(WEIGHTS, carry[1], carry[0])
        return carry, optax.tree.get(carry[1].optimizer, "count")

    (_, state), counts = trees.numpy(
        jax.jit(lambda weights: jax.lax.scan(step, (weights, tx.init(weights)), length=4), compiler_options=QUICK)(
            WEIGHTS
        )
    )
    assert counts["w0"][:, 0, 0].tolist() == [1, 2, 0, 1] and counts["w1"][:, 0, 0].tolist() == [1, 2, 2, 3]
    assert optax.tree.get(state.optimizer, "mu")["w0"][0, 0] != 0
    plain = plastic(optax.adam(0.1), neuroplastic_expansion(WIRING, counter_reset=True))
    with pytest.raises(ValueError, match=r"^a method resets the step counts of some weights, but this optimizer"):
        jax.eval_shape(lambda: plain.step(WEIGHTS, plain.init(WEIGHTS), WEIGHTS))


def layers(*sizes, norm=None):
    """A wiring of layers of these sizes, and its shapes; `norm`: which has a LayerNorm."""
    groups, shapes = {}, {f"w{i}": pair for i, pair in enumerate(itertools.pairwise(sizes))}
    for i in range(len(sizes) - 2):
        vectors = (Vector("scale", 0, neutral=1.0),) if i == norm else ()
        reader = Outgoing(f"w{i + 1}", 0, feature=f"w{i}")
        groups[f"w{i}"] = Group(f"w{i}", sizes[i + 1], (Incoming(f"w{i}", 1),), vectors, (reader,))
    return Wiring(groups), shapes if norm is None else {**shapes, "scale": (sizes[norm + 1],)}


@pytest.mark.parametrize(
    "network, topology_steps, active",
    [
        # 65536 of which 8397 are there; 0.008 (0.8 * 65536 - 8397) = 352 grow and 0.4 * 352 = 140 go, at each step.
        (layers(17, 256, 256, 6), 187, {"w0": [4352, 4352], "w1": [8397, 8397 + 212], "w2": [1536, 1536]}),
        # The first layer has more than 0.8 of its 5888 at first: -8 "grow", so 0.4 * 8 = 3 are added.
        pytest.param(
            layers(23, 256, 256, 256, 1, norm=2),
            189,
            {"w0": [5778, 5781], "w1": [10603, 10804], "w3": [256, 256]},
            marks=pytest.mark.exhaustive,
        ),
    ],
    ids=["actor", "critic"],
)
def test_how_the_published_networks_grow(network, topology_steps, active):
    wiring, shapes = network
    tx = plastic(optax.sgd(1e-3), neuroplastic_expansion(wiring, period=2))

    def run(key):
        # An optimizer step in between is enough to move what has grown away from zero.
        keys = jax.random.split(key, 2 * len(shapes))
        params, grads = (
            {p: jax.random.normal(k, shapes[p]) for p, k in zip(shapes, ks)} for ks in (keys[::2], keys[1::2])
        )

        def step(carry, number):
            params, state = tx.step(grads, carry[1], carry[0], clock=Clock(number))
            masks = state.after[0].mask
            return (params, state), (state.after[0].ended, {path: masks[path].sum() for path in active})

        params = tx.prepare(params)
        return jax.lax.scan(step, (params, tx.init(params)), 1 + jnp.arange(2 * topology_steps + 2))[1]

    ended, counts = trees.numpy(jax.jit(run, compiler_options=FAST)(trees.key(0)))
    assert {path: count[:2].tolist() for path, count in counts.items()} == active
    assert np.argmax(ended) == 2 * topology_steps - 1  # the step of this number, counted from 1, sees that it is enough


@pytest.mark.parametrize(
    "settings, error",
    [
        ({"initial_sparsity": 1.0}, r"^initial_sparsity=1.0: write a number from 0 to below 1$"),
        ({"final_sparsity": 0.9}, r"^final_sparsity=0.9 is above initial_sparsity=0.8: .*; write at most 0.8$"),
        ({"period": 1}, r"^period=1: write a number at least 2$"),
        ({"gradient_passes": 101}, r"^gradient_passes=101 is more than the 100 steps of a period; write at most 100$"),
        (
            {"end": 101, "updates": 100},
            r"^end=101: growth would last longer than training, which has 100 updates; write at most 100, or 0 for all",
        ),
        ({"stop": "late"}, r"^stop='late': write one of 'preset', 'zeros', 'mask', 'never'$"),
    ],
)
def test_refuses_settings_out_of_range(settings, error):
    with pytest.raises(ValueError, match=error):
        neuroplastic_expansion(WIRING, **settings)


# From 80 % to 25 % sparsity in steps of 0.6 * 0.008 * (2 * 0.8 - 1) = 0.00288: 190.97. Without pruning of 0.0048:
# 114.6. At half the rate of growth on the average, as with a cosine, twice as many.
LONG = {"period": 1000, "updates": 190_000}


@pytest.mark.parametrize(
    "settings, steps, longest",
    [
        ({}, 191, 994),
        ({"updates": 500}, 191, 2),
        ({"updates": 350}, 191, None),
        ({"amount": "cosine"}, 382, 497),
        ({"prune": "none", "updates": 114_000}, 115, 994),
        ({"prune": "dormant", "updates": 114_000}, 115, 994),
        ({"final_sparsity": 0.8, "updates": 999}, None, 999),
        ({"preset": "paper", "updates": 999}, None, 999),
        ({"rate": 0.0, "updates": 999}, None, 999),
        ({"initial_sparsity": 0.5, "updates": 999}, None, 999),
    ],
)
def test_refuses_growth_that_takes_longer_than_training(settings, steps, longest, caplog):
    settings = {**LONG, **settings}
    with pytest.raises(ValueError) as error:
        neuroplastic_expansion(WIRING, **settings)
    takes = f"takes about {steps} topology steps, longer than" if steps else "would begin after"
    assert str(error.value) == (
        f"period=1000: growth {takes} training, which has {settings['updates']:,} updates; "
        f"write {f'a period of at most {longest}, or ' if longest else ''}more steps"
    )
    if longest:
        neuroplastic_expansion(WIRING, **{**settings, "period": longest})
    # With the published period it is said, and no more, as a run may be shorter than the published one.
    short = {**settings, "updates": min(99, settings["updates"] // 10)}
    neuroplastic_expansion(WIRING, **{**short, "period": 100})
    (record,) = caplog.records
    assert record.levelname == "WARNING" and record.getMessage().startswith("period=100: growth ")


@pytest.mark.parametrize("settings", [{"updates": 191_000}, {"end": 2}, {"updates": 0}, {"preset": "paper"}])
def test_growth_that_ends_in_time_or_is_not_to_end(settings, caplog):
    neuroplastic_expansion(WIRING, **{**LONG, **settings})
    assert not caplog.records


def test_without_an_end_growth_and_churn_are_planned_for_all_updates():
    # At t = 2 of 4 the cosine is 0: 0.5 * 3.2 is 1, and 0.4 is 0. An end of 0 may be swept beside others.
    settings = {"amount": "cosine", "stop": "never", "updates": 4}

    def active(weights, grads, key, end):
        return step_of(**settings, end=end)(weights, grads, key, None)[1].after[0].mask["w0"].sum()

    def run(*given):
        return active(*given, 0), jax.vmap(lambda end: active(*given, end))(jnp.array([0, 4, 1000]))

    given = WEIGHTS, gradients((3, 3), (2, 0), (1, 4)), trees.key(0)
    fixed, swept = jax.jit(run, compiler_options=QUICK)(*given)
    assert int(fixed) == 7 and swept.tolist() == [7, 7, 8]


def test_refuses_a_network_without_units():
    with pytest.raises(ValueError, match=r"^neuroplastic_expansion: this wiring has no groups of units"):
        neuroplastic_expansion(Wiring({}))


def test_only_topology_steps_pay_also_when_many_members_share_the_step():
    method = neuroplastic_expansion(WIRING)

    def before(weights, step):
        state = method.init(WEIGHTS)
        random = jax.tree.map(lambda drawn: drawn[0], method.draw(jax.random.key(0), WEIGHTS, 1))
        return method.before(weights, weights, state, random=random, clock=Clock(step))

    weights = trees.stacked([WEIGHTS, WEIGHTS])
    assert " cond[" in str(jax.make_jaxpr(jax.vmap(before, (0, None)))(weights, 7))
    # If each member has a step of its own the choice is made by computing both.
    assert " cond[" not in str(jax.make_jaxpr(jax.vmap(before))(weights, np.array([7, 8])))
