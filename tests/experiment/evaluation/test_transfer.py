"""Trained agents in other environments than those of their run."""

import numpy as np
import pandas as pd
import pytest
import staged
import uneven

from pliant.core.problem import Continuous, Discrete
from pliant.experiment.configuration.build import make_problem
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError
from pliant.experiment.evaluation import transfer as module
from pliant.experiment.evaluation.evaluate import evaluate
from pliant.experiment.evaluation.restore import load
from pliant.experiment.evaluation.transfer import transfer
from pliant.experiment.loops.planning import plan, unchecked_plan
from pliant.experiment.run import run

FORMS = ("device", "host")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """By the form, what was trained there, 64 steps in rounds of 16."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        staged.add(patch)
        fields = {"agent": "riser", "seeds": "2", "diagnostics": []}
        configs = {form: from_mapping({"problem": {"name": "staged", "backend": form}, **fields}) for form in FORMS}
        trained = {form: load(run(plan(config), folder)) for form, config in configs.items()}
        others = {"steady": {"name": "staged", "env": "short"}, "uneven": "uneven"}
        for name, problem in others.items():
            its_plan = unchecked_plan(from_mapping({"problem": problem, **fields}))
            trained[name] = trained["device"]._replace(plan=its_plan)
        yield trained


def env(trained):
    return trained.config.problem.settings["env"]


@pytest.mark.parametrize("form", FORMS)
def test_the_task_of_the_checkpoint(runs, form):
    # Tasks end at 32 and at 64: what is saved at the end of a task was trained in it.
    for step, name in ((0, "short"), (31, "short"), (32, "short"), (33, "long"), (64, "long"), (80, "long")):
        assert env(transfer(runs[form]._replace(step=step))) == name


def test_without_tasks_all_stays(runs):
    for name in ("steady", "uneven"):
        assert transfer(runs[name]) == runs[name]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("env", "length"), [("short", 2), ("long", 4), (None, 4)])
def test_the_same_agents_in_either_form(runs, form, env, length):
    # Greedy, after four rounds that each add 0.5: actions mean + 0, mean + 1, ..., rewarded by 1 more.
    there = transfer(runs["device"], env, form)
    assert hasattr(there.plan.problem, "open") == (form == "host")
    episodes = evaluate(there, episodes=2, modes=["greedy"])
    assert list(episodes["length"]) == [length] * 4
    for seed, mine in episodes.groupby("seed"):
        mean = uneven.initial_mean(seed) + 4 * 0.5
        np.testing.assert_allclose(mine["return"], length * (1 + mean) + length * (length - 1) / 2, rtol=1e-5)


@pytest.mark.compilations(8)  # evaluations in both forms
def test_from_outside_onto_the_device(runs):
    assert runs["host"].host  # what the run saved is of no use there
    on_device, outside = (
        evaluate(transfer(runs["host"], backend=form), episodes=1, modes=["greedy"]) for form in FORMS
    )
    pd.testing.assert_frame_equal(on_device, outside, check_dtype=False)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("uneven", {"env": "short"}, "env=short: uneven has no setting env; leave it out"),
        ("uneven", {"backend": "host"}, "backend=host: uneven has no setting backend; leave it out"),
        ("device", {"env": "huge"}, "env='huge': write one of short, long, wide"),
        ("device", {"backend": "hots"}, "backend=hots: write device or host"),
        (
            "device",
            {"env": "wide", "backend": "host"},
            "env=wide backend=host: the agents were built for observations float32[1] and actions Continuous(size=1, "
            "bound=1.0), got observations float32[2] and actions Continuous(size=1, bound=1.0); write another kind",
        ),
    ],
)
def test_where_they_cannot_act(runs, name, settings, message):
    with pytest.raises(ConfigError) as error:
        transfer(runs[name], **settings)
    assert str(error.value) == message


def test_other_actions_of_the_same_number(runs, monkeypatch):
    def problem(config):
        environment = make_problem(config)
        return environment._replace(
            spec=environment.spec._replace(action=(Discrete if env_of(config) else Continuous)(1))
        )

    def env_of(config):
        return config.problem.settings["env"]

    monkeypatch.setattr(module, "make_problem", problem)
    with pytest.raises(ConfigError, match=r"got observations float32\[1\] and actions Discrete\(n=1\)"):
        transfer(runs["device"], "short")
