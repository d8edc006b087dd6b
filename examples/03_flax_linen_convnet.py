"""A flax linen convnet with pooling and a flattened image, kept plastic while its ten classes change from task to task.

Usage:
    python examples/03_flax_linen_convnet.py [--tasks 5] [--steps 100]
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import pliant


class ConvNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        for channels in (16, 32):
            x = nn.max_pool(nn.relu(nn.Conv(channels, (3, 3))(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))  # each of the 32 channels owns four of its rows
        return nn.Dense(10)(x)


def main(tasks: int = 5, steps: int = 100):
    model, x, y = ConvNet(), jnp.ones((1, 8, 8, 3)), jnp.zeros(1, int)
    params = model.init(jax.random.key(0), x)

    def loss(params, x, y):
        return optax.losses.softmax_cross_entropy_with_integer_labels(model.apply(params, x), y).mean()

    wiring = pliant.trace(loss, params, x, y)  # line 1: find the channels and units
    tx = pliant.plastic(optax.adam(1e-3), pliant.continual_backprop(wiring, replacement_rate=1e-3))  # line 2
    print(wiring.describe())

    @jax.jit
    def step(params, state, x, y):
        error, grads = pliant.value_and_grad(wiring.apply)(params, x, y)  # line 3: not jax.value_and_grad(loss)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, error

    state, rng = tx.init(params), np.random.default_rng(0)
    for task in range(1, tasks + 1):
        classes, errors = rng.normal(size=(10, 8, 8, 3)), []
        for y in rng.integers(10, size=(steps, 32)):
            params, state, error = step(params, state, classes[y] + rng.normal(size=(32, 8, 8, 3)), y)
            errors.append(error)
        replaced = sum(pliant.replacements(state).values())
        print(f"task {task}: loss {errors[0]:.3f} -> {np.mean(errors[-20:]):.3f} ({replaced} units reinitialized)")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
