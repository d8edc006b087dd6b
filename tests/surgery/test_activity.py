import jax
import numpy as np

from pliant.core.units import Group, Incoming, Outgoing, Wiring
from pliant.surgery.activity import scores


def group(name, *readers, columns=None):
    indices = None if columns is None else np.array([columns])
    outgoing = tuple(Outgoing("out", 0, feature=reader) for reader in readers)
    return Group(name, 2, (Incoming("in", 1, indices),), (), outgoing)


def scored(wiring, weights, features):
    return jax.jit(lambda features: scores(wiring, {"in": weights}, features))(features)["in"]


def test_scores_are_relative_to_the_mean_of_the_group():
    # Mean magnitudes 1 and 3, their mean 2.
    found = scored(Wiring({"a": group("a", "a")}), np.ones((3, 2)), {"a": np.array([[1.0, -4.0], [-1.0, 2.0]])})
    assert found.tolist() == [[0.5, 1.5]] * 3


def test_a_unit_is_as_active_as_its_most_active_reader_sees_it_and_a_dead_group_has_no_active_unit():
    # Through x the scores are 2 and 0; all that is read through y is dead.
    features = {"x": np.array([[1.0, 0.0]]), "y": np.zeros((1, 2))}
    assert scored(Wiring({"a": group("a", "y", "x")}), np.ones((1, 2)), features).tolist() == [[2, 0]]
    assert scored(Wiring({"a": group("a", "y")}), np.ones((1, 2)), features).tolist() == [[0, 0]]


def test_a_weight_that_feeds_several_units_is_as_alive_as_the_most_active():
    # The first two columns of `in` feed the units of both groups, whose scores are 2 and 0, and 0.5 and 1.5. The third
    # feeds none.
    wiring = Wiring({name: group(name, name, columns=[0, 1]) for name in ("a", "b")})
    features = {"a": np.array([[1.0, 0.0]]), "b": np.array([[1.0, 3.0]])}
    assert scored(wiring, np.ones((2, 3)), features).tolist() == [[2, 1.5, np.inf]] * 2
