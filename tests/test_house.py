"""The rules of the house that no tool checks by itself."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
TESTS = ROOT / "tests"
SOURCE = ROOT / "src" / "pliant"
WORDS_OF_AGENTS = {"replay"}  # an agent's buffer of transitions, and a continual method
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
        others = sorted(members(family) - WORDS_OF_AGENTS)
        named = [n for n in others if re.search(rf"\b_?{n.replace('_', '[_ -]')}(\b|_)", text)]
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


def handed_on(tree: ast.AST) -> set[str]:
    """The names that a file hands on as they are, as in `jax.jit(step)`, and not only calls, as in `step(state)`."""
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    named = [node for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute) and node not in called]
    return {node.id if isinstance(node, ast.Name) else node.attr for node in named}


def eager(tree: ast.Module):
    """The calls `jnp.x(...)` outside of the functions that may be compiled.

    Those are lambdas, functions in functions, functions with a decorator of JAX, those whose name is handed on, and
    those that another of them calls.
    """
    names, outside, inside = handed_on(tree), [], []

    def sort(node: ast.AST, depth: int = 0) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                decorated = any("jax" in ast.unparse(decorator) for decorator in child.decorator_list)
                if depth or decorated or child.name in names:
                    inside.append(child)
                else:
                    sort(child, depth + 1)
            elif isinstance(child, ast.Lambda):
                inside.append(child)
            else:
                if isinstance(child, ast.Call) and ast.unparse(child.func).startswith("jnp."):
                    outside.append(child)
                sort(child, depth)

    while True:
        outside.clear(), inside.clear()
        sort(tree)
        calls = (node.func for function in inside for node in ast.walk(function) if isinstance(node, ast.Call))
        more = {function.id for function in calls if isinstance(function, ast.Name)} - names
        if not more:
            return outside
        names |= more


@pytest.mark.parametrize("folder", sorted({path.relative_to(TESTS).parts[0] for path in TESTS.glob("**/*.py")}))
def test_tests_compute_in_numpy(folder):
    # What is computed with `jnp` outside of a compiled function is one program an operation and shape.
    paths = [TESTS / folder] if folder.endswith(".py") else sorted((TESTS / folder).glob("**/*.py"))
    for path in paths:
        for call in eager(ast.parse(path.read_text())):
            pytest.fail(f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)}: write it with NumPy")
