import pathlib

import jax
import numpy as np
import pytest
import trees

from pliant.datasets import Images as DataSet
from pliant.datasets._synthetic import made_up
from pliant.problems.images._augmentation import Augmentation, augmentation, pixels
from pliant.problems.images.incremental_cifar import Config, Labels, make, masked_cross_entropy

GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "golden" / "cifar_protocol.npz", allow_pickle=False)


def made(images, **settings):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pliant.datasets.load_images", lambda name, data: images)
        return make(Config(width=1, **settings))


@pytest.fixture(scope="module")
def published():
    """The published sizes: 100 classes of 500 + 100 images, here of one pixel, the number of the image in its class."""
    y = GOLDEN["source_labels"].astype(np.int32)
    number = np.zeros(len(y), np.int64)
    for label in range(100):
        number[y == label] = np.arange(500)
    x = np.stack([number // 256, number % 256, y], -1).astype(np.uint8)[:, None, None]
    test_y = np.arange(10_000, dtype=np.int32) % 100
    return made(DataSet(x, y, x[:10_000], test_y, 100), augment=False)


def test_the_published_schedule(published):
    # 25 updates an epoch and five classes; 200 epochs a task: 1,050,000 updates, one entry of a log every 25.
    assert published.steps == 200 * 25 * (20 * 21 // 2) == 1_050_000
    assert published.steps // 25 == GOLDEN["train_checkpoints"] == 42_000
    assert len(published.tasks) == len(GOLDEN["saved_epochs"]) == 20
    epochs = np.repeat(np.array(published.epoch_steps), 200)
    clocks = jax.jit(jax.vmap(published.calendar.clock))(np.cumsum(epochs) - epochs)
    np.testing.assert_array_equal(5 * (clocks.task + 1), GOLDEN["num_classes_at_epoch"][:4000])
    np.testing.assert_array_equal(clocks.epoch, np.tile(np.arange(200), 20))


def test_an_epoch_is_every_training_image_of_the_classes_seen_so_far(published):
    mean, deviation = np.array([[0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]])

    def read(x):
        """The class and the number of images, from their pixels."""
        high, low, label = np.moveaxis(np.rint((np.asarray(x)[..., 0, 0, :] * deviation + mean) * 255), -1, 0)
        return label.astype(int), (high * 256 + low).astype(int)

    @jax.jit
    def second_task(data, key):
        clock = published.calendar.clock(published.tasks[0].until)
        state = published.begin_epoch(data, published.init(data, key), clock)
        batches = published.draw(data, state, 50)[1]
        validation = [published.splits["validation"].batch(data, state, clock, i) for i in range(10)]
        splits = [
            published.splits[name].batch(data, state, clock, 0) for name in ("next_task", "previous_tasks", "test")
        ]
        return state.classes, batches, validation, splits

    classes, batches, validation, (after, before, test) = trees.numpy(second_task(published.data, trees.key(0)))
    assert sorted(classes) == list(range(100))
    label, number = read(batches.x)
    np.testing.assert_array_equal(label, classes[batches.y.y])
    assert (batches.y.seen == 10).all() and batches.x.shape == (50, 90, 1, 1, 3)
    # Images 0 to 49 of each class are for the validation, 50 to 499 to learn from.
    seen = sorted(zip(label.ravel().tolist(), number.ravel().tolist()))
    assert seen == [(label, i) for label in sorted(classes[:10].tolist()) for i in range(50, 500)]
    for i, batch in enumerate(validation):
        label, number = read(batch.x)
        np.testing.assert_array_equal([label, number], [np.full(50, classes[i]), np.arange(50)])
        assert (batch.y.y == i).all() and (batch.y.seen == 10).all()
    assert (read(after.x)[0] == classes[5]).all() and (read(before.x)[0] == classes[0]).all()
    assert len(after.x) == 500 and test.x.shape == (100, 1, 1, 3) and (test.y.y == 0).all()


def test_training_and_validation_images_are_those_of_the_published_program():
    labels = GOLDEN["source_labels"]
    order = np.argsort(labels, kind="stable").reshape(100, 500)  # as `train_by_class` has them
    np.testing.assert_array_equal(np.sort(order[:, :50].ravel()), np.sort(GOLDEN["validation_indices"]))
    np.testing.assert_array_equal(np.sort(order[:, 50:].ravel()), np.sort(GOLDEN["train_indices"]))


def test_augmentation_is_that_of_the_published_program():
    mean, deviation = np.float32([0.5071, 0.4865, 0.4409]), np.float32([0.2673, 0.2564, 0.2762])
    normalized = (GOLDEN["raw_images"] / np.float32(255) - mean) / deviation
    np.testing.assert_allclose(normalized.transpose(0, 3, 1, 2), GOLDEN["normalized"], atol=1e-6)
    drawn = Augmentation(
        GOLDEN["augment_flip"], GOLDEN["augment_crop"].astype(np.int32), GOLDEN["augment_angle"].astype(np.float32)
    )
    row, column, inside = trees.numpy(jax.jit(pixels, static_argnums=1)(drawn, 32))
    images = GOLDEN["augment_image"][:, None, None]
    result = np.where(inside[..., None], normalized[images, row, column], 0)
    np.testing.assert_allclose(result.transpose(0, 3, 1, 2), GOLDEN["augmented"], atol=1e-6)


def test_augmentations_are_drawn_from_their_ranges():
    drawn = trees.numpy(jax.jit(augmentation, static_argnums=1)(trees.key(0), 4000))
    assert abs(np.mean(drawn.flip) - 0.5) < 0.04  # five deviations
    for axis in range(2):
        counts = np.bincount(drawn.offset[:, axis], minlength=9)
        assert len(counts) == 9 and (abs(counts - 4000 / 9) < 110).all()
    assert np.min(drawn.angle) >= 0 and np.max(drawn.angle) < 15 and abs(np.mean(drawn.angle) - 7.5) < 0.35


@pytest.mark.parametrize("case", range(3))
def test_unseen_classes_have_no_part_in_the_loss(case):
    logits, classes = GOLDEN[f"masked_logits{case}"], GOLDEN[f"masked_classes{case}"]
    order = np.concatenate([classes, np.setdiff1d(np.arange(100), classes)])  # outputs in the order of introduction
    target = GOLDEN[f"masked_target{case}"]
    y = Labels(target.astype(np.int32), np.full(len(target), len(classes), np.int32))

    @jax.jit
    def judge(logits):
        return jax.value_and_grad(
            lambda z: (masked_cross_entropy(z, y)[0], masked_cross_entropy(z, y)[1]), has_aux=True
        )(logits)

    (loss, metrics), gradient = judge(logits[:, order])
    np.testing.assert_allclose(loss, GOLDEN[f"masked_loss{case}"], rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], GOLDEN[f"masked_accuracy{case}"], rtol=1e-6)
    np.testing.assert_allclose(gradient, GOLDEN[f"masked_gradient{case}"][:, order], atol=1e-6)


@pytest.mark.parametrize("augment_test", [False, True])
def test_augmentation_differs_between_epochs_and_spares_the_test_unless_told(augment_test):
    sizes = {"classes_per_task": 2, "train_images": 6, "validation_images": 2, "test_images": 3, "batch_size": 4}
    stream = made(made_up(4, 8, 3, 8, 3), tasks=2, epochs=3, augment_test=augment_test, **sizes)

    @jax.jit
    def epochs(data, key):
        state, found = stream.init(data, key), []
        for epoch in range(2):
            clock = stream.calendar.clock(3 * epoch)
            state = stream.begin_epoch(data, state, clock)
            batches = stream.draw(data, state, 3)[1]
            two = stream.draw(data, stream.draw(data, state, 1)[0], 2)[1]
            test = stream.splits["test"].batch(data, state, clock, 1)
            found.append((state.order[:12], batches, two, test))
        return found

    (order, first, first_two, test), (other_order, second, _, other_test) = trees.numpy(
        epochs(stream.data, trees.key(0))
    )
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[1:], y), first, first_two)
    assert sorted(order) == sorted(other_order) == list(range(12)) and (order != other_order).any()
    by_example = [x.reshape(12, -1)[np.argsort(o)] for x, o in ((first.x, order), (second.x, other_order))]
    assert (abs(by_example[0] - by_example[1]).max(1) > 0).sum() >= 9
    assert (test.x != other_test.x).any() == augment_test


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"batch_size": 7}, "batch_size=7 does not divide the 10 examples of an epoch of the first task; write a "),
        ({"tasks": 4}, "tasks=4 of 2 classes each need 8 classes, and the data have 6; write at most 3 tasks"),
        ({"train_images": 9, "batch_size": 9}, "class 0 has 8 images to learn from, and validation_images "),
    ],
)
def test_refuses_in_one_line(settings, error):
    sizes = {
        "tasks": 2,
        "classes_per_task": 2,
        "train_images": 5,
        "validation_images": 2,
        "test_images": 2,
        "batch_size": 5,
    }
    with pytest.raises(ValueError, match=error):
        made(made_up(6, 8, 2, 8, 3), **{**sizes, **settings})
