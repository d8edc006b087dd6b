"""Runs of two tasks with continual methods of the library, which PPO learns on the device."""

import jax
import numpy as np
import pandas as pd
import pytest
import staged
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
