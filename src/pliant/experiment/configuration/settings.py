"""The settings of a component, which command lines, configuration files and sweeps set.

The settings of a problem or an agent are the fields of its `Config`. The settings of a method or a diagnostic are the
arguments of its factory. Names, types, defaults, ranges and help are read from there and written only there.
"""

import ast
import dataclasses
import functools
import inspect
import itertools
import math
import re
import textwrap
import typing
from typing import Annotated, Any, Literal

import docstring_parser

from pliant.core.agent import Context
from pliant.core.registry import plain
from pliant.core.settings import Range
from pliant.experiment.errors import ConfigError, echo

CONTEXT = Context._fields  # arguments of a method's or diagnostic's factory that the run fills in

_TYPES = (int, float, bool, str)
_NO_DEFAULTS = (inspect.Parameter.empty, dataclasses.MISSING)

_LARGEST = 2**31 - 1  # whole numbers go to the device in 32 bits


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting.

    Args:
        name: without the component: `learning_rate`.
        type: `int`, `float`, `bool`, `str`, or a `Literal`.
        default: the value if none is given.
        help: the description, with the unit.
        range: of the numbers; `None`: all finite numbers.
    """

    name: str
    type: Any
    default: Any
    help: str
    range: Range | None = None

    @property
    def choices(self) -> tuple[Any, ...]:
        """The allowed values, if they can be listed."""
        if self.type is bool:
            return (True, False)
        return typing.get_args(self.type) if typing.get_origin(self.type) is Literal else ()

    def read(self, value: Any, where: str | None = None) -> Any:
        """Reads a value from a text or a YAML scalar.

        Args:
            value: such as `0.01`, `"1e-2"`, `"10k"`, `"1M"`, `True`, `"true"`.
            where: name of the setting in errors; `None`: its `name`.

        Raises:
            ConfigError: if the value has another type, or is out of range.
        """
        problem = f"{where or self.name}={echo(value)}: write"
        if self.choices:
            found = [choice for choice in self.choices if _word(choice).lower() == _word(value).lower()]
            if not found:
                raise ConfigError(f"{problem} {' or '.join(map(_word, self.choices))}")
            return found[0]
        if self.type is str:
            return str(value)
        number = _number(value)
        wrong = number is None or (self.type is int and number != int(number))
        if wrong or (self.range is not None and not self.range.allows(number)):
            allowed = f", {self.range}" if self.range is not None else ""
            raise ConfigError(f"{problem} {'a whole number' if self.type is int else 'a number'}{allowed}")
        if self.type is int and abs(number) > _LARGEST:
            raise ConfigError(f"{problem} a whole number, at most {_LARGEST}")
        return self.type(number)

    @property
    def kind(self) -> str:
        """Type, range and default in words, for `--help`."""
        what = " | ".join(map(_word, self.choices)) or {int: "whole number", float: "number", str: "text"}[self.type]
        limits = f", {self.range}" if self.range is not None else ""
        return f"{what}{limits}; default {_word(self.default) or 'none'}"


def settings_of(source: Any, filled_in: tuple[str, ...] = CONTEXT) -> dict[str, Setting]:
    """The settings of a component, by name.

    Args:
        source: a `Config` dataclass, or the factory of a method, a diagnostic or another component.
        filled_in: arguments of the factory that the run fills in.

    Raises:
        ConfigError: if a setting has no default, or is no number, text, or choice.
    """
    return dict(_settings_of(source, filled_in))


@functools.cache  # without it, to read a configuration of ten components takes 15 ms
def _settings_of(source: Any, filled_in: tuple[str, ...]) -> dict[str, Setting]:
    annotations = typing.get_type_hints(source, include_extras=True)
    if dataclasses.is_dataclass(source):
        helps = _field_docstrings(source)
        defaults = {field.name: field.default for field in dataclasses.fields(source)}
    else:
        helps = argument_docstrings(source)
        defaults = {name: parameter.default for name, parameter in inspect.signature(source).parameters.items()}
    return {
        name: _setting(source, name, annotations.get(name), default, plain(helps.get(name, "")))
        for name, default in defaults.items()
        if name not in filled_in or dataclasses.is_dataclass(source)
    }


def _setting(source: Any, name: str, annotation: Any, default: Any, help: str) -> Setting:
    range_ = None
    if typing.get_origin(annotation) is Annotated:
        annotation, *extras = typing.get_args(annotation)
        range_ = next((extra for extra in extras if isinstance(extra, Range)), None)
    if default in _NO_DEFAULTS or (annotation not in _TYPES and typing.get_origin(annotation) is not Literal):
        raise ConfigError(
            f"{source.__name__} has the argument {name}, which is not a setting: write a type and a default, as in "
            f"{name}: float = 0.1, with int, float, bool, str or Literal"
        )
    return Setting(name, annotation, default, help, range_)


def _field_docstrings(dataclass: Any) -> dict[str, str]:
    """The docstring under each field; without one, the docstring of that field in a base class."""
    helps: dict[str, str] = {}
    for ancestor in reversed([kind for kind in dataclass.__mro__ if dataclasses.is_dataclass(kind)]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(ancestor))).body
        helps |= {
            field.target.id: doc.value.value
            for field, doc in itertools.pairwise(definition.body)
            if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant)
        }
    return helps


def argument_docstrings(function: Any) -> dict[str, str]:
    """The description of each argument; `first, last: ...` describes two."""
    parsed = docstring_parser.parse(inspect.getdoc(function) or "", docstring_parser.DocstringStyle.GOOGLE)
    return {
        name: parameter.description or ""
        for parameter in parsed.params
        for name in re.split(r",\s*", parameter.arg_name)
    }


def _word(value: Any) -> str:
    """A value as text: `true`, `relu`, `0.01`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: Any) -> float | int | None:
    """The finite number in a scalar or a text; `None` if there is none."""
    if isinstance(value, bool):
        return None
    text = str(value).replace("_", "")
    with_letter = re.fullmatch(r"(.+)([kM])", text)
    try:
        if with_letter:
            number = float(with_letter[1]) * {"k": 1e3, "M": 1e6}[with_letter[2]]
        else:
            number = int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
        return number if math.isfinite(number) else None
    except (ValueError, OverflowError):  # no number, or one of more digits than there can be
        return None
