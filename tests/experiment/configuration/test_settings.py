"""Settings are read from dataclasses and factories, and read values from texts."""

import dataclasses
import re
from typing import Annotated, Literal

import pytest

from pliant.core import registry
from pliant.core.settings import AtLeast, Between
from pliant.experiment.configuration.settings import Setting, settings_of
from pliant.experiment.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Config:
    """Some settings."""

    size: Annotated[int, AtLeast(1)] = 20
    """Inputs
    of the network."""
    rate: float = 0.5
    name: Literal["one", "two"] = "one"
    """Which."""


def factory(wiring, decay: Annotated[float, Between(0, 1)] = 0.9, first: int = 1, last: int = 2, on: bool = False):
    r"""A method.

    Args:
        wiring: whose units.
        decay: $\eta$, of the
            average.
        first, last: steps.
        on: whether it is.
    """


def test_settings_of_a_dataclass():
    assert settings_of(Config) == {
        "size": Setting("size", int, 20, "Inputs of the network.", AtLeast(1)),
        "rate": Setting("rate", float, 0.5, ""),
        "name": Setting("name", Literal["one", "two"], "one", "Which."),
    }


def test_settings_of_a_factory():
    assert settings_of(factory) == {  # without the wiring, which the run gives
        "decay": Setting("decay", float, 0.9, "eta, of the average.", Between(0, 1)),
        "first": Setting("first", int, 1, "steps."),
        "last": Setting("last", int, 2, "steps."),
        "on": Setting("on", bool, False, "whether it is."),
    }


@pytest.mark.parametrize("kind", ["problems", "agents", "methods", "diagnostics"])
def test_every_setting_is_explained_and_its_default_allowed(kind):
    for name in registry.names(kind):
        found = registry.find(kind, name)
        for setting in settings_of(found.Config if kind in ("problems", "agents") else found).values():
            assert setting.help, f"{name}.{setting.name} has no help"
            assert setting.read(setting.default) == setting.default, f"{name}.{setting.name}"


SIZE, RATE, NAME = settings_of(Config).values()
DECAY, _, _, ON = settings_of(factory).values()
TEXT = Setting("text", str, "", "")


@pytest.mark.parametrize(
    ("setting", "given", "value"),
    [
        (SIZE, "7", 7),
        (SIZE, 7, 7),
        (SIZE, 7.0, 7),
        (SIZE, "10k", 10_000),
        (SIZE, "1.5M", 1_500_000),
        (SIZE, "1_000", 1000),
        (SIZE, "1e3", 1000),
        (SIZE, 2**31 - 1, 2**31 - 1),
        (RATE, "1e-4", 1e-4),
        (RATE, "-3", -3.0),
        (RATE, 3, 3.0),
        (RATE, "2k", 2000.0),
        (DECAY, "1", 1.0),
        (NAME, "two", "two"),
        (NAME, "TWO", "two"),
        (ON, "true", True),
        (ON, "False", False),
        (ON, True, True),
        (TEXT, 5, "5"),
    ],
)
def test_reads(setting, given, value):
    read = setting.read(given)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("setting", "given", "message"),
    [
        (SIZE, "0", "size=0: write a whole number, at least 1"),
        (SIZE, "1.5", "size=1.5: write a whole number, at least 1"),
        (SIZE, "many", "size=many: write a whole number, at least 1"),
        (SIZE, "inf", "size=inf: write a whole number, at least 1"),
        (SIZE, True, "size=True: write a whole number, at least 1"),
        (SIZE, None, "size=None: write a whole number, at least 1"),
        (SIZE, [1], "size=[1]: write a whole number, at least 1"),
        (SIZE, "3e9", "size=3e9: write a whole number, at most 2147483647"),
        (RATE, "nan", "rate=nan: write a number"),
        (RATE, "inf", "rate=inf: write a number"),
        (RATE, "", "rate=: write a number"),
        (RATE, "9" * 5000, "write a number"),
        (DECAY, "1.1", "decay=1.1: write a number, from 0 to 1"),
        (NAME, "three", "name=three: write one or two"),
        (ON, "yes", "on=yes: write true or false"),
        (ON, 1, "on=1: write true or false"),
    ],
)
def test_refuses(setting, given, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        setting.read(given)


def test_an_error_names_where_it_was_written():
    with pytest.raises(ConfigError, match=r"^--size=0: write"):
        SIZE.read("0", "--size")


def test_kinds_in_words():
    assert SIZE.kind == "whole number, at least 1; default 20"
    assert DECAY.kind == "number, from 0 to 1; default 0.9"
    assert NAME.kind == "one | two; default one"
    assert ON.kind == "true | false; default false"
    assert TEXT.kind == "text; default none"
