"""What every diagnostic owes, whichever joins: one compilation, vmap equals loop, unknown signals, missing signals."""

import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant import diagnostics
from pliant.core.units import Wiring

NAMES = sorted(name for name, value in vars(diagnostics).items() if inspect.isfunction(value))


def make(name, wiring):
    return getattr(diagnostics, name)(wiring)


def needs(measure):
    parameters = inspect.signature(measure).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]


def test_each_file_is_public_by_its_name():
    files = Path(diagnostics.__file__).parent.glob("_[!_]*.py")
    assert {file.stem[1:] for file in files} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_factory_takes_a_wiring_then_keywords_and_says_what_it_measures(name):
    factory = getattr(diagnostics, name)
    first, *rest = inspect.signature(factory).parameters.values()
    assert first.name == "wiring"
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in rest)
    assert factory.__doc__.splitlines()[0].endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_gives_scalars_and_compiles_once(name, wiring, make_signals):
    measure, traces = make(name, wiring), []

    @jax.jit
    def jitted(**signals):
        traces.append(name)
        return measure(**signals)

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        rows = jitted(**make_signals(0))
        jitted(**make_signals(1))
    assert len(traces) == 1
    assert rows
    for value in rows.values():
        assert value.shape == ()
        assert value.dtype in (jnp.float32, jnp.int32)


@pytest.mark.parametrize("name", NAMES)
def test_vmap_equals_a_loop(name, wiring, make_signals):
    measure = make(name, wiring)
    members = [make_signals(seed) for seed in range(3)]
    population = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    mapped = jax.jit(jax.vmap(lambda signals: measure(**signals)))(population)
    one = jax.jit(measure)
    for i, member in enumerate(members):
        alone = one(**member)
        assert alone.keys() == mapped.keys()
        for row, value in alone.items():
            np.testing.assert_allclose(mapped[row][i], value, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_names_the_signal_that_is_missing(name, wiring, make_signals):
    measure, signals = make(name, wiring), make_signals(0)
    assert needs(measure)
    for needed in needs(measure):
        with pytest.raises(TypeError, match=needed):
            measure(**{key: value for key, value in signals.items() if key != needed})


@pytest.mark.parametrize("name", [name for name in NAMES if "method_state" not in needs(make(name, Wiring({})))])
def test_bfloat16_is_measured_in_float32(name, wiring, make_signals):
    def cast(dtype):
        return lambda x: x.astype(jnp.bfloat16).astype(dtype) if x.dtype == jnp.float32 else x

    signals = make_signals(0)
    signals.pop("method_state")
    measure = make(name, wiring)
    with jax.numpy_dtype_promotion("strict"):
        got = jax.jit(measure)(**jax.tree.map(cast(jnp.bfloat16), signals))
    wanted = jax.jit(measure)(**jax.tree.map(cast(jnp.float32), signals))
    for row, value in wanted.items():
        assert got[row].dtype == value.dtype
        np.testing.assert_allclose(got[row], value, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_without_hidden_units_has_no_rows_of_units(name, make_signals):
    measure, signals = make(name, Wiring({})), make_signals(0)
    rows = jax.jit(measure)(**signals)
    assert set(rows) <= {"", "conv/kernel", "stream/kernel", "left/kernel", "right/kernel"}
    assert not set(needs(measure)) & {"features", "method_state"} or rows == {}
