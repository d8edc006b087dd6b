import re

import jax
import numpy as np
import pytest
import trees

from pliant.agents import sgd
from pliant.core.clock import Clock
from pliant.problems.images.random_label_memorization import Config, make

TASKS, EPOCHS, IMAGES, BATCH = 2, 3, 40, 8
SMALL = Config(data="digits", tasks=TASKS, images=IMAGES, epochs=EPOCHS, batch_size=BATCH)


@pytest.fixture(scope="module")
def epochs():
    """The stream, and each epoch of both tasks, `(tasks, epochs, ...)`: state, batches, and the split."""
    stream = make(SMALL)

    @jax.jit
    def program(data, key):
        def epoch(state, step):
            clock = stream.calendar.clock(step)
            state = stream.begin_epoch(data, state, clock)
            after, batches = stream.draw(data, state, IMAGES // BATCH)
            split = stream.splits["memorized"].batch(data, after, clock, 0)
            return after, (state._replace(labels_key=(), order_key=()), batches, split)

        return jax.lax.scan(epoch, stream.init(data, key), np.arange(0, stream.steps, IMAGES // BATCH))[1]

    found = trees.numpy(program(stream.data, trees.key(3)))
    return stream, jax.tree.map(lambda x: x.reshape(TASKS, EPOCHS, *x.shape[1:]), found)


def test_each_epoch_shows_the_same_images_in_another_order(epochs):
    stream, (state, batches, _) = epochs
    chosen = state.chosen[0, 0]
    assert len(set(chosen)) == IMAGES and (state.chosen == chosen).all()
    for task, epoch in np.ndindex(TASKS, EPOCHS):
        order = state.order[task, epoch]
        assert sorted(order) == list(range(IMAGES))
        # Bytes from 0 to 255 are numbers from -1 to 1.
        pixels = stream.data.x[chosen][order] / 127.5 - 1
        np.testing.assert_allclose(batches.x[task, epoch].reshape(IMAGES, 64), pixels, atol=1e-6)
        np.testing.assert_array_equal(batches.y[task, epoch].ravel(), state.labels[task, epoch][order])
    assert len({tuple(order) for order in state.order.reshape(-1, IMAGES)}) == TASKS * EPOCHS


def test_labels_are_those_of_the_task_in_all_its_epochs(epochs):
    stream, (state, _, _) = epochs
    assert (state.labels == state.labels[:, :1]).all() and (state.labels[0] != state.labels[1]).any()
    own = stream.data.y[state.chosen[0, 0]]
    for labels in (*state.labels[:, 0], own):
        np.testing.assert_array_equal(np.bincount(labels, minlength=10), np.bincount(own, minlength=10))
    # A shuffled label is the image's own for about one in ten of 2 x 40 images: 8, with a deviation of 2.7.
    assert (state.labels[:, 0] == own).sum() < 20


def test_the_split_is_all_images_with_the_labels_of_their_task(epochs):
    stream, (state, _, split) = epochs
    assert stream.splits["memorized"].batches(Clock(1)) == 1
    np.testing.assert_array_equal(split.y, state.labels)
    pixels = stream.data.x[state.chosen[0, 0]] / 127.5 - 1
    np.testing.assert_allclose(split.x, np.broadcast_to(pixels, split.x.shape), atol=1e-6)


def test_a_fraction_of_the_labels_stays_true():
    @jax.jit
    def labels(data, keys, traced):
        def drawn(fraction, key):
            stream = make(Config(data="digits", images=40, batch_size=8, true_labels=fraction))
            state = stream.begin_epoch(data, stream.init(data, key), Clock(1))
            return state.labels, data.y[state.chosen]

        return [jax.vmap(lambda key, f=fraction: drawn(f, key))(keys) for fraction in (0.75, traced)]

    plain, swept = trees.numpy(labels(make(SMALL).data, trees.keys(range(50)), np.float32(0.75)))
    trees.assert_equal(plain, swept)
    kept = (plain[0] == plain[1]).sum(1)
    # 30 of 40 keep their own; of the 10 others about one receives its own by chance.
    assert kept.min() >= 30 and 30.5 < kept.mean() < 32.5


def test_a_network_memorizes_random_labels():
    stream = make(Config(data="digits", tasks=1, images=IMAGES, epochs=60, batch_size=BATCH, hidden_units=64))
    learner = sgd.make(sgd.Config("adam", 0.003), stream, lambda *network: ())

    @jax.jit
    def program(data, key):
        def epoch(carry, step):
            clock = stream.calendar.clock(step)
            problem, batches = stream.draw(data, stream.begin_epoch(data, carry[0], clock), IMAGES // BATCH)
            return (problem, learner.learn(carry[1], batches, clock)[0]), None

        begun = stream.init(data, key), learner.init(key)
        (problem, state), _ = jax.lax.scan(epoch, begun, np.arange(0, stream.steps, IMAGES // BATCH))
        split = stream.splits["memorized"].batch(data, problem, Clock(1), 0)
        return stream.judge(learner.predict(state, split.x), split.y).metrics["accuracy"]

    assert program(stream.data, trees.key(0)) > 0.9


def test_the_published_run_has_50_tasks_of_30000_batches_of_16():
    stream = make(Config(data="digits"))
    assert stream.batches().x.shape == (1, 16, 64)
    assert [task.until for task in stream.tasks] == [30_000 * (k + 1) for k in range(50)]
    assert set(stream.epoch_steps) == {75}


def test_the_published_network_has_89_610_parameters():
    # 784 x 100 + 100, 100 x 100 + 100 and 100 x 10 + 10.
    shapes = jax.eval_shape(make(Config()).network.init, trees.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 78_500 + 10_100 + 1_010


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 7}, "batch_size=7 does not divide the 1200 images; write a batch_size that divides images"),
        ({"images": 1600}, "images=1600: the data set digits has 1500; write at most 1500"),
        ({"data": "nowhere"}, "data=nowhere: does not exist; write the name of a data set, synthetic, or a folder"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make(Config(**{"data": "digits", **settings}))
