"""Names are found, described and suggested."""

import pathlib
import re
import sys
import typing

import pytest

import pliant
import pliant.agents
from pliant.core import registry
from pliant.core.registry import UnknownNameError

KINDS = typing.get_args(registry.Kind)


@pytest.mark.parametrize("kind", KINDS)
def test_everything_has_one_line(kind):
    lines = registry.summaries(kind)
    assert list(lines) == registry.names(kind) == sorted(lines)
    for name, line in lines.items():
        assert re.fullmatch(r"[A-Z].{20,}\.", line), f"{name}: {line}"
        assert "$" not in line, f"{name}: LaTeX does not read well on a terminal"


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_found(kind):
    for name in registry.names(kind):
        found = registry.find(kind, name)
        if kind in ("methods", "continual", "diagnostics"):
            assert found.__name__ == name
        else:
            assert callable(found.make)


def test_what_there_is():
    assert "slowly_changing_regression" in registry.names("problems")
    assert {"continual_backprop", "redo", "l2", "shrink_and_perturb"} <= set(registry.names("methods"))
    assert {"ewc", "fine_tuning"} <= set(registry.names("continual"))
    assert not {"copies", "_copies"} & set(registry.names("continual"))  # a file without a function of its name
    assert {"dormant_fraction", "rank"} <= set(registry.names("diagnostics"))
    files = pathlib.Path(pliant.agents.__file__).parent.glob("[!_]*.py")
    assert registry.names("agents") == sorted(file.stem for file in files)  # and nothing of what they share
    assert registry.summaries("agents")["sgd"].startswith("Online supervised learning")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("methods", "continual_backprob", "unknown method 'continual_backprob'; did you mean continual_backprop?"),
        (
            "problems",
            "classification",
            f"unknown problem 'classification'; there are: {', '.join(registry.names('problems'))}",
        ),
        ("diagnostics", "dormant", "unknown diagnostic 'dormant'; did you mean dormant_fraction?"),
        ("continual", "l2_anker", "unknown continual method 'l2_anker'; did you mean l2_anchor?"),
        ("agents", 5, f"unknown agent 5; there are: {', '.join(registry.names('agents'))}"),
        ("methods", "__init__", "unknown method '__init__'; did you mean"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_an_unknown_name_names_the_nearest(kind, name, message):
    with pytest.raises(UnknownNameError, match=re.escape(message)) as error:
        registry.find(kind, name)
    assert "\n" not in str(error.value)


def test_a_long_list_is_cut():
    with pytest.raises(UnknownNameError, match=r"there are: n0, .*, n19, \.\.\. \(30 in all\)"):
        registry.check("thing", "zzz", [f"n{i}" for i in range(30)])


def test_presets():
    presets = registry.presets("slowly_changing_regression")
    assert presets["sgd/bp/relu"]["agent"]["optimizer"] == "sgd"
    assert registry.presets("continual_backprop")["conv"]["rate_of"] == "all"
    assert registry.presets("a_problem_without") == {}


def test_docstrings_in_plain_words():
    assert registry.plain("The  rate $\\rho$\n    of $w^0$.") == "The rate rho of w^0."


@pytest.fixture
def a_package(tmp_path, monkeypatch):
    """Another package is installed, whose entry points offer methods and a network."""
    (tmp_path / "others.py").write_text(
        "def half():\n    return 0.5\n\n\ndef l2():\n    return 'not ours'\n\n\nfive = 5\n"
    )
    (tmp_path / "failing.py").write_text("raise RuntimeError('no license')\n")
    metadata = tmp_path / "others-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(
        "[pliant.methods]\nhalf = others:half\nl2 = others:l2\ngone = others:gone\n"
        "failing = failing:half\nfive = others:five\n"
        "[pliant.agents]\nlearner = others\n"
        "[pliant.networks]\nwide = others:half\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for cached in (registry._others, registry._summaries):
        cached.cache_clear()
    yield
    sys.modules.pop("others", None)
    for cached in (registry._others, registry._summaries):
        cached.cache_clear()


def test_components_of_other_packages_are_found_and_listed(a_package):
    assert registry.summaries("methods")["half"] == "Of the package others 1.2."
    assert "half" in registry.names("methods") and list(registry.names("networks")) == ["wide"]
    assert "others" not in sys.modules  # a list imports nothing
    assert registry.find("methods", "half")() == registry.find("networks", "wide")() == 0.5


def test_a_component_of_pliant_wins_over_one_of_the_same_name(a_package):
    assert registry.find("methods", "l2") is pliant.l2
    assert registry.summaries("methods")["l2"].startswith("L2 regularization")


def test_a_component_that_its_package_lacks_is_named(a_package):
    with pytest.raises(
        UnknownNameError, match=r"^method 'gone' of the package others 1\.2: .*has no attribute 'gone'$"
    ):
        registry.find("methods", "gone")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("methods", "failing", "RuntimeError: no license"),
        ("methods", "five", "others:five is no function"),
        ("agents", "learner", "others has no Config, make, LEARNS_FROM; write a module that has"),
    ],
)
def test_a_broken_component_is_named_and_can_be_left_out(a_package, kind, name, message):
    word = registry.singular(kind)
    with pytest.raises(UnknownNameError, match=f"^{word} '{name}' of the package others 1.2: {message}$"):
        registry.find(kind, name)
    assert name not in registry.available(kind) and "ppo" in registry.available("agents")
