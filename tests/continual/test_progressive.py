"""Progressive networks: initial values, which numbers are frozen, memory, and what is refused."""

import jax
import numpy as np
import pytest
import trees

from pliant.continual import progressive
from pliant.core.clock import Clock, Task
from pliant.core.continual import DenseLayers
from pliant.networks._dense import dense_layers

TASKS = tuple(Task(f"{k}", k + 1) for k in range(3))


def layers_of(*sizes):
    return DenseLayers(sizes, jax.nn.relu, dense_layers, lambda numbers: numbers, "actor")


def test_columns_are_drawn_as_the_network_is_and_the_factors_of_a_column_up_to_one_over_the_columns_before():
    method = progressive(TASKS, layers_of(3, 32, 16, 4))
    params = trees.numpy(jax.jit(method.network.init)(trees.key(0)))
    for layer, (inputs, units) in enumerate([(3, 32), (32, 16), (16, 4)]):
        kernel = params["columns"][f"Dense_{layer}"]["kernel"]
        assert kernel.shape == (3, inputs, units)
        assert 0.8 < np.abs(kernel).max() * inputs**0.5 <= 1
        assert (kernel[0] != kernel[1]).all()
    for layer, (inputs, units) in enumerate([(32, 16), (16, 4)], start=1):
        lateral = params["laterals"][f"Dense_{layer}"]
        V, U, alpha = lateral["V"], lateral["U"]["kernel"], lateral["alpha"]
        assert V.shape == (1 + 2, inputs, inputs) and U.shape == (2, inputs, units)
        assert 0.8 < np.abs(V[0]).max() * inputs**0.5 <= 1  # column 1 reads one column, and column 2 reads two
        assert 0.8 < np.abs(V[1:]).max() * (2 * inputs) ** 0.5 <= 1
        assert (alpha >= 0).all() and (alpha <= [1, 1 / 2]).all()


@pytest.fixture(scope="module")
def ran():
    """Of each task: the parameters, all of which an update moves by 1, and the outputs on all tasks."""
    method = progressive(TASKS, layers_of(3, 5, 4), width=2)
    x = np.float32([[1, 2, 3]])

    def run(params):
        state, found = method.init(params), []
        for task in range(3):
            if task:
                params, state = method.begin_task(params, state, clock=Clock(1, task=task), key=None)
            moved = jax.tree.map(lambda w: w + 1, params)
            params, state = method.after_update(moved, state, previous=params, grads=params)
            outputs = [method.network.apply(params, x, method.network.route(state, other)) for other in range(3)]
            found.append((params, outputs))
        return found

    params = trees.random_like(jax.eval_shape(method.network.init, trees.key(0)))
    return params, trees.numpy(jax.jit(run)(params))


def test_the_newest_column_alone_learns(ran):
    before, found = ran
    for task, (after, _) in enumerate(found):
        moved = jax.tree.map(lambda after, before: after != before, after, before)
        laterals = moved["laterals"]["Dense_1"]
        for leaf in jax.tree.leaves(moved["columns"]):
            assert marks(leaf) == {task}
        for leaf in (laterals["alpha"], *jax.tree.leaves(laterals["U"])):
            assert marks(leaf) == ({task - 1} if task else set())
        assert marks(laterals["V"]) == [set(), {0}, {1, 2}][task]  # column 1 reads column 0, column 2 reads both
        before = after


def marks(moved):
    """The entries of the leading axis that moved as a whole; no entry moves in part."""
    whole, part = (np.flatnonzero(of.reshape(len(moved), -1).any(1)) for of in (moved, ~moved))
    assert not set(whole) & set(part)
    return set(whole)


def test_each_column_acts_on_its_task_and_the_newest_on_tasks_to_come(ran):
    outputs = [np.stack(of_tasks) for _, of_tasks in ran[1]]
    for now in range(3):
        for task in range(3):
            np.testing.assert_array_equal(outputs[now][task], outputs[min(now, task)][min(now, task)])
    assert trees.differs(outputs[2][0], outputs[2][1]) and trees.differs(outputs[2][1], outputs[2][2])


def test_columns_that_no_member_has_are_not_computed():
    # A condition that differs between members would compute both branches for each.
    method = progressive(TASKS, layers_of(3, 5, 4))
    params, x = jax.eval_shape(method.network.init, trees.key(0)), np.zeros((2, 3), np.float32)
    together = jax.vmap(method.network.apply, (None, None, 0))
    branches = [
        eqn.params["branches"]
        for eqn in jax.make_jaxpr(together)(params, x, np.arange(2)).eqns
        if "cond" in str(eqn.primitive)
    ]
    assert len(branches) == 2  # the columns before the third


@pytest.mark.parametrize(("tasks", "published"), [(1, 0.15), (8, 7.78)])
def test_memory_of_columns_of_96_units_in_place_of_256(tasks, published):
    # A column: 18 96 + 96, twice 96^2 + 96, and 96 12 + 12. A later one: three times 96^2 for each column before it,
    # twice 96^2 + 96 and 96 12 + 12 behind them, and 3 factors.
    column, pair, later = 21_612, 3 * 96**2, 2 * (96**2 + 96) + 96 * 12 + 12 + 3
    expected = tasks * column + tasks * (tasks - 1) // 2 * pair + (tasks - 1) * later
    eight = tuple(Task(f"{k}", k + 1) for k in range(8))
    method = progressive(eight, layers_of(18, 256, 256, 256, 12), width=96)
    params = jax.eval_shape(method.network.init, trees.key(0))
    found = jax.jit(lambda tasks: method.memory(params, (), tasks))(tasks)
    assert found == (expected, expected)
    assert round(expected / 139_532, 2) == published


def test_what_is_refused():
    with pytest.raises(ValueError, match="write --agent sac") as error:
        progressive(TASKS)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="width=-1"):
        progressive(TASKS, layers_of(3, 5, 4), width=-1)
