"""PackNet in numbers by hand, and what a run is told of weights that are used up."""

import hand_wired
import jax
import numpy as np
import pytest
import trees

from pliant.continual import packnet
from pliant.core.clock import Clock, Task
from pliant.core.notes import collected

WEIGHTS = np.float32([-7, 1, 6, -2, 5, 3, -4, 8])


def tasks(number):
    return tuple(Task(f"{k}", k + 1) for k in range(number))


def eight_weights(key):
    del key
    return {"w": WEIGHTS}


@pytest.fixture(scope="module")
def ran():
    """Two tasks of the 8 weights of which each gets 2: the weights after each step, and the views at the end."""
    method = packnet(tasks(2), eight_weights, prune=0.75)

    def border(params, state, task):
        clock, key = Clock(1, task=task), jax.random.key(0)
        pruned, state = method.end_training(params, state, clock=clock, key=key)
        tuned = method.kept({"w": pruned["w"] + 10}, state, pruned)
        tuned, state = method.end_task(tuned, state, inputs=(), clock=clock, key=key)
        return pruned, tuned, state

    def run(first, others):
        state = method.init(first)
        pruned, tuned, state = border(first, state, 0)
        learned = method.kept(others, state, tuned)
        pruned_later, tuned_later, state = border(learned, state, 1)
        after = method.kept(others, state, tuned_later)  # a task to come
        views = [method.view(after, state, task) for task in range(3)]
        return [pruned, tuned, learned, pruned_later, tuned_later, after, *views]

    others = {"w": np.float32([1, -2, 3, -4, 5, -6, 7, -8])}
    return [found["w"].tolist() for found in trees.numpy(jax.jit(run)({"w": WEIGHTS}, others))]


def test_a_task_keeps_the_largest_weights_and_the_others_are_zero(ran):
    # The number of rank 6 of the magnitudes 1 to 8 is 6.
    pruned, tuned, *_ = ran
    assert pruned == [-7, 0, 0, 0, 0, 0, 0, 8]
    assert tuned == [3, 0, 0, 0, 0, 0, 0, 18]  # an update adds 10 to each weight


def test_a_later_task_learns_the_free_weights_and_owns_the_largest_of_them(ran):
    # Owned weights rank as 0: of 0 0 2 3 4 5 6 7 the sixth is 5.
    _, _, learned, pruned, tuned, *_ = ran
    assert learned == [3, -2, 3, -4, 5, -6, 7, 18]
    assert pruned == [3, 0, 0, 0, 0, -6, 7, 18]
    assert tuned == [3, 0, 0, 0, 0, 4, 17, 18]


def test_the_weights_of_the_tasks_so_far_act_on_a_task_and_all_on_a_task_to_come(ran):
    *_, after, first, second, to_come = ran
    assert first == [3, 0, 0, 0, 0, 0, 0, 18]
    assert second == [3, 0, 0, 0, 0, 4, 17, 18]
    assert to_come == after == [3, -2, 3, -4, 5, 4, 17, 18]


# What a run is told

HALFCHEETAH = hand_wired.initializer(18, 256, 256, 256, 12)


def notes_of(number, initialize=HALFCHEETAH, **settings):
    with collected() as notes:
        packnet(tasks(number), initialize, **settings)
    return notes


def test_a_leaf_of_few_weights_is_named_that_is_used_up_before_the_others():
    # 12 - floor(10.5) = 2 of the 12 biases of the outputs for each task.
    [note] = notes_of(8)
    assert note.text == "packnet: leaves of few weights are used up earlier: b3 (12) after task 6"
    assert not note.is_warning
    assert notes_of(6) == []


def test_a_run_whose_last_tasks_find_no_free_weight_is_warned():
    warning, small = notes_of(10)
    assert warning.is_warning and warning.text == (
        "packnet: after task 8 of 10 no weight is free, and later tasks learn nothing; write a prune of at least 0.9"
    )
    assert small.text.endswith("b3 (12) after task 6")
    assert notes_of(10, eight_weights, prune=0.9)[0].text.startswith("packnet: after task 8 of 10")  # one for each task
    assert not any(note.is_warning for note in notes_of(10, prune=0.9))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prune": 1.0}, "prune=1.0"),
        ({"prune": -0.1}, "prune=-0.1"),
        ({"finetune": -1}, "finetune=-1"),
        ({"initialize": lambda key: {"statistics": WEIGHTS}}, "running statistics"),
    ],
)
def test_what_is_refused(settings, message):
    with pytest.raises(ValueError, match=message) as error:
        packnet(**{"tasks": tasks(2), "initialize": eight_weights} | settings)
    assert "\n" not in str(error.value)
