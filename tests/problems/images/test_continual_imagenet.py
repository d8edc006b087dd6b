import json
import pathlib

import jax
import numpy as np
import pytest
import trees

from pliant.core.clock import Clock
from pliant.datasets import _load
from pliant.datasets._synthetic import made_up
from pliant.problems.images.continual_imagenet import Config, Images, State, classes_of, make

GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "golden" / "imagenet_protocol.npz", allow_pickle=False)
CONFIG = json.loads(str(GOLDEN["config"]).replace("'", '"'))
TASKS, EPOCHS, BATCHES, B = GOLDEN["batch_class"].shape
TRAIN, TEST = CONFIG["train_images_per_class"], CONFIG["test_images_per_class"]


@pytest.fixture(scope="module")
def stream():
    """The stream of the recorded sizes; its own images are not looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_load, "load_images", lambda name, data: made_up(10, TRAIN, TEST, 32, 3))
        patch.setattr("pliant.datasets.load_images", _load.load_images)
        config = Config(tasks=TASKS, epochs=EPOCHS, train_images=TRAIN, test_images=TEST, batch_size=B, channels=1)
        return make(config)


def named(images):
    """Images of 1000 classes, whose three bytes are the class, in two of them, and the number of the image."""
    classes, numbers = np.meshgrid(np.arange(1000), np.arange(images), indexing="ij")
    return np.stack([classes // 256, classes % 256, numbers], -1).astype(np.uint8)[:, :, None, None]


def read(x):
    """The class and the number of images from `named`."""
    high, low, number = np.moveaxis(np.rint(np.asarray(x)[..., 0, 0, :] * 255).astype(int), -1, 0)
    return high * 256 + low, number


def test_presents_what_the_published_program_presents(stream):
    data, draw = Images(named(TRAIN), named(TEST)), jax.jit(stream.draw, static_argnums=2)
    judged = jax.jit(stream.splits["test"].batch)
    for task in range(TASKS):
        order = np.arange(2 * TRAIN)
        for epoch in range(EPOCHS):
            order = order[GOLDEN["epoch_permutation"][task, epoch]]  # each shuffles the order of the epoch before
            key = np.zeros(2, np.uint32)
            state = State(GOLDEN["task_classes"][task], order.astype(np.int32), np.int32(0), key, key)
            _, batches = draw(data, state, BATCHES)
            shown, numbers = read(batches.x)
            np.testing.assert_array_equal(shown, GOLDEN["batch_class"][task, epoch])
            np.testing.assert_array_equal(numbers, GOLDEN["batch_image"][task, epoch])
            np.testing.assert_array_equal(batches.y, GOLDEN["batch_label"][task, epoch])
            for i in range(2):
                test = judged(data, state, Clock(0), np.int32(i))
                shown, numbers = read(test.x)
                np.testing.assert_array_equal(shown, GOLDEN["test_class"][task, epoch, i])
                np.testing.assert_array_equal(TRAIN + numbers, GOLDEN["test_image"][task, epoch, i])
                np.testing.assert_array_equal(test.y, np.full(TEST, i))


def test_epochs_are_orders_of_all_examples_and_tasks_have_other_classes(stream):
    @jax.jit
    def states(key):
        state, found = stream.init(stream.data, key), []
        for step in range(0, stream.steps, BATCHES):
            state = stream.begin_epoch(stream.data, state, stream.calendar.clock(step))
            found.append((state.classes, state.order, state.position))
        return found

    classes, orders, positions = map(np.stack, zip(*trees.numpy(states(trees.key(0)))))
    np.testing.assert_array_equal(np.sort(orders, 1), np.tile(np.arange(2 * TRAIN), (TASKS * EPOCHS, 1)))
    assert len({tuple(order) for order in orders.tolist()}) == TASKS * EPOCHS and not positions.any()
    of_tasks = classes.reshape(TASKS, EPOCHS, 2)
    assert (of_tasks == of_tasks[:, :1]).all()
    # Five pairs of ten classes: each class is in one of them.
    assert sorted(of_tasks[:, 0].ravel()) == list(range(10))


def test_classes_come_again_in_another_order_once_all_have_been_shown():
    shown = jax.jit(jax.vmap(lambda key, task: classes_of(key, task, 7, 2), (None, 0)))(trees.key(1), np.arange(9))
    rounds = np.asarray(shown).reshape(3, 6)
    assert all(len(set(once)) == 6 for once in rounds.tolist())
    assert len({tuple(once) for once in rounds.tolist()}) == 3


def test_the_published_sizes():
    # 3,000 updates a task. At a rate of 3e-4 continual backprop replaces 28.8, 57.6 and 115.2 units of layers of 32,
    # 64 and 128 units in each.
    config = Config(data="synthetic", train_images=60, test_images=10, batch_size=10)
    stream = make(config)
    assert (config.tasks, config.epochs, stream.steps) == (5000, 250, 5000 * 250 * 12)
    assert stream.tasks[0].until == 3000 and stream.epoch_steps[0] == 12
    shapes = jax.tree.leaves(jax.eval_shape(stream.network.init, jax.random.key(0)))
    assert sum(leaf.size for leaf in shapes) == 177_218


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (
            {"batch_size": 7},
            "batch_size=7 does not divide the 40 examples of an epoch; write a batch_size that divides ",
        ),
        ({"classes_per_task": 30}, "classes_per_task=30: the data have 20 classes; write at most 20"),
        ({"train_images": 1000}, "class 0 has 60 images to learn from, and train_images asks for 1000; write a"),
    ],
)
def test_refuses_in_one_line(settings, error):
    with pytest.raises(ValueError, match=error):
        make(
            Config(
                **{"data": "synthetic", "tasks": 2, "train_images": 20, "test_images": 5, "batch_size": 20, **settings}
            )
        )
