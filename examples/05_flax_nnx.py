"""A flax nnx module, split into its structure and its weights, kept plastic while its classes change.

Usage:
    python examples/05_flax_nnx.py [--tasks 5] [--steps 200]
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx

import pliant


class MLP(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(16, 64, rngs=rngs)
        self.second = nnx.Linear(64, 64, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.second(nnx.relu(self.first(x)))))


def main(tasks: int = 5, steps: int = 200):
    structure, params = nnx.split(MLP(nnx.Rngs(0)))

    def apply(params, x):
        return nnx.merge(structure, params)(x)

    wiring = pliant.trace(apply, params, jnp.ones((1, 16)))  # line 1: find the hidden units
    tx = pliant.plastic(optax.adam(1e-3), pliant.continual_backprop(wiring, replacement_rate=1e-3))  # line 2
    print(wiring.describe())

    @jax.jit
    def step(params, state, x, y):
        def loss(params):
            logits, features = wiring.apply(params, x)  # in place of apply(params, x)
            return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean(), features

        (error, features), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = tx.update(grads, state, params, features=features)
        return optax.apply_updates(params, updates), state, error

    state, rng = tx.init(params), np.random.default_rng(0)
    for task in range(1, tasks + 1):
        classes, errors = rng.normal(size=(10, 16)), []
        for y in rng.integers(10, size=(steps, 32)):
            params, state, error = step(params, state, classes[y] + 0.5 * rng.normal(size=(32, 16)), y)
            errors.append(error)
        replaced = sum(optax.tree.get(state, "replaced").values())
        print(f"task {task}: loss {errors[0]:.3f} -> {np.mean(errors[-20:]):.3f} ({replaced} units reinitialized)")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
