"""What the user's own problems may be: a module as in the package, or one function that returns the problem."""

import inspect
import types
import typing
from typing import Any

from pliant.core.problem import Environment, HostEnvironment, Stream
from pliant.experiment.errors import ConfigError

_OPTIONAL = ("RUN", "EVALUATE", "NOTES_ON_EVALUATION")
_USUAL_AGENT = {Stream: "sgd", Environment: "ppo", HostEnvironment: "ppo"}


def as_problem(found: Any, name: str) -> Any:
    """A problem with `make`, `Config` and `AGENTS`, as the modules of `pliant.problems` have them.

    Args:
        found: a module with these names, without `AGENTS`, or without `Config` and `AGENTS`; or a function in place of
            `make`. Without `Config` the settings are the arguments of the function; without `AGENTS` the agent is the
            usual one for the kind of problem that the function returns.
        name: for errors.

    Raises:
        ConfigError: if it is none of these, or the function does not say what it returns.
    """
    make = found if inspect.isfunction(found) else getattr(found, "make", None)
    if not callable(make):
        raise ConfigError(
            f"{name} has no function make; write def make(...) -> Stream, or name a function: FILE.py:NAME"
        )
    if all(hasattr(found, attribute) for attribute in ("Config", "AGENTS")):
        return found
    problem = types.SimpleNamespace(**{name: getattr(found, name) for name in _OPTIONAL if hasattr(found, name)})
    config = getattr(found, "Config", None)
    if config is not None:
        problem.Config, problem.make = config, make
    else:
        # The function takes its settings itself: what it returns stands in place of a filled `Config`.
        problem.Config, problem.make = make, lambda made: made
    problem.AGENTS = getattr(found, "AGENTS", None) or {_usual_agent(make, name): {}}
    return problem


def _usual_agent(make: Any, name: str) -> str:
    try:
        kind = typing.get_type_hints(make).get("return")
    except NameError:
        kind = None
    if kind not in _USUAL_AGENT:
        raise ConfigError(
            f"{name} does not say what it returns; write def {make.__name__}(...) -> Stream, -> Environment or "
            "-> HostEnvironment"
        )
    return _USUAL_AGENT[kind]
