"""The suite from Python: the runs of the command line, read back as frames and agents."""

import re

import numpy as np
import pytest
import uneven

import pliant
from pliant.core import sources
from pliant.core.problem import Stream
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError
from pliant.experiment.evaluation import restore

# Four rounds of 16 steps, in each of which the mean grows by the learning rate.
FIELDS = {"problem": "uneven", "diagnostics": [], "seeds": 2, "record_every": 16, "sweep": {"learning_rate": [0.5, 1]}}
GROWN = {0.5: 2.0, 1.0: 4.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        uneven.add(patch)
        yield pliant.run(FIELDS, folder=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def initial():
    """The mean of each seed before the first round."""
    return [uneven.initial_mean(seed) for seed in (0, 1)]


def test_a_run_has_the_name_of_its_configuration(run):
    assert run.path.name == from_mapping(FIELDS).name
    assert run.config["seeds"] == "0-1"
    assert run.config["sweep"] == {"agent.learning_rate": [0.5, 1.0]}


def test_the_metrics_are_a_tidy_frame(run, initial):
    assert list(run.metrics.columns) == ["seed", "agent.learning_rate", "step", "metric", "group", "value"]
    last = run.metrics.query("metric == 'mean' and step == 64").set_index(["agent.learning_rate", "seed"])["value"]
    for rate, grown in GROWN.items():
        np.testing.assert_allclose(last[rate], np.add(initial, grown), rtol=1e-6)


def test_curves_and_summary_are_those_of_the_report(run, initial):
    ends = [curve.estimate[-1] for curve in run.curves("mean")]
    np.testing.assert_allclose(ends, [np.mean(initial) + 2, np.mean(initial) + 4], rtol=1e-6)
    assert {"mean", "return"} <= {row[0] for row in run.summary().rows}


def test_a_finished_run_is_found_by_its_configuration(run):
    reports = []
    again = pliant.run(run.config, folder=run.path.parent, on_progress=lambda *progress: reports.append(progress))
    assert (again.path, reports) == (run.path, [])
    assert pliant.load(run.path).config == run.config


@pytest.mark.parametrize("given", [from_mapping, lambda fields: {**fields, "agent": "riser"}, dict])
def test_fields_win_over_the_configuration_and_settings_alone_change_it(run, given, monkeypatch):
    asked = []
    monkeypatch.setattr(pliant.suite, "plans", lambda config: asked.append(config) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pliant.run(given(FIELDS), agent={"horizon": 4}, problem={"steps": 32}, seeds=3)
    [config] = asked
    assert (config.agent.name, config.agent.settings["horizon"]) == ("riser", 4)
    assert config.problem.settings == {"steps": 32, "num_envs": 2}
    assert (config.seeds, config.record_every, list(config.sweep)) == ("3", 16, ["agent.learning_rate"])


@pytest.mark.parametrize(("seed", "rate"), [(None, 0.5), (1, 1)])
def test_an_agent_is_that_of_a_member(run, initial, seed, rate):
    agent = run.agent(64, seed, {"learning_rate": rate})
    assert (agent.seed, agent.step) == (seed or 0, 64)
    np.testing.assert_allclose(agent.act([0.0]), [initial[agent.seed] + GROWN[rate]], rtol=1e-6)


def test_an_agent_that_diverged_is_refused(run, monkeypatch):
    trained = restore.load(run.path)
    monkeypatch.setattr(restore, "load", lambda *_: trained._replace(diverged=np.array([48, -1, -1, -1])))
    with pytest.raises(ConfigError, match=r"^seed 0 of .* diverged at step 48: it cannot act; write another seed$"):
        run.agent(where={"learning_rate": 0.5})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: pliant.run("unevn"), "unknown problem 'unevn'; did you mean uneven"),
        (lambda run: pliant.run("hopper/cpb"), "unknown preset of hopper 'cpb'; did you mean cbp?"),
        (lambda run: pliant.run("uneven", sedes=3), "unknown field of a configuration 'sedes'; did you mean seeds"),
        (
            lambda run: pliant.run("uneven", num_envs=2),
            "num_envs=2: a setting of the problem uneven; write problem={'num_envs': 2}",
        ),
        (
            lambda run: pliant.run("slowly_changing_regression", activation="relu"),
            "activation='relu': a setting of the problem slowly_changing_regression; write problem={'activation': 're",
        ),
        (
            lambda run: pliant.run("uneven", methods=[], learning_rate=1),
            "learning_rate=1: a setting of the agent riser; write agent={'learning_rate': 1}",
        ),
        (
            lambda run: pliant.run("CartPole-v1"),
            "unknown problem CartPole-v1; an environment of gymnasium is a setting: write ",
        ),
        (lambda run: pliant.run(), "a configuration needs a problem: write problem: {name: ...}"),
        (lambda run: pliant.run(["uneven"]), "config=['uneven']: write a problem, PROBLEM/PRESET, a mapping or"),
        (
            lambda run: pliant.run(FIELDS, sweep={"num_envs": [1, 2]}),
            "sweep of problem.num_envs: its values need 2 runs; write a loop with one pliant.run for each value",
        ),
        (lambda run: pliant.load(run.path / "no"), "; give the path of a run, such as runs/<name>-<hash>"),
        (lambda run: run.curves("no"), "the run has no metric 'no'; it recorded: "),
        (
            lambda run: run.agent(),
            "swept agent.learning_rate over 0.5, 1.0; write where={'agent.learning_rate': VALUE}",
        ),
        (lambda run: run.agent(where={"learning_rate": 2}), "learning_rate=2: no member has this value; the run swept"),
        (lambda run: run.agent(seed=7), "there is no seed 7"),
        (lambda run: run.agent(seed="a"), "seed='a': write a whole number"),
        (lambda run: run.agent(step="bst"), "step='bst': write the steps of a checkpoint, a whole number, or 'best'"),
        (lambda run: run.analyze(seeds="7"), "seeds='7': write a list of whole numbers, such as [0, 1]"),
        (lambda run: run.analyze(examples=-1), "examples=-1: write a number at least 0"),
        (lambda run: run.agent(48), "step=48: "),
        (lambda run: run.agent("best"), "has no best checkpoint"),
    ],
)
def test_refuses_in_one_line(run, call, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        call(run)
    assert "\n" not in str(error.value)


def my_method(bound: float = 0.5):
    """A method.

    Args:
        bound: a number.
    """


def my_stream() -> Stream: ...


def configuration(monkeypatch, *args, **fields):
    """The configuration that `pliant.run` would plan."""
    asked = []
    monkeypatch.setattr(pliant.suite, "plans", lambda config: asked.append(config) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pliant.run(*args, **fields)
    return asked[0]


def test_functions_and_files_are_components_of_one_name(monkeypatch):
    one = configuration(monkeypatch, problem=my_stream, method=my_method, seeds=10)
    assert (one.problem.name, one.agent.name, one.methods[0].settings["bound"]) == ("my_stream", "sgd", 0.5)
    two = configuration(monkeypatch, problem=f"{__file__}:my_stream", methods=[f"{__file__}:my_method"])
    assert one.name == two.name
    changed = configuration(monkeypatch, one, methods=[{"name": my_method, "bound": 0.1}, "l2"])
    assert [method.settings.get("bound") for method in changed.methods] == [0.1, None]


def test_the_users_own_components_are_named_to_load_a_run(run, monkeypatch):
    monkeypatch.setattr(sources, "_files", {})
    monkeypatch.setattr(sources, "_objects", {})
    pliant.load(run.path, own=[__file__, my_method])
    assert list(sources._files) == [source for source, _ in sources._objects]


def test_an_object_without_its_text_and_two_words_for_methods_are_refused():
    with pytest.raises(ValueError, match=r"^int 5: give the function that makes it"):
        pliant.run(problem=5)
    with pytest.raises(ConfigError, match="method and methods: write one of the two"):
        pliant.run("uneven", method="l2", methods=[])
