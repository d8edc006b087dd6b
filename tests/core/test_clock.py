import jax
import numpy as np
import pytest
import trees

from pliant.core.clock import Calendar, Clock, Task

# Two tasks: 6 steps in epochs of 2, and 6 steps in epochs of 3.
#   step    0 1 2 3 4 5 | 6 7 8 9 10 11 | 12
#   epoch   0 0 1 1 2 2 | 0 0 0 1 1  1
CALENDAR = Calendar((Task("a", 6), Task("b", 12)), (2, 3))
STEPS = np.arange(13, dtype=np.int32)


def at_all_steps(calendar, steps=STEPS):
    """The clock and the three questions at each number of steps, by one program."""

    def at(step):
        asked = calendar.begins_epoch, calendar.ends_task, calendar.ends_epoch
        return calendar.clock(step), [question(step) for question in asked]

    return trees.numpy(jax.jit(jax.vmap(at))(steps))


def true_at(answers):
    return STEPS[answers].tolist()


def test_the_clock_counts_tasks_epochs_and_updates():
    clock, _ = at_all_steps(CALENDAR)
    np.testing.assert_array_equal(clock.step, STEPS)
    np.testing.assert_array_equal(clock.update, STEPS + 1)
    np.testing.assert_array_equal(clock.task, [0] * 6 + [1] * 7)
    np.testing.assert_array_equal(clock.task_update, [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 7])
    np.testing.assert_array_equal(clock.epoch, [0, 0, 1, 1, 2, 2, 0, 0, 0, 1, 1, 1, 2])


def test_tasks_and_epochs_begin_and_end():
    _, (begins_epoch, ends_task, ends_epoch) = at_all_steps(CALENDAR)
    assert true_at(ends_task) == [6, 12]
    assert true_at(begins_epoch) == [0, 2, 4, 6, 9, 12] and true_at(ends_epoch) == [2, 4, 6, 9, 12]
    assert [step for step in STEPS.tolist() if CALENDAR.is_end_of_epoch(step)] == true_at(ends_epoch)


def test_a_task_without_epochs_is_one_epoch():
    clock, (begins_epoch, _, ends_epoch) = at_all_steps(Calendar((Task("a", 6), Task("b", 12))))
    assert true_at(begins_epoch) == [0, 6, 12] and true_at(ends_epoch) == [6, 12]
    np.testing.assert_array_equal(clock.epoch, [0] * 12 + [1])


def test_the_task_of_a_step_is_the_same_on_the_host_and_on_the_device():
    clock, _ = at_all_steps(CALENDAR)
    assert [int(CALENDAR.task(step)) for step in STEPS.tolist()] == clock.task.tolist()
    assert int(Calendar().task(5)) == 0


def test_without_tasks_a_run_is_one_task_without_an_end():
    clock, (begins_epoch, ends_task, ends_epoch) = at_all_steps(Calendar())
    assert true_at(begins_epoch) == [0]
    assert not ends_task.any() and not ends_epoch.any()
    np.testing.assert_array_equal(clock.task_update, STEPS + 1)
    assert not clock.task.any() and not clock.epoch.any()
    assert not any(map(Calendar().is_end_of_epoch, STEPS.tolist()))


@pytest.mark.parametrize(
    ("ends", "epochs", "unit"), [((), (), 0), ((6, 12), (2, 3), 1), ((60, 90), (), 30), ((500, 1500), (25, 50), 25)]
)
def test_the_unit_divides_all_epochs(ends, epochs, unit):
    assert Calendar(tuple(Task("", until) for until in ends), epochs).unit == unit


def test_updates_are_counted_as_the_agent_makes_them():
    # Rounds of 4 steps with 10 updates each; the second task begins at step 6, within the second round: its data come
    # with the third round, after 20 updates.
    calendar = Calendar((Task("a", 6), Task("b", 100)))

    def updates(steps):
        return -(-steps // 4) * 10

    clock = trees.numpy(jax.jit(lambda step, update: calendar.clock(step, update, updates))(np.int32(8), np.int32(23)))
    assert (clock.update, clock.step, clock.task, clock.task_update) == (23, 8, 1, 3)


def test_the_clock_of_a_stream_goes_on_within_an_epoch():
    later = Clock(update=3, step=2, task=1, task_update=2, epoch=5).later(4)
    assert later == Clock(update=7, step=6, task=1, task_update=6, epoch=5)
