"""Two lines keep a network able to learn: in each task it memorizes the same inputs with new random labels.

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


def main(tasks: int = 30, steps: int = 200):
    params = init(jax.random.key(0), 16, 32, 32, 10)
    x = jax.random.normal(jax.random.key(1), (100, 16))

    plain = optax.with_extra_args_support(optax.adam(3e-3))
    wiring = pliant.trace(apply, params, x)  # line 1: find the hidden units
    plastic = pliant.plastic(optax.adam(3e-3), pliant.continual_backprop(wiring, replacement_rate=1e-3))  # line 2
    print(wiring.describe())

    def learn(tx, params, state, y):
        def loss(params):
            logits, features = wiring.apply(params, x)  # in place of apply(params, x)
            return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean(), features

        def step(carry, _):
            params, state = carry
            (error, features), grads = jax.value_and_grad(loss, has_aux=True)(params)
            updates, state = tx.update(grads, state, params, features=features)
            return (optax.apply_updates(params, updates), state), error

        (params, state), errors = jax.lax.scan(step, (params, state), length=steps)
        return params, state, errors[-1]

    learn = jax.jit(learn, static_argnums=0)
    plain_params, plain_state, plastic_params, plastic_state = params, plain.init(params), params, plastic.init(params)
    for task in range(1, tasks + 1):
        y = jax.random.randint(jax.random.key(task), (100,), 0, 10)
        plain_params, plain_state, plain_loss = learn(plain, plain_params, plain_state, y)
        plastic_params, plastic_state, plastic_loss = learn(plastic, plastic_params, plastic_state, y)
        replaced = sum(optax.tree.get(plastic_state, "replaced").values())
        print(f"task {task}: loss {plain_loss:.3f} plain, {plastic_loss:.3f} plastic ({replaced} units reinitialized)")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
