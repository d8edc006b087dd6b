"""An equinox module, filtered for its arrays, kept plastic while its classes change.

Usage:
    python examples/06_equinox.py [--tasks 5] [--steps 200]
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import pliant


def loss(model, x, y):
    return optax.losses.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()


def main(tasks: int = 5, steps: int = 200):
    model = eqx.nn.MLP(in_size=16, out_size=10, width_size=64, depth=2, key=jax.random.key(0))
    x, y = jnp.ones((1, 16)), jnp.zeros(1, int)

    params, rest = eqx.partition(model, eqx.is_inexact_array)  # line 1
    wiring = pliant.trace(lambda w, x, y: loss(eqx.combine(w, rest), x, y), params, x, y)  # line 2
    tx = pliant.plastic(optax.adam(1e-3), pliant.continual_backprop(wiring, replacement_rate=1e-3))  # line 3
    print(wiring.describe())

    @eqx.filter_jit
    def step(model, state, x, y):
        params = eqx.filter(model, eqx.is_inexact_array)
        error, grads = pliant.value_and_grad(wiring.apply)(params, x, y)  # line 4: not eqx.filter_value_and_grad(loss)
        updates, state = tx.update(grads, state, params)
        return eqx.apply_updates(model, updates), state, error

    state, rng = tx.init(params), np.random.default_rng(0)
    for task in range(1, tasks + 1):
        classes, errors = rng.normal(size=(10, 16)), []
        for y in rng.integers(10, size=(steps, 32)):
            model, state, error = step(model, state, classes[y] + 0.5 * rng.normal(size=(32, 16)), y)
            errors.append(error)
        replaced = sum(pliant.replacements(state).values())
        print(f"task {task}: loss {errors[0]:.3f} -> {np.mean(errors[-20:]):.3f} ({replaced} units reinitialized)")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
