"""A haiku network, kept plastic while its classes change; the means of removed units move into its biases.

Usage:
    python examples/08_haiku.py [--tasks 5] [--steps 200]
"""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import pliant


def main(tasks: int = 5, steps: int = 200):
    model = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([64, 64, 10])(x)))
    x, y = jnp.ones((1, 16)), jnp.zeros(1, int)
    params = model.init(jax.random.key(0), x)

    def loss(params, x, y):
        return optax.losses.softmax_cross_entropy_with_integer_labels(model.apply(params, x), y).mean()

    wiring = pliant.trace(loss, params, x, y)  # line 1: find the hidden units
    method = pliant.continual_backprop(wiring, replacement_rate=1e-3, compensate=True)
    tx = pliant.plastic(optax.adam(1e-3), method)  # line 2
    print(wiring.describe())

    @jax.jit
    def step(params, state, x, y):
        error, grads = pliant.value_and_grad(wiring.apply)(params, x, y)  # line 3: not jax.value_and_grad(loss)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, error

    state, rng = tx.init(params), np.random.default_rng(0)
    for task in range(1, tasks + 1):
        classes, errors = rng.normal(size=(10, 16)), []
        for y in rng.integers(10, size=(steps, 32)):
            params, state, error = step(params, state, classes[y] + 0.5 * rng.normal(size=(32, 16)), y)
            errors.append(error)
        replaced = sum(pliant.replacements(state).values())
        print(f"task {task}: loss {errors[0]:.3f} -> {np.mean(errors[-20:]):.3f} ({replaced} units reinitialized)")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
