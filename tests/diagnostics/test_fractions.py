import jax
import numpy as np
import pytest

from pliant.core.units import Group, Outgoing, Wiring
from pliant.diagnostics import active_fraction, dormant_fraction, inactive_fraction, saturated_fraction
from pliant.diagnostics._active_fraction import active_fraction_of
from pliant.diagnostics._dormant_fraction import dormant_fraction_of
from pliant.diagnostics._inactive_fraction import inactive_fraction_of
from pliant.diagnostics._saturated_fraction import saturated_fraction_of

dormant_fraction_of = jax.jit(dormant_fraction_of, static_argnames="threshold")
inactive_fraction_of = jax.jit(inactive_fraction_of, static_argnames="threshold")
saturated_fraction_of = jax.jit(saturated_fraction_of, static_argnames="threshold")
active_fraction_of = jax.jit(active_fraction_of)


def rows(features, *measures):
    """The rows of each of some diagnostics, from one program."""
    found = jax.jit(lambda features: [measure(features=features) for measure in measures])(features)
    return [{row: float(value) for row, value in of_one.items()} for of_one in found]


@pytest.mark.parametrize(("threshold", "wanted"), [(0.0, 0.25), (0.5, 0.25), (0.7, 0.75), (2.7, 1.0)])
def test_dormant_units_by_hand(threshold, wanted):
    # Mean magnitudes (0, 0.4, 0.4, 1.6), their mean 0.6, scores (0, 0.667, 0.667, 2.667).
    h = np.array([[0, 0.4, -0.8, 1.6], [0, -0.4, 0, -1.6]])
    assert dormant_fraction_of(h, threshold=threshold) == wanted


@pytest.mark.parametrize(("threshold", "wanted"), [(0.5, 0.0), (0.7, 0.75)])
def test_dormant_units_without_dead_ones(threshold, wanted):
    # Mean magnitudes (0.5, 0.5, 0.5, 1.5), their mean 0.75, scores (0.667, 0.667, 0.667, 2).
    h = np.array([[0.5, 0, 1, 1.5], [0.5, 1, 0, 1.5]])
    assert dormant_fraction_of(h, threshold=threshold) == wanted


@pytest.mark.parametrize("threshold", [0.0, 0.1])
def test_a_dead_group_is_all_dormant(threshold):
    assert dormant_fraction_of(np.zeros((3, 4)), threshold=threshold) == 1.0


def test_at_zero_only_units_that_are_never_active_are_dormant():
    # The second unit is active once in a thousand samples, by next to nothing.
    h = np.zeros((1000, 4))
    h[7, 1], h[:, 2:] = 1e-30, 1.0
    assert dormant_fraction_of(h) == 0.25


def test_inactive_units_by_hand():
    # Active on 0, 9, 10 and 11 of 1000 samples: less than 1 % are the first two.
    h = np.zeros((1000, 4))
    h[:9, 1] = h[:10, 2] = h[:11, 3] = -3.0
    assert inactive_fraction_of(h) == 0.5
    # Of 50 samples of space and batch, one is 2 %: below 4 %, not below 2 %.
    h = np.zeros((10, 5, 2))
    h[3, 3, 0] = 1.0
    assert inactive_fraction_of(h, threshold=0.04) == 1.0
    assert inactive_fraction_of(h, threshold=0.02) == 0.5


def test_active_and_saturated_pairs_by_hand():
    # Not zero: 4 of 6. Magnitude above 0.9: -0.95 and 1, so 2 of 6; above 0.4: 3 of 6 (0.4 itself is not above).
    h = np.array([[0, -0.95, 0.4], [0, 1.0, 0.5]])
    np.testing.assert_allclose(active_fraction_of(h), 4 / 6, rtol=1e-6)
    np.testing.assert_allclose(saturated_fraction_of(h), 2 / 6, rtol=1e-6)
    np.testing.assert_allclose(saturated_fraction_of(h, threshold=0.4), 3 / 6, rtol=1e-6)


def test_a_unit_read_twice_is_dormant_if_it_is_so_in_both():
    # The first unit is dead in both activations, the second in one, the third in none.
    left, right = np.array([[0.0, 0, 1], [0, 0, 1]]), np.array([[0.0, 1, 1], [0, 1, 1]])
    np.testing.assert_allclose(dormant_fraction_of(left, right), 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(inactive_fraction_of(left, right), 1 / 3, rtol=1e-6)
    # A third of the pairs of `left` is active and two thirds of those of `right`.
    np.testing.assert_allclose(active_fraction_of(left, right), 1 / 2, rtol=1e-6)
    np.testing.assert_allclose(saturated_fraction_of(left, right), 1 / 2, rtol=1e-6)


def test_each_activation_of_a_unit_may_count_by_itself(wiring):
    # `conv` is never active. Of the two units of `stream`, both are active on the left and one on the right: of the
    # 3 + 2 + 2 activations 3 + 0 + 1 are inactive. As units, none of `stream` is inactive: 3 of 5.
    features = {"conv": np.zeros((2, 4, 3)), "stream@left": np.ones((2, 2)), "stream@right": np.eye(2)[:, :1] * [0, 1]}
    as_units, each = rows(features, inactive_fraction(wiring), inactive_fraction(wiring, count="activations"))
    assert as_units == pytest.approx({"conv": 1, "stream": 0, "": 3 / 5})
    assert each == pytest.approx({"conv": 1, "stream@left": 0, "stream@right": 1 / 2, "": 4 / 7})
    with pytest.raises(ValueError, match="count='channels': write one of 'units', 'activations'"):
        inactive_fraction(wiring, count="channels")


def test_rows_are_groups_and_the_network(wiring):
    # conv, 2 samples x 4 positions: unit 0 is 1 at two of eight, unit 1 at all, unit 2 nowhere.
    conv = np.zeros((2, 4, 3))
    conv[:, 0, 0] = conv[:, :, 1] = 1.0
    # stream, read twice: unit 0 is 0 on the left and 1 on the right, unit 1 is 0.5 in both.
    features = {
        "conv": conv,
        "stream@left": np.array([[0, 0.5], [0, 0.5]]),
        "stream@right": np.array([[1, 0.5], [1, 0.5]]),
    }
    dead, dormant, inactive, never, active, saturated, at_one = rows(
        features,
        dormant_fraction(wiring),
        dormant_fraction(wiring, threshold=0.6001),
        inactive_fraction(wiring, threshold=0.26),
        inactive_fraction(wiring),
        active_fraction(wiring),
        saturated_fraction(wiring),
        saturated_fraction(wiring, threshold=1.0),
    )
    # Of the network's five units one is dead.
    assert dead == pytest.approx({"conv": 1 / 3, "stream": 0, "": 1 / 5})
    # Means (0.25, 1, 0), their mean 0.417, scores (0.6, 2.4, 0); stream: left (0, 2), right (1.33, 0.67): none in both.
    assert dormant == pytest.approx({"conv": 2 / 3, "stream": 0, "": 2 / 5})
    # Unit 0 of conv is active on 25 % of the samples.
    assert inactive == pytest.approx({"conv": 2 / 3, "stream": 0, "": 2 / 5})
    assert never == pytest.approx({"conv": 1 / 3, "stream": 0, "": 1 / 5})
    # conv: 2 + 8 + 0 of 24 pairs; stream: 1/2 on the left and 1 on the right; network: (3 * 10 / 24 + 2 * 3 / 4) / 5.
    assert active == pytest.approx({"conv": 10 / 24, "stream": 3 / 4, "": 0.55})
    # Above 0.9: conv as before; stream: none on the left, half on the right; network: (3 * 10 / 24 + 2 / 4) / 5.
    assert saturated == pytest.approx({"conv": 10 / 24, "stream": 1 / 4, "": 0.35})
    assert at_one == {"conv": 0, "stream": 0, "": 0}


def test_a_choice_of_groups_is_the_network(wiring):
    (found,) = rows({"conv": np.zeros((2, 4, 3))}, dormant_fraction(wiring.only("conv")))
    assert found == {"conv": 1.0, "": 1.0}


@pytest.mark.parametrize("factory", [dormant_fraction, inactive_fraction, active_fraction, saturated_fraction])
def test_features_of_another_network_are_refused(factory):
    wiring = Wiring({"h": Group("h", 4, (), (), (Outgoing("out", 0, feature="h"),))})
    with pytest.raises(ValueError, match="features has no 'h'"):
        factory(wiring)(features={"g": np.ones((2, 4))})
    with pytest.raises(ValueError, match=r"features\['h'\] has shape \(2, 3\)"):
        factory(wiring)(features={"h": np.ones((2, 3))})


@pytest.mark.parametrize(
    ("factory", "threshold"),
    [(dormant_fraction, -0.1), (inactive_fraction, 0.0), (inactive_fraction, 1.5), (saturated_fraction, -1.0)],
)
def test_thresholds_outside_their_range_are_refused(factory, threshold, wiring):
    with pytest.raises(ValueError, match=rf"{factory.__name__}\(threshold={threshold}\): write"):
        factory(wiring, threshold=threshold)
