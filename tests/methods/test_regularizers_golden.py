"""L2 and shrink-and-perturb against trajectories that the authors' published program left.

At each step our forward pass, gradient, optimizer and method start from the recorded weights, with the recorded noise.
"""

import ast
import pathlib

import hand_wired
import jax
import numpy as np
import optax
import pytest
import trees

from pliant.core.plastic import plastic
from pliant.methods import l2, shrink_and_perturb

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


def load(name):
    """The recording, and its weights by name: `(out, in)` kernels as `(in, out)`."""
    data = dict(np.load(GOLDEN / f"mnist_mlp_{name}.npz", allow_pickle=False))
    settings = ast.literal_eval(str(data.pop("config")))
    return {key: a.swapaxes(1, 2) if "_w" in key and a.ndim == 3 else a for key, a in data.items()}, settings


def part(data, prefix):
    return {key.removeprefix(prefix): value for key, value in data.items() if key.startswith(prefix)}


@pytest.mark.parametrize("case", ["l2", "l2_adam", "sp"])
def test_whole_update_matches_the_recorded_one(case):
    data, settings = load(case)
    first, after = part(data, "before_"), part(data, "after_")
    before = {name: np.concatenate([first[name], after[name][:-1]]) for name in after}
    sizes = [settings["inputs"], *[settings["width"]] * settings["layers"], settings["classes"]]
    wiring = hand_wired.mlp(*sizes)
    rate, decay, noise = settings["step_size"], settings["weight_decay"], settings.get("perturb_scale", 1.0)
    method = shrink_and_perturb(perturb_scale=noise, weight_decay=decay) if case == "sp" else l2(decay)
    tx = plastic(optax.adam(rate) if settings["optimizer"] == "adam" else optax.sgd(rate), method)
    random = ({name: part(data, "noise_")[name] / noise for name in after},) if case == "sp" else ()

    def loss(params, x, y):
        output, _ = wiring.apply(params, x)
        return optax.losses.softmax_cross_entropy_with_integer_labels(output, y).mean()

    def step(state, this):
        params, x, y, random = this
        error, grads = jax.value_and_grad(loss)(params, x, y)
        params, state = tx.step(grads, state, params, random=random)
        return state, (error, params, state.optimizer)

    @jax.jit
    def run(*xs):
        return jax.lax.scan(step, tx.init(jax.tree.map(lambda w: w[0], xs[0])), xs)[1]

    x, y = data["pool_x"][data["batch"]], data["pool_y"][data["batch"]].astype(np.int32)
    error, params, optimizer = trees.numpy(run(before, x, y, random))
    np.testing.assert_allclose(error, data["loss"], rtol=3e-5)
    for name in after:
        np.testing.assert_allclose(params[name], after[name], rtol=3e-5, atol=3e-6, err_msg=name)
    for name, m in part(data, "adam_m_").items():
        np.testing.assert_allclose(optax.tree.get(optimizer, "mu")[name], m, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(optax.tree.get(optimizer, "nu")[name], data[f"adam_v_{name}"], rtol=1e-4, atol=1e-10)
