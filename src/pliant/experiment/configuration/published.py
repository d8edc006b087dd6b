"""Translates configuration files of the published program for PPO, and of its fork for Meta-World.

docs/coming_from/loss_of_plasticity.md has the table of keys. Keys that their program ignores are ignored here, and one
line names them. Values without a counterpart here are refused.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Literal

from pliant.core import registry
from pliant.core.settings import AtLeast, Between, FromUpTo
from pliant.experiment.errors import ConfigError, echo

from .config import RunConfig
from .reading import from_mapping
from .settings import Setting, settings_of
from .yaml_file import parse

logger = logging.getLogger(__name__)

_PROBLEMS = {"Ant": "ant", "Hopper": "hopper", "Walker2d": "walker", "SlipperyAnt": "slippery_ant"}
_ENVIRONMENTS = {
    f"{name}-{version}": (problem, version) for name, problem in _PROBLEMS.items() for version in ("v3", "v4", "v5")
}

_AGENT = {  # theirs: ours, with the same meaning
    "bs": "horizon",
    "n_itrs": "epochs",
    "n_slices": "minibatches",
    "lr": "learning_rate",
    "beta_1": "b1",
    "beta_2": "b2",
    "eps": "eps",
    "g": "discount",
    "lm": "gae_lambda",
    "clip_eps": "clip",
    "vf_coef": "value_coefficient",
    "max_grad_norm": "max_gradient_norm",
}
_NO_CLIPPING = 1e30  # above all ratios of probabilities
_NO_NORM = 1e9  # in their files: gradients are not clipped

# Their defaults, by their names.
_TYPED = {
    setting.name: setting
    for setting in (
        Setting("act_type", Literal["ReLU", "Tanh", "elu", "sigmoid"], "ReLU", "Nonlinearity."),
        Setting("init", Literal["lecun", "kaiming", "xavier"], "lecun", "Initializer."),
        Setting("wd", float, 0.0, "Weight decay.", AtLeast(0)),
        Setting("perturb_scale", float, 0.0, "Standard deviation of the noise after each step.", AtLeast(0)),
        Setting("rr", float, 0.0, "Replacement rate of continual backprop.", Between(0, 1)),
        Setting("mt", int, 10_000, "Maturity in optimizer steps.", AtLeast(0)),
        Setting("decay_rate", float, 0.99, "Decay of the utility.", FromUpTo(0, 1)),
        Setting("threshold", float, 0.03, "Threshold of ReDo.", AtLeast(0)),
        Setting("reset_period", int, 1000, "Optimizer steps between two rounds of ReDo.", AtLeast(1)),
    )
}
_FLAGS = ("u_adv_scl", "no_clipping", "redo", "pgnt", "vgnt")
_ONLY = {"loss_type": "ppo", "env_type": "gym", "u_epi_ups": 0}  # other values have no counterpart here
_OTHERS = ("env_name", "n_steps", "h_dim", "util_type_pol", "util_type_val", "change_time", "friction")
_DEAD = ("dir", "frictions_file", "label", "max_episode_steps", "ob_norm", "rew_norm", "seed", "to_log")
_KEYS = sorted((*_AGENT, *_TYPED, *_FLAGS, *_ONLY, *_OTHERS, *_DEAD))

_INSTEAD = {
    "dir": "results lie under --out",
    "frictions_file": "frictions are drawn from the seed",
    "seed": "write --seed",
    "to_log": "all metrics are recorded",
}


def read(text: str) -> RunConfig:
    """Reads a configuration file, ours or one of theirs: ours have a `problem`.

    Raises:
        ConfigError, UnknownNameError: one line that names the key and what is allowed.
    """
    given = parse(text)
    if isinstance(given, Mapping) and "problem" not in given and any(key in _KEYS for key in given):
        given = from_published(given)
    return from_mapping(given)


def from_published(given: Mapping[str, Any]) -> dict[str, Any]:
    """Translates a file of the published program or of its fork.

    Args:
        given: the file's keys and values. A missing key has the default of their program, or, if their program requires
            the key, the value in their files. Numbers may be texts: YAML reads `1e-4` as a text.

    Returns:
        Plain data for `from_mapping`. Its one seed is 1, their default; diagnostics are those of our presets.

    Raises:
        ConfigError, UnknownNameError: for keys that their program does not have, and values without a counterpart here.
    """
    left = dict(given)  # keys that are used are removed
    for key in given:
        registry.check("key of a published configuration", key, _KEYS)
    environment = left.pop("env_name", None)
    registry.check("env_name", environment, _ENVIRONMENTS)
    for key, only in _ONLY.items():
        if left.pop(key, only) != only:
            raise ConfigError(f"{key}={echo(given[key])}: {only} is the only value here; write it, or leave {key} out")

    problem, version = _ENVIRONMENTS[environment]
    standard = registry.presets(problem)["std"]
    translated = {
        **standard,
        "problem": {**standard["problem"], "version": version, **_problem(left, problem)},
        "agent": {**standard["agent"], **_agent(left)},
        "seeds": "1-1",
    }
    translated["methods"] = _methods(left, translated["agent"])
    if left:
        unused = (f"{key} ({_INSTEAD[key]})" if key in _INSTEAD else key for key in sorted(left))
        logger.info("keys of the published configuration that are not used: %s", ", ".join(unused))
    return translated


def _problem(left: dict[str, Any], problem: str) -> dict[str, Any]:
    names = {"n_steps": "steps"}
    frictions = {}
    if problem == "slippery_ant":
        names["change_time"] = "change_time"
        frictions = _frictions(left)
    return {**_renamed(left, settings_of(registry.find("problems", problem).Config), names), **frictions}


def _frictions(left: dict[str, Any]) -> dict[str, float]:
    """The range of the frictions; their program reads the frictions from a table."""
    table = left.get("frictions_file", "frictions")
    if PurePath(str(table)).name != "frictions":
        raise ConfigError(f"frictions_file={echo(table)}: tables are not read; write friction: [low, high] instead")
    given = left.pop("friction", [0.02, 2.0])
    if not isinstance(given, list) or len(given) != 2:
        raise ConfigError(f"friction={echo(given)}: write [low, high]")
    number = Setting("friction", float, None, "", AtLeast(0))
    return dict(zip(("friction_low", "friction_high"), map(number.read, given)))


def _agent(left: dict[str, Any]) -> dict[str, Any]:
    names, agent = dict(_AGENT), {}
    if _flag(left, "no_clipping", False):
        del names["clip_eps"]
        agent["clip"] = _NO_CLIPPING
    agent |= _renamed(left, settings_of(registry.find("agents", "ppo").Config), names)
    if agent.get("max_gradient_norm", 0.0) >= _NO_NORM:
        agent["max_gradient_norm"] = 0.0
    agent["activation"] = _typed(left, "act_type").lower()
    agent["initializer"] = _typed(left, "init")
    agent["normalize_advantages"] = "round" if _flag(left, "u_adv_scl", True) else "none"
    return {**agent, **_hidden(left.pop("h_dim", [256, 256]))}


def _hidden(widths: Any) -> dict[str, int]:
    wrong = not isinstance(widths, list) or any(type(width) is not int or width < 1 for width in widths)
    if wrong or len(set(widths)) > 1:
        raise ConfigError(f"h_dim={echo(widths)}: all hidden layers have the same width here; write [256, 256]")
    return {"hidden_layers": len(widths), **({"hidden_units": widths[0]} if widths else {})}


def _methods(left: dict[str, Any], agent: Mapping[str, Any]) -> list[dict[str, Any]]:
    """In the order of their program: weight decay before Adam, noise after Adam, then reinitialized units."""
    decay, noise, rate = _typed(left, "wd"), _typed(left, "perturb_scale"), _typed(left, "rr")
    redo = _flag(left, "redo", False)
    renews = rate > 0 or redo
    policy, value = _flag(left, "pgnt", renews), _flag(left, "vgnt", renews)
    if policy != value:
        raise ConfigError(
            f"pgnt={policy} and vgnt={value}: units are reinitialized in both networks or in none; write the same twice"
        )
    methods = []
    if noise > 0:
        methods.append({"name": "shrink_and_perturb", "weight_decay": decay, "perturb_scale": noise})
    elif decay > 0:
        methods.append({"name": "l2", "weight_decay": decay})
    if policy and redo:
        methods.append(
            {
                "name": "redo",
                "threshold": _typed(left, "threshold"),
                "period": _typed(left, "reset_period"),
            }
        )
    elif policy and rate > 0:
        methods.append(
            {
                "name": "continual_backprop",
                "replacement_rate": rate,
                "decay_rate": _typed(left, "decay_rate"),
                "maturity": _typed(left, "mt"),
                "utility": _utility(left),
                "budget": "bernoulli",
                "max_per_step": max(1, math.ceil(rate * agent.get("hidden_units", 1))),
            }
        )
    return methods


def _utility(left: dict[str, Any]) -> str:
    policy, value = (left.pop(key, "contribution") for key in ("util_type_pol", "util_type_val"))
    if policy != value:
        raise ConfigError(
            f"util_type_pol={policy} and util_type_val={value}: both networks have the same utility here; write the "
            "same twice"
        )
    return policy


def _renamed(left: dict[str, Any], settings: Mapping[str, Setting], names: Mapping[str, str]) -> dict[str, Any]:
    """The values of the keys that are given, by our names; errors name their keys."""
    return {ours: settings[ours].read(left.pop(key), key) for key, ours in names.items() if key in left}


def _typed(left: dict[str, Any], key: str) -> Any:
    return _TYPED[key].read(left.pop(key, _TYPED[key].default))


def _flag(left: dict[str, Any], key: str, default: bool) -> bool:
    value = left.pop(key, default)
    if not isinstance(value, int) or value not in (0, 1):
        raise ConfigError(f"{key}={echo(value)}: write true or false")
    return bool(value)
