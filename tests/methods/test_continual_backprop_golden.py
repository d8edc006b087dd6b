"""Continual backpropagation against trajectories that the authors' published program left.

At each step our forward pass, gradient, optimizer and method start from the recorded weights; the method's and the
optimizer's state is our own all the way. Only the random incoming weights of fresh units cannot match.
"""

import ast
import pathlib

import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import ties

from pliant.core.plastic import plastic
from pliant.methods import continual_backprop
from pliant.surgery.adam import adam

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
FILES = sorted(file for kind in ("regression", "classify", "mnist_mlp_cbp") for file in GOLDEN.glob(f"{kind}_*.npz"))
ACTIVATIONS = ("leaky_relu", "relu", "elu", "sigmoid", "swish", "tanh")


def load(file):
    """The recording, and its weights before and after each step as parameters."""
    data = dict(np.load(file, allow_pickle=False))
    settings = ast.literal_eval(str(data.pop("config")))
    if "batch" in data:  # the batch of each step, from a small pool
        data["x"], data["y"] = data["pool_x"][data["batch"]], data["pool_y"][data["batch"]]
    names = [name.removeprefix("before_") for name in data if name.startswith("before_")]
    after = {name: data[f"after_{name}"] for name in names}
    before = {name: np.concatenate([data[f"before_{name}"], after[name][:-1]]) for name in names}
    for tree in (before, after):
        for name in names:
            tree[name] = tree[name].swapaxes(1, 2) if name[0] == "w" else tree[name]  # (out, in) -> (in, out)
    return data, settings, before, after


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_whole_update_matches_the_recorded_one(file):
    data, settings, before, after = load(file)
    activation = next((a for a in ACTIVATIONS if file.stem.split("_", 1)[1].startswith(a)), "relu")
    layers = len(before) // 2 - 1
    sizes = [before["w0"].shape[1], *(before[f"w{i}"].shape[2] for i in range(layers + 1))]
    wiring = hand_wired.mlp(*sizes, activation=getattr(jax.nn, activation))
    optimizer = optax.sgd if settings["optimizer"] == "sgd" else lambda a: adam(a, correction="published")
    tx = plastic(
        optimizer(settings["step_size"]),
        continual_backprop(
            wiring,
            settings["replacement_rate"],
            settings["decay_rate"],
            settings["maturity_threshold"],
            settings["utility"],
            initializer=settings["init"],
            activation=activation,
        ),
    )

    def loss(params, x, y):
        output, features = wiring.apply(params, x)
        if settings["loss"] == "mse":
            return jnp.mean((output - y) ** 2), features
        return optax.losses.softmax_cross_entropy_with_integer_labels(output, y).mean(), features

    def step(state, this):
        params, x, y, tie = this
        (error, features), grads = jax.value_and_grad(loss, has_aux=True)(params, x, y)
        state = state._replace(after=(ties.owing(state.after[0], tie),))
        updates, state = tx.update(grads, state, params, features=features)
        state = state._replace(after=(ties.owing(state.after[0], tie, -1),))
        return state, (error, features, optax.apply_updates(params, updates), state.after[0])

    rate, maturity = settings["replacement_rate"], settings["maturity_threshold"]
    replaced = [data[f"replaced{i}"] for i in range(layers)]
    owed = {f"w{i}": ties.of_counts(replaced[i], data[f"age{i}"], rate, maturity) for i in range(layers)}
    run = jax.jit(lambda *xs: jax.lax.scan(step, tx.init(jax.tree.map(lambda w: w[0], before)), xs)[1])
    error, features, params, state = run(before, data["x"], data["y"].astype(np.int32 if layers > 1 else float), owed)

    close = dict(rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(error, data["loss"], **close)
    assert all(r.any() for r in replaced)
    for i in range(layers):
        np.testing.assert_array_equal(state.age[f"w{i}"], data[f"age{i}"])
        np.testing.assert_array_equal(np.asarray(state.age[f"w{i}"]) == 0, replaced[i])
        np.testing.assert_array_equal(state.replaced[f"w{i}"], replaced[i].sum(1).cumsum())
        np.testing.assert_allclose(features[f"w{i}"].reshape(data[f"features{i}"].shape), data[f"features{i}"], **close)
        np.testing.assert_allclose(state.utility[f"w{i}"], data[f"utility{i}"], **close)
        np.testing.assert_allclose(state.mean_activation[f"w{i}"], data[f"mean_activation{i}"], **close)

    for i in range(layers + 1):
        fresh_in = replaced[i] if i < layers else np.zeros((len(error), sizes[-1]), bool)
        fresh_out = replaced[i - 1] if i > 0 else np.zeros((len(error), sizes[0]), bool)
        ours, theirs = np.asarray(params[f"w{i}"]), after[f"w{i}"]
        drawn = np.broadcast_to(fresh_in[:, None, :], ours.shape)
        np.testing.assert_allclose(ours[~drawn], theirs[~drawn], **close)
        np.testing.assert_allclose(params[f"b{i}"], after[f"b{i}"], **close)
        assert not np.asarray(params[f"b{i}"])[fresh_in].any()
        # Between two fresh units the weight is zero here, and drawn there.
        assert not ours[np.broadcast_to(fresh_out[:, :, None], ours.shape)].any()
        read = drawn & ~fresh_out[:, :, None]
        bound = np.sqrt(2 * 3 / sizes[i])  # Kaiming: gain sqrt(2) for rectifiers ...
        bound = {"tanh": 5 / 3, "sigmoid": 1.0}.get(activation, np.sqrt(2)) / np.sqrt(2) * bound  # ... 5/3, and 1
        assert np.all(np.abs(ours[read]) <= bound + 1e-6) and np.all(np.abs(theirs[drawn]) <= bound + 1e-6)
