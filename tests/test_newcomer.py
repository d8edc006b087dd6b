"""A newcomer adds one of each as files, and finds and runs them: the files lie in `newcomer/`, as in the package.

They are copied over a copy of the package. A method and a diagnostic take a line in their `__init__.py` beside it.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
FILES = HERE / "newcomer"
KINDS = {
    "methods": "weight_clipping",
    "diagnostics": "feature_norm",
    "problems": "random_labels",
    "agents": "sign_descent",
    "recipes": "memorization",
}
PROGRAM = """
import json
from pliant.cli import main
from pliant.core import registry
from pliant.datasets import load_images

print(json.dumps({kind: registry.summaries(kind) for kind in %r}))
print(load_images("stripes", "synthetic").train_by_class().shape)
raise SystemExit(main(["reproduce", "memorization", "--scale", "0.05"]))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What a program prints that lists all names and reproduces the newcomer's recipe, and where its files are."""
    folder = tmp_path_factory.mktemp("newcomer")
    shutil.copytree(HERE.parent / "src" / "pliant", folder / "pliant")
    shutil.copytree(FILES, folder / "pliant", dirs_exist_ok=True)
    for kind in ("methods", "diagnostics"):
        name = KINDS[kind]
        with open(folder / "pliant" / kind / "__init__.py", "a") as file:
            file.write(f"from ._{name} import {name} as {name}\n")
    environment = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"}
    command = [sys.executable, "-c", PROGRAM % list(KINDS)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


def test_each_takes_one_file():
    assert {kind: [file.stem.removeprefix("_") for file in (FILES / kind).glob("*.py")] for kind in KINDS} == {
        kind: [name] for kind, name in KINDS.items()
    }


def test_each_is_found_with_the_first_line_of_its_docstring(ran):
    out, _ = ran
    found = json.loads(out.splitlines()[0])
    for kind, name in KINDS.items():
        assert found[kind][name].startswith(name.replace("_", " ").capitalize() + ": ")


def test_a_data_set_is_found_by_its_name_and_read_in_its_format(ran):
    out, _ = ran
    assert out.splitlines()[1] == "(2, 10, 6, 6, 1)"


def test_a_run_of_all_of_them_gives_the_newcomers_figure(ran):
    out, folder = ran
    assert "Memorization: 2 runs, 1,600 examples in all" in out  # two lines of two seeds, 50 batches of 8 each
    rows = (folder / "runs" / "figures" / "memorization" / "memorization.csv").read_text().splitlines()[1:]
    (plain, norm, *_), (clipped, less, *_) = (row.split(",") for row in rows)
    assert (plain, clipped) == ("plain", "clipped") and 0 < float(less) < float(norm)
