"""The public face: what it has, and what it does not import before it is asked for."""

import importlib.metadata
import subprocess
import sys

import pytest

import pliant

HEAVY = ("flax", "jax", "matplotlib", "numpy", "optax", "orbax", "pandas", "scipy")


@pytest.mark.parametrize(
    "program",
    [
        "import pliant",
        "from pliant.cli import main; main(['--help'])",
        "from pliant.cli import main; main(['list'])",
        "from pliant.cli import main; main(['list', 'presets'])",
    ],
)
def test_what_needs_no_arrays_imports_no_heavy_package(program):
    check = f"import sys; {program}; print(sorted(sys.modules.keys() & {set(HEAVY)}), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_every_public_name_is_there():
    assert {"trace", "plastic", "continual_backprop", "adam", "__version__"} <= set(dir(pliant))
    assert all(getattr(pliant, name) is not None for name in dir(pliant))


def test_the_version_is_the_installed_one():
    assert pliant.__version__ == importlib.metadata.version("pliant")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_method"):
        _ = pliant.no_such_method
