"""Progressive networks against three columns of the published program: outputs, and gradients of the newest column."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.agents._squashed_normal import SquashedNormal
from pliant.continual import progressive
from pliant.continual._progressive import Place, ProgressiveState
from pliant.core.clock import Task
from pliant.core.continual import DenseLayers
from pliant.networks._dense import dense_layers

RECORDED = dict(np.load(pathlib.Path(__file__).parents[1] / "golden" / "pnn_three_columns.npz", allow_pickle=False))
CONFIG = json.loads(str(RECORDED["config"]))
COLUMNS, LAYERS = 3, 4
WIDTH, ACTION = CONFIG["hidden"], CONFIG["act"]
SIZES = (CONFIG["obs"], *[2 * WIDTH] * 3, 2 * ACTION)  # of the network in whose place the columns are
OBSERVATIONS = RECORDED["obs"].reshape(-1, CONFIG["obs"])  # (2 batch, obs)


def recorded(prefix, column, name):
    """An array of a column: kernels `(out, in)` as `(in, out)`."""
    value = RECORDED[f"{prefix.format(column)}.{name}"]
    return value.T if value.ndim == 2 else value


def side_by_side(prefix, columns):
    """The recorded arrays of some columns, as they are stored."""

    def layer(number):
        each = range(columns.start, columns.stop)
        return {
            "kernel": np.stack([recorded(prefix, c, f"w{number}") for c in each]),
            "bias": np.stack([recorded(prefix, c, f"b{number}") for c in each]),
        }

    def lateral(number):
        each = range(max(columns.start, 1), columns.stop)
        V = [recorded(prefix, c, f"v_w{number}").reshape(c, WIDTH, WIDTH) for c in each]
        U = {
            "kernel": np.stack([recorded(prefix, c, f"u_w{number}") for c in each]),
            "bias": np.stack([recorded(prefix, c, f"u_b{number}") for c in each]),
        }
        return {"V": np.concatenate(V), "alpha": np.stack([recorded(prefix, c, "alpha")[number] for c in each]), "U": U}

    return {
        "columns": {f"Dense_{number}": layer(number) for number in range(LAYERS)},
        "laterals": {f"Dense_{number}": lateral(number) for number in range(1, LAYERS)},
    }


def newest_of(whole):
    """The parameters of the last of some columns."""
    last = jax.tree.map(lambda leaf: leaf[-1], whole)
    V = {name: lateral["V"][1 - COLUMNS :].reshape(-1, WIDTH) for name, lateral in whole["laterals"].items()}
    return {
        "column": last["columns"],
        "laterals": {name: lateral | {"V": V[name]} for name, lateral in last["laterals"].items()},
    }


@pytest.fixture(scope="module")
def method():
    layers = DenseLayers(
        SIZES,
        lambda x: jax.nn.leaky_relu(x, 0.2),
        dense_layers,
        lambda numbers: tuple(jnp.split(numbers, 2, axis=1)),
        "actor",
    )
    tasks = tuple(Task(f"{c}", c + 1) for c in range(COLUMNS))
    return progressive(tasks, layers, WIDTH, published_first_column=True)


STORED = side_by_side("column{}", range(COLUMNS))
STATE, NEWEST = ProgressiveState(np.int32(COLUMNS - 1), STORED), newest_of(STORED)


def test_each_column_has_the_recorded_outputs_also_beside_others(method):
    def outputs_of(column):
        return method.network.apply(method.view(NEWEST, STATE, column), OBSERVATIONS, Place(column, STORED))

    # Mapped over columns, as members of a population are that are at different tasks.
    mean, log_std = trees.numpy(jax.jit(jax.vmap(outputs_of))(np.arange(COLUMNS)))
    for c in range(COLUMNS):
        outputs = RECORDED[f"output{c}"].reshape(-1, 2 * ACTION)
        np.testing.assert_allclose(np.concatenate([mean[c], log_std[c]], 1), outputs, rtol=1e-5, atol=1e-6)
        first_slot = np.tanh(mean[c][: CONFIG["batch"]])
        np.testing.assert_allclose(first_slot, RECORDED[f"eval_action{c}"], rtol=1e-5, atol=1e-6)


def test_the_gradient_of_the_newest_column_is_the_recorded_one(method):
    noise = RECORDED["noise"].reshape(-1, ACTION)
    upstream = RECORDED["upstream_action"].reshape(-1, ACTION)

    def loss(params):
        context = method.network.draw(STATE, len(OBSERVATIONS), None)
        policy = SquashedNormal(*method.network.apply(params, OBSERVATIONS, context))
        action, log_p = policy.sample(noise, "half")
        return (action * upstream).mean() + 0.3 * log_p.mean(), (action, log_p)

    (value, (action, log_p)), grads = trees.numpy(jax.jit(jax.value_and_grad(loss, has_aux=True))(NEWEST))
    np.testing.assert_allclose(value, RECORDED["loss"], rtol=1e-6)
    np.testing.assert_allclose(action, RECORDED["action"].reshape(-1, ACTION), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_p, RECORDED["log_prob"].reshape(-1), rtol=1e-5)

    def check(found, expected):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)

    jax.tree.map(check, grads, newest_of(side_by_side("grad", range(COLUMNS - 1, COLUMNS))))


def test_memory_is_the_recorded_one_but_for_a_number_of_no_use_in_each_later_column():
    numbers = sum(leaf.size for leaf in jax.tree.leaves(STORED))
    assert numbers + COLUMNS - 1 == RECORDED["n_parameters"]
