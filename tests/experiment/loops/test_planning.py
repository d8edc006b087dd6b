"""A run is planned once: how often its problem is made, and what its components report."""

import logging

import numpy as np
import pytest
import staged
import toys

from pliant.core import registry
from pliant.core.notes import Note, log_once
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError
from pliant.experiment.evaluation.evaluate import evaluate
from pliant.experiment.evaluation.restore import load
from pliant.experiment.evaluation.transfer import transfer
from pliant.experiment.loops.planning import Problems, plan, plans, unchecked_plan
from pliant.experiment.run import run

REGRESSION = {"name": "slowly_changing_regression", "examples": 40, "target_units": 5, "hidden_units": 2}


@pytest.fixture(autouse=True)
def toy_problems(monkeypatch):
    staged.add(monkeypatch)
    toys.add_all(monkeypatch)


@pytest.fixture
def makes(monkeypatch):
    """`makes(problem)`: a list that grows by the settings of each problem of this name that is made."""

    def count(name):
        module, made = registry.find("problems", name), []
        make = module.make
        monkeypatch.setattr(module, "make", lambda config: made.append(config) or make(config))
        return made

    return count


def config_of(problem, **fields):
    given = problem if isinstance(problem, dict) else {"name": problem}
    agent = {} if given["name"] == REGRESSION["name"] else {"agent": "riser"}
    return from_mapping({"problem": given, "seeds": "2", "diagnostics": [], **agent, **fields})


EXHAUSTIVE = pytest.mark.exhaustive


@pytest.mark.compilations(12)  # whole runs, with evaluations
@pytest.mark.parametrize(
    ("problem", "fields"),
    [
        (REGRESSION, {"diagnostics": ["dormant_fraction"]}),
        (REGRESSION, {"sweep": {"learning_rate": [0.1, 0.2]}}),
        (REGRESSION, {"sweep": {"optimizer": ["sgd", "adam"]}}),  # two programs, one problem
        ("uneven", {"evaluate_every": 32}),
        pytest.param("uneven_host", {"evaluate_every": 32}, marks=pytest.mark.exhaustive),
        pytest.param(
            "uneven", {"sweep": {"learning_rate": [0.0, 0.5]}, "record_every": 16}, marks=pytest.mark.exhaustive
        ),
        ("uneven_host", {"sweep": {"learning_rate": [0.0, 0.5]}, "evaluate_every": 32}),
        ("uneven_host", {"sweep": {"horizon": [8, 16]}}),
    ],
    ids=["stream", "swept stream", "two programs", "device", "host", "swept device", "swept host", "two host programs"],
)
def test_a_problem_is_made_once_a_run(problem, fields, makes, tmp_path):
    config = config_of(problem, **fields)
    made = makes(config.problem.name)
    runs = plans(config)
    assert len(runs) == (2 if {"optimizer", "horizon"} & set(fields.get("sweep", ())) else 1)
    for each in runs:
        run(each, tmp_path)
    assert len(made) == 1


@pytest.mark.compilations(14)  # a whole run, and evaluations
@pytest.mark.parametrize("problem", ["uneven", "uneven_host"])
def test_a_problem_is_made_once_for_trained_agents(problem, makes, tmp_path):
    path = run(plan(config_of(problem)), tmp_path)
    made = makes(problem)
    evaluate(load(path), episodes=1)
    assert len(made) == 1


@pytest.mark.compilations(10)  # a whole run, with evaluations
def test_other_environments_are_made_once_for_each_task(makes, tmp_path):
    # Evaluations at the steps 0, 16, 32 are in the first task, those at 48 and 64 in the second.
    made = makes("staged")
    path = run(plan(config_of("staged", evaluate_every=16)), tmp_path)
    assert [config.env for config in made] == ["", "short", "long"]
    made.clear()
    trained = load(path)
    assert [config.env for config in made] == [""]
    assert transfer(transfer(trained, "long"), "long").plan.tasks == trained.plan.tasks  # for which agents have room
    assert [config.env for config in made] == ["", "long"]


def test_a_problem_is_made_again_where_its_own_numbers_are_swept(makes):
    made = makes("drift")
    config = config_of("drift", agent="watcher", sweep={"problem.scale": [1.0, 2.0, 3.0]})
    (its_plan,) = plans(config)
    concrete = [config.scale for config in made if isinstance(config.scale, float)]
    assert concrete == [1.0, 2.0, 3.0]  # the first of them for the plan, the others to be checked
    assert len(made) == 4  # and once with a traced number
    assert its_plan.make({"agent.pull": 1.0}).problem is its_plan.problem
    assert its_plan.make({}) is its_plan.components
    assert its_plan.make({"problem.scale": 5.0}).problem is not its_plan.problem
    assert [config.scale for config in made[4:]] == [5.0]


def test_runs_of_several_configurations_share_their_problem(makes):
    made, problem_of = makes("drift"), Problems()
    pulls = [plans(config_of("drift", agent={"name": "watcher", "pull": pull}), problem_of) for pull in (0.0, 1.0)]
    assert len(made) == 1 and pulls[0][0].problem is pulls[1][0].problem
    plans(config_of({"name": "drift", "num_envs": 2}, agent="watcher"), problem_of)
    assert [config.num_envs for config in made] == [1, 2]


def test_a_sweep_of_sizes_makes_no_problem_but_its_own(makes):
    # The default of 1 environment is among neither of the runs.
    made = makes("drift")
    runs = plans(config_of("drift", agent="watcher", sweep={"problem.num_envs": [2, 3]}))
    assert [each.problem.num_envs for each in runs] == [2, 3] == [config.num_envs for config in made]


def methods(*maturities):
    """A sweep in which each member of continual backprop reports when it begins."""
    method = {"name": "continual_backprop", "replacement_rate": 0.1, "max_per_step": 1}
    return config_of(REGRESSION, methods=[method], sweep={"maturity": list(maturities)})


def note_of(maturity):
    return Note(
        f"continual_backprop: no replacement before step {maturity + 1} (maturity {maturity}); "
        "then up to 0.2 units a step in a group"
    )


def test_components_report_once_whatever_is_made_of_them(caplog):
    caplog.set_level(logging.INFO, "pliant")
    (its_plan,) = plans(methods(10, 20))
    assert its_plan.notes == (note_of(10), note_of(20))
    its_plan.make({"method.maturity": 30})
    assert caplog.messages == []
    log_once([*its_plan.notes, *plan(methods(20)).notes])
    assert caplog.messages == [note_of(10).text, note_of(20).text]
    assert unchecked_plan(methods(20)).notes == (note_of(20),)


def test_a_continual_method_reports_once_whatever_is_made_of_it(caplog):
    caplog.set_level(logging.INFO, "pliant")
    problem = {"name": "permuted_mnist", "data": "digits", "tasks": 3, "change_every": 60, "hidden_units": 8}
    its_plan = plan(from_mapping({"problem": problem, "continual": {"name": "packnet", "prune": 0.5, "finetune": 0}}))
    assert [note.text.partition(";")[0] for note in its_plan.notes] == [
        "packnet: after task 2 of 3 no weight is free, and later tasks learn nothing"
    ]
    assert caplog.messages == []


def test_each_combination_of_values_is_checked():
    with pytest.raises(ConfigError, match=r"replacement_rate=0\.9 of 2 units is 1\.8 units a step"):
        plans(config_of(REGRESSION, methods=[{"name": "continual_backprop", "max_per_step": 1}], sweep={
            "replacement_rate": [0.1, 0.9], "maturity": [10, 20]
        }))  # fmt: skip


@pytest.mark.parametrize(
    ("problem", "fields", "work", "steps", "at_once"),
    [
        (REGRESSION, {}, (80, "examples"), 40, 1),  # of two seeds
        ({"name": "uneven", "steps": 50}, {}, (100, "steps"), 64, 16),  # filled up to rounds of 8 times 2 environments
        ({"name": "uneven_host", "steps": 64}, {"seeds": "3"}, (192, "steps"), 64, 16),
    ],
)
def test_how_much_there_is_to_do(problem, fields, work, steps, at_once):
    its_plan = plan(config_of(problem, **fields))
    assert (its_plan.work, its_plan.steps, its_plan.steps_at_once) == (work, steps, at_once)
    assert len(its_plan.members) == int(fields.get("seeds", 2))
    np.testing.assert_array_equal(its_plan.members.only(np.array([1])).seeds, [1])
