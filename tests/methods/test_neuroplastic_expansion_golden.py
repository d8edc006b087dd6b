"""Neuroplastic Expansion against trajectories that the authors' published scheduler left.

At each step our forward pass, gradient, optimizer and method start from the recorded weights; the masks, clocks and the
optimizer's memory are our own all the way. Weights that are equal could be ranked otherwise; in these recordings none
are where it matters.
"""

import ast
import functools
import pathlib

import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant.core.plastic import plastic
from pliant.methods import neuroplastic_expansion, static_sparse
from pliant.surgery.adam import adam

FILES = sorted((pathlib.Path(__file__).parents[1] / "golden").glob("growth_*.npz"))
LAYERS = (0, 1, 2)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_whole_step_matches_the_recorded_one(file):
    data = dict(np.load(file, allow_pickle=False))
    config = ast.literal_eval(str(data["config"]))

    def recorded(prefix):
        weights = {f"w{i}": data[f"{prefix}_l{i + 1}.weight"].swapaxes(-1, -2) for i in LAYERS}  # (out, in)
        return weights | {f"b{i}": data[f"{prefix}_l{i + 1}.bias"] for i in LAYERS}

    wiring = hand_wired.mlp(17, 32, 32, 6)
    if config["static"]:
        method = static_sparse(wiring, config["initial_sparsity"])
    else:
        method = neuroplastic_expansion(
            wiring,
            initial_sparsity=config["initial_sparsity"],
            final_sparsity=config["final_sparsity"],
            period=config["delta"],
            end=config["T_end"],
            rate=config["rate"],
            prune_fraction=config["prune_share"],
            counter_reset=not config["simple_metric"],
        )
    tx = plastic(adam(config["step_size"]), method)

    def loss(params, x, y):
        return jnp.mean((jnp.tanh(wiring.apply(params, x)[0]) - y) ** 2)

    def step(state, this):
        params, x, y = this
        error, grads = jax.value_and_grad(loss)(params, x, y)
        params, state = tx.step(grads, state, params)
        return state, (error, grads, params, state.after[0])

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(initial, after, x, y):
        first, start = tx.prepare(initial), tx.init(initial)
        before = {name: jnp.concatenate([first[name][None], after[name][:-1]]) for name in first}
        return start.after[0], jax.lax.scan(step, start, (before, x, y))[1]

    after = recorded("after")
    start, (error, grads, params, state) = run(recorded("init"), after, data["x"], data["y"])

    np.testing.assert_allclose(error, data["loss"], rtol=1e-5)
    changed = ~data["optimizer_stepped"]
    if config["static"]:
        assert not changed.any()
    else:
        np.testing.assert_array_equal(state.changed, changed)
        # They look at every step whether growth is over; we do when the topology may change.
        np.testing.assert_array_equal(state.ended, np.cumsum(data["end_grow"] & changed) > 0)
    for i in LAYERS:
        name = f"w{i}"
        np.testing.assert_array_equal(start.mask[name], data[f"mask_init{i}"].T)
        np.testing.assert_array_equal(state.mask[name], data[f"mask{i}"].swapaxes(1, 2))
        dense = data[f"dense_gradient{i}"].swapaxes(1, 2)
        np.testing.assert_allclose(np.asarray(grads[name])[changed], dense[changed], rtol=1e-4, atol=1e-7)
    for name in after:
        np.testing.assert_allclose(params[name], after[name], rtol=1e-5, atol=1e-6)
