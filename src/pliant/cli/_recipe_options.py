"""The options that some recipes have beside those of all: the further arguments of their `make`."""

import contextlib
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from pliant.core import registry
from pliant.experiment.configuration.settings import argument_docstrings
from pliant.experiment.errors import ConfigError

_OF_ALL = ("full", "seeds", "scale")
_ALL = "all"


class Option(NamedTuple):
    """An option, whose value is text.

    Args:
        name: without dashes.
        recipes: that have it.
        help: its description.
        choices: values that a shell completes; there may be others.
        in_turn: whether there may be several values, with commas, or `all`: each has runs and pages of its own.
    """

    name: str
    recipes: tuple[str, ...]
    help: str
    choices: tuple[str, ...]
    in_turn: bool


def options() -> dict[str, Option]:
    """The options by name; a recipe of another package that cannot be imported is left out."""
    found: dict[str, Option] = {}
    for recipe in registry.names("recipes"):
        with contextlib.suppress(registry.UnknownNameError):  # its own name tells the reason
            module = registry.find("recipes", recipe)
            helps = argument_docstrings(module.make)
            for name in inspect.signature(module.make).parameters:
                if name not in _OF_ALL:
                    in_turn = name in getattr(module, "IN_TURN", ())
                    help = helps.get(name, "").partition(";")[0].rstrip(".") + "; several with commas, or all" * in_turn
                    choices = (*getattr(module, "CHOICES", {}).get(name, ()), *((_ALL,) if in_turn else ()))
                    known = found.get(name, Option(name, (), help, choices, in_turn))
                    found[name] = known._replace(recipes=(*known.recipes, recipe))
    return found


def given_options(recipe: str, given: Mapping[str, Any]) -> dict[str, str]:
    """The options that were given with a recipe.

    Args:
        recipe: its name.
        given: all arguments of the command; `None` for those that were not given.

    Raises:
        ConfigError: if the recipe has no such option; with the recipes that have it.
    """
    own = {name: given[name] for name in options() if given.get(name) is not None}
    for name, value in own.items():
        recipes = options()[name].recipes
        if recipe not in recipes:
            raise ConfigError(
                f"--{name}={value}: {recipe} has no such option; leave it out, or write: {', '.join(recipes)}"
            )
    return own


def in_turn(given: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The options of each of the recipes that several values of an option ask for.

    Args:
        given: the options of the command.

    Returns:
        The options of each, by its value; or those given, by an empty text.
    """
    for name, value in given.items():
        option = options()[name]
        if option.in_turn and (value == _ALL or "," in value):
            values = [one for one in option.choices if one != _ALL] if value == _ALL else value.split(",")
            return {one.strip(): {**given, name: one.strip()} for one in values}
    return {"": dict(given)}
