"""PackNet against ten tasks of the published program: projections, owners and actions, until no weight is free."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.continual import packnet
from pliant.core.clock import Clock, Task

RECORDED = dict(np.load(pathlib.Path(__file__).parents[1] / "golden" / "packnet_masks.npz", allow_pickle=False))
CONFIG = json.loads(str(RECORDED["config"]))
TASKS, LEAVES = CONFIG["n_tasks"], [f"{kind}{layer}" for layer in range(4) for kind in "wb"]


def over_tasks(stage):
    """The recorded networks at a stage of the tasks, `(tasks, ...)`: kernels `(out, in)` as `(in, out)`."""
    found = {name: np.stack([RECORDED[f"task{J}.{stage}_{name}"] for J in range(TASKS)]) for name in LEAVES}
    return {name: leaf.swapaxes(-1, -2) if leaf.ndim == 3 else leaf for name, leaf in found.items()}


def action(params):
    x = RECORDED["obs"][0]
    for layer in range(3):
        x = jax.nn.leaky_relu(x @ params[f"w{layer}"] + params[f"b{layer}"][None], 0.2)
    mean, _ = jnp.split(x @ params["w3"] + params["b3"][None], 2, axis=1)
    return jnp.tanh(mean)


@pytest.fixture(scope="module")
def ran():
    """Of each task, `(tasks, ...)`: the network in training, pruned and fine-tuned; owners, views, actions."""
    first = trees.at(over_tasks("start"), 0)
    method = packnet(tuple(Task(f"{J}", J + 1) for J in range(TASKS)), lambda key: first, CONFIG["prune_coeff"])

    def one_task(state, task):
        index, start, train_raw, before_filter, finetune_raw = task
        clock, key = Clock(1, task=index), jax.random.key(0)
        trained = method.project(train_raw, state, start)
        last = method.project(before_filter, state, trained)
        pruned, state = method.end_training(last, state, clock=clock, key=key)
        tuned = method.project(finetune_raw, state, pruned)
        ended, state = method.end_task(tuned, state, inputs=(), clock=clock, key=key)
        views = jax.vmap(lambda other: method.view(ended, state, other))(jnp.arange(TASKS))
        record = {
            "trained": trained,
            "last": last,
            "pruned": pruned,
            "tuned": tuned,
            "ended": ended,
            "owners": state.owners,
        }
        return state, record | {"views": views, "actions": jax.vmap(action)(views)}

    def run(tasks):
        state, found = jax.lax.scan(one_task, method.init(first), tasks)
        return found | {"memory": method.memory(first, state, TASKS)}

    stages = map(over_tasks, ("start", "train_raw", "before_filter", "finetune_raw"))
    return trees.numpy(jax.jit(run)((np.arange(TASKS), *stages)))


def test_weights_are_put_back_and_free_ones_are_zero_after_pruning_as_recorded(ran):
    trees.assert_equal(ran["trained"], over_tasks("train_projected"))
    trees.assert_equal(ran["tuned"], over_tasks("finetune_projected"))
    trees.assert_equal(ran["ended"], ran["tuned"])
    trees.assert_equal(over_tasks("before_filter"), over_tasks("after_filter"))  # their weights wait for the next pass
    for name, owners in ran["owners"].items():
        np.testing.assert_array_equal(ran["pruned"][name], np.where(owners >= 0, ran["last"][name], 0))


def test_owners_are_the_recorded_ones_until_no_weight_is_free(ran):
    trees.assert_equal(ran["owners"], over_tasks("owner"))
    assert all(leaf.dtype == np.int8 for leaf in ran["owners"].values())
    for J in range(TASKS):
        owners = [ran["owners"][name][J] for name in LEAVES]
        np.testing.assert_array_equal([(leaf == J).sum() for leaf in owners], RECORDED["owned_counts"][J])
        np.testing.assert_array_equal([(leaf < 0).sum() for leaf in owners], RECORDED["free_counts"][J])
    assert not RECORDED["free_counts"][7:].any() and RECORDED["free_counts"][6].any()


def test_a_task_has_the_recorded_actions_and_the_same_network_to_the_bit_ever_after(ran):
    for J in range(TASKS):
        np.testing.assert_allclose(ran["actions"][J][: J + 1], RECORDED[f"task{J}.eval_action"], atol=1e-6)
        for task in range(TASKS):
            network = trees.at(ran["ended"], min(task, J))
            trees.assert_equal(trees.at(ran["views"], (J, task)), network)


def test_memory_is_the_network_and_its_owners_and_not_a_copy_for_each_task(ran):
    P = sum(RECORDED[f"task0.start_{name}"].size for name in LEAVES)
    assert ran["memory"] == (P, 2 * P)
    assert RECORDED[f"task{TASKS - 1}.n_parameters"] == (TASKS + 1) * P
