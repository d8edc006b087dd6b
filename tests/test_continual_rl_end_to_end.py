"""Whole runs of continual reinforcement learning: each method in each published scenario, and runs that are killed.

Episodes and tasks are short, and networks narrow; all else is as published.
"""

import importlib.util
import shutil

import numpy as np
import pandas as pd
import pytest
import staged
import trees

from pliant import report
from pliant.core import registry
from pliant.core.clock import Task
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.evaluation.restore import load
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run
from pliant.problems.scenarios import _mujoco
from pliant.problems.scenarios._tasks import SCENARIOS

METHODS = registry.names("continual")
ROBOTS = [(f"crl_{domain}", scenario) for domain in SCENARIOS for scenario in SCENARIOS[domain]]
PAIRS = [*ROBOTS, ("continual_world", "t1"), ("continual_world", "cw10")]

needs_brax = pytest.mark.skipif(not importlib.util.find_spec("brax"), reason="needs brax 0.12.3")

NARROW = {"hidden_units": 8, "learning_starts": 8, "random_steps": 2, "buffer_size": 64, "batch_size": 4}
SMALL = {
    "packnet": {"finetune": 4},
    "rewire": {"episodes": 1},
    "subspace": {"candidates": 2, "samples": 16, "estimations": 2},
}


# Each method in each scenario

TASK, LIMIT = 32, 8  # steps of a task, of two environments; steps of an episode


@pytest.fixture
def short_episodes(monkeypatch):
    describe = _mujoco.describe
    monkeypatch.setattr(_mujoco, "describe", lambda *which: describe(*which)._replace(time_limit=LIMIT))


@pytest.mark.exhaustive
@pytest.mark.compilations(100)  # a run of all kinds of programs
@pytest.mark.parametrize(("problem", "scenario"), PAIRS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_in_a_scenario(method, problem, scenario, short_episodes, tmp_path):
    config = registry.presets(problem)[scenario]
    length = {"time_limit": LIMIT} if problem == "continual_world" else {}
    config = {
        **config,
        "problem": {**config["problem"], "task_steps": TASK, "num_envs": 2, **length},
        "agent": {**config["agent"], **NARROW},
        "continual": {"name": method, **SMALL.get(method, {})},
        "evaluate_tasks": 1,
        "record_every": TASK,
        "diagnostics": [],
        "seeds": "2",
    }
    its_plan = plan(from_mapping(config))
    found = report.load(run(its_plan, tmp_path))
    assert found.status["state"] == "finished"
    borders = [task.until for task in its_plan.tasks]
    matrix = report.return_matrix(found.metrics)
    assert (matrix.names, matrix.ends) == (tuple(task.name for task in its_plan.tasks), tuple(borders))
    assert np.isfinite(matrix.returns).all() and np.isfinite(matrix.initial).all()

    def values(metric):
        """Values `(steps, seeds)`, by the step."""
        rows = found.metrics[found.metrics["metric"] == metric]
        return rows.pivot(index="step", columns="seed", values="value")

    assert list(values("parameters").index) == list(values("parameters_and_buffers").index) == borders
    losses = values("critic_loss")
    assert losses.shape == (len(borders), 2) and np.isfinite(losses).all(axis=None) and (losses > 0).all(axis=None)
    trials, played = its_plan.components.agent.trials, values("trial_steps")
    if trials is None:
        assert played.empty
    else:
        before = [] if trials.standing is None else [step + 1 for step in borders[:-1]]
        assert list(played.index) == sorted([*before, *borders[1:]])
        assert (played >= trials.episodes).all(axis=None)


# Runs that are killed

TASKS = (Task("short", 32), Task("long", 64), Task("short", 96))


@pytest.fixture(scope="module")
def staged_tasks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staged, "TASKS", TASKS)
        staged.add(patch)
        yield


def ran_and_killed(config, folder, steps):
    """A whole run, and copies of its directory: a kill leaves one of them, where a later step than these is saved.

    They have what the run has there just before it saves the steps, and the lock of a process that is no more.
    """
    path, members = folder / config.name, len(config.seed_list)
    copies = [folder / f"killed-{step}" for step in steps]

    def on_progress(done, total):
        for step, copy in zip(steps, copies):
            if done == step * members:
                shutil.copytree(path, copy)

    return run(plan(config), folder, checkpoint_every=0.0, on_progress=on_progress), copies


def on_toy(method, **fields):
    """A method on three toy tasks."""
    return from_mapping(
        {
            "problem": {"name": "staged", "init_task": True, "steps": TASKS[-1].until},
            "agent": {"name": "sac", "actor_layers": 2, "critic_layers": 1, "critics": 1, **NARROW},
            "continual": {"name": method, **SMALL.get(method, {})},
            "record_every": 16,
            "diagnostics": [],
            "seeds": "2",
            **fields,
        }
    )


@pytest.mark.slow
@pytest.mark.compilations(30)  # a run and a half
@pytest.mark.parametrize(
    "method",
    ["rewire", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("packnet", "subspace"))],
)
def test_a_run_that_is_killed_after_a_border_goes_on_to_the_bit(method, staged_tasks, tmp_path, caplog):
    config = on_toy(method)
    whole, (killed,) = ran_and_killed(config, tmp_path, [80])
    caplog.set_level("INFO")
    run(plan(config), tmp_path, directory=killed)
    assert "going on from step 64 of 96" in caplog.text
    assert_same(killed, whole)


def assert_same(one, other):
    """Checks that two runs have the same rows and the same agents, to the bit."""
    pd.testing.assert_frame_equal(report.load(one).metrics, report.load(other).metrics, check_exact=True)
    trees.assert_equal(load(one).agents, load(other).agents)


@needs_brax
@pytest.mark.exhaustive
@pytest.mark.compilations(100)  # four runs
def test_a_run_on_the_old_engine_goes_on_to_the_bit_in_whichever_task_it_is_killed(tmp_path):
    preset = registry.presets("crl_halfcheetah")["forgetting/published"]
    config = from_mapping(
        {
            **preset,
            "problem": {**preset["problem"], "tasks": "normal,moon,hugefoot", "task_steps": 32, "num_envs": 2},
            "agent": {**preset["agent"], **NARROW},
            "continual": {"name": "ewc", "samples": 4},
            "evaluate_tasks": 0,
            "record_every": 4,
            "diagnostics": [],
        }
    )
    moments = np.random.default_rng(0).integers(2, 9, 3) * 4 + 32 * np.arange(3)  # one in each task
    whole, copies = ran_and_killed(config, tmp_path, moments.tolist())
    for killed in copies:
        assert load(killed).step < 96
        assert_same(run(plan(config), tmp_path, directory=killed), whole)


# A member alone


@pytest.mark.exhaustive
@pytest.mark.compilations(80)  # a run in each form
def test_a_member_alone_on_the_device_and_outside_of_it(staged_tasks, tmp_path):
    def rows(**form):
        problem = {"name": "staged", "steps": TASKS[-1].until, **form}
        found = report.load(run(plan(on_toy("rewire", seeds="1", evaluate_tasks=2, problem=problem)), tmp_path)).metrics
        found = found.astype({"metric": str, "group": str})
        return found.sort_values(["step", "metric", "group"], ignore_index=True)

    there, here = rows(init_task=True), rows(backend="host")
    pd.testing.assert_frame_equal(there, here, rtol=1e-3, atol=1e-4)
    assert {"parameters", "parameters_and_buffers", "trial_steps", "task_return"} <= {*there["metric"]}
    assert np.isfinite(there["value"]).all()
