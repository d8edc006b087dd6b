"""The documentation: its code runs, its flags exist, and the README stays one page."""

import functools
import itertools
import pathlib
import re
import sys
import tomllib
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import pliant
from pliant import datasets
from pliant.core import registry
from pliant.core.continual import ContinualContext
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.configuration.settings import settings_of

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"
NETWORK = ROOT / "docs" / "get_started" / "your_network.md"
PAGES = [README, *sorted(page for page in (ROOT / "docs").glob("**/*.md") if page.parent.name[0] != "_")]
DIFF = re.compile(r"^```diff\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
FLAG = re.compile(r"(?<![\w-])--([a-z][\w.@-]*)")


def network():
    """The names that code on the pages uses without making them: a network of two hidden layers, and its data."""
    sizes = [16, 8, 4, 2]
    params = {
        f"Dense_{i}": {"kernel": np.ones((m, n), np.float32), "bias": np.ones(n, np.float32)}
        for i, (m, n) in enumerate(itertools.pairwise(sizes))
    }

    def apply(params, x):
        for name in ("Dense_0", "Dense_1"):
            x = jax.nn.relu(x @ params[name]["kernel"] + params[name]["bias"])
        return x @ params["Dense_2"]["kernel"] + params["Dense_2"]["bias"]

    x, y = np.ones((5, 16), np.float32), np.ones((5, 2), np.float32)
    wiring = pliant.trace(apply, params, x)
    state = pliant.plastic(optax.adam(1e-3), pliant.continual_backprop(wiring)).init(params)
    return {
        "apply": apply,
        "data": [(x, y)],
        "model": types.SimpleNamespace(apply=apply),
        "params": params,
        "state": state,
        "wiring": wiring,
        "x": x,
        "y": y,
    }


def hand_wired():
    params = {
        "w1": np.ones((16, 64), np.float32),
        "b1": np.ones(64, np.float32),
        "w2": np.ones((64, 10), np.float32),
        "b2": np.ones(10, np.float32),
    }
    return {"params": params, "x": np.ones((5, 16), np.float32), "y": np.ones((5, 10), np.float32)}


def blocks(page):
    return [code for code in CODE.findall(page.read_text()) if "--8<--" not in code]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_code_on_a_page_runs(page):
    def program():
        names = {"jax": jax, "jnp": jnp, "optax": optax, "pliant": pliant}
        names |= hand_wired() if page.stem == "wiring_by_hand" else network()
        for code in blocks(page):
            exec(code, names)
        return names["loss"](names["params"]) if page.stem == "wiring_by_hand" else ()

    # Pages are written as users write: a bias is added to a batch as it is. Traced and not compiled.
    with jax.numpy_rank_promotion("allow"):
        jax.eval_shape(program)


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.hidden, self.head = nnx.Linear(16, 8, rngs=rngs), nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.hidden(x)))


# (page, number of the diff on it, changed lines that it may have, the names that it uses without making them)
DIFFS = [
    (README, 0, 3, {}),
    (NETWORK, 0, 3, {}),
    (NETWORK, 1, 3, {"TrainState": TrainState, "loss": "plain"}),
    (NETWORK, 2, 4, {"nnx": nnx, "MLP": Nnx, "loss": "module"}),
    (NETWORK, 3, 4, {"eqx": eqx, "loss": "mapped"}),
]


@pytest.mark.parametrize("page, number, allowed, names", DIFFS)
def test_a_diff_on_a_page_is_as_short_as_it_says_and_both_sides_run(page, number, allowed, names):
    lines = DIFF.findall(page.read_text())[number].splitlines()
    assert sum(line[:1] == "+" for line in lines) <= allowed
    before, after = ("\n".join(line[1:] for line in lines if line[:1] != left) for left in "+-")

    def run(code, key):
        known = network()
        losses = {
            "plain": lambda w, x, y: jnp.mean((known["apply"](w, x) - y) ** 2),
            "module": lambda model, x, y: jnp.mean((model(x) - y) ** 2),
            "mapped": lambda model, x, y: jnp.mean((jax.vmap(model)(x) - y) ** 2),
        }
        known |= {"jax": jax, "jnp": jnp, "optax": optax, "pliant": pliant, "key": key, **names}
        known["loss"] = losses.get(names.get("loss"))
        exec(code, known)
        return known["error"]

    with jax.numpy_rank_promotion("allow"):
        for code in (before, after):
            assert jax.eval_shape(functools.partial(run, code), jax.random.key(0)).shape == ()


def test_each_diff_is_tested():
    assert [(page, n) for page in PAGES for n in range(len(DIFF.findall(page.read_text())))] == [d[:2] for d in DIFFS]


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda example: example.stem)
def test_each_example_is_shown_on_a_page(example):
    # A formatter that took the line of the snippet for Python would rewrite it.
    assert any(f'--8<-- "examples/{example.name}"\n' in page.read_text() for page in PAGES)


def test_the_readme_is_one_page():
    text = README.read_text()
    lines = text.splitlines()
    assert len(lines) <= 120
    assert len(text.split()) <= 700
    assert max(map(len, lines)) <= 100
    assert re.search(r"^make demo\b", text, re.MULTILINE) and re.search(r"^make test\b", text, re.MULTILINE)


def test_each_data_set_has_a_row_in_the_guide():
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "guides" / "data.md").read_text(), re.MULTILINE)
    assert set(datasets.names()) <= set(rows)


def test_the_floors_of_the_house_are_those_of_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract.get("containers") == ["pliant"]]
    [floors] = re.findall(
        r"^```text\n(.*?)^```", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert floors.splitlines() == [re.sub("[()]", "", layer) for layer in layers]


def known_flags():
    """Every flag of the command line: the settings of whatever the registry finds, and what the commands add."""
    found = set()
    for kind in ("problems", "agents"):
        for name in registry.names(kind):
            found |= set(settings_of(registry.find(kind, name).Config))
    for name in registry.names("methods"):
        settings = set(settings_of(registry.find("methods", name))) | {"groups", "on_new_task"}
        found |= {f"method.{owner}{setting}" for setting in settings for owner in ("", f"{name}.")}
    for name in registry.names("continual"):
        settings = settings_of(registry.find("continual", name), ContinualContext._fields)
        found |= {f"continual.{setting}" for setting in settings}
    found |= set(RunConfig.__dataclass_fields__)
    commands = "".join(path.read_text() for path in (ROOT / "src" / "pliant" / "cli").glob("*.py"))
    written = {flag for flag in re.findall(r'"--([a-z-]+)"', commands)}
    return {flag.replace("_", "-") for flag in found} | written


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "results"], ids=lambda page: page.stem)
def test_flags_on_a_page_exist(page):
    text = page.read_text()
    commands = [line for block in COMMANDS.findall(text) for line in block.splitlines()]
    ours = [line for line in commands if re.match(r"pliant|    --", line)]
    if page.parent.name == "coming_from":  # tables of their flags and ours
        rows = [re.split(r"(?<!\\)\|", line) for line in text.splitlines() if line.startswith("|")]
        ours += [row[2] for row in rows if "none" not in row[2]]
    flags = {flag for line in ours for flag in FLAG.findall(line.partition("#")[0])}
    own = {"your_own": {"method.bound", "network.units"}, "continual": {"continual.weight", "continual.reach"}}
    of_the_guide = own.get(page.stem, set())  # tests/cli/test_own.py
    unknown = {re.sub(r"@\w+", "", flag).replace("_", "-") for flag in flags} - known_flags() - of_the_guide
    assert not unknown


@pytest.fixture(scope="module")
def site():
    """The modules that build the site."""
    sys.path.insert(0, str(ROOT / "docs" / "_site"))
    import docstrings
    import mathml

    yield types.SimpleNamespace(docstrings=docstrings, mathml=mathml)
    sys.path.remove(str(ROOT / "docs" / "_site"))


def test_docstrings_become_markdown(site):
    text = site.docstrings.as_markdown(
        "One line.\n\n"
        "Signals:\n    features: activations\n        of the pass.\n    step: optional.\n\n"
        "Differs from the authors' code: nothing.\n\n"
        "References:\n    Sokar et al., `The dormant\n    neuron <https://a.b/c>`_, 2023."
    )
    assert text == (
        "One line.\n\n"
        "**Signals.** What each step needs beside gradients and parameters:\n\n"
        "- `features`: activations of the pass.\n- `step`: optional.\n\n"
        "**Differs from the authors' code.** Nothing.\n\n"
        "**References.** Sokar et al., [The dormant neuron](https://a.b/c), 2023."
    )


def test_mathematics_becomes_mathml(site):
    markdown = pytest.importorskip("markdown").Markdown(
        extensions=["pymdownx.arithmatex", site.mathml.MathMLExtension()],
        extension_configs={"pymdownx.arithmatex": {"generic": True}},
    )
    page = markdown.convert(r"For $\rho < 1$:" + "\n\n" + r"$$\overline{x} = -\max(a, b)$$")
    assert page.count("<math") == 2 and "arithmatex" not in page
    assert '<mrow class="overline">' in page  # a line of the style sheet, as wide as what is under it
    assert '<mo form="prefix">−</mo>' in page  # a sign, without the space of a difference
