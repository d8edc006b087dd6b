import re

import jax
import numpy as np
import pytest
import trees

import pliant
from pliant.core.clock import Clock
from pliant.core.judgement import Judgement, cross_entropy, squared_error
from pliant.core.problem import Network
from pliant.networks import dense_network

X = np.arange(24, dtype=np.float32).reshape(12, 2)
Y = np.repeat([0, 1, 2], 4)  # four examples of each of three classes


def epochs_of(stream, splits=()):
    """The batches of each epoch, and the first batches of the splits then, as two lists."""

    @jax.jit
    def program(data, key):
        state, found, judged = stream.init(data, key), [], []
        starts = [task.until for task in stream.tasks]
        step = 0
        for until, length in zip(starts, stream.epoch_steps, strict=True):
            while step < until:
                clock = stream.calendar.clock(np.int32(step))
                state = stream.begin_epoch(data, state, clock)
                state, batches = stream.draw(data, state, length)
                found.append(batches)
                judged.append([stream.splits[name].batch(data, state, clock, 0) for name in splits])
                step += length
        return found, judged

    return trees.numpy(program(stream.data, trees.key(0)))


def examples(batch):
    """Which examples of `X` a tree of batches has, in their order; and their targets."""
    x = batch.x.reshape(-1, 2)
    np.testing.assert_array_equal(x[:, 1], x[:, 0] + 1)
    return (x[:, 0] / 2).astype(int).tolist(), batch.y.ravel().tolist()


def test_tasks_of_indices_and_masks_show_their_examples_once_an_epoch():
    # Twelve examples in two tasks of 8 and 4: four and two batches an epoch, so the tasks end at 8 and at 12.
    stream = pliant.stream_of(X, Y, [("0 and 2", Y != 1), ("1", [4, 5, 6, 7])], epochs=2, batch_size=2)
    assert [(task.name, task.until) for task in stream.tasks] == [("0 and 2", 8), ("1", 12)]
    assert stream.epoch_steps == (4, 2) and stream.steps == 12
    orders = [examples(batches) for batches in epochs_of(stream)[0]]
    for (which, y), expected in zip(orders, [[0, 1, 2, 3, 8, 9, 10, 11]] * 2 + [[4, 5, 6, 7]] * 2, strict=True):
        assert sorted(which) == expected and y == Y[which].tolist()
    assert orders[0] != orders[1] and orders[2] != orders[3]


def test_what_remains_of_an_epoch_is_less_than_a_batch():
    stream = pliant.stream_of(X, Y, epochs=6, batch_size=5)
    assert [(task.name, task.until) for task in stream.tasks] == [("all", 12)]
    shown = [examples(batches)[0] for batches in epochs_of(stream)[0]]
    assert all(len(set(which)) == 10 for which in shown) and set().union(*shown) == set(range(12))


def test_a_function_makes_the_examples_of_a_task():
    tasks = [("as they are", lambda x, y: (x, y)), ("mirrored", lambda x, y: (x[:, ::-1], 2 - y))]
    stream = pliant.stream_of(X, Y, tasks, batch_size=12)
    (plain, mirrored), _ = epochs_of(stream)
    which, y = examples(plain)
    assert sorted(which) == list(range(12)) and y == Y[which].tolist()
    which, y = examples(mirrored._replace(x=mirrored.x[..., ::-1]))
    assert sorted(which) == list(range(12)) and y == (2 - Y[which]).tolist()


def test_a_fraction_of_the_examples_is_kept_for_the_test():
    # A quarter of 12 examples are three, the same for all tasks and seeds.
    tasks = [("first", np.arange(12)), ("negative", lambda x, y: (-x, y))]
    stream = pliant.stream_of(X, Y, tasks, epochs=2, batch_size=3, test=0.25)
    assert stream.epoch_steps == (3, 3) and stream.splits["test"].batches(Clock(1)) == 1
    found, judged = epochs_of(stream, ["test"])
    learned = [examples(found[0])[0], examples(found[1])[0]]
    tested, y = examples(judged[0][0])
    assert len(set(tested)) == 3 and y == Y[tested].tolist()
    assert all(sorted(which + tested) == list(range(12)) for which in learned)
    of_second = judged[2][0]
    np.testing.assert_array_equal(of_second.x, -judged[0][0].x)


def test_bytes_become_numbers_from_0_to_1():
    x = np.array([[0, 51], [255, 102]], np.uint8)
    [batches], _ = epochs_of(pliant.stream_of(x, np.zeros(2, int), batch_size=2))
    np.testing.assert_allclose(sorted(batches.x[0, :, 1]), [0.2, 0.4], rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "judge", "output"),
    [
        (X, Y, cross_entropy, (3,)),
        (X.reshape(12, 2, 1), Y.astype(np.uint8), cross_entropy, (3,)),
        (X.astype(np.float64), Y / 2, squared_error, (1,)),
        (X, np.zeros((12, 2, 3)), squared_error, (2, 3)),
    ],
    ids=["classes", "images", "numbers", "matrices"],
)
def test_the_type_of_the_targets_decides_loss_and_outputs(x, y, judge, output):
    stream = pliant.stream_of(x, y, batch_size=4)
    assert stream.judge is judge
    batch = stream.batches()
    params = jax.eval_shape(stream.network.init, trees.key(0))
    prediction = jax.eval_shape(stream.network.apply, params, jax.ShapeDtypeStruct(batch.x.shape[1:], np.float32))
    assert prediction.shape == (4, *output)
    assert batch.y.shape[1:] == ((4,) if judge is cross_entropy else prediction.shape)


def test_a_network_and_a_judge_of_ones_own_are_taken():
    network = Network(lambda key: {}, lambda params, x: x)

    def judge(prediction, y):
        return Judgement(prediction.sum(), {})

    stream = pliant.stream_of(X, Y, network=network, judge=judge, batch_size=4)
    assert stream.network is network and stream.judge is judge


ERRORS = [
    ({"y": Y[:9]}, "x has shape (12, 2) and y (9,); write x (examples, *input) and as many targets y"),
    ({"x": X[:, 0]}, "x has shape (12,) and y (12,); write x (examples, *input) and as many targets y"),
    ({"x": X.astype(int)}, "x has type int64; write uint8, from 0 to 255, or a float type"),
    ({"y": Y.astype(str)}, "y has type <U21; write classes of an integer type, or numbers of a float type"),
    ({"y": Y - 1}, "y has the class -1; write one class from 0 on for each example, or numbers as floats"),
    ({"y": np.eye(12, dtype=int)}, "y has shape (12, 12); write one class from 0 on for each example, or numbers as"),
    ({"x": X + np.inf}, "x has numbers that are not finite; leave these examples out"),
    ({"tasks": []}, "tasks is empty; write a list of pairs (name, examples), or leave it out"),
    ({"tasks": [("a", [0, 12])]}, "task a: there is no example 12; write indices from 0 to 11"),
    ({"tasks": [("a", [-1])]}, "task a: there is no example -1; write indices from 0 to 11"),
    ({"tasks": [("a", Y[:4] == 0)]}, "task a: its examples are bool(4,); write indices, a mask of 12 bools, or a"),
    ({"tasks": [("a", Y == 3)]}, "task a has no examples to learn; leave it out"),
    ({"tasks": {"a": Y == 0}}, "tasks is a dict; write a list of pairs (name, examples), or leave it out"),
    ({"tasks": [Y < 2, Y >= 2]}, "task 0 is not a pair of a text and examples; write ('0', examples)"),
    ({"tasks": [("a", Y < 2), (1, Y >= 2)]}, "task 1 is not a pair of a text and examples; write ('1', examples)"),
    ({"y": np.where(Y == 2, 2**31, Y)}, "y has the class 2147483648; write classes from 0 to 2,147,483,647 at most"),
    ({"batch_size": 2.0}, "batch_size=2.0: write a whole number at least 1"),
    ({"epochs": 2.5}, "epochs=2.5: write a whole number at least 1"),
    ({"network": 3}, "network is of type int; write pliant.Network(init, apply)"),
    ({"network": dense_network((3, 3))}, "network: it does not take inputs of shape (2, 2): "),
    (
        {"network": dense_network((2, 2))},
        "network: its predictions have shape (2, 2); write one with (2, 3), a number for each of the classes from 0 to",
    ),
    (
        {"network": dense_network((2, 2)), "y": np.zeros((12, 1))},
        "network: its predictions have shape (2, 2); write one with (2, 1), or another judge",
    ),
    ({"tasks": [("a", [1, 2])], "batch_size": 3}, "task a has 2 examples to learn; write a batch_size of at most 2"),
    ({"tasks": [("a", lambda x, y: x)]}, "task a: its function returns a ndarray; write return x, y"),
    (
        {"tasks": [("a", lambda x, y: (x, y[1:]))]},
        "task a: x has shape (12, 2) and y (11,); write x (examples, *input)",
    ),
    ({"tasks": [("a", lambda x, y: (x[:, :1], y))]}, "task a: its function returns x of float32(1,) for each example"),
    ({"epochs": 0}, "epochs=0: write a number at least 1"),
    ({"batch_size": 0}, "batch_size=0: write a number at least 1"),
    ({"test": 1.0}, "test=1.0: write a number from 0 to below 1"),
    ({"tasks": [("a", [0, 1])], "test": 0.1}, "test=0.1: none of these examples is of task a; write a larger fraction"),
]


@pytest.mark.parametrize(("changes", "message"), ERRORS)
def test_what_does_not_fit_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as error:
        pliant.stream_of(**{"x": X, "y": Y, "batch_size": 2, **changes})
    assert "\n" not in str(error.value)
