"""The configurations of Neuroplastic Expansion and its comparisons, number by number."""

import pytest

from pliant.core import registry
from pliant.experiment.build import build, quietly
from pliant.experiment.config import from_mapping

NAMES = ["td3", "static", "code", "paper", "redo", "continual_backprop", "layer_reset"]


def config_of(name):
    return from_mapping(registry.presets("mujoco")[name]).to_mapping()


def test_names():
    assert list(registry.presets("mujoco")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_all_have_in_common(name):
    config = config_of(name)
    problem, agent = config["problem"], config["agent"]
    assert (problem["name"], problem["env"], problem["steps"]) == ("mujoco", "HalfCheetah-v4", 6_000_000)
    assert problem["environments"] == 1
    assert (config["seeds"], config["sweep"], config["seed_axis"]) == ("7", {}, "vmap")
    assert (config["record_every"], config["evaluate_every"], config["evaluate_episodes"]) == (5000, 5000, 10)
    measured = [diagnostic["name"] for diagnostic in config["diagnostics"]]
    grows = name in ("code", "paper")
    assert measured == ["active_fraction", "dormant_fraction", "sparsity", *["mask_overlap"] * grows]
    assert config["diagnostics"][1]["threshold"] == 0.1
    published = {
        "name": "td3",
        "exploration_steps": 25_000,
        "exploration_noise": 0.1,
        "capacity": 1_000_000,
        "batch": 256,
        "update_to_data": 1.0,
        "step_size": 3e-4,
        "optimizer": "per_weight_adam" if name == "code" else "adam",
        "discount": 0.99,
        "n_step": 1,
        "target_rate": 0.005,
        "target_noise": 0.2,
        "target_noise_clip": 0.5,
        "policy_period": 2,
        "truncation": "bootstrap",
        "hidden_units": 256,
        "actor_layers": 2,
        "critic_layers": 3,
        "layer_norm": True,
        "recall": name == "paper",
        "auto_batch": name == "code",
        "dynamic_capacity": False,
    }
    assert {key: agent[key] for key in published} == published


EXPANSION = {
    "name": "neuroplastic_expansion",
    "initial_sparsity": 0.8,
    "final_sparsity": 0.25,
    "end": 5_975_000,  # 6,000,000 steps less 25,000 of exploration
    "rate": 0.008,
    "prune_fraction": 0.4,
    "churn_fraction": 0.2,
    "gradient_passes": 1,
    "grown_weights": "zero",
    "growth": "gradient",
    "clear_grown": False,
}
METHODS = {
    "static": {**EXPANSION, "preset": "code", "static": True},
    "code": {**EXPANSION, "preset": "code", "period": 100, "counter_reset": True, "static": False},
    "paper": {**EXPANSION, "preset": "paper", "period": 10_000, "counter_reset": False, "static": False},
    "redo": {"name": "redo", "threshold": 0.1, "period": 1000, "initializer": "default"},
    "continual_backprop": {
        "name": "continual_backprop",
        "replacement_rate": 1e-4,
        "decay_rate": 0.99,
        "maturity": 10_000,
        "utility": "contribution",
        "initializer": "default",
    },
    "layer_reset": {"name": "layer_reset", "layers": "last:1", "period": 200_000},
}


@pytest.mark.parametrize("name", METHODS)
def test_methods(name):
    (method,) = config_of(name)["methods"]
    assert {key: method[key] for key in METHODS[name]} == METHODS[name]
    assert method["only"] == ""


def test_td3_has_no_method():
    assert config_of("td3")["methods"] == []


@pytest.mark.parametrize("name", NAMES)
def test_presets_can_be_built(name):
    with quietly():
        parts = build(from_mapping(registry.presets("mujoco")[name]))
    assert (parts.steps, parts.steps_at_once) == (6_000_000, 1)
