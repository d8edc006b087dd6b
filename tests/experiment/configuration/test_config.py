"""Configurations: read from plain data and YAML, checked, named, split."""

import dataclasses
import re

import pytest
import toys
import yaml

from pliant.core import registry
from pliant.core.registry import UnknownNameError
from pliant.experiment.configuration import config as configs
from pliant.experiment.configuration.config import expand
from pliant.experiment.configuration.reading import from_mapping, from_yaml, resolve
from pliant.experiment.configuration.seeds import read_seeds
from pliant.experiment.configuration.settings import settings_of
from pliant.experiment.errors import ConfigError

PROBLEM = "slowly_changing_regression"
FULL = {
    "problem": {"name": PROBLEM, "examples": "20k", "activation": "tanh"},
    "agent": {"name": "sgd", "optimizer": "adam", "learning_rate": "1e-3"},
    "methods": [{"name": "redo", "threshold": 0.2}, "l2"],
    "diagnostics": ["rank", {"name": "dormant_fraction", "threshold": 0.1}],
    "seeds": "0-9,20",
    "sweep": {"learning_rate": [0.01, "1e-5"], "method.redo.period": [10, 100], "optimizer": ["sgd", "adam"]},
    "record_every": 500,
    "seed_axis": "map",
}


def test_what_is_left_out_has_its_default():
    config = from_mapping({"problem": PROBLEM})
    schema = settings_of(registry.find("problems", PROBLEM).Config)
    assert config.problem.settings == {name: setting.default for name, setting in schema.items()}
    assert config.agent.name == "sgd"  # the agent that the problem is made for
    assert config.agent.settings["learning_rate"] == 0.01
    assert config.methods == ()
    assert tuple(component.name for component in config.diagnostics) == configs.DEFAULT_DIAGNOSTICS
    assert (config.seed_list, config.sweep, config.record_every, config.seed_axis) == ((0,), {}, 0, "auto")


def test_a_problem_may_have_other_defaults_for_the_run():
    with pytest.MonkeyPatch.context() as patch:
        toys.add_all(patch)
        assert (from_mapping({"problem": "drift"}).evaluate_every, from_mapping({"problem": "drift"}).seeds) == (0, "1")
        patch.setattr(registry.find("problems", "drift"), "RUN", {"evaluate_every": 500, "seeds": "3"}, raising=False)
        config = from_mapping({"problem": "drift", "seeds": "5"})
        assert (config.evaluate_every, config.evaluate_episodes, config.seeds) == (500, 10, "5")
        never = from_mapping({"problem": "drift", "evaluate_every": 0})
        assert (never.evaluate_every, from_yaml(never.to_yaml()), never.name != config.name) == (0, never, True)


def test_what_is_given_is_taken():
    config = from_mapping(FULL)
    assert config.problem.settings["examples"] == 20_000
    assert config.agent.settings["optimizer"] == "adam"
    assert [component.name for component in config.methods] == ["redo", "l2"]
    assert config.methods[0].settings["threshold"] == 0.2
    assert config.diagnostics[1].settings["threshold"] == 0.1
    assert config.seed_list == (*range(10), 20)
    assert config.sweep == {
        "agent.learning_rate": (0.01, 1e-5),
        "method.redo.period": (10, 100),
        "agent.optimizer": ("sgd", "adam"),
    }


@pytest.mark.parametrize("given", [{"problem": PROBLEM}, FULL], ids=["defaults", "full"])
def test_yaml_and_back(given):
    config = from_mapping(given)
    again = from_yaml(config.to_yaml())
    assert again == config
    assert again.name == config.name
    assert again.to_yaml() == config.to_yaml()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "a configuration is a mapping of names to values, not []"),
        (None, "a configuration is a mapping of names to values, not None"),
        ({}, "a configuration needs a problem: write problem: {name: ...}"),
        ({"problm": PROBLEM}, "unknown field of a configuration 'problm'; did you mean problem?"),
        ({1: 2}, "unknown field of a configuration 1; there are: problem, agent"),
        ({"problem": "slowly_changing"}, "unknown problem 'slowly_changing'; did you mean slowly_changing_regression?"),
        ({"problem": 5}, "problem is a mapping of names to values, not 5"),
        (
            {"problem": {"inputs": 5}},
            f"problem: write {{name: ...}}; there are: {', '.join(registry.names('problems'))}",
        ),
        ({"problem": {"name": 5}}, "unknown problem 5"),
        (
            {"problem": {"name": PROBLEM, "input": 5}},
            f"unknown setting of {PROBLEM} 'input'; did you mean inputs?",
        ),
        ({"problem": {"name": PROBLEM, 7: 5}}, f"unknown setting of {PROBLEM} 7"),
        (
            {"problem": {"name": PROBLEM, "inputs": 0}},
            "slowly_changing_regression.inputs=0: write a whole number, at least 1",
        ),
        ({"problem": {"name": PROBLEM, "inputs": None}}, "slowly_changing_regression.inputs=None: write a whole"),
    ],
)
def test_refuses_in_one_line(given, message):
    with pytest.raises((ConfigError, UnknownNameError), match=re.escape(message)) as error:
        from_mapping(given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"agent": None}, "agent is a mapping of names to values, not None"),
        ({"agent": "sdg"}, "unknown agent 'sdg'; did you mean sgd?"),
        ({"agent": {"momentum": 1.0}}, "sgd.momentum=1.0: write a number, from 0 to below 1"),
        ({"agent": {"optimizer": "lion"}}, "sgd.optimizer=lion: write sgd or adam or per_weight_adam"),
        ({"methods": "redo"}, "methods is a list, not 'redo'"),
        ({"methods": None}, "methods is a list, not None"),
        ({"methods": [3]}, "method is a mapping of names to values, not 3"),
        ({"methods": ["red"]}, "unknown method 'red'; did you mean redo?"),
        ({"methods": ["redo", "l2", {"name": "redo"}]}, "methods: redo is listed 2 times; write it once"),
        (
            {"methods": ["redo", "redo"]},
            "methods: redo is listed 2 times; write it once, or each with a label: redo@first, redo@second",
        ),
        ({"methods": ["redo@a", "l2", "redo@a"]}, "methods: redo@a is listed 2 times; write it once"),
        (
            {"methods": ["redo@"]},
            "method redo@: a label has only letters, digits and _; write a name such as redo@first",
        ),
        ({"methods": ["redo@a-b"]}, "method redo@a-b: a label has only letters, digits and _; write"),
        ({"methods": ["redo@a@b"]}, "method redo@a@b: a label has only letters, digits and _; write"),
        ({"methods": ["redo@é"]}, "method redo@é: a label has only letters, digits and _; write"),
        ({"methods": ["red@a"]}, "unknown method 'red'; did you mean redo?"),
        ({"methods": [{"name": "redo@a", "periods": 3}]}, "unknown setting of redo@a 'periods'; did you mean period"),
        ({"methods": [{"name": "redo@a", "period": 0.5}]}, "redo@a.period=0.5: write a whole number"),
        ({"agent": "sgd@a"}, "unknown agent 'sgd@a'; did you mean sgd?"),
        ({"diagnostics": ["rank@a"]}, "unknown diagnostic 'rank@a'; did you mean rank?"),
        ({"methods": [{"name": "l2", "groups": "Dense_0"}]}, "unknown setting of l2 'groups'; there are: weight_decay"),
        ({"methods": [{"name": "redo", "grups": "Dense_0"}]}, "unknown setting of redo 'grups'; did you mean groups?"),
        ({"methods": [{"name": "l2", "on_new_task": "lose"}]}, "l2.on_new_task=lose: write keep or reset or act"),
        ({"sweep": {"groups": ["Dense_0"]}}, "unknown setting 'groups'; there are"),
        ({"diagnostics": {"rank": 1}}, "diagnostics is a list, not {'rank': 1}"),
        ({"diagnostics": ["rank", "rank"]}, "diagnostics: rank is listed 2 times; write it once"),
        ({"record_every": -1}, "record_every=-1: write a whole number, at least 0"),
        ({"evaluate_every": -1}, "evaluate_every=-1: write a whole number, at least 0"),
        ({"evaluate_episodes": 0}, "evaluate_episodes=0: write a whole number, from 1 to 1000000"),
        (
            {"evaluate_every": 50},
            "evaluate_every=50: slowly_changing_regression is a stream of examples, without episodes; "
            "write 0, or leave it out",
        ),
        ({"seed_axis": "scan"}, "seed_axis=scan: write auto or vmap or map"),
        ({"seeds": "9-3"}, "seeds=9-3: write a number of seeds (100), or ranges from low to high (0-9,20)"),
        ({"seeds": [1, 2]}, "seeds=[1, 2]: write a number of seeds"),
        ({"sweep": [0.1]}, "sweep is a mapping of names to values, not [0.1]"),
        ({"sweep": {"learning_rate": 0.1}}, "sweep agent.learning_rate is a list, not 0.1"),
        ({"sweep": {"learning_rate": []}}, "sweep agent.learning_rate: write it once, with at least one value"),
        (
            {"sweep": {"learning_rate": [0.1, "0.10"]}},
            "sweep agent.learning_rate: write it once, with at least one value",
        ),
        ({"sweep": {"learning_rate": [1], "agent.learning_rate": [2]}}, "sweep agent.learning_rate: write it once"),
        ({"sweep": {"learning_rate": [-1]}}, "sweep agent.learning_rate=-1: write a number, at least 0"),
        ({"sweep": {"learningrate": [0.1]}}, "unknown setting 'learningrate'; did you mean learning_rate"),
        ({"sweep": {3: [0.1]}}, "unknown setting '3'"),
        ({"sweep": {"seeds": [1, 2]}}, "unknown setting 'seeds'"),
    ],
)
def test_refuses_a_field_in_one_line(given, message):
    with pytest.raises((ConfigError, UnknownNameError), match=re.escape(message)) as error:
        from_mapping({"problem": PROBLEM, **given})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "on_units"), [("redo", True), ("continual_backprop", True), ("l2", False), ("full_reset", False)]
)
def test_what_can_be_said_of_any_method(name, on_units):
    config = from_mapping({"problem": PROBLEM, "methods": [name]})
    (method,) = config.methods
    own = settings_of(registry.find("methods", name))
    extras = {"groups": "", "on_new_task": "keep"} if on_units else {"on_new_task": "keep"}
    assert method.settings == {key: setting.default for key, setting in own.items()} | extras
    assert resolve(config, "on_new_task")[0] == "method.on_new_task"


def test_a_method_has_presets():
    given = ["continual_backprop/conv", {"name": "continual_backprop/layer@second", "rate_of": "all"}]
    config = from_mapping({"problem": PROBLEM, "methods": given})
    first, second = config.methods
    assert (first.name, second.name) == ("continual_backprop", "continual_backprop@second")
    presets = registry.presets("continual_backprop")
    assert first.settings.items() >= presets["conv"].items()
    assert first.settings["replacement_rate"] == 1e-4  # a setting that the preset leaves open has its default
    assert second.settings.items() >= (presets["layer"] | {"rate_of": "all"}).items()  # what is given wins
    assert from_yaml(config.to_yaml()) == config
    with pytest.raises(UnknownNameError, match=r"^unknown preset of continual_backprop 'con'; did you mean conv\?$"):
        from_mapping({"problem": PROBLEM, "methods": ["continual_backprop/con"]})
    with pytest.raises(UnknownNameError, match=r"^unknown preset of redo 'conv'; there are: none$"):
        from_mapping({"problem": PROBLEM, "methods": ["redo/conv"]})
    with pytest.raises(
        UnknownNameError, match=r"^unknown method 'continual_backprob'; did you mean continual_backprop"
    ):
        from_mapping({"problem": PROBLEM, "methods": ["continual_backprob/conv"]})


def test_some_groups_of_units():
    given = {"problem": PROBLEM, "methods": [{"name": "redo", "groups": "Dense_0", "on_new_task": "reset"}]}
    config = from_mapping(given)
    assert (config.methods[0].settings["groups"], config.methods[0].settings["on_new_task"]) == ("Dense_0", "reset")
    assert from_yaml(config.to_yaml()) == config
    swept = from_mapping({**given, "sweep": {"on_new_task": ["keep", "reset"], "method.groups": ["", "Dense_0"]}})
    assert swept.sweep == {"method.on_new_task": ("keep", "reset"), "method.groups": ("", "Dense_0")}


def test_an_agent_has_the_defaults_of_the_problem(monkeypatch):
    agents = {"a2c": {"horizon": 5, "activation": "elu"}, "ppo": {"horizon": 6}}
    toys.add(monkeypatch, "problems", "toy", AGENTS=agents, Config=toys.Drift, make=toys.drift)

    def settings(**fields):
        agent = from_mapping({"problem": "toy", **fields}).agent
        return agent.name, agent.settings["horizon"], agent.settings["activation"]

    assert settings() == ("a2c", 5, "elu")  # the first is the problem's own
    assert settings(agent="ppo") == ("ppo", 6, "relu")
    assert settings(agent={"name": "ppo", "horizon": 7}) == ("ppo", 7, "relu")
    assert settings(agent={"horizon": 8}) == ("a2c", 8, "elu")
    # An agent that the problem does not name has its own.
    monkeypatch.delitem(agents, "ppo")
    assert settings(agent="ppo") == ("ppo", 2048, "relu")


@pytest.mark.parametrize("text", ["problem: {", "a: b: c", "\t- x", "problem: \x00"])
def test_refuses_what_is_no_yaml_in_one_line(text):
    with pytest.raises(ConfigError, match="this is not YAML") as error:
        from_yaml(text)
    assert "\n" not in str(error.value)


def test_yaml_runs_no_code():
    with pytest.raises(ConfigError, match="this is not YAML"):
        from_yaml("problem: !!python/object/apply:os.getcwd []")


def test_the_name_is_that_of_the_configuration():
    config = from_mapping(FULL)
    assert re.fullmatch(rf"{PROBLEM}-redo\+l2-[0-9a-f]{{8}}", config.name)
    assert from_mapping({"problem": PROBLEM}).name.startswith(f"{PROBLEM}-sgd-")
    assert from_mapping(FULL).name == config.name


def test_the_name_changes_with_every_field_but_the_seeds():
    config = from_mapping(FULL)
    assert dataclasses.replace(config, seeds="3").name == config.name
    others = [
        dataclasses.replace(config, record_every=7),
        dataclasses.replace(config, seed_axis="auto"),
        dataclasses.replace(config, evaluate_every=7),
        dataclasses.replace(config, evaluate_episodes=7),
        dataclasses.replace(config, sweep={}),
        dataclasses.replace(config, diagnostics=()),
        dataclasses.replace(config, methods=()),
    ]
    for where, component in config.components().items():
        for key, setting in component.schema.items():
            others.append(config.with_values({f"{where}.{key}": f"not {setting.default}"}))
    names = {other.name for other in others} | {config.name}
    assert len(names) == len(others) + 1


def test_the_file_of_a_run_has_no_seeds():
    config = from_mapping(FULL)
    text = config.to_yaml_without_seeds()
    assert "seeds" not in yaml.safe_load(text)
    assert dataclasses.replace(from_yaml(text), seeds=config.seeds) == config


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("1", (0,)),
        ("100", tuple(range(100))),
        ("0-9,20", (*range(10), 20)),
        ("20,", (20,)),
        (" 3-3 , 1 ", (3, 1)),
        ("2147483647,", (2**31 - 1,)),
    ],
)
def test_seeds(text, seeds):
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["9-3", "0", "", ",", "a", "1.5", "-3", "1,1", "0-5,3", "1-2-3", "1,,2"])
def test_seeds_that_are_none(text):
    with pytest.raises(ConfigError, match=re.escape(f"seeds={text}: write a number of seeds (100), or ranges")):
        read_seeds(text)


@pytest.mark.parametrize("text", ["1000001", "0-10000000000000", "2147483648,"])
def test_seeds_that_are_too_many_or_too_large(text):
    with pytest.raises(ConfigError, match=r"at most 1,000,000 seeds, each below 2,147,483,648"):
        read_seeds(text)


def test_resolve():
    config = from_mapping(FULL)
    assert resolve(config, "learning_rate")[0] == "agent.learning_rate"
    assert resolve(config, "learning-rate")[0] == "agent.learning_rate"
    assert resolve(config, "agent.learning_rate")[0] == "agent.learning_rate"
    assert resolve(config, "weight_decay")[0] == "method.l2.weight_decay"
    assert resolve(config, "redo.period")[0] == "method.redo.period"
    name, setting = resolve(config, "period")
    assert (name, setting.type) == ("method.redo.period", int)


def test_resolve_with_one_method():
    config = from_mapping({"problem": PROBLEM, "methods": ["redo"]})
    assert resolve(config, "period")[0] == "method.period"
    assert resolve(config, "method.redo.period")[0] == "method.period"
    assert resolve(config, "threshold")[0] == "method.threshold"  # a diagnostic's is not swept


TWICE = {"problem": PROBLEM, "methods": ["redo", {"name": "redo@last_2", "period": 50}, "l2"]}


def test_a_method_may_be_there_twice_under_a_label():
    config = from_mapping(TWICE)
    assert list(config.components())[2:5] == ["method.redo", "method.redo@last_2", "method.l2"]
    first, second, _ = config.methods
    assert (first.factory, first.schema) == (second.factory, second.schema)
    assert (first.settings["period"], second.settings["period"]) == (first.schema["period"].default, 50)
    assert from_yaml(config.to_yaml()) == config
    assert re.fullmatch(rf"{PROBLEM}-redo\+redo@last_2\+l2-[0-9a-f]{{8}}", config.name)
    other = config.with_values({"method.redo@last_2.period": 7})
    assert [component.settings.get("period") for component in other.methods] == [first.settings["period"], 7, None]


def test_resolve_a_label():
    config = from_mapping({**TWICE, "sweep": {"redo@last_2.period": [3, 4], "method.redo.period": [5]}})
    assert config.sweep == {"method.redo@last_2.period": (3, 4), "method.redo.period": (5,)}
    with pytest.raises(
        ConfigError, match=r"^period can mean method\.redo\.period or method\.redo@last_2\.period; write"
    ):
        resolve(config, "period")
    alone = from_mapping({"problem": PROBLEM, "methods": ["redo@a"]})
    assert resolve(alone, "period")[0] == resolve(alone, "method.redo@a.period")[0] == "method.period"


def test_resolve_what_can_mean_two():
    config = from_mapping({"problem": PROBLEM, "methods": ["redo", "full_reset"]})
    message = "period can mean method.redo.period or method.full_reset.period; write one of these names"
    with pytest.raises(ConfigError, match=re.escape(message)):
        resolve(config, "period")


def test_parts_by_name():
    one = from_mapping({"problem": PROBLEM, "methods": ["redo"], "diagnostics": ["rank"]})
    assert list(one.components()) == ["problem", "agent", "method", "diagnostic.rank"]
    assert list(from_mapping(FULL).components())[2:4] == ["method.redo", "method.l2"]


def test_with_values():
    config = from_mapping(FULL)
    changed = config.with_values(
        {"agent.learning_rate": 1.0, "method.l2.coupled": False, "diagnostic.dormant_fraction.threshold": 0.5}
    )
    assert changed.agent.settings == {**config.agent.settings, "learning_rate": 1.0}
    assert changed.methods[0] == config.methods[0]
    assert changed.methods[1].settings["coupled"] is False
    assert changed.diagnostics[1].settings["threshold"] == 0.5
    assert (changed.problem, changed.seeds, changed.sweep) == (config.problem, config.seeds, config.sweep)
    with pytest.raises(KeyError, match=r"method\.ppo"):
        config.with_values({"method.ppo.period": 3})


def test_expand_into_a_run_for_each_program():
    config = from_mapping(FULL)
    runs = expand(config, lambda config, name: name != "agent.optimizer")
    assert [run.agent.settings["optimizer"] for run in runs] == ["sgd", "adam"]
    for run in runs:
        assert list(run.sweep) == ["agent.learning_rate", "method.redo.period"]
    assert expand(config, lambda config, name: True) == [config]
    apart = expand(config, lambda config, name: False)
    assert [run.sweep for run in apart] == [{}] * 8
    assert len({run.name for run in apart}) == 8
