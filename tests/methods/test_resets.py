"""Methods that reinitialize whole layers: head_reset, layer_reset, full_reset."""

import hand_wired
import jax
import numpy as np
import optax
import pytest
import trees
from surgeries import train, trajectory

from pliant.core.plastic import plastic
from pliant.methods import full_reset, head_reset, layer_reset
from pliant.surgery.adam import adam

SIZES = (3, 4, 5, 2)
WIRING = hand_wired.mlp(*SIZES)
INITIALIZE = hand_wired.initializer(*SIZES)
HEAD, SECOND, FIRST = {"w2", "b2"}, {"w1", "b1"}, {"w0", "b0"}


def after(method, steps, optimizer=None):
    """Parameters before and after some steps with gradients of 1, and the state."""
    tx = plastic(optax.sgd(0.1, 0.9) if optimizer is None else optimizer, method)
    before = jax.tree.map(lambda w: w + 10, hand_wired.params(*SIZES))
    return before, *trees.numpy(train(tx, before, jax.tree.map(np.ones_like, before), steps))


@pytest.mark.parametrize(
    "method, leaves",
    [
        (head_reset(WIRING, INITIALIZE, 2, zero=False), HEAD),
        (layer_reset(WIRING, INITIALIZE, "last:1", 2), HEAD),
        (layer_reset(WIRING, INITIALIZE, "last:2", 2), HEAD | SECOND),
        (layer_reset(WIRING, INITIALIZE, "last:3", 2), HEAD | SECOND | FIRST),
        (layer_reset(WIRING, INITIALIZE, "w0", 2), FIRST),
        (layer_reset(WIRING, INITIALIZE, "w0, head", 2), FIRST | HEAD),
        (full_reset(INITIALIZE, 2), HEAD | SECOND | FIRST),
    ],
)
def test_reinitializes_the_chosen_layers_and_no_others(method, leaves):
    # Weights began 10 too high. Steps of 0.1 and 0.19 lead to 9.71 higher, but the chosen layers are as the
    # initializer makes them: biases 0.1, weights within its bounds and not those of the start.
    before, params, state = after(method, 2)
    for path, leaf in params.items():
        if path not in leaves:
            np.testing.assert_allclose(leaf, before[path] - 0.29, rtol=1e-5)
        elif path.startswith("b"):
            np.testing.assert_allclose(leaf, np.full(leaf.shape, 0.1), atol=1e-6)
        else:
            fan_in = leaf.shape[0]
            assert (np.abs(leaf) <= np.sqrt(6 / fan_in) + 1e-6).all() and len(np.unique(leaf)) == leaf.size
        momentum = optax.tree.get(state.optimizer, "trace")[path]
        np.testing.assert_allclose(momentum, np.full(leaf.shape, 0.0 if path in leaves else 1.9), rtol=1e-6)


def test_head_reset_to_zero():
    before, params, _ = after(head_reset(WIRING, INITIALIZE, 2), 2)
    assert not params["w2"].any() and not params["b2"].any()
    np.testing.assert_allclose(params["w1"], before["w1"] - 0.29, rtol=1e-5)


def test_head_reset_comes_every_period():
    # Adam's steps are 0.1 each; the per-weight counts make the first one after a reset as long as any.
    tx = plastic(adam(0.1), head_reset(WIRING, INITIALIZE, 2))
    before = jax.tree.map(lambda w: w + 10, hand_wired.params(*SIZES))
    params, _ = trajectory(tx, before, jax.tree.map(np.ones_like, before), 5)
    np.testing.assert_allclose(params["b2"], np.outer([10.1 - 0.1, 0, -0.1, 0, -0.1], [1, 1]), rtol=1e-5)


def test_every_reset_draws_other_numbers():
    tx = plastic(optax.sgd(0.0), full_reset(INITIALIZE, 1))
    params = hand_wired.params(*SIZES)
    first, second = np.asarray(trajectory(tx, params, params, 2)[0]["w0"])
    assert (first != second).all()


def test_full_reset_resets_the_counts_of_per_weight_adam():
    _, _, state = after(full_reset(INITIALIZE, 3), 3, adam(0.1))
    assert not any(leaf.any() for leaf in jax.tree.leaves(state.optimizer[0]))


@pytest.mark.parametrize(
    "make, error",
    [
        (lambda: head_reset(WIRING, INITIALIZE, 0), r"^period=0: write a number at least 1$"),
        (lambda: layer_reset(WIRING, INITIALIZE, period=0), r"^period=0: write a number at least 1$"),
        (lambda: full_reset(INITIALIZE, 0), r"^period=0: write a number at least 1$"),
        (
            lambda: layer_reset(WIRING, INITIALIZE, "w0,w9"),
            r"^layers='w0,w9': no layer 'w9'; write last:N, or of: w0, w1, head$",
        ),
        (lambda: layer_reset(WIRING, INITIALIZE, "last:x"), r"^layers='last:x': no layer 'last:x'; "),
        (lambda: layer_reset(WIRING, INITIALIZE, "last:0"), r"^last:0: the number of layers is at least 1; "),
        (lambda: after(full_reset(hand_wired.initializer(3, 4, 2)), 1), r"^initialize returned other leaves than "),
    ],
)
def test_errors_teach(make, error):
    with pytest.raises(ValueError, match=error):
        make()
