"""The public face: what it has, and what it does not import before it is asked for."""

import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

import pliant

ROOT = pathlib.Path(__file__).parents[1]
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


SUITE = ("docstring_parser", "flax", "matplotlib", "orbax", "pandas", "pyarrow", "yaml", "rich", "scipy")
WITHOUT_SUITE = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *where):
        return None if name.partition(".")[0] in {suite} else self.finder.find_spec(name, *where)

sys.meta_path = [Without(finder) for finder in sys.meta_path]
import numpy as np, optax, pliant
for name in set(dir(pliant)) - {{"Run", "TrainedAgent", "load", "run", "stream_of"}}:
    getattr(pliant, name)
params = {{"in": np.ones((3, 4)), "out": np.ones((4, 1))}}
wiring = pliant.trace(lambda w, x: (x @ w["in"]).clip(0) @ w["out"], params, np.ones((8, 3)))
pliant.plastic(optax.adam(1e-3), pliant.continual_backprop(wiring))
try:
    pliant.run
except ModuleNotFoundError as error:
    print(error)
sys.argv = ["pliant", "list"]
from pliant.__main__ import main
sys.exit(main())
"""


def test_the_library_needs_no_package_of_the_suite():
    command = [sys.executable, "-c", WITHOUT_SUITE.format(suite=set(SUITE))]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.startswith("pliant.run is part of the suite, which needs "), done.stderr
    assert done.stdout.endswith(": pip install -e '.[suite]'\n")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("pliant: the command line is part of the suite, which needs ")


def test_the_suite_is_an_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"\W", line.replace("-", "_"), maxsplit=1)[0] for line in project["dependencies"]]
    assert names == ["jax", "jaxtyping", "lazy_loader", "numpy", "optax"]
    assert all(
        "pliant[suite]" in project["optional-dependencies"][extra] for extra in ("envs", "examples", "tensorboard")
    )


def test_every_public_name_is_there():
    assert {"trace", "plastic", "continual_backprop", "adam", "__version__"} <= set(dir(pliant))
    assert all(getattr(pliant, name) is not None for name in dir(pliant))


def test_the_version_is_the_installed_one():
    assert pliant.__version__ == importlib.metadata.version("pliant")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_method"):
        _ = pliant.no_such_method
