"""The published program's configuration files become our presets, and what cannot be run is refused by name."""

import logging
import re

import pytest
import yaml

from pliant.core import registry
from pliant.core.registry import UnknownNameError
from pliant.experiment.configuration.published import from_published, read
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError

# All published files begin like this.
COMMON = """\
act_type: 'ReLU'
g: 0.99
lm: 0.95
u_epi_ups: 0
bs: 2048
n_itrs: 10
n_slices: 16
lr: 0.0001
h_dim: [256, 256]
u_adv_scl: 1
clip_eps: 0.2
ob_norm: 0
rew_norm: 0
"""
PROPER = "beta_1: 0.99\nbeta_2: 0.99\n"
CBP = f"{PROPER}rr: 1e-4\nmt: 10000\nutil_type_val: 'contribution'\nutil_type_pol: 'contribution'\nwd: 1e-4\n"
FOUR = {"std": "", "ns": PROPER, "l2": f"{PROPER}wd: 1e-3\n", "cbp": CBP}
TO_LOG = "to_log: ['pol_features_activity', 'pol_weights', 'val_weights', 'stable_rank']\n"
ANT = {
    **{name: text + TO_LOG for name, text in FOUR.items()},
    "cbpi": f"{CBP}decay_rate: 0\n",
    "redo": f"{PROPER}redo: true\nthreshold: 0.1\nreset_period: 100\nwd: 1e-4\n{TO_LOG}",
}
FRICTIONS = "change_time: 2000000\nfrictions_file: 'cfg/frictions'\n"
FOLDERS = {  # folder: problem, first lines, what is in each file
    "ant": ("ant", "env_name: 'Ant-v3'\nn_steps: 1e8\n", ANT),
    "hopper": ("hopper", "env_name: 'Hopper-v3'\nn_steps: 1e8\n", FOUR),
    "walker": ("walker", "env_name: 'Walker2d-v3'\nn_steps: 1e8\n", FOUR),
    "sant": ("slippery_ant", f"env_name: 'SlipperyAnt-v3'\nn_steps: 2e7\n{FRICTIONS}", FOUR),
}
FILES = [
    pytest.param(
        problem, name, f"{first}{COMMON}{text}dir: 'data/{folder}/{name}/'\nlabel: '{name}'\n", id=folder + name
    )
    for folder, (problem, first, texts) in FOLDERS.items()
    for name, text in texts.items()
]


@pytest.mark.parametrize(("problem", "name", "text"), FILES)
def test_a_published_file_is_the_preset_of_its_name(problem, name, text):
    # Their program runs one seed, 1 if none is named; a preset has all that were published.
    preset = from_mapping({**registry.presets(problem)[name], "seeds": "1-1"})
    assert read(text) == preset
    assert read(text).name == preset.name


def translated(**given):
    return from_mapping(from_published({"env_name": "Ant-v3", **given}))


def test_what_is_left_out_is_as_published():
    assert translated() == from_mapping({**registry.presets("ant")["std"], "seeds": "1-1"})


@pytest.mark.parametrize(
    ("environment", "problem", "version"),
    [
        ("Ant-v4", "ant", "v4"),
        ("Hopper-v5", "hopper", "v5"),
        ("Walker2d-v3", "walker", "v3"),
        ("SlipperyAnt-v4", "slippery_ant", "v4"),
    ],
)
def test_environments(environment, problem, version):
    config = translated(env_name=environment)
    assert (config.problem.name, config.problem.settings["version"]) == (problem, version)


@pytest.mark.parametrize(
    ("key", "value", "ours"),
    [
        ("bs", 4096, {"horizon": 4096}),
        ("n_itrs", 4, {"epochs": 4}),
        ("n_slices", "32", {"minibatches": 32}),
        ("lr", "3e-4", {"learning_rate": 3e-4}),  # YAML reads 3e-4 as a text
        ("beta_1", 0.5, {"b1": 0.5}),
        ("beta_2", 0.9, {"b2": 0.9}),
        ("eps", "1e-5", {"eps": 1e-5}),
        ("g", 0.9, {"discount": 0.9}),
        ("lm", 1, {"gae_lambda": 1.0}),
        ("clip_eps", 0.1, {"clip": 0.1}),
        ("no_clipping", True, {"clip": 1e30}),
        ("no_clipping", 0, {"clip": 0.2}),
        ("vf_coef", 0.5, {"value_coefficient": 0.5}),  # the fork's
        ("max_grad_norm", 0.5, {"max_gradient_norm": 0.5}),
        ("max_grad_norm", "1e9", {"max_gradient_norm": 0.0}),  # their default: any length
        ("max_grad_norm", 0, {"max_gradient_norm": 0.0}),
        ("u_adv_scl", 0, {"normalize_advantages": "none"}),
        ("act_type", "Tanh", {"activation": "tanh"}),
        ("act_type", "elu", {"activation": "elu"}),
        ("act_type", "sigmoid", {"activation": "sigmoid"}),
        ("init", "kaiming", {"initializer": "kaiming"}),
        ("h_dim", [64, 64, 64], {"hidden_layers": 3, "hidden_units": 64}),
        ("h_dim", [], {"hidden_layers": 0}),
    ],
)
def test_settings_of_the_agent(key, value, ours):
    standard, changed = translated().agent.settings, translated(**{key: value}).agent.settings
    assert {name: changed[name] for name in ours} == ours
    assert {**changed, **ours} == {**standard, **ours}  # and nothing else


def methods(**given):
    return {component.name: component.settings for component in translated(**given).methods}


def test_methods_in_the_order_in_which_they_act():
    assert list(methods(wd=1e-4, perturb_scale=1e-5, rr=1e-4)) == ["shrink_and_perturb", "continual_backprop"]
    found = methods(wd="1e-4", perturb_scale="1e-5")
    assert (found["shrink_and_perturb"]["weight_decay"], found["shrink_and_perturb"]["perturb_scale"]) == (1e-4, 1e-5)
    assert methods(wd=0, perturb_scale=0, rr=0, redo=False) == {}


def test_continual_backprop_with_other_numbers():
    given = {"rr": "1e-3", "mt": 500, "decay_rate": 0.5, "util_type_pol": "weight", "util_type_val": "weight"}
    found = methods(**given)["continual_backprop"]
    assert (found["replacement_rate"], found["maturity"], found["decay_rate"]) == (1e-3, 500, 0.5)
    assert (found["utility"], found["budget"], found["compensate"]) == ("weight", "bernoulli", False)
    assert methods(rr=0.01, init="xavier")["continual_backprop"]["initializer"] == "network"
    # 0.01 of 256 units are 2.56 a step; of 64 less than one.
    assert methods(rr=0.01)["continual_backprop"]["max_per_step"] == 3
    assert methods(rr=0.01, h_dim=[64])["continual_backprop"]["max_per_step"] == 1


def test_redo_has_their_defaults_and_goes_first():
    # With redo their program makes no continual backprop, whatever the rate.
    assert methods(redo=True, rr=1e-4) == {
        "redo": {"threshold": 0.03, "period": 1000, "initializer": "network", "groups": "", "on_new_task": "keep"},
    }


def test_methods_can_be_switched_off():
    assert methods(rr=1e-4, pgnt=0, vgnt=0) == methods(redo=True, pgnt=False, vgnt=False) == {}
    assert list(methods(rr=1e-4, pgnt=1, vgnt=True)) == ["continual_backprop"]


def test_frictions():
    settings = translated(env_name="SlipperyAnt-v3", friction=[0.1, "1"], change_time="1e5").problem.settings
    assert (settings["friction_low"], settings["friction_high"], settings["change_time"]) == (0.1, 1.0, 100_000)


def extras(caplog, **given):
    with caplog.at_level(logging.INFO, "pliant"):
        caplog.clear()
        from_published({"env_name": "Ant-v3", **given})
    return caplog.messages


def test_one_line_says_what_is_not_used(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("pliant"), "propagate", True)  # a command before may have changed it
    assert extras(caplog, lr=1e-3) == []
    assert extras(caplog, ob_norm=0, rew_norm=1, label="x", dir="data/", to_log=[], seed=3, max_episode_steps=500) == [
        "keys of the published configuration that are not used: dir (results lie under --out), label, "
        "max_episode_steps, ob_norm, rew_norm, seed (write --seed), to_log (all metrics are recorded)"
    ]
    # What another value makes meaningless is not used either.
    (line,) = extras(caplog, mt=100, decay_rate=0, threshold=0.1, change_time=10, no_clipping=True, clip_eps=0.1)
    assert line.endswith("not used: change_time, clip_eps, decay_rate, mt, threshold")
    (line,) = extras(caplog, env_name="SlipperyAnt-v3", frictions_file="../cfg/frictions")
    assert line.endswith("not used: frictions_file (frictions are drawn from the seed)")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rrr": 1e-4}, "unknown key of a published configuration 'rrr'; did you mean rr?"),
        ({"max_grad": 1}, "unknown key of a published configuration 'max_grad'; did you mean max_grad_norm?"),
        ({3: 4}, "unknown key of a published configuration 3; there are: act_type, "),
        ({"env_name": None}, "unknown env_name None; there are: Ant-v3, "),
        ({"env_name": "Ant-v2"}, "unknown env_name 'Ant-v2'; did you mean Ant-v"),
        ({"env_name": "Walker-v3"}, "unknown env_name 'Walker-v3'; did you mean Walker2d-v3 or "),
        ({"env_name": "SlipperyAnt-v2"}, "unknown env_name 'SlipperyAnt-v2'; did you mean SlipperyAnt-v"),
        ({"env_name": "hammer-v3-goal-observable"}, "unknown env_name 'hammer-v3-goal-observable'; there are: Ant-v3"),
        ({"env_type": "metaworld"}, "env_type=metaworld: gym is the only value here"),
        ({"loss_type": "kl"}, "loss_type=kl: ppo is the only value here"),
        ({"u_epi_ups": 1}, "u_epi_ups=1: 0 is the only value here"),
        ({"n_steps": "many"}, "n_steps=many: write a whole number, at least 1"),
        ({"bs": 0}, "bs=0: write a whole number, at least 1"),
        ({"lr": None}, "lr=None: write a number, at least 0"),
        ({"g": 1.5}, "g=1.5: write a number, from 0 to 1"),
        ({"beta_1": 1}, "beta_1=1: write a number, from 0 to below 1"),
        ({"wd": -1}, "wd=-1: write a number, at least 0"),
        ({"rr": 2}, "rr=2: write a number, from 0 to 1"),
        ({"rr": 1e-4, "mt": 0.5}, "mt=0.5: write a whole number, at least 0"),
        ({"rr": 1e-4, "decay_rate": 1}, "decay_rate=1: write a number, from 0 to below 1"),
        ({"perturb_scale": "a bit"}, "perturb_scale=a bit: write a number, at least 0"),
        ({"redo": True, "threshold": -1}, "threshold=-1: write a number, at least 0"),
        ({"redo": True, "reset_period": 0}, "reset_period=0: write a whole number, at least 1"),
        ({"redo": "yes"}, "redo=yes: write true or false"),
        ({"u_adv_scl": 2}, "u_adv_scl=2: write true or false"),
        ({"rr": 1e-4, "pgnt": 0}, "pgnt=False and vgnt=True: units are reinitialized in both networks or in none"),
        ({"rr": 1e-4, "util_type_pol": "weight"}, "util_type_pol=weight and util_type_val=contribution: both networks"),
        (
            {"rr": 1e-4, "util_type_pol": "best", "util_type_val": "best"},
            "continual_backprop.utility=best: write contribution or weight",
        ),
        ({"init": "gaussian"}, "init=gaussian: write lecun or kaiming or xavier"),
        ({"init": "default"}, "init=default: write lecun or kaiming or xavier"),  # theirs draws biases, too
        ({"act_type": "selu"}, "act_type=selu: write ReLU or Tanh or elu or sigmoid"),
        ({"h_dim": [256, 128]}, "h_dim=[256, 128]: all hidden layers have the same width here; write [256, 256]"),
        ({"h_dim": 256}, "h_dim=256: all hidden layers have the same width here"),
        ({"h_dim": [0]}, "h_dim=[0]: all hidden layers have the same width here"),
        ({"env_name": "SlipperyAnt-v3", "friction": 0.5}, "friction=0.5: write [low, high]"),
        ({"env_name": "SlipperyAnt-v3", "friction": [1, "x"]}, "friction=x: write a number, at least 0"),
        ({"env_name": "SlipperyAnt-v3", "change_time": -1}, "change_time=-1: write a whole number"),
        (
            {"env_name": "SlipperyAnt-v3", "frictions_file": "mine.pkl"},
            "frictions_file=mine.pkl: tables are not read; write friction: [low, high] instead",
        ),
    ],
)
def test_refused_by_their_own_names(given, message):
    with pytest.raises((ConfigError, UnknownNameError), match=re.escape(message)):
        from_mapping(from_published({"env_name": "Ant-v3"} | given))


def test_our_own_files_are_read_as_before():
    ours = from_mapping({"problem": "slowly_changing_regression", "methods": ["redo"]})
    assert read(ours.to_yaml()) == ours
    with pytest.raises(ConfigError, match="this is not YAML"):
        read("problem: {")
    with pytest.raises(ConfigError, match="a configuration is a mapping of names to values, not None"):
        read("")
    with pytest.raises(ConfigError, match="a configuration needs a problem"):
        read(yaml.safe_dump({"seeds": "3"}))
    with pytest.raises(UnknownNameError, match="unknown field of a configuration 'env_name'"):
        read("problem: ant\nenv_name: Ant-v3\n")
