import functools

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from pliant.agents import sgd
from pliant.experiment.configuration.components import Components
from pliant.experiment.loops import stream as stream_loop
from pliant.experiment.loops.population import Layout, MemberMap, layout
from pliant.methods import continual_backprop
from pliant.problems import slowly_changing_regression

CHUNK, CHUNKS = 150, 2


@pytest.mark.parametrize(
    ("members", "seed_axis", "devices", "expected"),
    [
        (1, "vmap", 8, Layout(1, devices=1, blocks=1, block=1)),
        (32, "vmap", 1, Layout(32, devices=1, blocks=1, block=32)),
        (33, "vmap", 1, Layout(33, devices=1, blocks=2, block=17)),  # one copy
        (100, "vmap", 1, Layout(100, devices=1, blocks=4, block=25)),
        (100, "vmap", 8, Layout(100, devices=8, blocks=1, block=13)),  # four copies
        (5, "vmap", 4, Layout(5, devices=3, blocks=1, block=2)),  # a fourth device would have copies alone
        (5, "map", 2, Layout(5, devices=2, blocks=3, block=1)),
        (100, "map", 1, Layout(100, devices=1, blocks=100, block=1)),
    ],
)
def test_layouts_by_hand(members, seed_axis, devices, expected):
    assert layout(members, seed_axis, devices) == expected


def test_only_a_cpu_splits_what_advances_at_once():
    assert layout(100, "vmap", 1, "gpu") == Layout(100, devices=1, blocks=1, block=100)
    assert layout(100, "map", 1, "gpu") == Layout(100, devices=1, blocks=100, block=1)


@hypothesis.given(st.integers(1, 2000), st.sampled_from(["vmap", "map"]), st.integers(1, 64))
def test_a_layout_has_room_for_all_and_wastes_little(members, seed_axis, devices):
    it = layout(members, seed_axis, devices)
    each = it.blocks * it.block
    assert it.members == members and it.padded == it.devices * each >= members
    assert it.devices <= devices
    assert (it.devices - 1) * each < members  # no device has copies alone
    assert it.block == 1 if seed_axis == "map" else it.block <= 32
    # Less than one copy a block, and less than one a device for dealing out unevenly.
    assert it.padded - members < it.devices * it.blocks + it.devices
    assert seed_axis == "map" or it.blocks == 1 or it.block > 16  # as few blocks as 32 members at once allow


@pytest.mark.parametrize("seed_axis", ["vmap", "map"])
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("members", [1, 3, 70])
def test_all_members_are_mapped_and_copies_dropped(members, devices, seed_axis):
    spread = MemberMap(layout(members, seed_axis, devices))
    population = {"a": np.arange(members, dtype=np.float32), "b": np.ones((members, 2), np.float32)}
    placed = spread.place(population)
    assert placed["a"].shape == (spread.layout.padded,) and placed["b"].shape == (spread.layout.padded, 2)
    assert (np.asarray(placed["a"])[members:] == members - 1).all()  # copies of the last
    assert len(placed["a"].sharding.device_set) == spread.layout.devices == min(devices, members)

    g = spread.jit(lambda member, shared: {"c": member["a"] * shared["factor"] + member["b"].sum()})
    result = spread.gather(g(placed, {"factor": np.float32(3)}))
    assert isinstance(result["c"], np.ndarray)
    np.testing.assert_array_equal(result["c"], 3 * np.arange(members) + 2)


@pytest.mark.parametrize("donate", [False, True])
def test_donated_members_are_gone_and_shared_things_stay(donate):
    spread = MemberMap(layout(4, "vmap", 2))
    f = spread.jit(lambda member, shared: member + shared, donate=donate)
    members, shared = spread.place(np.arange(4, dtype=np.float32)), jax.device_put(np.float32(1))
    np.testing.assert_array_equal(spread.gather(f(members, shared)), [1, 2, 3, 4])
    assert members.is_deleted() == donate and not shared.is_deleted()


@pytest.mark.parametrize("members", [1, 2])
def test_an_answer_that_is_a_plain_number_is_one_for_each_member(members):
    mapped = MemberMap(layout(members, "vmap", 1))
    answer = mapped.jit(lambda x, shared: 5)(mapped.place(np.zeros(members)), 0)
    np.testing.assert_array_equal(mapped.gather(answer), [5] * members)


def test_answers_without_elements_come_back_one_after_another_too():
    mapped = MemberMap(layout(4, "map", 2))
    answer = mapped.gather(mapped.jit(lambda x, shared: x[:0])(mapped.place(np.zeros((4, 3))), 0))
    assert answer.shape == (4, 0)


def test_compiles_once():
    spread = MemberMap(layout(5, "vmap", 2))
    f = spread.jit(lambda member, shared: member * shared)
    members = spread.place(np.arange(5, dtype=np.float32))
    for step in range(3):
        members = f(members, np.int32(step))
    assert f._cache_size() == 1


@functools.cache
def trained(seeds, seed_axis, devices):
    """Losses `(members, chunks)`, final states and divergence of learners with continual backpropagation."""
    spread = MemberMap(layout(len(seeds), seed_axis, devices))
    config = slowly_changing_regression.Config(flip_every=100, activation="tanh")
    stream = slowly_changing_regression.make(config)

    def methods_for(wiring, network, updates):
        del network
        return (continual_backprop(wiring, replacement_rate=0.01, maturity=20, activation="tanh"),)

    components = Components(stream, sgd.make(sgd.Config(), stream, methods_for), {})
    begin = spread.jit(lambda seed, _: stream_loop.begin(components, seed, stream.data))
    advance = spread.jit(
        lambda member, step: stream_loop.advance(components, member, step, CHUNK, stream.data), donate=True
    )
    members, losses = begin(spread.place(np.array(seeds)), np.int32(0)), []
    for chunk in range(CHUNKS):
        members, metrics, _ = advance(members, np.int32(chunk * CHUNK))
        losses.append(spread.gather(metrics["loss", ""]))
    return np.stack(losses, 1), spread.gather(members.agent.params)


def assert_same(a, b, check=np.testing.assert_array_equal):
    jax.tree.map(check, a, b)


def assert_close(a, b):
    assert_same(a, b, lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4))


def test_vmap_and_map_agree_but_for_rounding():
    seeds = tuple(range(5))
    losses, _ = together = trained(seeds, "vmap", 1)
    assert losses.shape == (5, CHUNKS) and np.isfinite(losses).all() and len(np.unique(losses)) == losses.size
    assert_close(together, trained(seeds, "map", 1))


@pytest.mark.parametrize("devices", [1, 2])
def test_with_map_the_numbers_of_a_member_do_not_depend_on_the_others(devices):
    population = trained(tuple(range(5)), "map", devices)
    for k in (0, 3):
        assert_same(jax.tree.map(lambda x, k=k: x[k : k + 1], population), trained((k,), "map", 1))


@pytest.mark.parametrize("seed_axis", ["vmap", "map"])
def test_two_devices_give_the_numbers_of_one(seed_axis):
    seeds = tuple(range(5))
    assert_close(trained(seeds, seed_axis, 2), trained(seeds, seed_axis, 1))


def test_blocks_give_the_numbers_of_each_alone():
    # 33 members: two blocks of 17.
    losses, params = trained(tuple(range(33)), "vmap", 1)
    assert_close((losses[:5], jax.tree.map(lambda x: x[:5], params)), trained(tuple(range(5)), "vmap", 1))
    assert_close((losses[32:], jax.tree.map(lambda x: x[32:], params)), trained((32,), "map", 1))
