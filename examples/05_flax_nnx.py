"""A flax nnx module in an `nnx.Optimizer`, kept plastic while its classes change.

Usage:
    python examples/05_flax_nnx.py [--tasks 5] [--steps 200]
"""

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


def loss(model, x, y):
    return optax.losses.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


def main(tasks: int = 5, steps: int = 200):
    model, x, y = MLP(nnx.Rngs(0)), jnp.ones((1, 16)), jnp.zeros(1, int)

    def of_state(state, x, y):
        return loss(nnx.merge(nnx.graphdef(model), state), x, y)

    wiring = pliant.trace(of_state, nnx.state(model), x, y)  # line 1: find the hidden units
    tx = pliant.plastic(optax.adam(1e-3), pliant.continual_backprop(wiring, replacement_rate=1e-3))  # line 2
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    print(wiring.describe())

    @nnx.jit
    def step(model, optimizer, x, y):
        error, grads = pliant.value_and_grad(wiring.apply)(nnx.state(model), x, y)  # line 3: not nnx.value_and_grad
        optimizer.update(model, grads.tree, features=grads.features)  # line 4
        return error

    rng = np.random.default_rng(0)
    for task in range(1, tasks + 1):
        classes, errors = rng.normal(size=(10, 16)), []
        for y in rng.integers(10, size=(steps, 32)):
            errors.append(step(model, optimizer, classes[y] + 0.5 * rng.normal(size=(32, 16)), y))
        replaced = sum(pliant.replacements(nnx.as_pure(optimizer.opt_state)).values())
        print(f"task {task}: loss {errors[0]:.3f} -> {np.mean(errors[-20:]):.3f} ({replaced} units reinitialized)")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
