import hand_wired
import jax
import numpy as np
import optax
import pytest
import trees
from surgeries import trajectory

from pliant.core.plastic import plastic
from pliant.core.units import Group, Incoming, Outgoing, Wiring
from pliant.methods import redo


def renew(wiring, params, features, **settings):
    """Parameters and counts after the first renewal."""
    tx = plastic(optax.sgd(0.0), redo(wiring, period=1, **settings))
    params, state = trees.numpy(jax.jit(lambda p, f: tx.step(p, tx.init(p), p, features=f))(params, features))
    return params, state.after[0].replaced


MEANS = np.array([[0.5, -0.5, 1.0, 3.0], [-0.5, 0.5, 0.0, 0.0]])  # mean |h|: 0.5, 0.5, 0.5, 1.5; of all: 0.75


@pytest.mark.parametrize(
    "threshold, gone",
    [
        (0.5, []),  # scores 0.667, 0.667, 0.667, 2
        (0.7, [0, 1, 2]),
        (2.0, [0, 1, 2, 3]),  # at most the threshold
    ],
)
def test_units_of_low_score_go(threshold, gone):
    wiring, params = hand_wired.mlp(3, 4, 2), hand_wired.params(3, 4, 2)
    new, replaced = renew(wiring, params, {"w0": MEANS}, threshold=threshold)
    assert replaced["w0"] == len(gone)
    changed = [i for i in range(4) if (new["w0"][:, i] != params["w0"][:, i]).any()]
    assert changed == gone
    # What goes loses its outgoing weights and its bias, or it would disturb the output; what stays keeps them.
    is_gone = np.isin(np.arange(4), gone)
    np.testing.assert_allclose(new["w1"], np.where(is_gone[:, None], 0, params["w1"]), rtol=1e-6)
    np.testing.assert_allclose(new["b0"], np.where(is_gone, 0, 0.1), rtol=1e-6)
    np.testing.assert_array_equal(new["b1"], params["b1"])
    assert (np.abs(new["w0"][:, is_gone]) <= np.sqrt(2)).all()  # Kaiming: sqrt(2) sqrt(3 / 3)


def test_dead_units_go_at_a_threshold_of_zero():
    wiring, params = hand_wired.mlp(3, 4, 2), hand_wired.params(3, 4, 2)
    new, replaced = renew(wiring, params, {"w0": np.ones((5, 4)) * (np.arange(4) != 2)}, threshold=0.0)
    assert replaced["w0"] == 1 and not new["w1"][2].any()


def test_a_group_that_is_dead_as_a_whole_recovers():
    wiring, params = hand_wired.mlp(3, 4, 5, 2), hand_wired.params(3, 4, 5, 2)
    features = {"w0": np.zeros((5, 4)), "w1": np.ones((5, 5))}
    new, replaced = renew(wiring, params, features)
    assert (replaced["w0"], replaced["w1"]) == (4, 0)
    assert trees.finite(new)


def test_space_counts_as_samples():
    # Channel means over samples and positions: 1, 0.1 and 1; the mean of all is 0.7, so the scores 1.43, 0.14, 1.43.
    wiring, params = hand_wired.normed_convnet()[0], hand_wired.convnet_params()
    h = np.stack([[[2.0, 0.2, 2.0]] * 4, np.zeros((4, 3))])
    new, replaced = renew(wiring, params, {"conv": h}, threshold=0.2)
    assert replaced["conv"] == 1 and not new["out"]["kernel"][1::3].any() and new["out"]["kernel"][0::3].all()
    assert new["norm"]["scale"].tolist() == [2, 1, 2] and new["norm"]["shift"].tolist() == [0.5, 0, 0.5]


def test_dormant_in_all_activations_or_not_at_all():
    # Unit 0 is dead for both readers, unit 1 for one only.
    readers = (Outgoing("a", 0, feature="x"), Outgoing("b", 0, feature="y"))
    wiring = Wiring({"g": Group("g", 3, (Incoming("in", 1),), (), readers)})
    params = {"in": np.ones((1, 3)), "a": np.ones((3, 1)), "b": np.ones((3, 1))}
    features = {"x": np.array([[0.0, 0.0, 1.0]]), "y": np.array([[0.0, 1.0, 1.0]])}
    new, replaced = renew(wiring, params, features, threshold=0.0)
    assert replaced["g"] == 1 and new["b"][:, 0].tolist() == [0, 1, 1]


def test_acts_every_period_and_counts():
    tx = plastic(optax.sgd(0.0), redo(hand_wired.mlp(3, 4, 2), period=3, threshold=0.7))
    params = hand_wired.params(3, 4, 2)
    _, state = trajectory(tx, params, params, 7, features={"w0": MEANS})
    np.testing.assert_array_equal(state.after[0].inner.replaced["w0"], [0, 0, 3, 3, 3, 6, 6])


@pytest.mark.parametrize(
    "settings, error",
    [
        ({"threshold": -0.1}, r"^threshold=-0.1: write a number at least 0$"),
        ({"period": 0}, r"^period=0: write a number at least 1$"),
        ({"period": 1.5}, r"^period=1.5: write a whole number at least 1$"),
    ],
)
def test_refuses_settings_out_of_range(settings, error):
    with pytest.raises(ValueError, match=error):
        redo(hand_wired.mlp(3, 4, 2), **settings)
