"""EWC and the L2 anchor against penalties of the published program, recorded over three tasks.

The network of each task is the recorded one: four layers with leaky ReLU, whose outputs are means and log standard
deviations.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.continual import ewc, l2_anchor
from pliant.core.clock import Clock
from pliant.core.continual import Update
from pliant.core.likelihood import gaussian

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
TASKS = 3


def load(name):
    """The settings of a recording, and its arrays by task and name: `(out, in)` kernels as `(in, out)`."""
    data = dict(np.load(GOLDEN / f"ewc_l2_{name}.npz", allow_pickle=False))
    settings = json.loads(str(data.pop("config")))
    tasks = [{} for _ in range(TASKS)]
    for key, value in data.items():
        task, _, what = key.partition(".")
        tasks[int(task.removeprefix("task"))][what] = value.T if value.ndim == 2 and what != "obs" else value
    return settings, tasks


def part(task, prefix):
    """The network in a task's arrays with this prefix."""
    return {key.removeprefix(prefix): task[key] for key in task if key.startswith(prefix) and key[len(prefix)] in "wb"}


def policy(params, x):
    for layer in range(3):
        x = jax.nn.leaky_relu(x @ params[f"w{layer}"] + params[f"b{layer}"][None], 0.2)
    return tuple(jnp.split(x @ params["w3"] + params["b3"][None], 2, axis=1))


def over_tasks(method, tasks):
    """Of each task the penalty at its end, the gradient of the penalty, and the state after its end."""
    clock, networks = Clock(1), [part(task, "trained_") for task in tasks]
    inputs = [task.get("obs", np.zeros((0, 5), np.float32)) for task in tasks]

    @jax.jit
    def run(networks, inputs, key):
        state, found = method.init(networks[0]), []
        for index, params in enumerate(networks):
            penalty = jax.value_and_grad(method.penalty)(params, state, Update(clock, inputs=(), outputs=()))
            if index < TASKS - 1:  # nothing is recorded of the end of the last
                params, state = method.end_task(
                    params, state, inputs=inputs[index], clock=clock._replace(task=index), key=key
                )
            found.append((*penalty, params, state))
        return found

    return trees.numpy(run(networks, inputs, trees.key(0)))


def assert_as_recorded(found, recorded, what):
    """Within 1e-6 of the largest number of a leaf."""
    assert found.keys() == recorded.keys()
    for name, value in recorded.items():
        scale = max(np.abs(value).max(), 1e-12)
        np.testing.assert_allclose(found[name] / scale, value / scale, rtol=1e-6, atol=1e-6, err_msg=f"{what} {name}")


@pytest.mark.parametrize("actions", ["acteven", "actodd"])
@pytest.mark.parametrize("name", ["ewc", "l2"])
def test_penalties_and_their_gradients_are_the_recorded_ones(name, actions):
    settings, tasks = load(f"{name}_{actions}")
    assert settings["act"] % 2 == (actions == "actodd")
    if name == "l2":
        method = l2_anchor(settings["l2_coeff"])
    else:
        method = ewc(policy, gaussian, settings["fisher_coeff"], settings["n_samples"], published_outputs=True)
    fisher_sum = 0.0
    for index, (task, (penalty, gradient, params, state)) in enumerate(zip(tasks, over_tasks(method, tasks))):
        np.testing.assert_allclose(penalty, task["penalty"], rtol=2e-6)
        recorded = part(task, "grad_penalty_") or jax.tree.map(np.zeros_like, params)  # none in the first task
        assert_as_recorded(gradient, recorded, f"gradient in task {index}")
        trees.assert_equal(params, part(task, "trained_"))  # which no end of a task changes
        if index == TASKS - 1:
            continue
        trees.assert_equal(state.anchor, part(task, "anchor_"))
        if name == "ewc":
            assert_as_recorded(state.importance, part(task, "fisher_sum_"), f"information after task {index}")
            fisher_sum = fisher_sum + task["fisher_b3"]
            np.testing.assert_allclose(state.importance["b3"], fisher_sum, rtol=2e-6)


@pytest.mark.parametrize("actions", ["acteven", "actodd"])
def test_the_published_slip_leaves_standard_deviations_without_weight(actions):
    # Their outputs have the least information, 1e-5 a task; by default they have more.
    settings, tasks = load(f"ewc_{actions}")
    found = {}
    for published in (True, False):
        method = ewc(policy, gaussian, settings["fisher_coeff"], settings["n_samples"], published_outputs=published)
        found[published] = over_tasks(method, tasks)[0][3].importance
    of_deviations = slice(settings["act"], None)
    np.testing.assert_allclose(found[True]["w3"][:, of_deviations], 1e-5, rtol=1e-5)
    assert (found[False]["w3"][:, of_deviations] > 1e-4).mean() > 0.5
    # The information of the biases: 2 for what is taken for a log deviation; ours is 1 / variance, and 2.
    half = settings["act"] // 2
    np.testing.assert_allclose(found[True]["b3"][half : 2 * half], 2, rtol=1e-4)
    np.testing.assert_allclose(found[False]["b3"][of_deviations], 2, rtol=1e-4)
