"""What every diagnostic owes, whichever joins: one compilation, vmap equals loop, unknown signals, missing signals.

A diagnostic is compiled three times: for a member, for a population, and for a member in bfloat16.
"""

import inspect
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant import diagnostics
from pliant.core.units import Wiring

NAMES = sorted(name for name, value in vars(diagnostics).items() if inspect.isfunction(value))


def make(name, wiring):
    return getattr(diagnostics, name)(wiring)


def needs(measure):
    parameters = inspect.signature(measure).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]


def rounded(signals, dtype):
    """The signals with weights, gradients and activations rounded to bfloat16, as arrays of another type."""

    def cast(x):
        return np.asarray(x).astype(jnp.bfloat16).astype(dtype) if np.asarray(x).dtype == np.float32 else x

    return {key: value if key == "method_state" else jax.tree.map(cast, value) for key, value in signals.items()}


class Measured(NamedTuple):
    alone: list[Any]  # the rows of each of three members
    traces: int  # how often they were compiled
    together: Any  # the rows of the three in a population
    rounded: Any  # of a member whose numbers fit into bfloat16
    bfloat16: Any  # the same in bfloat16


@pytest.fixture(scope="module", params=NAMES)
def measured(request, wiring, make_signals):
    """A diagnostic's name, and what its three programs gave."""
    name = request.param
    measure, traces = make(name, wiring), []

    @jax.jit
    def one(signals):
        traces.append(name)
        return measure(**signals)

    members = [make_signals(seed) for seed in range(3)]
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        alone = [one(member) for member in members]
        compiled = len(traces)
        exact, bfloat16 = one(rounded(members[0], np.float32)), one(rounded(members[0], jnp.bfloat16))
        together = jax.jit(jax.vmap(lambda signals: measure(**signals)))(trees.stacked(members))
    return name, Measured(trees.numpy(alone), compiled, *map(trees.numpy, (together, exact, bfloat16)))


def test_each_file_is_public_by_its_name():
    files = Path(diagnostics.__file__).parent.glob("_[!_]*.py")
    assert {file.stem[1:] for file in files} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_factory_takes_a_wiring_then_keywords_and_says_what_it_measures(name):
    factory = getattr(diagnostics, name)
    first, *rest = inspect.signature(factory).parameters.values()
    assert first.name == "wiring"
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in rest)
    docstring = inspect.getdoc(factory)  # without the indentation, which Python 3.13 takes away by itself
    assert docstring.splitlines()[0].endswith(".")
    assert "\nExample:\n" in docstring, f"{name}: its docstring has no Example"


def test_gives_scalars_and_compiles_once(measured):
    _, found = measured
    assert found.traces == 1
    for rows in found.alone:
        assert rows
        for value in rows.values():
            assert value.shape == () and value.dtype in (np.float32, np.int32)


def test_vmap_equals_a_loop(measured):
    _, found = measured
    for i, rows in enumerate(found.alone):
        trees.assert_close(trees.at(found.together, i), rows, rtol=1e-5, atol=0)


def test_bfloat16_is_measured_in_float32(measured):
    _, found = measured
    for row, value in found.rounded.items():
        assert found.bfloat16[row].dtype == value.dtype
        np.testing.assert_allclose(found.bfloat16[row], value, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_names_the_signal_that_is_missing(name, wiring, make_signals):
    measure, signals = make(name, wiring), make_signals(0)
    assert needs(measure)
    for needed in needs(measure):
        with pytest.raises(TypeError, match=needed):
            measure(**{key: value for key, value in signals.items() if key != needed})


@pytest.mark.parametrize("name", NAMES)
def test_a_network_without_hidden_units_has_no_rows_of_units(name, make_signals):
    measure, signals = make(name, Wiring({})), make_signals(0)
    rows = jax.eval_shape(lambda: measure(**signals))
    assert set(rows) <= {"", "conv/kernel", "stream/kernel", "left/kernel", "right/kernel"}
    assert not set(needs(measure)) & {"features", "method_state"} or rows == {}
