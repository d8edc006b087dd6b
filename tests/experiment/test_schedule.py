"""The steps at which a published run records and keeps something."""

import counting
import numpy as np

from pliant.core.clock import Task
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


def test_agents_end_and_begin_tasks_at_borders_and_streams_do_it_themselves():
    config = from_mapping({"problem": "slowly_changing_regression", "diagnostics": [], "record_every": 300})
    tasks = (Task("a", 400), Task("b", 700), Task("c", 1000))
    schedule = Schedule(counting.counting(config, 1000, tasks))
    assert [schedule.chunk(step).last for step in (0, 300, 400, 700)] == [300, 400, 700, 1000]
    found = {
        step: (schedule.ended(step), schedule.begun(step))
        for step in range(0, 1001, 50)
        if schedule.ended(step) or schedule.begun(step)
    }
    assert list(found) == [400, 700, 1000] and found[1000][1] is None
    assert [int(ended.task) for ended, _ in found.values()] == [0, 1, 2]
    assert [(int(begun.task), int(begun.task_update)) for _, begun in [found[400], found[700]]] == [(1, 1), (2, 1)]
    assert all(clock.step == step for step, clocks in found.items() for clock in clocks if clock)
    digits = {"name": "permuted_mnist", "data": "digits", "tasks": 2, "change_every": 60, "batch_size": 5}
    schedule = Schedule(unchecked_plan(from_mapping({"problem": {**digits, "hidden_units": 2}, "diagnostics": []})))
    assert schedule.chunk(11).last == 12 and schedule.ended(12) is schedule.begun(12) is None
