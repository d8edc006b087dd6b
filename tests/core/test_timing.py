import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from surgeries import adding, missing, recreating, train

from pliant.core.base import Edit, Surgery, plastic
from pliant.core.timing import EveryState, RestartState, every, restart, until

# every and until


def test_every_acts_at_multiples_of_the_period():
    for steps, expected in [(2, 0.0), (3, 1.0), (5, 1.0), (6, 2.0)]:
        params, state = train(plastic(optax.sgd(0.0), every(3, adding(1.0))), jnp.zeros(()), jnp.zeros(()), steps)
        assert params == expected and state.after == (EveryState(steps, int(expected)),)


def test_until_acts_during_the_first_steps():
    for steps, expected in [(1, 1.0), (2, 2.0), (5, 2.0)]:
        params, _ = train(plastic(optax.sgd(0.0), until(2, adding(1.0))), jnp.zeros(()), jnp.zeros(()), steps)
        assert params == expected
    params, _ = train(plastic(optax.sgd(0.0), until(0, adding(1.0))), jnp.zeros(()), jnp.zeros(()), 3)
    assert params == 0


def test_the_step_may_come_as_a_signal():
    tx = plastic(optax.sgd(0.0), every(4, adding(1.0)), until(6, adding(10.0)))
    params = jnp.zeros(())
    update = jax.jit(lambda params, state, step: tx.update(params, state, params, step=step)[0])
    np.testing.assert_allclose([update(params, tx.init(params), s) for s in (4, 5, 8)], [11, 10, 1])


def test_gradient_pieces_and_tuples_too():
    # At even steps the gradient of 1 counts ten times and the surgery adds 100; until step 3 it doubles.
    method = every(2, (optax.scale(10.0), adding(100.0)))
    tx = plastic(optax.sgd(1.0), method, until(3, optax.scale(2.0)))
    for steps, expected in [(1, -2), (2, -2 - 20 + 100), (3, 76), (4, 76 - 10 + 100)]:
        params, _ = train(tx, jnp.zeros(()), jnp.ones(()), steps)
        np.testing.assert_allclose(params, expected)


def test_a_gradient_piece_keeps_its_state_in_between():
    # A trace of gradients that is fed at steps 2 and 4 only: 1, then 1 + 0.5.
    tx = plastic(optax.sgd(0.0), every(2, optax.trace(0.5)))
    for steps, expected in [(1, 0.0), (3, 1.0), (4, 1.5)]:
        _, state = train(tx, jnp.zeros(()), jnp.ones(()), steps)
        np.testing.assert_allclose(state.before[0].inner.trace, expected)


def test_every_passes_signals_on_and_clears_memory_when_it_acts(key):
    wiring, params = hand_wired.mlp(3, 4, 2), hand_wired.initializer(3, 4, 2)(key)
    tx = plastic(optax.sgd(0.1, 0.9), every(2, recreating(wiring, at=1)))
    for steps, expected in [(1, 1.0), (2, 0.0), (3, 1.0)]:
        _, state = train(tx, params, jax.tree.map(jnp.ones_like, params), steps)
        np.testing.assert_allclose(optax.tree.get(state.optimizer, "trace")["b0"][1], expected)


def conditionals(jaxpr):
    """The equations named `cond` in a jaxpr, at any depth."""
    found = []
    for eqn in jaxpr.eqns:
        found += [eqn] if eqn.primitive.name == "cond" else []
        for value in eqn.params.values():
            if hasattr(value, "jaxpr"):
                found += conditionals(value.jaxpr)
    return found


def test_idle_steps_stay_free_under_vmap_if_the_step_is_not_mapped(key):
    wiring, initialize = hand_wired.mlp(3, 4, 2), hand_wired.initializer(3, 4, 2)
    surgery = every(100, recreating(wiring, at=1))
    params = jax.vmap(initialize)(jax.random.split(key, 3))
    state = jax.vmap(surgery.init)(params)

    def operate(params, state, key, step):
        return surgery.operate(params, state, random=key, step=step)

    shared = jax.vmap(operate, (0, 0, 0, None))
    (choice,) = conditionals(jax.make_jaxpr(shared)(params, state, jax.random.split(key, 3), 1).jaxpr)
    sizes = sorted(len(branch.jaxpr.eqns) for branch in choice.params["branches"])
    assert sizes[0] <= 2 * len(jax.tree.leaves(params)) < sizes[1]  # idle: only zero masks
    counting = jax.vmap(operate, (0, 0, 0, None))
    (edit, _) = jax.jit(counting)(params, state, jax.random.split(key, 3), 100)
    assert not edit.params["w1"][:, 1].any()
    mapped = jax.make_jaxpr(jax.vmap(operate))(params, state, jax.random.split(key, 3), jnp.ones(3, int))
    assert not conditionals(mapped.jaxpr)  # then each member chooses for itself, and the choice is a select


def test_periods_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"^every\(n=0, ...\): n is a number of steps, at least 1$"):
        every(0, adding(1.0))
    with pytest.raises(ValueError, match=r"^until\(n=-1, ...\): n is a number of steps, at least 0$"):
        until(-1, adding(1.0))


# anew


def rounds_of(tx, rounds=6, each=4):
    """What every state came to after rounds of one update, `each` steps of the problem apiece, and the parameters."""

    def update(carry, number):
        params, state = carry
        params, state = tx.step(jnp.ones(()), state, params, steps_before=each * number, weather="fine")
        return (params, state), (params, state.before, state.after)

    params = jnp.zeros(())
    return jax.jit(lambda: jax.lax.scan(update, (params, tx.init(params)), jnp.arange(rounds))[1])()


@pytest.mark.parametrize(
    ("at", "tasks", "counts"),
    [
        # Rounds begin after 0, 4, 8, 12, 16 and 20 steps; the surgery counts how often it acted.
        ([], [0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]),
        ([8], [0, 0, 1, 1, 1, 1], [1, 2, 1, 2, 3, 4]),  # the round after 8 steps is the first of what is new
        ([9], [0, 0, 0, 1, 1, 1], [1, 2, 3, 1, 2, 3]),
        ([5, 16], [0, 0, 1, 1, 2, 2], [1, 2, 1, 2, 1, 2]),
        ([5, 7], [0, 0, 2, 2, 2, 2], [1, 2, 1, 2, 3, 4]),  # two moments within a round are one
        ([100], [0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]),
    ],
)
def test_a_method_begins_anew_at_the_first_round_after_a_moment(at, tasks, counts):
    params, _, (state,) = rounds_of(plastic(optax.sgd(0.0), restart(at, adding(1.0))))
    np.testing.assert_array_equal(state.task, tasks)
    np.testing.assert_array_equal(state.inner, counts)
    np.testing.assert_array_equal(params, [1, 2, 3, 4, 5, 6])  # what it did to the weights stays


def test_a_gradient_piece_and_a_tuple_begin_anew():
    # A trace of gradients of 1 is 1, 1.5, 1.75, and then 1, 1.5, 1.75 again.
    tx = plastic(optax.sgd(1.0), restart([12], (optax.trace(0.5), (adding(0.0), optax.scale(2.0)))))
    params, (trace, _), (count,) = rounds_of(tx)
    np.testing.assert_allclose(trace.inner.trace, [1, 1.5, 1.75] * 2)
    np.testing.assert_array_equal(count.inner, [1, 2, 3] * 2)
    np.testing.assert_allclose(params, -2 * np.cumsum([1, 1.5, 1.75] * 2))


def test_members_begin_anew_at_moments_of_their_own():
    together = jax.vmap(lambda at: rounds_of(plastic(optax.sgd(0.0), restart(at[None], adding(1.0))))[2][0].inner)
    np.testing.assert_array_equal(together(jnp.array([8, 16])), [[1, 2, 1, 2, 3, 4], [1, 2, 3, 4, 1, 2]])


def test_anew_passes_draws_and_signals_on(key):
    def noise(params, state, *, random, features, steps_before, **signals):
        return Edit(random + features + steps_before), state

    surgery = Surgery(lambda params: (), noise, lambda key, params, steps: jnp.arange(10.0, 10 + steps))
    tx = plastic(optax.sgd(0.0), restart([1], surgery))
    params = jnp.zeros(())
    drawn = tx.draw(key, params, 3)
    np.testing.assert_array_equal(drawn[0], [10, 11, 12])
    new, state = tx.step(params, tx.init(params), params, random=(drawn[0][2],), features=0.5, steps_before=100)
    assert new == 112.5 and state.after == (RestartState(1, ()),)
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'steps_before'"):
        tx.step(params, tx.init(params), params, features=0.5)


# Topologies


def test_every_and_until_refuse_a_topology():
    for combinator in (every, until):
        with pytest.raises(ValueError, match=r"^every and until cannot hold a topology back, .*; write its own period"):
            combinator(3, (adding(1.0), missing(1)))


def test_a_topology_can_begin_anew():
    # The first moment is over after 2 steps: then it counts from 0 again, and skips at its second step once more.
    tx = plastic(optax.sgd(1.0), restart([2], missing(1, skip_at=2)))

    def step(carry, before):
        params, state = tx.step(jnp.ones(3), carry[1], carry[0], steps_before=before)
        return (params, state), (params[0], state.after[0].inner[0])

    params = tx.prepare(jnp.zeros(3))
    (_, state), (params, counts) = jax.jit(lambda: jax.lax.scan(step, (params, tx.init(params)), jnp.arange(5)))()
    assert params.tolist() == [-1, -1, -2, -2, -3] and counts.tolist() == [1, 2, 1, 2, 3]
    assert tx.mask(jnp.ones(3), state).tolist() == [1, 0, 1]
