"""A flax linen MLP with LayerNorm, in a `TrainState`, kept plastic while its ten classes change from task to task.

Usage:
    python examples/02_flax_linen_mlp.py [--tasks 5] [--steps 200]
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax.training.train_state import TrainState

import pliant


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        for units in (64, 64):
            x = nn.relu(nn.LayerNorm()(nn.Dense(units)(x)))
        return nn.Dense(10)(x)


def main(tasks: int = 5, steps: int = 200):
    model, x, y = MLP(), jnp.ones((1, 16)), jnp.zeros(1, int)
    params = model.init(jax.random.key(0), x)

    def loss(params, x, y):
        return optax.losses.softmax_cross_entropy_with_integer_labels(model.apply(params, x), y).mean()

    wiring = pliant.trace(loss, params, x, y)  # line 1: find the hidden units
    tx = pliant.plastic(optax.adam(1e-3), pliant.continual_backprop(wiring, replacement_rate=1e-3))  # line 2
    print(wiring.describe())  # "coupled": by LayerNorm a reinitialized unit changes the other units of its layer

    state = TrainState.create(apply_fn=model.apply, params=params, tx=tx)

    @jax.jit
    def step(state, x, y):
        error, grads = pliant.value_and_grad(wiring.apply)(state.params, x, y)  # line 3: not jax.value_and_grad(loss)
        return state.apply_gradients(grads=grads), error

    rng = np.random.default_rng(0)
    for task in range(1, tasks + 1):
        classes, errors = rng.normal(size=(10, 16)), []
        for y in rng.integers(10, size=(steps, 32)):
            state, error = step(state, classes[y] + 0.5 * rng.normal(size=(32, 16)), y)
            errors.append(error)
        replaced = sum(pliant.replacements(state.opt_state).values())
        print(f"task {task}: loss {errors[0]:.3f} -> {np.mean(errors[-20:]):.3f} ({replaced} units reinitialized)")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
