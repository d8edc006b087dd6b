"""A small flax linen ResNet: blocks share channels, and the running statistics of a channel are reset with it.

Usage:
    python examples/04_flax_linen_resnet.py [--tasks 5] [--steps 100]
"""

import flax.linen as nn
import jax
import numpy as np
import optax
import tyro

import pliant


class ResNet(nn.Module):
    @nn.compact
    def __call__(self, x, training):
        def convolve(x, channels, size, stride=1):
            x = nn.Conv(channels, (size, size), stride, use_bias=False)(x)
            return nn.BatchNorm(use_running_average=not training, momentum=0.9)(x)

        x = nn.relu(convolve(x, 16, 3))
        for channels, stride in ((16, 1), (32, 2)):
            y = convolve(nn.relu(convolve(x, channels, 3, stride)), channels, 3)
            x = nn.relu(y + (x if stride == 1 else convolve(x, channels, 1, stride)))
        return nn.Dense(10)(x.mean((1, 2)))


def main(tasks: int = 5, steps: int = 100):
    model, x, y = ResNet(), np.ones((1, 8, 8, 3), np.float32), np.zeros(1, int)
    variables = model.init(jax.random.key(0), x, False)  # {"params": ..., "batch_stats": ...}

    def loss(variables, x, y):
        logits, moved = model.apply(variables, x, True, mutable=["batch_stats"])
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean(), moved

    wiring = pliant.trace(loss, variables, x, y)  # line 1: find the hidden channels
    tx = pliant.plastic(optax.adam(1e-3), pliant.continual_backprop(wiring, replacement_rate=1e-3))  # line 2
    print(wiring.describe())

    @jax.jit
    def step(variables, state, x, y):
        (error, moved), grads = pliant.value_and_grad(wiring.apply, has_aux=True)(variables, x, y)  # line 3
        variables = variables | moved  # before the update, which sets a reinitialized channel's to mean 0, variance 1
        updates, state = tx.update(grads, state, variables)
        return optax.apply_updates(variables, updates), state, error

    state, rng = tx.init(variables), np.random.default_rng(0)
    for task in range(1, tasks + 1):
        classes, errors = rng.normal(size=(10, 8, 8, 3)), []
        for y in rng.integers(10, size=(steps, 32)):
            variables, state, error = step(variables, state, classes[y] + rng.normal(size=(32, 8, 8, 3)), y)
            errors.append(error)
        replaced = sum(pliant.replacements(state).values())
        print(f"task {task}: loss {errors[0]:.3f} -> {np.mean(errors[-20:]):.3f} ({replaced} units reinitialized)")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
