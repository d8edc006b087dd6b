"""A flax linen MLP with LayerNorm, kept plastic while its ten classes change from task to task.

Usage:
    python examples/02_flax_linen_mlp.py [--tasks 5] [--steps 200]
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import pliant


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        for units in (64, 64):
            x = nn.relu(nn.LayerNorm()(nn.Dense(units)(x)))
        return nn.Dense(10)(x)


def main(tasks: int = 5, steps: int = 200):
    model = MLP()
    params = model.init(jax.random.key(0), jnp.ones((1, 16)))

    wiring = pliant.trace(model.apply, params, jnp.ones((1, 16)))  # line 1: find the hidden units
    tx = pliant.plastic(optax.adam(1e-3), pliant.continual_backprop(wiring, replacement_rate=1e-3))  # line 2
    print(wiring.describe())  # "coupled": by LayerNorm a reinitialized unit changes the other units of its layer

    @jax.jit
    def step(params, state, x, y):
        def loss(params):
            logits, features = wiring.apply(params, x)  # in place of model.apply(params, x)
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
