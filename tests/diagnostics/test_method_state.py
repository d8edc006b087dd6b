from typing import NamedTuple

import jax
import numpy as np
import optax
import pytest

from pliant.core.base import Edit, Surgery
from pliant.core.plastic import plastic
from pliant.core.timing import every
from pliant.diagnostics import replacements, unit_age, unit_utility


class Counts(NamedTuple):
    age: dict
    utility: dict
    replaced: dict


class Rating(NamedTuple):
    utility: dict


class Ages(NamedTuple):
    age: dict
    replaced: dict


def rows(measure, state):
    return {row: float(value) for row, value in jax.jit(measure)(method_state=state).items()}


FIRST = Counts(
    age={"conv": np.array([1, 5, 9]), "stream": np.array([0, 4])},
    utility={"conv": np.array([0.5, 0.25, 0.75]), "stream": np.array([2.0, 1.0])},
    replaced={"conv": np.array(3), "stream": np.array(0)},
)


def method(state):
    """A surgery that does nothing but have this state."""
    return Surgery(lambda params: state, lambda params, state, **signals: (Edit(params), state))


def state_of(*methods):
    params = {"age": np.ones((3, 2)), "conv": {"kernel": np.ones((3, 2))}}
    return jax.jit(plastic(optax.adam(1e-3), *methods).init)(params)


# conv has ages 1, 5, 9 and utilities 0.5, 0.25, 0.75; stream has ages 0, 4 and utilities 2, 1.
@pytest.mark.parametrize(
    ("statistic", "age", "utility"),
    [
        ("mean", {"conv": 5, "stream": 2}, {"conv": 0.5, "stream": 1.5}),
        ("median", {"conv": 5, "stream": 2}, {"conv": 0.5, "stream": 1.5}),
        ("min", {"conv": 1, "stream": 0}, {"conv": 0.25, "stream": 1}),
        ("max", {"conv": 9, "stream": 4}, {"conv": 0.75, "stream": 2}),
    ],
)
def test_age_and_utility_by_hand(wiring, statistic, age, utility):
    state = state_of(every(10, method(FIRST)))
    assert rows(unit_age(wiring, statistic=statistic), state) == age
    assert rows(unit_utility(wiring, statistic=statistic), state) == utility


def test_replacements_by_hand(wiring):
    assert rows(replacements(wiring), state_of(method(FIRST))) == {"conv": 3, "stream": 0, "": 3}


def test_a_second_method_adds_its_replacements_and_makes_units_young(wiring):
    # conv: the smaller of (1, 5, 9) and (7, 2, 0), mean (1 + 2 + 0) / 3.
    second = Ages(age={"conv": np.array([7, 2, 0])}, replaced={"conv": np.array(4)})
    state = state_of(method(FIRST), method(second))
    assert rows(unit_age(wiring), state) == {"conv": 1, "stream": 2}
    assert rows(replacements(wiring), state) == {"conv": 7, "stream": 0, "": 7}
    assert rows(unit_utility(wiring), state) == {"conv": 0.5, "stream": 1.5}


def test_layers_that_write_into_the_stream_of_a_group_have_rows_of_their_own(wiring):
    age = {"stream": np.array([7, 2]), "stream@b": np.array([3, 4]), "other@b": np.array([1, 1])}
    utility = {"stream": np.array([1.0, 2.0]), "stream@b": np.array([3.0, 4.0])}
    layers = Counts(age, utility, {"stream": np.array(5), "stream@b": np.array(6)})
    state = state_of(method(layers))
    assert rows(unit_age(wiring), state) == {"stream": 4.5, "stream@b": 3.5}
    assert rows(unit_utility(wiring), state) == {"stream": 1.5, "stream@b": 3.5}
    assert rows(replacements(wiring), state) == {"stream": 5, "stream@b": 6, "": 11}


def test_two_ratings_of_one_group_are_refused(wiring):
    with pytest.raises(ValueError, match="2 methods rate the units of group 'conv'"):
        unit_utility(wiring)(method_state=state_of(method(FIRST), method(FIRST)))


@pytest.mark.parametrize("factory", [unit_age, unit_utility, replacements])
def test_plain_backpropagation_has_no_rows(factory, wiring):
    # The optimizer's moments of a parameter called `age` are not ages of units, and a utility of weights is not a
    # utility of units.
    assert rows(factory(wiring), optax.adam(1e-3).init({"age": {"conv": np.ones((3, 2))}})) == {}
    per_weight = Rating(utility={"conv": np.ones((3, 2)), "stream": {"kernel": np.ones(2)}})
    assert rows(factory(wiring), state_of(method(per_weight))) == {}


def test_only_the_groups_of_the_wiring_are_measured(wiring):
    state = state_of(method(FIRST))
    assert rows(unit_age(wiring.only("stream")), state) == {"stream": 2}
    assert rows(replacements(wiring.only("stream")), state) == {"stream": 0, "": 0}


@pytest.mark.parametrize("factory", [unit_age, unit_utility])
def test_refuses_an_unknown_statistic(factory, wiring):
    with pytest.raises(ValueError, match="statistic='sum': write one of 'mean', 'median', 'min', 'max'"):
        factory(wiring, statistic="sum")
