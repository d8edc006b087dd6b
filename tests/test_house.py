"""The rules of the house that no tool checks by itself."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SOURCE = ROOT / "src" / "pliant"
UNPICKLERS = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}


def members(family: str) -> set[str]:
    """The public names of a family: a file `_redo.py` that defines `redo`."""
    names = {path: path.stem.removeprefix("_") for path in (SOURCE / family).glob("_[!_]*.py")}
    return {
        name for path, name in names.items() if re.search(rf"^(def|class) {name}\b", path.read_text(), re.MULTILINE)
    }


@pytest.mark.parametrize("family", ["methods", "continual"])
def test_agents_name_no_method(family):
    for path in sorted((SOURCE / "agents").glob("**/*.py")):
        # `ShrinkAndPerturbState` and "shrink-and-perturb" are the name as much as `shrink_and_perturb` is.
        text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", path.read_text()).lower()
        named = [n for n in sorted(members(family)) if re.search(rf"\b_?{n.replace('_', '[_ -]')}(\b|_)", text)]
        assert not named, f"{path.relative_to(ROOT)} names {named}: an agent must not know its methods"


@pytest.mark.parametrize("folder", ["src", "examples", "benchmarks"])
def test_nothing_unpickles(folder):
    # To unpickle is to run whatever code the file holds; NumPy and pandas do it too when asked.
    for path in sorted((ROOT / folder).glob("**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                assert not UNPICKLERS & {name.name.split(".")[0] for name in node.names}, where
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in UNPICKLERS, where
            elif isinstance(node, ast.Attribute):
                assert node.attr != "read_pickle", where
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, where
