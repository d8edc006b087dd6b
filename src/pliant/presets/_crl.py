"""The published settings of the scenarios of continual reinforcement learning (Sun and Mu, 2023)."""

from collections.abc import Mapping
from typing import Any

# The agent's three switches are the departures of the published program from soft actor-critic, which its settings were
# chosen with.
AGENT = {
    "name": "sac",
    "learning_starts": 12_800,
    "random_steps": 128,
    "buffer_size": 1_280_000,
    "update_to_data": 0.5,
    "actor_layers": 3,
    "critic_layers": 3,
    "activation": "leaky_relu",
    "negative_slope": 0.2,
    "initial_temperature": 2.0,
    "tanh_correction": "half",
    "entropy_target": "batch_mean",
    "truncation": "terminal",
    "actor_states": "both",
}

# Learning rates of actor and critics, factor of rewards, delays of actor and targets, multiplier of the target entropy.
_RATES: dict[tuple[str, str], tuple[float, float, float, int, int, float]] = {
    ("halfcheetah", "forgetting"): (1e-3, 3e-4, 1.0, 2, 2, 2.0),
    ("halfcheetah", "transfer"): (3e-4, 3e-4, 1.0, 4, 2, 1.0),
    ("halfcheetah", "robustness"): (1e-3, 1e-3, 1.0, 4, 2, 2.0),
    ("halfcheetah", "compositionality"): (3e-4, 3e-4, 10.0, 4, 4, 2.0),
    ("ant", "forgetting"): (1e-3, 1e-3, 10.0, 2, 4, 1.0),
    ("ant", "transfer"): (1e-3, 1e-3, 1.0, 2, 2, 1.0),
    ("ant", "robustness"): (1e-3, 1e-3, 1.0, 2, 4, 2.0),
    ("ant", "compositionality"): (3e-4, 3e-4, 10.0, 4, 4, 2.0),
    ("humanoid", "hard"): (1e-3, 3e-4, 0.1, 1, 1, 2.0),
}

# Strengths of EWC and of the L2 anchor.
_STRENGTHS = {
    ("halfcheetah", "forgetting"): (0.01, 10_000.0),
    ("halfcheetah", "transfer"): (1.0, 1.0),
    ("halfcheetah", "robustness"): (0.01, 100.0),
    ("halfcheetah", "compositionality"): (1.0, 100.0),
    ("ant", "forgetting"): (0.01, 10_000.0),
    ("ant", "transfer"): (10_000.0, 1.0),
    ("ant", "robustness"): (100.0, 1.0),
    ("ant", "compositionality"): (0.01, 100.0),
    ("humanoid", "hard"): (0.01, 0.01),
}

# Of Rewire: temperature, noise, tasks of a cycle, divergence and strength of the alignment.
_WIRINGS = {
    ("halfcheetah", "forgetting"): (1.0, 0.1, 4, 1e-5, 100.0),
    ("halfcheetah", "transfer"): (0.1, 0.0, 4, 1e-5, 0.1),
    ("halfcheetah", "robustness"): (0.1, 0.0, 2, 1e-5, 1.0),
    ("halfcheetah", "compositionality"): (1.0, 0.1, 4, 1e-5, 10.0),
    ("ant", "forgetting"): (0.1, 0.0, 4, 1e-5, 10.0),
    ("ant", "transfer"): (0.1, 0.0, 4, 1e-5, 0.1),
    ("ant", "robustness"): (0.1, 0.0, 2, 1e-5, 0.1),
    ("ant", "compositionality"): (0.1, 0.0, 4, 1e-5, 1.0),
    ("humanoid", "hard"): (0.1, 0.1, 4, 1e-6, 0.0),
}

# Of the subspace of policies: distribution of the mixtures, and steps with one mixture.
_MIXTURES = {
    ("halfcheetah", "forgetting"): ("peaked", 100),
    ("halfcheetah", "transfer"): ("peaked", 20),
    ("halfcheetah", "robustness"): ("flat", 20),
    ("halfcheetah", "compositionality"): ("flat", 100),
    ("ant", "forgetting"): ("peaked", 100),
    ("ant", "transfer"): ("peaked", 100),
    ("ant", "robustness"): ("flat", 100),
    ("ant", "compositionality"): ("flat", 20),
    ("humanoid", "hard"): ("flat", 100),
}

# Units of a hidden layer of a column of progressive networks.
_COLUMN = 96

_EPISODES = 5120  # ten rounds of 512 environments


def presets(domain: str) -> dict[str, dict[str, Any]]:
    """The scenarios of a robot: `NAME`; and `NAME/published`, the old engine with as many episodes as published."""
    made = {}
    for (robot, scenario), rates in _RATES.items():
        if robot == domain:
            made |= {scenario: _preset(domain, scenario, rates), f"{scenario}/published": _published(domain, scenario)}
    return made


def continual_settings(domain: str, scenario: str) -> Mapping[str, Mapping[str, Any]]:
    """The published settings of continual methods in a scenario, by name; empty for other sequences of tasks."""
    if (domain, scenario) not in _STRENGTHS:
        return {}
    of_ewc, of_l2 = _STRENGTHS[domain, scenario]
    distribution, repeat = _MIXTURES[domain, scenario]
    wiring = dict(zip(("temperature", "noise", "cycle", "divergence", "strength"), _WIRINGS[domain, scenario]))
    return {
        "ewc": {"strength": of_ewc},
        "l2_anchor": {"strength": of_l2},
        "progressive": {"width": _COLUMN, "published_first_column": True},
        "subspace": {"distribution": distribution, "repeat": repeat},
        "rewire": wiring,
    }


def _preset(domain: str, scenario: str, rates: tuple[float, float, float, int, int, float]) -> dict[str, Any]:
    names = (
        "learning_rate", "critic_learning_rate", "reward_scale", "policy_delay", "target_delay", "target_multiplier",
    )  # fmt: skip
    return {
        "problem": {"name": f"crl_{domain}", "scenario": scenario},
        "agent": {**AGENT, **dict(zip(names, rates))},
        "diagnostics": ["dormant_fraction", "weight_magnitude"],
        "seeds": "1",
    }


def _published(domain: str, scenario: str) -> dict[str, Any]:
    preset = _preset(domain, scenario, _RATES[domain, scenario])
    return {**preset, "problem": {**preset["problem"], "engine": "v1"}, "evaluate_tasks": _EPISODES}
