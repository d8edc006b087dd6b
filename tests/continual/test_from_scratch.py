"""From scratch: which weights are fresh, when, and what the optimizer remembers of the old ones."""

import hand_wired
import jax
import numpy as np
import optax
import pytest
import trees

from pliant.continual import from_scratch
from pliant.core.clock import Clock, Task
from pliant.core.plastic import plastic

SIZES = (3, 4, 2)
PARAMS, INITIALIZE = hand_wired.params(*SIZES), hand_wired.initializer(*SIZES)
TASKS = tuple(Task(f"{k}", 4 * (k + 1)) for k in range(3))
GRADS = jax.tree.map(np.ones_like, PARAMS)


@pytest.fixture(scope="module", params=[True, False], ids=["moments reset", "moments kept"])
def ran(request):
    """Four updates in each of three tasks: parameters and moments before the first and after the last of each."""
    tx = plastic(optax.adam(0.01), from_scratch(INITIALIZE, TASKS).method, reset_moments=request.param)

    def run(params):
        state, found = tx.init(params), []
        for task in range(3):
            params, state = tx.before_update(params, state, Clock(4 * task + 1, 4 * task, task, 1))
            begun = params, state.optimizer[0]
            for number in range(1, 5):
                clock = Clock(4 * task + number, 4 * task + number - 1, task, number)
                params, state = tx.before_update(
                    *tx.step(GRADS, state, params, clock=clock), clock._replace(task_update=2)
                )
            found.append((begun, (params, state.optimizer[0])))
        return found

    return request.param, trees.numpy(jax.jit(run)(PARAMS))


def test_the_first_task_begins_with_the_network_as_it_is(ran):
    _, [((params, _), _), *_] = ran
    trees.assert_equal(params, PARAMS)


def test_each_later_task_begins_with_other_weights_in_each_leaf(ran):
    _, [_, ((second, _), _), ((third, _), _)] = ran
    ends = [params for _, (params, _) in ran[1]]
    for fresh, old in ((second, ends[0]), (third, ends[1]), (third, second)):
        for name in ("w0", "w1"):
            assert (fresh[name] != old[name]).all()
    for name in ("b0", "b1"):  # whose initial value is always the same
        np.testing.assert_array_equal(third[name], PARAMS[name])
    bound = np.abs(PARAMS["w0"]).max()
    assert 0.1 * bound < np.abs(third["w0"]).max() < 10 * bound


def test_within_a_task_the_weights_only_learn(ran):
    for (begun, _), (ended, _) in ran[1]:
        for name in PARAMS:  # steps of Adam under a gradient of 1 are not larger than a few learning rates
            assert (np.abs(begun[name] - ended[name]) < 0.2).all() and (begun[name] > ended[name]).all()


def test_moments_begin_anew_where_the_agent_resets_them(ran):
    resets, tasks = ran
    for (_, moments), _ in tasks[1:]:
        for leaf in jax.tree.leaves((moments.mu, moments.nu)):
            assert (leaf == 0).all() if resets else (leaf > 0).all()
        assert moments.count > 0  # the count that the weights share goes on
