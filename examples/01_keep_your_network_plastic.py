"""Three lines keep a network able to learn: in each task it memorizes the same inputs with new random labels.

Usage:
    python examples/01_keep_your_network_plastic.py [--tasks 30] [--steps 200]
"""

import jax
import jax.numpy as jnp
import optax
import tyro

import pliant


def init(key, *sizes):
    pairs = zip(jax.random.split(key, len(sizes)), sizes, sizes[1:])
    return [{"w": jax.random.normal(key, (m, n)) * (2 / m) ** 0.5, "b": jnp.zeros(n)} for key, m, n in pairs]


def apply(params, x):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def loss(params, x, y):
    return optax.losses.softmax_cross_entropy_with_integer_labels(apply(params, x), y).mean()


def main(tasks: int = 30, steps: int = 200):
    params = init(jax.random.key(0), 16, 32, 32, 10)
    x, y = jax.random.normal(jax.random.key(1), (100, 16)), jnp.zeros(100, int)

    plain = pliant.plastic(optax.adam(3e-3))  # without a method it is the optimizer
    wiring = pliant.trace(loss, params, x, y)  # line 1: find the hidden units
    plastic = pliant.plastic(optax.adam(3e-3), pliant.continual_backprop(wiring, replacement_rate=1e-3))  # line 2
    print(wiring.describe())

    def learn(tx, params, state, y):
        def step(carry, _):
            params, state = carry
            error, grads = pliant.value_and_grad(wiring.apply)(params, x, y)  # line 3: not jax.value_and_grad(loss)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), error

        (params, state), errors = jax.lax.scan(step, (params, state), length=steps)
        return params, state, errors[-1]

    learn = jax.jit(learn, static_argnums=0)
    plain_params, plain_state, plastic_params, plastic_state = params, plain.init(params), params, plastic.init(params)
    for task in range(1, tasks + 1):
        y = jax.random.randint(jax.random.key(task), (100,), 0, 10)
        plain_params, plain_state, plain_loss = learn(plain, plain_params, plain_state, y)
        plastic_params, plastic_state, plastic_loss = learn(plastic, plastic_params, plastic_state, y)
        replaced = sum(pliant.replacements(plastic_state).values())
        print(f"task {task}: loss {plain_loss:.3f} plain, {plastic_loss:.3f} plastic ({replaced} units reinitialized)")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
