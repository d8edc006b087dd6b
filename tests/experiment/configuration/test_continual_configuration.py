"""Continual methods in configurations: names, also those of the published suite, settings, and what is refused."""

import re

import pytest
import toys

from pliant.core import registry, sources
from pliant.core.base import Surgery
from pliant.core.continual import Continual
from pliant.core.registry import UnknownNameError
from pliant.experiment.configuration.reading import from_mapping, from_yaml, resolve
from pliant.experiment.errors import ConfigError
from pliant.experiment.loops.planning import plan, plans

DIGITS = {
    "name": "permuted_mnist",
    "data": "digits",
    "tasks": 2,
    "change_every": 60,
    "batch_size": 5,
    "hidden_units": 8,
}
SMALL_PPO = {"name": "ppo", "horizon": 8, "epochs": 1, "minibatches": 1, "hidden_units": 4}


def digits(continual, **fields):
    return from_mapping({"problem": DIGITS, "continual": continual, "diagnostics": [], **fields})


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        ("ft_1", "fine_tuning"),
        ("ft_n", {"name": "fine_tuning", "copies": True}),
        ("ft_l2", "l2_anchor"),
        ("sac_n", "from_scratch"),
        ({"name": "ft_l2", "strength": 3}, {"name": "l2_anchor", "strength": 3.0}),
    ],
)
@pytest.mark.parametrize("problem", [DIGITS, {"name": "crl_halfcheetah"}], ids=["digits", "crl_halfcheetah"])
def test_a_published_name_is_the_same_run(problem, published, ours):
    theirs, config = (from_mapping({"problem": problem, "continual": name}) for name in (published, ours))
    assert theirs == config and theirs.name == config.name
    name = ours if isinstance(ours, str) else ours["name"]
    assert config.name.startswith(f"{problem['name']}-{name}-")


def test_a_published_name_keeps_settings_that_are_given():
    assert digits({"name": "ft_n", "copies": False}) == digits("fine_tuning")


def test_a_scenario_has_strengths_of_its_own_which_settings_replace():
    def strength(continual, **problem):
        config = from_mapping({"problem": {"name": "crl_halfcheetah", **problem}, "continual": continual})
        return config.continual.settings["strength"]

    assert strength("ft_l2") == 10_000 and strength("ewc") == 0.01  # of the scenario forgetting
    assert strength("ewc", scenario="transfer") == 1
    assert strength({"name": "ewc", "strength": 7}) == 7
    assert digits("ewc").continual.settings["strength"] == 1  # which other problems do not have


def test_a_run_with_a_continual_method_comes_back_from_its_file():
    config = digits({"name": "ewc", "decay": 0.5}, methods=["l2"])
    assert from_yaml(config.to_yaml()) == config
    assert config.name.startswith("permuted_mnist-ewc+l2-")
    assert "continual" not in from_mapping({"problem": DIGITS}).to_mapping()  # the names of other runs stay
    assert digits(None) == from_mapping({"problem": DIGITS, "diagnostics": []})


def test_its_settings_are_swept_in_one_program_by_a_short_name():
    config = digits("ewc", sweep={"strength": [1, 10], "decay": [0.5, 1.0]})
    assert resolve(config, "strength")[0] == "continual.strength"
    (one,) = plans(config)
    assert set(one.members.swept) == {"continual.strength", "continual.decay"} and len(one.members) == 4
    assert len(plans(digits("ewc", sweep={"samples": [1, 2]}))) == 2  # a size


@pytest.mark.parametrize("name", registry.names("continual"))
def test_each_method_can_be_planned_on_a_stream_or_is_for_sac(name):
    if name in ("packnet", "progressive", "rewire", "subspace"):  # which need a replay, or dense layers
        with pytest.raises(ConfigError, match="--agent sac"):
            plans(digits(name))
    else:
        (one,) = plans(digits(name, methods=["continual_backprop"]))
        assert one.components.agent.end_task is not None


def steady(strength: float = 1.0) -> Continual:
    """Nothing.

    Args:
        strength: of nothing.
    """
    return Continual(penalty=lambda params, state, update: strength * 0.0)


def surgery() -> Surgery:
    """No continual method."""
    return Surgery(lambda params: (), lambda params, state, **signals: (params, state))


def test_a_method_of_the_users_own_is_found_whatever_its_name(monkeypatch):
    config = digits({"name": steady.__name__, "source": sources.in_program(steady)["source"], "strength": 2})
    assert config.continual.settings == {"strength": 2.0}
    assert plan(config).components.agent.end_task is not None
    for taken in ("ft_n", "ewc"):  # on a problem with settings for ewc
        monkeypatch.setattr(steady, "__name__", taken)
        own = sources.in_program(steady)
        config = from_mapping({"problem": {"name": "crl_halfcheetah"}, "continual": own})
        assert (config.continual.name, config.continual.settings) == (taken, {"strength": 1.0})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"continual": "ewk"}, "unknown continual method 'ewk'; did you mean ewc?"),
        ({"continual": "fine_tune"}, "unknown continual method 'fine_tune'; did you mean fine_tuning?"),
        ({"continual": "hat"}, "unknown continual method 'hat'; there are: a_gem, ewc, fine_tuning"),
        ({"continual": ["ewc"]}, "continual is a mapping of names to values, not ['ewc']"),
        ({"continual": {"strength": 1}}, "continual method: write {name: ...}; there are: a_gem, ewc, "),
        ({"continual": {"name": "ewc", "strengths": 1}}, "unknown setting of ewc 'strengths'; did you mean strength"),
        ({"continual": {"name": "ft_l2", "copies": True}}, "unknown setting of l2_anchor 'copies'"),
        ({"continual": {"name": "ewc", "strength": "big"}}, "ewc.strength=big: write a number"),
        ({"evaluate_tasks": 5}, "evaluate_tasks=5: permuted_mnist is a stream of examples, without episodes; write 0"),
        ({"evaluate_tasks": -1}, "evaluate_tasks=-1: write a whole number"),
    ],
)
def test_refuses_a_field_in_one_line(given, message):
    with pytest.raises((ConfigError, UnknownNameError), match=re.escape(message)) as error:
        from_mapping({"problem": DIGITS, **given})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("problem", "agent", "continual", "message"),
    [
        (
            "slowly_changing_regression",
            "sgd",
            "ewc",
            "continual=ewc: slowly_changing_regression has no tasks; leave it",
        ),
        ("drift", SMALL_PPO, "ewc", "continual=ewc: drift has no tasks; leave it out, or write a problem with tasks"),
        ({"name": "drift", "calm": 48}, "td3", "ewc", "agent td3 takes no continual method; write agent a2c or ppo"),
        (DIGITS, "sgd", {"name": "ewc", "strength": -1}, "strength=-1"),
        (DIGITS, "sgd", {"name": "ewc", "published_outputs": True}, "published_outputs=true is for policies of means"),
        (DIGITS, "sgd", surgery, "continual=surgery returns a Surgery; a continual method is a Continual"),
        (
            {"name": "minigrid_doorkey", "recurrent": True},
            {"name": "ppo", "recurrence": 4},
            "ewc",
            "a continual method is for networks without a recurrent state; write recurrent=false",
        ),
    ],
)
def test_refuses_a_combination_in_one_line(problem, agent, continual, message, monkeypatch):
    toys.add_all(monkeypatch)
    continual = sources.in_program(continual) if callable(continual) else continual
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        plan(from_mapping({"problem": problem, "agent": agent, "continual": continual, "diagnostics": []}))
    assert "\n" not in str(error.value)
