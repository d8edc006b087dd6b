"""Methods whose effect can be told beforehand, and loops to train with them."""

import jax
import jax.numpy as jnp
import optax

from pliant.core.base import Edit, Surgery, Topology
from pliant.surgery import recreation


def recreating(wiring, *, group="w0", unit=1, at=3):
    """A surgery that reinitializes one unit at one step, counted from 1."""

    def operate(params, state, *, random, **signals):
        step = state + 1
        chosen = {group: jnp.where(step == at, jnp.array([unit]), wiring[group].units)}
        return recreation.recreate(params, wiring, chosen, random), step

    return Surgery(
        lambda params: jnp.zeros((), jnp.int32),
        operate,
        lambda key, params, steps: recreation.draw_rows(key, params, wiring, 1, steps),
    )


def adding(amount):
    """A surgery that adds to every weight, and counts how often it did."""

    def operate(params, state, *, random, **signals):
        return Edit(jax.tree.map(lambda w: w + amount, params)), state + 1

    return Surgery(lambda params: jnp.zeros((), jnp.int32), operate)


def missing(entry, *, skip_at=0, reset_count=False):
    """A topology without one entry of a vector, which skips the optimizer at one step and remembers the gradients."""

    def without(params):
        return jnp.where(jnp.arange(3) == entry, 0, params)

    def before(grads, params, state, *, random, **signals):
        count, _ = state
        return without(grads), count + 1 == skip_at, (count + 1, grads)

    def after(params, state, *, random, **signals):
        every_weight = jnp.ones(1, bool) if reset_count else None
        return Edit(without(params), None, every_weight), state

    def init(params):
        return jnp.int32(0), jnp.zeros_like(params)

    return Topology(init, lambda params, state: without(params), before, after)


def path_of(tx, params, grads, steps, **signals):
    """Parameters and state after each of some steps with constant gradients; not compiled."""

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(grads, state, params, **signals)
        carry = optax.apply_updates(params, updates), state
        return carry, carry

    return jax.lax.scan(step, (params, tx.init(params)), length=steps)[1]


def trajectory(tx, params, grads, steps, **signals):
    """As `path_of`, in one compiled loop."""

    def run(params, grads, signals):
        return path_of(tx, params, grads, steps, **signals)

    return jax.jit(run)(params, grads, signals)


def train(tx, params, grads, steps, **signals):
    """Parameters and state after some steps with constant gradients, in one compiled loop."""

    def last(params, grads, signals):
        return jax.tree.map(lambda leaf: leaf[-1], path_of(tx, params, grads, steps, **signals))

    return jax.jit(last)(params, grads, signals)
