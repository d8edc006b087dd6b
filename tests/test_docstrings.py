"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import jax
import jax.numpy as jnp
import optax
import pytest

import pliant

MODULES = sorted(m.name for m in pkgutil.walk_packages(pliant.__path__, "pliant.") if not m.name.endswith("__main__"))


def examples():
    """`(module, its examples)` where there are any."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in MODULES:
        tests = [test for test in finder.find(importlib.import_module(name)) if test.examples]
        if tests:
            yield pytest.param(tests, id=name)


@pytest.mark.compilations(20)  # examples compute as users do, without compiling
@pytest.mark.parametrize("tests", list(examples()))
def test_examples_in_docstrings_run(tests):
    runner = doctest.DocTestRunner()
    for test in tests:
        test.globs |= {"jax": jax, "jnp": jnp, "optax": optax, "pliant": pliant}
        assert runner.run(test).failed == 0
