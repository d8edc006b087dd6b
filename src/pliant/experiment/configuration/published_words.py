"""Translates the words of the published suite of continual reinforcement learning into the words of this one.

Their command `run.py -cn=ft_l2 scenario=halfcheetah/forgetting` is `pliant run crl_halfcheetah/forgetting --continual
ft_l2`; docs/coming_from/rewire_neuron.md has the table.
"""

import logging
from collections.abc import Sequence

from pliant.core import registry
from pliant.experiment.errors import ConfigError, echo
from pliant.presets.continual_names import PUBLISHED_NAMES

logger = logging.getLogger(__name__)

_PROBLEMS = {
    "halfcheetah": "crl_halfcheetah",
    "ant": "crl_ant",
    "humanoid": "crl_humanoid",
    "continual_world": "continual_world",
}
_DEFAULT = "scenario=halfcheetah/forgetting"
_METHOD = ("-cn", "--config-name")


def translated(arguments: Sequence[str]) -> list[str]:
    """The arguments of `pliant run` in our words; those without a word `scenario=` or `-cn` stay as they are.

    Raises:
        ConfigError, UnknownNameError: for a scenario or a method without a counterpart here.
    """
    scenarios = [word for word in arguments if word.startswith("scenario=")]
    if not scenarios and not any(word.partition("=")[0] in _METHOD for word in arguments):
        return list(arguments)
    scenario = scenarios[-1] if scenarios else _DEFAULT
    method, rest = _split([word for word in arguments if word not in scenarios])
    domain, slash, name = scenario.removeprefix("scenario=").partition("/")
    registry.check("domain of a scenario", domain, _PROBLEMS)
    presets = registry.presets(_PROBLEMS[domain])
    if not slash:
        raise ConfigError(f"{echo(scenario)}: write scenario={domain}/NAME with one of {', '.join(presets)}")
    registry.check(f"scenario of {domain}", name, presets)
    if method is not None:
        ours = registry.names("continual")
        registry.check("continual method", method, [*PUBLISHED_NAMES, *ours])
        rest = ["--continual", method, *rest]
    words = [f"{_PROBLEMS[domain]}/{name}", *rest]
    logger.info("the published words mean: pliant run %s", " ".join(words))
    return words


def _split(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The name after `-cn`, and the other words; `seed=3` is `--seed 3`."""
    method, rest, words = None, [], list(words)
    while words:
        word = words.pop(0)
        key, is_set, value = word.partition("=")
        if key in _METHOD:
            if not is_set and not words:
                raise ConfigError(f"{word}: write the name of a method after it, such as {word}=ft_1")
            method = value if is_set else words.pop(0)
        elif key == "seed" and is_set:
            rest += ["--seed", value]
        else:
            rest.append(word)
    return method, rest
