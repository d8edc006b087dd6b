"""The options that some recipes have beside those of all: the further arguments of their `make`."""

import contextlib
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from pliant.core import registry
from pliant.experiment.configuration.settings import argument_docstrings
from pliant.experiment.errors import ConfigError

_OF_ALL = ("full", "seeds", "scale")


class Option(NamedTuple):
    """An option, whose value is text.

    Args:
        name: without dashes.
        recipes: that have it.
        help: its description.
        choices: values that a shell completes; there may be others.
    """

    name: str
    recipes: tuple[str, ...]
    help: str
    choices: tuple[str, ...]


def options() -> dict[str, Option]:
    """The options by name; a recipe of another package that cannot be imported is left out."""
    found: dict[str, Option] = {}
    for recipe in registry.names("recipes"):
        with contextlib.suppress(registry.UnknownNameError):  # its own name tells the reason
            module = registry.find("recipes", recipe)
            helps = argument_docstrings(module.make)
            for name in inspect.signature(module.make).parameters:
                if name not in _OF_ALL:
                    help = helps.get(name, "").partition(";")[0].rstrip(".")
                    known = found.get(name, Option(name, (), help, getattr(module, "CHOICES", {}).get(name, ())))
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
