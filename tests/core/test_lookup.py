"""What methods keep in the state of an optimizer, by name."""

import hand_wired
import jax
import numpy as np
import optax
import pytest
import trees

import pliant.methods
from pliant.core import lookup
from pliant.core.plastic import plastic
from pliant.core.timing import every

WIRING, PARAMS = hand_wired.mlp(3, 4, 5, 2), hand_wired.params(3, 4, 5, 2)


def initial(*methods):
    return jax.eval_shape(plastic(optax.adam(0.1), *methods).init, PARAMS)


@pytest.mark.parametrize("name", ["continual_backprop", "neuroplastic_expansion", "redo", "static_sparse"])
def test_a_method_is_found_by_its_name(name):
    method = getattr(pliant.methods, name)(WIRING)
    plain, state = initial(method), initial(pliant.methods.l2(), pliant.methods.l2_init(), method)
    found = lookup.state_of(state, name)
    assert type(found) is type(plain.after[0]) or type(found) is type(plain.after[0].inner)
    assert lookup.state_of((optax.EmptyState(), {"inner": state}), name) is found
    assert lookup.state_of(state, "l2_init").initial["w0"].shape == (3, 4)


def test_of_several_states_one_is_chosen_by_number():
    first, second = (
        every(period, pliant.methods.continual_backprop(WIRING.only(f"w{i}"))) for i, period in ((0, 2), (1, 3))
    )
    state = initial(first, second)
    assert list(lookup.state_of(state, "continual_backprop", 1).age) == ["w1"]
    with pytest.raises(ValueError, match=r"^there are 2 states of continual_backprop; .* with a number from 0 to 1$"):
        lookup.state_of(state, "continual_backprop")
    with pytest.raises(ValueError, match=r"^there are 2 states of continual_backprop"):
        lookup.state_of(state, "continual_backprop", 2)


def test_an_unknown_name_is_refused_with_those_that_are_there():
    state = initial(pliant.methods.redo(WIRING))
    with pytest.raises(
        ValueError, match=r"^no method .* called 'l2_init': none has a L2InitState; .*: EveryState, RedoSt"
    ):
        lookup.state_of(state, "l2_init")


def test_replacements_of_several_methods_add_up():
    # Of 4 + 5 dead units redo recycles all at its second step, and continual backprop one of each group at each step.
    methods = (
        pliant.methods.redo(WIRING, period=2),
        pliant.methods.continual_backprop(WIRING.only("w1"), replacement_rate=0.2, maturity=0),
    )
    tx = plastic(optax.sgd(0.1), *methods)
    features = {"w0": np.zeros((8, 4), np.float32), "w1": np.zeros((8, 5), np.float32)}

    def two_steps(params, features):
        state = tx.init(params)
        for _ in range(2):
            params, state = tx.step(params, state, params, features=features)
        return lookup.replacements(state)

    assert trees.numpy(jax.jit(two_steps)(PARAMS, features)) == {"w0": 4, "w1": 5 + 2}
