import hand_wired
import jax
import numpy as np
import pytest

from pliant.core.units import Group, Incoming, Outgoing, Vector, Wiring
from pliant.surgery.sparsity import allotment, erdos_renyi, initial_mask, layers, scales

H = 256


@pytest.mark.parametrize(
    "observations, actions, actor, critic",
    [
        (17, 6, [0, 0.8719, 0], [0.0188, 0.8382, 0.8382, 0]),  # HalfCheetah, Walker2d
        (11, 3, [0, 0.8438, 0], [0, 0.8250, 0.8250, 0]),  # Hopper
        (27, 8, [0.3382, 0.8737, 0], [0.3184, 0.8360, 0.8360, 0]),  # Ant
        (111, 8, [0.7480, 0.8476, 0], [0.7193, 0.8219, 0.8219, 0]),  # Ant with contact forces
        (376, 17, [0.8343, 0.8028, 0], [0.8229, 0.7855, 0.7855, 0]),  # Humanoid
    ],
)
def test_the_published_networks_at_a_sparsity_of_80_percent(observations, actions, actor, critic):
    shapes = [(observations, H), (H, H), (H, actions)]
    np.testing.assert_allclose(erdos_renyi(shapes, 0.8), actor, atol=5e-5)
    shapes = [(observations + actions, H), (H, H), (H, H), (H, 1)] * 2  # twins, each with a LayerNorm of 256 scales
    np.testing.assert_allclose(erdos_renyi(shapes, 0.8, whole=2 * H), critic * 2, atol=5e-5)


def test_by_hand():
    # p: 9/20, 6/5; 38 % of 25 weights are 9.5 = epsilon (9 + 6): epsilon 0.6333, densities 0.285 and 0.76.
    np.testing.assert_allclose(erdos_renyi([(4, 5), (5, 1)], 0.62), [0.715, 0.24])
    # 80 % are 20 = 15 epsilon: the second would be more than full, 1.6; the first has the other 15 of its 20.
    np.testing.assert_allclose(erdos_renyi([(4, 5), (5, 1)], 0.2), [0.25, 0], atol=1e-12)
    # With 5 whole weights besides, 20 % of 30 missing are 6 of the first 20.
    np.testing.assert_allclose(erdos_renyi([(4, 5), (5, 1)], 0.2, whole=5), [0.3, 0], atol=1e-12)
    np.testing.assert_array_equal(erdos_renyi([(4, 5), (5, 1)], 0.0), [0, 0])


def test_a_traced_sparsity_gives_the_same():
    shapes, values = [(17, H), (H, H), (H, 6), (3, 3, 8, 8)], np.array([0.0, 0.2, 0.8, 0.99])
    traced = jax.jit(jax.vmap(lambda s: erdos_renyi(shapes, s)))(values)
    np.testing.assert_allclose(traced, [erdos_renyi(shapes, s) for s in values], atol=1e-6)


def test_more_whole_weights_than_there_shall_be_are_refused():
    error = r"^sparsity=0.9: 5 of 25 weights belong to norms, which are never missing; write at most 0.8$"
    with pytest.raises(ValueError, match=error):
        erdos_renyi([(4, 5)], 0.9, whole=5)


# The layers of a network

NORMED = Wiring(
    {
        "h": Group(
            "h",
            5,
            (Incoming("w0", 1), Incoming("gate", 0)),  # a gate of one weight a unit is no layer
            (Vector("bias", 0), Vector("scale", 0, neutral=1.0)),
            (Outgoing("w1", 0, feature="h"),),
        )
    }
)
SHAPES = {"w0": (4, 5), "gate": (5,), "bias": (5,), "scale": (5,), "w1": (5, 1), "elsewhere": (9, 9)}
WEIGHTS = {path: np.arange(1.0, 1 + np.prod(shape)).reshape(shape) for path, shape in SHAPES.items()}


def test_layers_are_weights_of_two_axes_that_make_or_read_units_and_scales_those_of_norms():
    assert layers(NORMED, WEIGHTS) == ["w0", "w1"]
    (scale,) = scales(NORMED, WEIGHTS)
    assert scale is WEIGHTS["scale"]


def test_running_variances_are_no_weights():
    h = NORMED["h"]
    variance = Vector("statistics/norm/var", 0, neutral=1.0)
    wiring = Wiring({"h": Group("h", h.units, h.incoming, (*h.vectors, variance), h.outgoing)})
    (scale,) = scales(wiring, WEIGHTS | {"statistics/norm/var": np.ones(5)})
    assert scale is WEIGHTS["scale"]


def test_missing_weights_are_rounded_down_and_scales_are_whole():
    # With 5 whole scales, 22 % of 30 missing are 6.6 of the 20. Without: 0.715 of 20 are 14.3, and 0.24 of 5 are 1.2.
    assert allotment(NORMED, WEIGHTS, 0.22) == {"w0": 14, "w1": 5}
    without = {"w0": WEIGHTS["w0"], "w1": WEIGHTS["w1"]}
    assert allotment(hand_wired.mlp(4, 5, 1, bias=False), without, 0.62) == {"w0": 6, "w1": 4}


def test_the_initial_mask_keeps_the_largest_of_each_layer():
    signed = {path: w * np.where(np.arange(w.size).reshape(w.shape) % 2, -1, 1) for path, w in WEIGHTS.items()}
    masks = jax.jit(lambda weights: initial_mask(NORMED, weights, 0.22))(signed)
    assert set(masks) == {"w0", "w1"} and np.asarray(masks["w1"]).all()
    np.testing.assert_array_equal(np.ravel(masks["w0"]), np.arange(20) >= 6)  # of 1, -2, 3, -4, ... the six first go
