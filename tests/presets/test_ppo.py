"""The published configurations of PPO, number by number."""

import hand_wired
import jax
import numpy as np
import pytest

from pliant.core import registry
from pliant.diagnostics import inactive_fraction
from pliant.experiment.configuration.reading import from_mapping

STANDARD, PROPER = (0.9, 0.999), (0.99, 0.99)
L2 = {"name": "l2", "coupled": True, "norms": "keep", "on_new_task": "keep"}
WEAK, STRONG = ({**L2, "weight_decay": decay} for decay in (1e-4, 1e-3))
CBP = {
    "name": "continual_backprop",
    "replacement_rate": 1e-4,
    "decay_rate": 0.99,
    "maturity": 10_000,
    "utility": "contribution",
    "budget": "bernoulli",
    "initializer": "network",
    "compensate": False,
    "max_per_step": 1,  # 1e-4 of 256 units is 0.0256 a step
    "period": 1,
    "rate_of": "mature",
    "memory": "average",
    "readers": "all",
    "when": "after",
    "groups": "",
    "on_new_task": "keep",
}
REDO = {"name": "redo", "threshold": 0.1, "period": 100, "initializer": "network", "groups": "", "on_new_task": "keep"}
SNP = {
    "name": "shrink_and_perturb",
    "shrink": 1.0,
    "perturb_scale": 1e-5,
    "weight_decay": 1e-4,
    "period": 1,
    "norms": "keep",
    "on_new_task": "keep",
}

FOUR = {"std": (STANDARD, []), "ns": (PROPER, []), "l2": (PROPER, [STRONG]), "cbp": (PROPER, [WEAK, CBP])}
ANT = {
    **FOUR,
    "cbpi": (PROPER, [WEAK, {**CBP, "decay_rate": 0.0}]),
    "redo": (PROPER, [WEAK, REDO]),
    "shrink_and_perturb": (PROPER, [SNP]),
}
PROBLEMS = {
    "ant": (100_000_000, "30", ANT),
    "hopper": (100_000_000, "30", FOUR),
    "walker": (100_000_000, "30", FOUR),
    "slippery_ant": (20_000_000, "100", FOUR),
}
EACH = [(problem, name) for problem, (_, _, presets) in PROBLEMS.items() for name in presets]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_names(problem):
    assert list(registry.presets(problem)) == list(PROBLEMS[problem][2])


@pytest.mark.parametrize(("problem", "name"), EACH)
def test_numbers(problem, name):
    steps, seeds, presets = PROBLEMS[problem]
    (b1, b2), methods = presets[name]
    config = from_mapping(registry.presets(problem)[name]).to_mapping()
    environment = config["problem"]
    assert (environment["name"], environment["version"]) == (problem, "v3")
    assert (environment["steps"], environment["num_envs"]) == (steps, 1)
    if problem == "slippery_ant":
        assert (environment["friction_low"], environment["friction_high"], environment["change_time"]) == (
            0.02,
            2.0,
            2_000_000,
        )
    assert config["agent"] == {
        "name": "ppo",
        "horizon": 2048,
        "epochs": 10,
        "minibatches": 16,
        "recurrence": 1,
        "alternate": False,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "b1": b1,
        "b2": b2,
        "eps": 1e-8,
        "reset_moments": False,
        "discount": 0.99,
        "gae_lambda": 0.95,
        "clip": 0.2,
        "value_clip": 0.0,
        "value_coefficient": 1.0,
        "entropy_coefficient": 0.0,
        "max_gradient_norm": 0.0,
        "normalize_advantages": "round",
        "truncation": "terminal",
        "hidden_units": 256,
        "hidden_layers": 2,
        "activation": "relu",
        "initializer": "lecun",
    }
    assert config["methods"] == methods
    assert [diagnostic["name"] for diagnostic in config["diagnostics"]] == [
        "inactive_fraction",
        "stable_rank",
        "weight_magnitude",
        "weight_change",
        "replacements",
        "unit_age",
    ]
    rank = {"name": "stable_rank", "definition": "cumulative", "proportion": 0.99, "layers": "all"}
    assert config["diagnostics"][1] == rank
    assert (config["seeds"], config["record_every"], config["sweep"]) == (seeds, 10_000, {})


def test_inactive_is_at_most_a_hundredth_of_1000_steps():
    # Three units, positive on 9, 10 and 11 of 1000 steps. Published: dormant if the fraction is at most 0.01.
    (diagnostic,) = (d for d in registry.presets("ant")["std"]["diagnostics"] if d["name"] == "inactive_fraction")
    features = np.float32(np.arange(1000)[:, None] < np.array([9, 10, 11]))
    measure = jax.jit(inactive_fraction(hand_wired.mlp(1, 3, 1), threshold=diagnostic["threshold"]))
    np.testing.assert_allclose(measure(features={"w0": features})["w0"], 2 / 3, rtol=1e-6)
