import re

import jax
import numpy as np
import pytest
import trees

from pliant.problems.images.permuted_mnist import Config, make


def tasks_of(stream, tasks, steps):
    """The states and the batches at the beginning of each task, `(tasks, ...)`."""

    @jax.jit
    def program(data, key):
        state, found = stream.init(data, key), []
        for task in range(tasks):
            state = stream.begin_epoch(data, state, stream.calendar.clock(np.int32(task * stream.steps // tasks)))
            after, batches = stream.draw(data, state, steps)
            found.append((state._replace(key=()), batches))
            state = after
        return found

    return trees.numpy(program(stream.data, trees.key(3)))


def test_a_task_shows_each_example_once_with_its_pixels_permuted():
    stream = make(Config(data="digits", tasks=2, change_every=1500, batch_size=50))
    found = tasks_of(stream, 2, 30)
    for state, batches in found:
        assert sorted(state.pixels) == list(range(64)) and sorted(state.order) == list(range(1500))
        x, y = batches.x.reshape(1500, 64), batches.y.reshape(1500)
        np.testing.assert_allclose(x, stream.data.x[state.order][:, state.pixels] / 255, rtol=1e-6)
        np.testing.assert_array_equal(y, stream.data.y[state.order])
    assert (found[0][0].pixels != found[1][0].pixels).any() and (found[0][0].order != found[1][0].order).any()


def test_beyond_the_data_set_its_examples_come_again():
    stream = make(Config(data="digits", tasks=1, change_every=4500, batch_size=1500))
    [(_, batches)] = tasks_of(stream, 1, 3)
    np.testing.assert_array_equal(batches.x[0], batches.x[1])
    np.testing.assert_array_equal(batches.y[0], batches.y[2])


def test_a_gradual_drift_moves_a_few_pixels():
    stream = make(Config(data="digits", tasks=3, change_every=100, batch_size=100, swapped_pixels=4))
    before = np.arange(64)
    for state, _ in tasks_of(stream, 3, 1):
        assert 2 <= (state.pixels != before).sum() <= 4 or (state.pixels == before).all()
        before = state.pixels


def test_the_published_run_has_800_tasks_of_60000_updates():
    config = Config()
    assert (config.tasks, config.change_every, config.batch_size) == (800, 60_000, 1)
    assert (config.hidden_units, config.hidden_layers, config.data) == (2000, 3, "mnist")
    stream = make(Config(data="digits", tasks=7, change_every=600, batch_size=20))
    assert stream.steps == 210 and [task.until for task in stream.tasks] == list(range(30, 211, 30))


def test_the_published_network_has_9_588_000_weights():
    shapes = jax.eval_shape(make(Config()).network.init, trees.key(0))
    leaves = {path[-1].key: 0 for path, _ in jax.tree_util.tree_flatten_with_path(shapes)[0]}
    for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]:
        leaves[path[-1].key] += leaf.size
    assert leaves == {"kernel": 9_588_000, "bias": 6_010}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 7}, "batch_size=7 does not divide the 100 examples of a task; write a batch_size that divides"),
        ({"swapped_pixels": 65}, "swapped_pixels=65: the images have 64 pixels; write 2 to 64, or 0 for all of them"),
        ({"swapped_pixels": 1}, "swapped_pixels=1: the images have 64 pixels; write 2 to 64, or 0 for all of them"),
        ({"data": "nowhere"}, "data=nowhere: does not exist; write the name of a data set, synthetic, or a folder"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make(Config(**{"data": "digits", "change_every": 100, **settings}))
