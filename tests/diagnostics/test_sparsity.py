from typing import NamedTuple

import jax
import numpy as np
import optax
import pytest

from pliant.core.plastic import plastic
from pliant.core.units import Group, Incoming, Outgoing, Wiring
from pliant.diagnostics import mask_overlap, sparsity, topology_steps


class Masks(NamedTuple):
    mask: dict
    previous_mask: dict
    initial_mask: dict


def test_sparsity_by_hand(wiring):
    # a: 3 zeros of 4; b: 1 of 2; together 4 of 6. With the bias, 1 of 1: 5 of 7.
    params = {"a": np.array([[0.0, -0.0], [0.0, 1.0]]), "b": np.array([[2.0, 0.0]]), "bias": np.zeros(1)}
    assert jax.jit(sparsity(wiring))(params=params) == pytest.approx({"a": 0.75, "b": 0.5, "": 4 / 6})
    rows = jax.jit(sparsity(wiring, leaves="all"))(params=params)
    assert rows == pytest.approx({"a": 0.75, "b": 0.5, "bias": 1.0, "": 5 / 7})


def test_sparsity_of_each_network_by_hand(wiring):
    # actor: 1 zero of 2 and 2 of 2; critic: 1 of 4; together 4 of 8. A bias counts with `all`: 1 more of 1.
    params = {
        "actor": {
            "in": {"kernel": np.array([[0.0, 1.0]])},
            "out": {"kernel": np.zeros((2, 1)), "bias": np.zeros(1)},
        },
        "critic": {"in": {"kernel": np.array([[1.0, 2.0], [0.0, 3.0]])}},
        "log_std": np.zeros(3),
    }
    kernels = {"actor/in/kernel": 0.5, "actor/out/kernel": 1, "critic/in/kernel": 0.25}
    rows = jax.jit(sparsity(wiring))(params=params)
    assert rows == pytest.approx({**kernels, "": 4 / 8, "actor": 3 / 4, "critic": 1 / 4})
    rows = jax.jit(sparsity(wiring, leaves="all"))(params=params)
    others = {"actor/out/bias": 1, "log_std": 1, "": 8 / 12, "actor": 4 / 5, "critic": 1 / 4}
    assert rows == pytest.approx({**kernels, **others})
    # One network has none of its own, nor have what flax keeps beside the weights, and layers.
    one = {"params": params["actor"], "batch_stats": {"in": {"mean": np.ones(2)}}}
    assert set(jax.eval_shape(lambda: sparsity(wiring, leaves="all")(params=one))) == {
        "params/in/kernel", "params/out/kernel", "params/out/bias", "",
    }  # fmt: skip


def mask(*rows):
    return np.array([[word == "x" for word in row] for row in rows])


def test_mask_overlap_by_hand(wiring):
    # left: of 2 initial weights 1 is left; of 1 previous weight 1. right: of 1 initial weight 1; of 2 previous ones 1.
    state = Masks(
        mask={"left/kernel": mask("x", "."), "right/kernel": mask("x", ".")},
        previous_mask={"left/kernel": mask("x", "."), "right/kernel": mask("x", "x")},
        initial_mask={"left/kernel": mask("x", "x"), "right/kernel": mask("x", ".")},
    )
    rows = jax.jit(mask_overlap(wiring))(method_state=state)
    assert rows == pytest.approx({"left/kernel": 1 / 2, "right/kernel": 1, "": 2 / 3})
    rows = jax.jit(mask_overlap(wiring, since="previous"))(method_state=state)
    assert rows == pytest.approx({"left/kernel": 1, "right/kernel": 1 / 2, "": 2 / 3})


def test_of_two_masks_both_must_let_a_weight_be(wiring):
    initial = {"left/kernel": mask("x", "x")}
    states = [Masks({"left/kernel": m}, initial, initial) for m in (mask("x", "x"), mask("x", "."))]
    assert jax.jit(mask_overlap(wiring))(method_state=tuple(states))["left/kernel"] == 0.5


def test_without_masks_there_are_no_rows(wiring):
    state = jax.jit(plastic(optax.adam(1e-3)).init)({"mask": {"left/kernel": np.ones((2, 1))}})
    assert mask_overlap(wiring)(method_state=state) == {}


class Topology(NamedTuple):
    mask: dict
    topology_steps: jax.Array


def changed(steps, *paths):
    """The state of a method that has changed the masks of some leaves."""
    return (Topology(dict.fromkeys(paths, np.ones((1, 1), bool)), np.int32(steps)),)


def counts(*states):
    layers = ("actor/Dense_0", "critic_0/Dense_0", "critic_1/Dense_0", "Dense_0")
    groups = {f: Group(f, 1, (Incoming(f"{f}/kernel", 1),), (), (Outgoing(f"{f}/out", 0),)) for f in layers}
    return jax.jit(topology_steps(Wiring(groups)))(method_state=states)


def test_topology_steps_by_hand():
    twins = "critic_0/Dense_0/kernel", "critic_1/Dense_0/kernel"
    both = {"actor": 3, "critic_0": 5, "critic_1": 5, "": 8}
    assert counts(changed(3, "actor/Dense_0/kernel"), {"critics": changed(5, *twins)}) == both
    # Two methods on one network add up.
    twice = {"critic_0": 7, "critic_1": 5, "": 7}
    assert counts(changed(5, *twins), changed(2, "critic_0/Dense_0/out")) == twice


def test_topology_steps_of_one_network_have_one_row_and_those_of_another_wiring_none():
    assert counts(changed(4, "actor/Dense_0/kernel")) == {"": 4}
    assert counts(changed(4, "Dense_0/kernel")) == {"": 4}
    assert counts(changed(4, "Dense_7/kernel")) == {}


class Mask(NamedTuple):
    mask: dict


def test_masks_without_a_history_never_change(wiring):
    state = (Mask({"left/kernel": mask("x", ".")}),)
    assert jax.jit(topology_steps(wiring))(method_state=state) == {"": 0}
    for since in ("initial", "previous"):
        assert jax.jit(mask_overlap(wiring, since=since))(method_state=state) == {"left/kernel": 1, "": 1}


def test_refuses_another_time(wiring):
    with pytest.raises(ValueError, match="since='last': write one of 'initial', 'previous'"):
        mask_overlap(wiring, since="last")
