from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest

from pliant.core.base import plastic
from pliant.diagnostics import mask_overlap, sparsity


class Masks(NamedTuple):
    mask: dict
    previous_mask: dict
    initial_mask: dict


def test_sparsity_by_hand(wiring):
    # a: 3 zeros of 4; b: 1 of 2; together 4 of 6. With the bias, 1 of 1: 5 of 7.
    params = {"a": jnp.array([[0.0, -0.0], [0.0, 1.0]]), "b": jnp.array([[2.0, 0.0]]), "bias": jnp.zeros(1)}
    assert jax.jit(sparsity(wiring))(params=params) == pytest.approx({"a": 0.75, "b": 0.5, "": 4 / 6})
    rows = jax.jit(sparsity(wiring, leaves="all"))(params=params)
    assert rows == pytest.approx({"a": 0.75, "b": 0.5, "bias": 1.0, "": 5 / 7})


def mask(*rows):
    return jnp.array([[word == "x" for word in row] for row in rows])


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
    state = plastic(optax.adam(1e-3)).init({"mask": {"left/kernel": jnp.ones((2, 1))}})
    assert mask_overlap(wiring)(method_state=state) == {}


def test_refuses_another_time(wiring):
    with pytest.raises(ValueError, match="since='last': write one of 'initial', 'previous'"):
        mask_overlap(wiring, since="last")
