"""Parts of the published configurations of PPO, and the four configurations that all problems have.

All files have the same settings, which are the agent's defaults, except Adam's decays and the methods. Proper Adam has
equal decays of both moments, so that each weight moves by at most the learning rate in a step.
"""

from typing import Any

PROPER_ADAM = {"b1": 0.99, "b2": 0.99}

_MEASURED = (
    # Published: active on at most 10 of the last 1000 steps. Ours counts units below the threshold.
    {"name": "inactive_fraction", "threshold": 0.0101},
    {"name": "stable_rank"},
    {"name": "weight_magnitude"},
    {"name": "weight_change"},
    {"name": "replacements"},
    {"name": "unit_age"},
)


def l2(weight_decay: float) -> dict[str, Any]:
    """L2 regularization of all parameters, biases and the policy's `log_std` included."""
    return {"name": "l2", "weight_decay": weight_decay}


def continual_backprop(decay_rate: float = 0.99) -> dict[str, Any]:
    """Continual backprop in both networks; steps are those of the optimizer, 160 in a round."""
    return {
        "name": "continual_backprop",
        "replacement_rate": 1e-4,
        "decay_rate": decay_rate,
        "maturity": 10_000,
        "utility": "contribution",
        "budget": "bernoulli",
    }


def run(
    problem: dict[str, Any], seeds: str, *methods: dict[str, Any], adam: dict[str, float] = PROPER_ADAM
) -> dict[str, Any]:
    """A configuration."""
    return {
        "problem": dict(problem),
        "agent": {"name": "ppo", **adam},
        "methods": list(methods),
        "diagnostics": [dict(diagnostic) for diagnostic in _MEASURED],
        "seeds": seeds,
        "record_every": 10_000,
    }


def four(problem: dict[str, Any], seeds: str) -> dict[str, dict[str, Any]]:
    """The configurations that were published for all problems, by the names of their files."""
    return {
        "std": run(problem, seeds, adam={"b1": 0.9, "b2": 0.999}),
        "ns": run(problem, seeds),
        "l2": run(problem, seeds, l2(1e-3)),
        "cbp": run(problem, seeds, l2(1e-4), continual_backprop()),
    }
