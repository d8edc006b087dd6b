"""A GRU that tells sequences apart: traced over two steps that are written out, scanned while it learns.

Usage:
    python examples/09_recurrent.py [--tasks 5] [--steps 200]
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import pliant

CELL, HEAD, LENGTH = nn.GRUCell(64), nn.Dense(10), 8


def two_steps(params, h, x):
    """From the carry `h` `(batch, 64)` before to the one after two inputs `x` `(2, batch, 16)`, and the last logits."""
    for x_t in x:  # the carry comes out of the first step and goes into the second: both weights are seen
        h, out = CELL.apply(params["cell"], h, x_t)
    return h, HEAD.apply(params["head"], out)


def main(tasks: int = 5, steps: int = 200):
    h, x = jnp.zeros((1, 64)), jnp.ones((2, 1, 16))
    params = {"cell": CELL.init(jax.random.key(0), h, x[0]), "head": HEAD.init(jax.random.key(1), h)}

    wiring = pliant.trace(two_steps, params, h, x)  # line 1: find the hidden units
    tx = pliant.plastic(optax.adam(3e-3), pliant.continual_backprop(wiring, replacement_rate=1e-3))  # line 2
    print(wiring.describe())

    def loss(params, x, y):  # x (LENGTH, batch, 16)
        def scanned(h, pair):
            (h, logits), features = wiring.apply(params, h, pair)  # in place of two_steps(params, h, pair)
            return h, (logits, features)

        _, (logits, features) = jax.lax.scan(scanned, jnp.zeros((len(y), 64)), x.reshape(-1, 2, *x.shape[1:]))
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits[-1], y).mean(), features

    @jax.jit
    def step(params, state, x, y):
        error, grads = pliant.value_and_grad(loss)(params, x, y)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, error

    state, rng = tx.init(params), np.random.default_rng(0)
    for task in range(1, tasks + 1):
        classes, errors = rng.normal(size=(10, LENGTH, 16)), []
        for y in rng.integers(10, size=(steps, 32)):
            x = classes[y].swapaxes(0, 1) + 0.5 * rng.normal(size=(LENGTH, 32, 16))
            params, state, error = step(params, state, x, y)
            errors.append(error)
        replaced = sum(pliant.replacements(state).values())
        print(f"task {task}: loss {errors[0]:.3f} -> {np.mean(errors[-20:]):.3f} ({replaced} units reinitialized)")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
