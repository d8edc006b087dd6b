"""The steps at which a published run records and keeps something."""

import numpy as np

from pliant.experiment.configuration.reading import from_mapping, named
from pliant.experiment.loops.planning import unchecked_plan
from pliant.experiment.schedule import Schedule


def test_a_run_of_incremental_cifar_has_42000_rows_and_21_checkpoints():
    # Task k has 200 epochs of 25 k updates, and there is a row every 25 updates: 200 (1 + 2 + ... + 20).
    config = named("incremental_cifar/base_deep_learning_system")
    narrow = {**config["problem"], "width": 1}  # the time of a test: nothing depends on the size of the network
    plan = unchecked_plan(from_mapping({**config, "problem": narrow, "methods": [], "diagnostics": []}))
    schedule, steps, step, rows = Schedule(plan), plan.steps, 0, []
    while step < steps:
        chunk = schedule.chunk(step)
        assert chunk.first == step
        step = chunk.last
        rows.append(step)
    assert len(rows) == 42_000 and set(np.diff([0, *rows])) == {25}
    ends = np.cumsum(200 * 25 * np.arange(1, 21))
    assert list(plan.kept) == [0, *ends] and len(plan.kept) == 21
    assert set(ends) <= set(rows)
