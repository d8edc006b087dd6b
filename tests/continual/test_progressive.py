"""Progressive networks: initial values, which columns stay, memory, and what is refused."""

import jax
import numpy as np
import pytest
import trees

from pliant.continual import progressive
from pliant.continual._progressive import Place
from pliant.core.clock import Clock, Task
from pliant.core.continual import DenseLayers
from pliant.networks._dense import dense_layers

TASKS = tuple(Task(f"{k}", k + 1) for k in range(3))


def layers_of(*sizes):
    return DenseLayers(sizes, jax.nn.relu, dense_layers, lambda numbers: numbers, "actor")


def through_tasks(method, params, key, learn=lambda params: params):
    """Of each task: the parameters at its end, and the state."""
    state, found = method.init(params), []
    for task in range(3):
        if task:
            clock, key = Clock(1, task=task), jax.random.fold_in(key, task)
            params, state = method.begin_task(params, state, clock=clock, key=key)
        params = learn(params)
        found.append((params, state))
    return found


def test_columns_are_drawn_as_the_network_is_and_the_factors_of_a_column_up_to_one_over_the_columns_before():
    method = progressive(TASKS, layers_of(3, 32, 16, 4))

    def run(key):
        return [params for params, _ in through_tasks(method, method.network.init(key), key)]

    columns = trees.numpy(jax.jit(run)(trees.key(0)))
    for layer, (inputs, units) in enumerate([(3, 32), (32, 16), (16, 4)]):
        kernels = np.stack([of["column"][f"Dense_{layer}"]["kernel"] for of in columns])
        assert kernels.shape == (3, inputs, units)
        assert 0.8 < np.abs(kernels).max() * inputs**0.5 <= 1
        assert (kernels[0] != kernels[1]).all()
    for layer, (inputs, units) in enumerate([(32, 16), (16, 4)], start=1):
        for number in (1, 2):
            lateral = columns[number]["laterals"][f"Dense_{layer}"]
            V = lateral["V"].reshape(2, inputs, inputs)[:number]
            assert lateral["U"]["kernel"].shape == (inputs, units)
            assert 0.8 < np.abs(V).max() * (number * inputs) ** 0.5 <= 1
            assert 0 <= lateral["alpha"] <= 1 / number


@pytest.fixture(scope="module")
def ran():
    """Of each task: the parameters, the views of all tasks, and the outputs on all tasks."""
    method = progressive(TASKS, layers_of(3, 5, 4), width=2)
    x = np.float32([[1, 2, 3]])

    def run(params, key):
        found = []
        for after, state in through_tasks(method, params, key, lambda params: jax.tree.map(lambda w: w + 1, params)):
            views = [method.view(after, state, other) for other in range(3)]
            outputs = [method.network.apply(view, x, method.network.route(state, k)) for k, view in enumerate(views)]
            found.append((after, views, outputs))
        return found

    params = trees.random_like(jax.eval_shape(method.network.init, trees.key(0)))
    return trees.numpy(jax.jit(run)(params, trees.key(1)))


def test_the_newest_column_is_the_parameters_and_earlier_ones_stay_as_at_their_ends(ran):
    for now, (_, views, _) in enumerate(ran):
        for task, view in enumerate(views):
            used, expected = (numbers_of(params, min(now, task)) for params in (view, ran[min(now, task)][0]))
            trees.assert_equal(used, expected)


def numbers_of(params, column):
    """What a column uses of its parameters."""
    lateral = params["laterals"]["Dense_1"]
    V = lateral["V"].reshape(2, 2, 2)[:column]  # one for each column before it
    return params["column"], (lateral | {"V": V} if column else ())


def test_each_column_acts_on_its_task_and_the_newest_on_tasks_to_come(ran):
    outputs = [np.stack(of_tasks) for *_, of_tasks in ran]
    for now in range(3):
        for task in range(3):
            np.testing.assert_array_equal(outputs[now][task], outputs[min(now, task)][min(now, task)])
    assert trees.differs(outputs[2][0], outputs[2][1]) and trees.differs(outputs[2][1], outputs[2][2])


def test_columns_that_no_member_has_are_not_computed():
    # A condition that differs between members would compute both branches for each.
    method = progressive(TASKS, layers_of(3, 5, 4))
    params, x = jax.eval_shape(method.network.init, trees.key(0)), np.zeros((2, 3), np.float32)
    together = jax.vmap(method.network.apply, (None, None, Place(0, None)))
    place = Place(np.arange(2), jax.eval_shape(method.init, params).earlier)
    branches = [
        eqn.params["branches"]
        for eqn in jax.make_jaxpr(together)(params, x, place).eqns
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
    found = jax.jit(lambda tasks: method.memory((), (), tasks))(tasks)
    assert found == (expected, expected)
    assert round(expected / 139_532, 2) == published


def test_what_is_refused():
    with pytest.raises(ValueError, match="write --agent sac") as error:
        progressive(TASKS)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="width=-1"):
        progressive(TASKS, layers_of(3, 5, 4), width=-1)
