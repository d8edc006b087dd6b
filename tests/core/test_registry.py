"""Names are found, described and suggested."""

import pathlib
import re
import typing

import pytest

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
        if kind in ("methods", "diagnostics"):
            assert found.__name__ == name
        else:
            assert callable(found.make)


def test_what_there_is():
    assert "slowly_changing_regression" in registry.names("problems")
    assert {"continual_backprop", "redo", "l2", "shrink_and_perturb"} <= set(registry.names("methods"))
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
    assert registry.presets("a_problem_without") == {}


def test_docstrings_in_plain_words():
    assert registry.plain("The  rate $\\rho$\n    of $w^0$.") == "The rate rho of w^0."
