import jax
import numpy as np
import trees

from pliant.core.clock import Clock
from pliant.problems.images._epochs import examples_at, shuffled


def test_each_epoch_of_each_task_shows_all_examples_in_an_order_of_its_own():
    tasks, epochs = (x.ravel() for x in np.meshgrid(range(3), range(4)))
    program = jax.jit(jax.vmap(lambda key, task, epoch: shuffled(key, 50, Clock(1, 0, task, 1, epoch)), (None, 0, 0)))
    orders = np.asarray(program(trees.key(0), tasks, epochs))
    assert (np.sort(orders, 1) == np.arange(50)).all()
    assert len({tuple(order) for order in orders}) == 12


def test_batches_go_on_from_a_position_and_begin_again_at_the_end():
    order = np.array([4, 2, 0, 3, 1])
    batches = jax.jit(lambda order, position: examples_at(order, position, 3, 2))(order, 3)
    # From place 3 on: 3, 1, and the order again: 4, 2, 0, 3.
    np.testing.assert_array_equal(batches, [[3, 1], [4, 2], [0, 3]])
