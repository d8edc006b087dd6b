"""The configurations of Neuroplastic Expansion and its comparisons, number by number."""

import jax
import pytest
import trees

from pliant.agents import td3
from pliant.core import registry
from pliant.experiment.configuration.build import make_problem
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.loops.planning import unchecked_plan

NAMES = ["td3", "static", "code", "static_actor", "paper", "redo", "continual_backprop", "layer_reset"]


def config_of(name):
    return from_mapping(registry.presets("mujoco")[name]).to_mapping()


def test_names():
    assert list(registry.presets("mujoco")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_all_have_in_common(name):
    config = config_of(name)
    problem, agent = config["problem"], config["agent"]
    assert (problem["name"], problem["env"], problem["steps"]) == ("mujoco", "HalfCheetah-v4", 6_000_000)
    assert problem["num_envs"] == 1
    assert (config["seeds"], config["sweep"], config["seed_axis"]) == ("7", {}, "vmap")
    assert (config["record_every"], config["evaluate_every"], config["evaluate_episodes"]) == (5000, 5000, 10)
    measured = [diagnostic["name"] for diagnostic in config["diagnostics"]]
    of_growth = ["mask_overlap", "topology_steps"] if name in ("code", "static_actor", "paper") else []
    assert measured == ["active_fraction", "dormant_fraction", "sparsity", *of_growth]
    assert config["diagnostics"][1]["threshold"] == 0.1
    program = name in ("code", "static_actor")
    published = {
        "name": "td3",
        "learning_starts": 25_000,
        "exploration_noise": 0.1,
        "buffer_size": 1_000_000,
        "batch_size": 256,
        "update_to_data": 1.0,
        "learning_rate": 3e-4,
        "optimizer": "per_weight_adam" if program else "adam",
        "discount": 0.99,
        "n_step": 1,
        "tau": 0.005,
        "target_noise": 0.2,
        "target_noise_clip": 0.5,
        "policy_delay": 2,
        "truncation": "bootstrap",
        "hidden_units": 256,
        "actor_layers": 2,
        "critic_layers": 3,
        "layer_norm": True,
        "recall": name == "paper",
        "auto_batch": program,
        "dynamic_capacity": False,
    }
    assert {key: agent[key] for key in published} == published


EXPANSION = {
    "name": "neuroplastic_expansion",
    "initial_sparsity": 0.8,
    "final_sparsity": 0.25,
    "end": 0,
    "rate": 0.008,
    "prune_fraction": 0.4,
    "churn_fraction": 0.2,
    "gradient_passes": 1,
    "grown_weights": "zero",
    "growth": "gradient",
    "clear_grown": False,
}
METHODS = {
    "static": {"name": "static_sparse", "sparsity": 0.8},
    "code": {**EXPANSION, "preset": "code", "period": 100, "counter_reset": True},
    "paper": {**EXPANSION, "preset": "paper", "period": 10_000, "counter_reset": False},
    "redo": {"name": "redo", "threshold": 0.1, "period": 1000, "initializer": "network"},
    "continual_backprop": {
        "name": "continual_backprop",
        "replacement_rate": 1e-4,
        "decay_rate": 0.99,
        "maturity": 10_000,
        "utility": "contribution",
        "initializer": "network",
    },
    "layer_reset": {"name": "layer_reset", "layers": "last:1", "period": 200_000},
}


@pytest.mark.parametrize("name", METHODS)
def test_methods(name):
    (method,) = config_of(name)["methods"]
    assert {key: method[key] for key in METHODS[name]} == METHODS[name]
    assert method["groups"] == ""


def test_an_actor_that_stays_and_critics_that_grow():
    actor, critics = config_of("static_actor")["methods"]
    wanted = {"name": "static_sparse", "groups": "actor/*", "sparsity": 0.8}
    assert {key: actor[key] for key in wanted} == wanted
    wanted = {**EXPANSION, "preset": "code", "groups": "critic_*/*", "period": 100, "counter_reset": True}
    assert {key: critics[key] for key in wanted} == wanted
    agent = unchecked_plan(from_mapping(registry.presets("mujoco")["static_actor"])).components.agent
    state = jax.eval_shape(agent.init, trees.key(0))
    (actor,), (critics,) = (network.after for network in state.learned.optimizer)
    assert (len(actor.mask), len(critics.mask)) == (3, 8)


def test_growth_has_all_updates_of_the_run():
    # 6,000,000 steps less 25,000 of exploration; the actor's, which are half as many, are taken for the same.
    config, updates = from_mapping(registry.presets("mujoco")["td3"]), []
    td3.make(
        td3.Config(**config.agent.settings), make_problem(config), lambda *network: updates.append(network[-1]) or ()
    )
    assert updates == [5_975_000] * 2


def test_td3_has_no_method():
    assert config_of("td3")["methods"] == []
