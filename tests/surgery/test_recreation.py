import dataclasses
from unittest import mock

import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.core.units import Group, Incoming, Outgoing, Wiring
from pliant.surgery import recreation
from pliant.surgery.recreation import draw_rows, is_chosen, lowest


def ones(params, wiring, most):
    """Rows of 1 for `most` units of each group: a fresh weight is then its bound."""
    rows = {}
    for name, count in most.items():
        drawn = jax.eval_shape(
            lambda: draw_rows(jax.random.key(0), params, wiring.only(name), count)  # noqa: B023
        )
        rows[name] = tuple(np.ones(one_step.shape[1:], np.float32) for one_step in drawn[name])
    return rows


def recreate(params, wiring, chosen, rows=None, **options):
    """`recreation.recreate`, with rows of 1 unless given.

    Small leaves are written through a mask and large ones in place: each test writes both ways, which have to agree.
    """
    rows = ones(params, wiring, {name: len(c) for name, c in chosen.items()}) if rows is None else rows

    def write(params, chosen, rows, small):
        with mock.patch.object(recreation, "_SMALL", small):
            return recreation.recreate(params, wiring, chosen, rows, **options)

    chosen = {name: np.asarray(c, np.int32) for name, c in chosen.items()}
    masked, in_place = jax.jit(lambda *given: [write(*given, small=small) for small in (10**9, 0)])(
        params, chosen, rows
    )
    trees.assert_equal(masked, in_place)
    return trees.numpy(masked)


def output(wiring, params, x):
    return jax.jit(lambda params, x: wiring.apply(params, x)[0])(params, x)


def numbered(*sizes):
    """An `mlp`'s parameters with the numbers 1, 2, 3, ... so that each entry is known."""
    return jax.tree.map(lambda w: 1 + np.arange(w.size, dtype=np.float32).reshape(w.shape), hand_wired.params(*sizes))


def test_recreate_on_an_mlp():
    # 3-4-2: unit 2 of the hidden layer. Fresh incoming weights are at the Kaiming bound sqrt(2) sqrt(3 / 3).
    new, fresh, _ = recreate(numbered(3, 4, 2), hand_wired.mlp(3, 4, 2), {"w0": [2]})
    r = np.sqrt(2)
    np.testing.assert_allclose(new["w0"], [[1, 2, r, 4], [5, 6, r, 8], [9, 10, r, 12]])
    np.testing.assert_allclose(new["b0"], [1, 2, 0, 4])
    np.testing.assert_allclose(new["w1"], [[1, 2], [3, 4], [0, 0], [7, 8]])
    np.testing.assert_allclose(new["b1"], [1, 2])
    column, row = np.array([[False, False, True, False]]), np.array([[False], [False], [True], [False]])
    np.testing.assert_array_equal(fresh["w0"], column)
    np.testing.assert_array_equal(fresh["b0"], column[0])
    np.testing.assert_array_equal(fresh["w1"], row)
    np.testing.assert_array_equal(fresh["b1"], [False])


@pytest.mark.parametrize("chosen", [[4], [4, 4], [4, 4, 4, 4]])
def test_recreate_of_no_unit_changes_nothing(chosen):
    params = numbered(3, 4, 2)
    new, fresh, _ = recreate(params, hand_wired.mlp(3, 4, 2), {"w0": chosen})
    jax.tree.map(np.testing.assert_array_equal, new, params)
    assert not any(mask.any() for mask in jax.tree.leaves(fresh))


@pytest.mark.parametrize("chosen", [[1], [2, 0], [0, 3, 3], [1, 3, 0, 3], [2, 1, 0, 3, 3]])
def test_recreate_with_indices_and_norms(chosen):
    # Channel c of a flattened 2x2 image with three channels owns rows c, c + 3, c + 6, c + 9 of the dense layer. Its
    # norm goes to scale 1 and shift 0, its incoming column to the bound sqrt(2) sqrt(3 / 2), for its fan-in of 2.
    wiring, params = hand_wired.normed_convnet()[0], hand_wired.convnet_params()
    new, fresh, _ = recreate(params, wiring, {"conv": chosen})
    gone = sorted({c for c in chosen if c < 3})
    rows = [c + 3 * position for c in gone for position in range(4)]
    expected = jax.tree.map(np.array, params)
    expected["conv"]["kernel"][..., gone] = np.sqrt(3)
    expected["norm"]["scale"][gone] = 1
    expected["norm"]["shift"][gone] = 0
    expected["out"]["kernel"][rows] = 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), new, expected)
    made = jax.tree.map(lambda mask, w: np.argwhere(np.broadcast_to(mask, w.shape)), fresh, params)
    assert sorted({i[-1] for i in made["conv"]["kernel"]}) == gone
    assert sorted({i[0] for i in made["norm"]["scale"]}) == gone
    assert sorted({i[0] for i in made["out"]["kernel"]}) == sorted(rows)
    assert len(made["out"]["bias"]) == 0


def test_an_incoming_weight_with_indices_takes_its_own_rows():
    # A weight that produces two positions of each of two units: entries 0, 2 are unit 0's, 1, 3 unit 1's.
    wiring = Wiring(
        {"g": Group("g", 2, (Incoming("in", 1, np.array([[0, 1], [2, 3]])),), (), (Outgoing("out", 0, feature="g"),))}
    )
    params = {"in": np.zeros((1, 4)), "out": np.ones((2, 1))}
    rows = {"g": (np.array([[0.1, 0.2, 0.3, 0.4]]),)}  # position 0 of both chosen units, then position 1
    # "default" with a fan-in of 1 has the bound 1. Chosen in reverse: unit 1 takes 0.1 and 0.3.
    new, *_ = recreate(params, wiring, {"g": [1, 0]}, rows, initializer="default")
    np.testing.assert_allclose(new["in"], [[0.2, 0.1, 0.4, 0.3]])


def test_a_unit_without_outgoing_weights_does_not_change_the_output():
    wiring, params = hand_wired.mlp(3, 4, 5, 2), hand_wired.params(3, 4, 5, 2)
    params["w1"][1] = params["w2"][3] = 0
    new, *_ = recreate(params, wiring, {"w0": [1], "w1": [3]})
    x = trees.normal(0, 8, 3)
    assert (new["w0"] != params["w0"]).any() and (new["w1"] != params["w1"]).any()
    np.testing.assert_allclose(output(wiring, new, x), output(wiring, params, x), rtol=1e-6)


def test_convnet_unit_without_outgoing_weights_does_not_change_the_output():
    wiring, params = hand_wired.normed_convnet()[0], hand_wired.convnet_params()
    params["out"]["kernel"][2::3] = 0
    new, *_ = recreate(params, wiring, {"conv": [2]})
    x = trees.normal(0, 8, 2, 2, 2)
    np.testing.assert_allclose(output(wiring, new, x), output(wiring, params, x), rtol=1e-6)


def test_a_fresh_unit_reads_nothing_from_another():
    # Both units at once: w1 between them is zero, the rest of unit 0's row too, the rest of unit 1's column fresh.
    new, fresh, _ = recreate(numbered(3, 2, 2, 1), hand_wired.mlp(3, 2, 2, 1), {"w0": [0], "w1": [1]})
    r = np.sqrt(2) * np.sqrt(3 / 2)
    np.testing.assert_allclose(new["w1"], [[0, 0], [3, r]], rtol=1e-6)
    np.testing.assert_array_equal(np.broadcast_to(fresh["w1"], (2, 2)), [[True, True], [False, True]])


def test_two_groups_that_share_leaves():
    # The units of two branches are concatenated and read by one weight; each group owns its rows of it.
    wiring = Wiring(
        {
            name: Group(name, 2, (Incoming(name, 1),), (), (Outgoing("out", 0, np.array([at]), feature=name),))
            for name, at in {"a": [0, 1], "b": [2, 3]}.items()
        }
    )
    params = {"a": np.full((1, 2), 9.0), "b": np.full((1, 2), 9.0), "out": np.full((4, 1), 9.0)}
    new, fresh, _ = recreate(params, wiring, {"a": [1], "b": [0]}, initializer="default")
    np.testing.assert_allclose(new["a"], [[9, 1]])
    np.testing.assert_allclose(new["b"], [[1, 9]])
    np.testing.assert_allclose(new["out"][:, 0], [9, 0, 0, 9])
    np.testing.assert_array_equal(fresh["out"][:, 0], [False, True, True, False])


def test_fresh_units_of_tied_weights_live():
    # relu(x w) w^T: w feeds the units, 2 inputs each, and reads them. The bound is 1 over the root of 2.
    tied = Group("w", 3, (Incoming("w", 1),), (), (Outgoing("w", 1, feature="w"), Outgoing("v", 0, feature="w")))
    new, _, _ = recreate(
        {"w": np.full((2, 3), 9.0), "v": np.full((3, 1), 9.0)}, Wiring({"w": tied}), {"w": [1]}, initializer="default"
    )
    np.testing.assert_allclose(new["w"], [[9, 0.5**0.5, 9]] * 2, rtol=1e-6)
    np.testing.assert_array_equal(new["v"], [[9], [0], [9]])


def test_only_the_tied_entries_of_an_outgoing_weight_are_drawn():
    # The first two of four entries make the units, and all read them: unit 1 by entries 1 and 3. The bound is 1.
    entries = np.array([[0, 1], [2, 3]])
    group = Group("w", 2, (Incoming("w", 1, entries[:1]),), (), (Outgoing("w", 1, entries, 1, 1, feature="w"),))
    new, _, _ = recreate({"w": np.full((1, 4), 9.0)}, Wiring({"w": group}), {"w": [1]}, initializer="default")
    np.testing.assert_allclose(new["w"], [[9, 1, 9, 0]])


def test_fan_in_may_be_given():
    wiring = Wiring(
        {"g": Group("g", 2, (Incoming("in", 1, fan_in=12, fan_out=7),), (), (Outgoing("out", 0, feature="g"),))}
    )
    params = {"in": np.zeros((3, 2)), "out": np.ones((2, 1))}
    new, *_ = recreate(params, wiring, {"g": [0]}, initializer="lecun")
    np.testing.assert_allclose(new["in"], [[0.5, 0]] * 3)  # sqrt(3 / 12)


def test_nan_in_a_unit_does_not_survive():
    params = jax.tree.map(lambda w: np.full_like(w, np.nan), numbered(3, 4, 2))
    new, *_ = recreate(params, hand_wired.mlp(3, 4, 2), {"w0": [0, 1, 2, 3]})
    assert trees.finite([new[name] for name in ("w0", "b0", "w1")])


def test_only_the_chosen_groups_are_touched():
    params = numbered(3, 4, 5, 2)
    new, *_ = recreate(params, hand_wired.mlp(3, 4, 5, 2), {"w1": [0]})
    for name in ("w0", "b0", "b2"):
        np.testing.assert_array_equal(new[name], params[name])


def test_the_initializer_of_the_network_is_the_wirings():
    wiring = dataclasses.replace(hand_wired.mlp(3, 4, 2), initializer="lecun")
    new, *_ = recreate(numbered(3, 4, 2), wiring, {"w0": [0]})
    np.testing.assert_allclose(new["w0"][:, 0], [1, 1, 1], rtol=1e-6)  # sqrt(3 / 3)
    new, *_ = recreate(numbered(3, 4, 2), wiring, {"w0": [0]}, initializer="default")
    np.testing.assert_allclose(new["w0"][:, 0], [np.sqrt(1 / 3)] * 3, rtol=1e-6)


def test_fresh_weights_may_be_normal():
    # Numbers of 0.6826895 are one deviation of a normal distribution: sqrt(2 / 3) for three inputs.
    rows = {"w0": (np.full((3, 1), 0.6826895, np.float32),)}
    new, *_ = recreate(numbered(3, 4, 2), hand_wired.mlp(3, 4, 2), {"w0": [1]}, rows, initializer="kaiming_normal")
    np.testing.assert_allclose(new["w0"][:, 1], [np.sqrt(2 / 3)] * 3, rtol=1e-5)
    np.testing.assert_array_equal(new["w1"][1], [0, 0])


def test_rows_are_uniform():
    wiring, params = hand_wired.mlp(100, 50, 1), hand_wired.params(100, 50, 1)
    (rows,) = trees.numpy(jax.jit(lambda key: draw_rows(key, params, wiring))(trees.key(0))["w0"])
    # U(-1, 1) has mean 0 and variance 1/3; of 5000 numbers the mean is within 4 x 0.577 / sqrt(5000) = 0.033.
    assert rows.shape == (1, 100, 50) and -1 < rows.min() < -0.99 and 0.99 < rows.max() < 1
    assert abs(rows.mean()) < 0.033 and rows.var() == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("most, steps, shape", [(3, 1, (1, 100, 3)), (99, 2, (2, 100, 50))])
def test_rows_are_for_as_many_units_and_steps_as_asked(most, steps, shape):
    wiring, params = hand_wired.mlp(100, 50, 1), hand_wired.params(100, 50, 1)
    rows = jax.eval_shape(lambda: draw_rows(jax.random.key(0), params, wiring, most, steps))
    assert [row.shape for row in rows["w0"]] == [shape]


def test_dtypes_are_kept():
    params = jax.tree.map(lambda w: w.astype(jnp.bfloat16), hand_wired.params(3, 4, 2))
    wiring = hand_wired.mlp(3, 4, 2)
    new = jax.eval_shape(
        lambda params, chosen, rows: recreation.recreate(params, wiring, chosen, rows).params,
        params,
        {"w0": np.int32([1])},
        ones(params, wiring, {"w0": 1}),
    )
    assert {w.dtype for w in jax.tree.leaves(new)} == {np.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    "values, where, count, most, expected",
    [
        ([3, 1, 2, 1], [1, 1, 1, 1], 1, 1, [1]),  # a tie: the first
        ([3, 1, 2, 1], [1, 1, 1, 1], 0, 1, [4]),  # none wanted
        ([3, 1, 2, 1], [1, 0, 1, 0], 1, 1, [2]),  # among some
        ([3, 1, 2, 1], [0, 0, 0, 0], 1, 1, [4]),  # among none
        ([3, 1, 2, 1], [1, 1, 1, 1], 3, 3, [1, 3, 2]),  # the lowest first
        ([3, 1, 2, 1], [1, 1, 1, 1], 2, 4, [1, 3, 4, 4]),  # fewer than there can be
        ([3, 1, 2, 1], [1, 0, 0, 0], 3, 3, [0, 4, 4]),  # fewer than are wanted
        ([3, -1, 2, 1], [1, 1, 1, 1], 5, 4, [1, 3, 2, 0]),  # more than there are
    ],
)
def test_lowest(values, where, count, most, expected):
    def choose(values, where, count):
        chosen = lowest(values, where=where, count=count, most=most)
        return chosen, is_chosen(chosen, 4)

    chosen, marked = jax.jit(choose)(np.array(values, float), np.array(where, bool), np.int32(count))
    np.testing.assert_array_equal(chosen, expected)
    np.testing.assert_array_equal(marked, [i in expected for i in range(4)])
