"""Runs of two tasks with continual methods of the library."""

import jax
import numpy as np
import pandas as pd
import pytest
import staged
import toys
import trees

from pliant import report
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.evaluation.restore import load
from pliant.experiment.evaluation.transfer import transfer
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run


@pytest.fixture(autouse=True, scope="module")
def toy_problems():
    with pytest.MonkeyPatch.context() as patch:
        staged.add(patch)
        yield


def config_of(continual, **fields):
    """Two tasks of two rounds of 16 steps, with a row for each round."""
    return from_mapping(
        {
            "problem": {"name": "staged", "init_task": True},
            "agent": {"name": "ppo", "horizon": 8, "epochs": 1, "minibatches": 2, "hidden_units": 4},
            "continual": continual,
            "diagnostics": [],
            "seeds": "2",
            "record_every": 16,
            **fields,
        }
    )


class Stop(Exception):
    pass


def stop_after(calls):
    left = iter(range(calls))

    def on_progress(done, total):
        if next(left, None) is None:
            raise Stop

    return on_progress


EWC = {"name": "ewc", "samples": 4}


@pytest.mark.compilations(30)  # two runs, each with programs of evaluations
def test_a_run_that_is_stopped_at_a_border_goes_on_to_the_bit(tmp_path, caplog):
    # Beside a method that draws at random.
    method = {"name": "continual_backprop", "replacement_rate": 0.2, "maturity": 2}
    config = config_of(EWC, methods=[method], evaluate_tasks=2)
    whole = run(plan(config), tmp_path / "whole")
    with pytest.raises(Stop):
        run(plan(config), tmp_path, checkpoint_every=0.0, on_progress=stop_after(3))
    caplog.set_level("INFO")
    path = run(plan(config), tmp_path, checkpoint_every=0.0)
    assert "going on from step 32 of 64" in caplog.text
    pd.testing.assert_frame_equal(report.load(path).metrics, report.load(whole).metrics, check_exact=True)
    jax.tree.map(np.testing.assert_array_equal, load(path).agents, load(whole).agents)
    rows = report.load(path).metrics
    memory = rows[rows["metric"].isin(["parameters", "parameters_and_buffers"])]
    values = memory.pivot_table(index="step", columns="metric", values="value")
    np.testing.assert_array_equal(values["parameters_and_buffers"], 3 * values["parameters"])


@pytest.mark.compilations(13)  # a run, and the parameters that act
def test_copies_act_on_their_tasks_and_checkpoints_at_borders_act_as_their_task_ended(tmp_path):
    path = run(plan(config_of({"name": "from_scratch"})), tmp_path)
    border, end = (load(path, step) for step in (32, 64))
    first, second = (trees.numpy(transfer(end, task=task).acting_params()) for task in ("0/short", "1/long"))
    trees.assert_equal(first, border.acting_params())
    trees.assert_equal(first, transfer(border, task="short").acting_params())
    trees.assert_equal(second, end.acting_params())
    # With its learning rate of 1e-4 a network hardly moves in four updates: the second task has another one.
    weights = [(old, new) for old, new in zip(*map(jax.tree.leaves, (first, second)), strict=True) if old.ndim == 3]
    assert all(np.abs(old - new).mean() > 0.05 for old, new in weights)


@pytest.mark.exhaustive  # `tests/experiment/loops` has PPO and TD3 in each form
@pytest.mark.compilations(24)  # a run in each form
def test_a_learner_of_tasks_cannot_tell_where_its_environments_are(tmp_path, monkeypatch):
    toys.add_all(monkeypatch)
    agent = {
        "name": "sac", "learning_starts": 8, "random_steps": 8, "buffer_size": 40, "batch_size": 4, "hidden_units": 4,
        "actor_layers": 1, "critic_layers": 1,
    }  # fmt: skip
    there, here = (
        report.load(
            run(
                plan(
                    config_of(
                        {**EWC, "strength": 1e3},
                        problem={"name": name, "steps": 48, "calm": 24, "num_envs": 2, "time_limit": 4},
                        agent=agent,
                        record_every=12,
                    )
                ),
                tmp_path,
            )
        ).metrics
        for name in ("drift", "drift_host")
    )
    columns = ["seed", "step", "metric", "group"]
    there, here = (rows.sort_values(columns, ignore_index=True) for rows in (there, here))
    pd.testing.assert_frame_equal(there[columns], here[columns])
    np.testing.assert_allclose(there["value"], here["value"], rtol=1e-3, atol=1e-4)
    losses = here[(here["metric"] == "critic_loss") & (here["step"] > 24)]["value"]
    assert len(losses) == 4 and (losses != 0).any()  # the second task was learned
