import re

import jax
import numpy as np
import pytest
import trees

from pliant.agents import sgd
from pliant.core.clock import Clock
from pliant.problems.images.label_permuted import Config, make

TASKS, BATCH = 3, 50


def epochs_of(stream, epoch):
    """Each epoch of a stream: the state without its keys, the batches, and the split."""

    @jax.jit
    def program(data, key):
        def run(state, step):
            clock = stream.calendar.clock(step)
            state = stream.begin_epoch(data, state, clock)
            after, batches = stream.draw(data, state, epoch)
            split = stream.splits["test"].batch(data, after, clock, 0)
            return after, (state._replace(labels_key=(), order_key=()), batches, split)

        return jax.lax.scan(run, stream.init(data, key), np.arange(0, stream.steps, epoch))[1]

    return trees.numpy(program(stream.data, trees.key(3)))


@pytest.fixture(scope="module")
def found():
    """The stream, and the two epochs of each of its tasks."""
    stream = make(Config(data="digits", tasks=TASKS, change_every=3000, batch_size=BATCH))
    return stream, epochs_of(stream, 1500 // BATCH)


def test_each_task_has_a_permutation_of_the_classes(found):
    _, (state, _, _) = found
    assert (np.sort(state.labels, 1) == np.arange(10)).all()
    np.testing.assert_array_equal(state.labels[::2], state.labels[1::2])  # the two epochs of a task
    assert len({tuple(labels) for labels in state.labels}) == TASKS


def test_an_epoch_shows_each_example_once_with_the_label_of_its_class(found):
    stream, (state, batches, _) = found
    for epoch in range(2 * TASKS):
        order, labels = state.order[epoch], state.labels[epoch]
        assert sorted(order) == list(range(1500))
        # Bytes from 0 to 255 are numbers from -1 to 1.
        np.testing.assert_allclose(batches.x[epoch].reshape(1500, 64), stream.data.x[order] / 127.5 - 1, atol=1e-6)
        np.testing.assert_array_equal(batches.y[epoch].ravel(), labels[stream.data.y[order]])
    assert len({tuple(order) for order in state.order}) == 2 * TASKS


def test_the_test_images_have_the_labels_of_the_task(found):
    stream, (state, _, split) = found
    assert stream.splits["test"].batches(Clock(1)) * split.y.shape[1] == len(stream.data.test_y) == 297
    for epoch in range(2 * TASKS):
        np.testing.assert_array_equal(split.y[epoch], state.labels[epoch][stream.data.test_y])
        np.testing.assert_allclose(split.x[epoch], stream.data.test_x / 127.5 - 1, atol=1e-6)


def test_a_short_task_shows_a_random_part_of_the_data_set():
    stream = make(Config(data="digits", tasks=2, change_every=120, batch_size=20))
    assert stream.epoch_steps == (6, 6) and stream.steps == 12
    state, batches, _ = epochs_of(stream, 6)
    for task in range(2):
        which = state.order[task][:120]
        np.testing.assert_array_equal(batches.y[task].ravel(), state.labels[task][stream.data.y[which]])
    assert len({*state.order[0][:120], *state.order[1][:120]}) > 200  # of 240, about 10 twice


def test_a_network_learns_permuted_labels():
    stream = make(Config(data="digits", tasks=1, change_every=1500, batch_size=10, hidden_units=64))
    learner = sgd.make(sgd.Config("adam", 0.003), stream, lambda *network: ())

    @jax.jit
    def program(data, key):
        problem = stream.begin_epoch(data, stream.init(data, key), Clock(1))
        problem, batches = stream.draw(data, problem, stream.steps)
        state, judged = learner.learn(learner.init(key), batches, Clock(1))
        split = stream.splits["test"].batch(data, problem, Clock(1), 0)
        tested = stream.judge(learner.predict(state, split.x), split.y)
        return judged.metrics["accuracy"][-20:].mean(), tested.metrics["accuracy"]

    online, tested = program(stream.data, trees.key(0))
    assert online > 0.8 and tested > 0.7


def test_the_published_run_has_400_tasks_of_2500_examples_of_47_classes():
    stream = make(Config(data="emnist"))
    assert stream.steps == 1_000_000 and len(stream.tasks) == 400
    assert stream.batches().x.shape == (1, 1, 784)
    # 784 x 300 + 300, 300 x 150 + 150 and 150 x 47 + 47.
    shapes = jax.eval_shape(stream.network.init, trees.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 235_500 + 45_150 + 7_097


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 7}, "batch_size=7 does not divide the 100 examples of an epoch; write a batch_size that"),
        ({"change_every": 4500, "batch_size": 7}, "batch_size=7 does not divide the 1500 examples of an epoch; write"),
        ({"change_every": 2500}, "change_every=2500: write at most the 1500 examples of the data set, or a multiple"),
        ({"data": "nowhere"}, "data=nowhere: does not exist; write the name of a data set, synthetic, or a folder"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make(Config(**{"data": "digits", "change_every": 100, **settings}))
