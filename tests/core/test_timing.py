import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trees
from surgeries import adding, missing, recreating, trajectory

from pliant.core.base import Edit, Surgery, stateless_surgery
from pliant.core.clock import Clock
from pliant.core.plastic import plastic
from pliant.core.timing import each_task, every, restart, until
from pliant.methods import redo, shrink_and_perturb
from pliant.surgery.adam import adam

ZERO, ONE = np.zeros(()), np.ones(())
WIRING, PARAMS = hand_wired.mlp(3, 4, 2), hand_wired.params(3, 4, 2)
ONES = jax.tree.map(np.ones_like, PARAMS)

# every and until


def test_every_acts_at_multiples_of_the_period():
    params, state = trajectory(plastic(optax.sgd(0.0), every(3, adding(1.0))), ZERO, ZERO, 6)
    np.testing.assert_array_equal(params, [0, 0, 1, 1, 1, 2])
    (method,) = state.after
    np.testing.assert_array_equal(method.count, [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(method.inner, [0, 0, 1, 1, 1, 2])


def test_until_acts_during_the_first_steps():
    for steps, expected in [(2, [1, 2, 2, 2]), (0, [0, 0, 0, 0])]:
        params, _ = trajectory(plastic(optax.sgd(0.0), until(steps, adding(1.0))), ZERO, ZERO, 4)
        np.testing.assert_array_equal(params, expected)


def test_the_step_may_come_as_a_signal():
    tx = plastic(optax.sgd(0.0), every(4, adding(1.0)), until(6, adding(10.0)))
    update = jax.jit(lambda params, step: tx.update(params, tx.init(params), params, clock=Clock(step))[0])
    np.testing.assert_allclose([update(ZERO, s) for s in (4, 5, 8)], [11, 10, 1])


def test_gradient_pieces_and_tuples_too():
    # At even steps the gradient of 1 counts ten times and the surgery adds 100; until step 3 it doubles.
    method = every(2, (optax.scale(10.0), adding(100.0)))
    params, _ = trajectory(plastic(optax.sgd(1.0), method, until(3, optax.scale(2.0))), ZERO, ONE, 4)
    np.testing.assert_allclose(params, [-2, -2 - 20 + 100, 76, 76 - 10 + 100])


def test_a_gradient_piece_keeps_its_state_in_between():
    # A trace of gradients that is fed at steps 2 and 4 only: 1, then 1 + 0.5.
    _, state = trajectory(plastic(optax.sgd(0.0), every(2, optax.trace(0.5))), ZERO, ONE, 4)
    np.testing.assert_allclose(state.before[0].inner.trace, [0, 1, 1, 1.5])


def test_every_passes_signals_on_and_resets_the_optimizer_state_when_it_acts():
    # Momentum of gradients of 1 is 1, then 1.9, which the surgery resets at step 2, and 1 again.
    tx = plastic(optax.sgd(0.1, 0.9), every(2, recreating(WIRING, at=1)))
    _, state = trajectory(tx, PARAMS, ONES, 3)
    np.testing.assert_allclose(optax.tree.get(state.optimizer, "trace")["b0"][:, 1], [1, 0, 1])


@pytest.mark.parametrize("wrap", [lambda surgery: every(1, surgery), lambda surgery: restart([99], surgery)])
def test_a_surgery_stays_before_the_step(wrap):
    # 0 plus 1, then the step from there: 1 - 0.5 * 1 * 1 with the decay's gradient of 0.5 * 1.
    surgery = wrap(adding(1.0)._replace(before_step=True))
    tx = plastic(optax.sgd(1.0), optax.stateless(lambda g, w: 0.5 * w), surgery)
    params, _ = trajectory(tx, ZERO, ZERO, 1, clock=Clock(1, 0))
    np.testing.assert_allclose(params, [0.5])


def test_every_passes_resets_of_counts_on():
    # Per-weight counts 1 and 2, of which the surgery resets the second weight's at step 2.
    def resetting(params, **signals):
        return Edit(params, reset_count=jnp.array([False, True]))

    tx = plastic(adam(0.1), every(2, stateless_surgery(resetting)))
    _, state = trajectory(tx, np.ones(2), np.ones(2), 3)
    np.testing.assert_array_equal(optax.tree.get(state.optimizer, "count"), [[1, 1], [2, 0], [3, 1]])


def conditionals(jaxpr):
    """The equations named `cond` in a jaxpr, at any depth."""
    found = []
    for eqn in jaxpr.eqns:
        found += [eqn] if eqn.primitive.name == "cond" else []
        for value in eqn.params.values():
            if hasattr(value, "jaxpr"):
                found += conditionals(value.jaxpr)
    return found


def test_idle_steps_stay_free_under_vmap_if_the_step_is_not_mapped():
    surgery = every(100, recreating(WIRING, at=1))
    params, keys = trees.stacked([PARAMS] * 3), trees.keys(range(3))
    state = trees.numpy(jax.jit(jax.vmap(surgery.init))(params))

    def operate(params, state, key, step):
        return surgery.operate(params, state, random=key, clock=Clock(step))

    shared = jax.vmap(operate, (0, 0, 0, None))
    (choice,) = conditionals(jax.make_jaxpr(shared)(params, state, keys, 1).jaxpr)
    sizes = sorted(len(branch.jaxpr.eqns) for branch in choice.params["branches"])
    assert sizes[0] <= 2 * len(jax.tree.leaves(params)) < sizes[1]  # idle: only zero masks
    edit, _ = trees.numpy(jax.jit(shared)(params, state, keys, 100))
    assert not edit.params["w1"][:, 1].any()
    mapped = jax.make_jaxpr(jax.vmap(operate))(params, state, keys, np.ones(3, int))
    assert not conditionals(mapped.jaxpr)  # then each member chooses for itself, and the choice is a select


def test_periods_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"^every\(n=0, ...\): n is a whole number of steps, at least 1$"):
        every(0, adding(1.0))
    with pytest.raises(ValueError, match=r"^until\(n=-1, ...\): n is a whole number of steps, at least 0$"):
        until(-1, adding(1.0))


@pytest.mark.parametrize("n", [1, np.int64(1), np.array(1)])
def test_a_period_of_1_is_the_method_itself(n):
    method = adding(1.0)
    assert every(n, method) is method


# restart


def rounds_of(tx, rounds=6, each=4):
    """The states after each of some rounds of one update, `each` steps of the problem apiece, and the parameters."""

    def update(carry, number):
        params, state = carry
        params, state = tx.step(jnp.ones(()), state, params, clock=Clock(number, each * number), weather="fine")
        return (params, state), (params, state.before, state.after)

    params = np.zeros((), np.float32)
    return jax.lax.scan(update, (params, tx.init(params)), np.arange(rounds))[1]


@pytest.mark.parametrize(
    ("at", "tasks", "counts"),
    [
        # Rounds begin after 0, 4, 8, 12, 16 and 20 steps; the surgery counts how often it acted.
        ([], [0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]),
        ([8], [0, 0, 1, 1, 1, 1], [1, 2, 1, 2, 3, 4]),  # the round after 8 steps is the first of the new task
        ([9], [0, 0, 0, 1, 1, 1], [1, 2, 3, 1, 2, 3]),
        ([5, 16], [0, 0, 1, 1, 2, 2], [1, 2, 1, 2, 1, 2]),
        ([5, 7], [0, 0, 2, 2, 2, 2], [1, 2, 1, 2, 3, 4]),  # two restarts within a round are one
        ([100], [0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]),
    ],
)
def test_a_method_restarts_at_the_first_update_at_or_after_a_step(at, tasks, counts):
    params, _, (state,) = jax.jit(lambda: rounds_of(plastic(optax.sgd(0.0), restart(at, adding(1.0)))))()
    np.testing.assert_array_equal(state.task, tasks)
    np.testing.assert_array_equal(state.inner, counts)
    np.testing.assert_array_equal(params, [1, 2, 3, 4, 5, 6])  # its edits of the weights stay


def test_a_gradient_piece_and_a_tuple_restart():
    # A trace of gradients of 1 is 1, 1.5, 1.75, and then 1, 1.5, 1.75 again.
    tx = plastic(optax.sgd(1.0), restart([12], (optax.trace(0.5), (adding(0.0), optax.scale(2.0)))))
    params, (trace, _), (count,) = jax.jit(lambda: rounds_of(tx))()
    np.testing.assert_allclose(trace.inner.trace, [1, 1.5, 1.75] * 2)
    np.testing.assert_array_equal(count.inner, [1, 2, 3] * 2)
    np.testing.assert_allclose(params, -2 * np.cumsum([1, 1.5, 1.75] * 2))


def test_members_restart_at_steps_of_their_own():
    def counts(at):
        return rounds_of(plastic(optax.sgd(0.0), restart(at[None], adding(1.0))))[2][0].inner

    together = jax.jit(jax.vmap(counts))(np.array([8, 16]))
    np.testing.assert_array_equal(together, [[1, 2, 1, 2, 3, 4], [1, 2, 3, 4, 1, 2]])


@pytest.mark.usefixtures("unchecked")
def test_restart_passes_draws_and_signals_on():
    def noise(params, state, *, random, features, clock, **signals):
        return Edit(random + features + clock.step), state

    surgery = Surgery(lambda params: (), noise, lambda key, params, steps: jnp.arange(10.0, 10 + steps))
    tx = plastic(optax.sgd(0.0), restart([1], surgery))

    @jax.jit
    def run(params):
        drawn = tx.draw(jax.random.key(0), params, 3)
        random = jax.tree.map(lambda numbers: numbers[2], drawn)
        return drawn, tx.step(params, tx.init(params), params, random=random, features=0.5, clock=Clock(1, 100))

    drawn, (new, state) = run(ZERO)
    np.testing.assert_array_equal(drawn[0], [10, 11, 12])
    assert new == 112.5 and state.after[0].task == 1 and state.after[0].inner == ()
    with pytest.raises(TypeError, match=r"^a method needs the signal 'clock', which update"):
        jax.eval_shape(lambda params: tx.step(params, tx.init(params), params, features=0.5), ZERO)


# Topologies


def test_every_and_until_refuse_a_topology():
    for combinator in (every, until):
        with pytest.raises(
            ValueError, match=r"^every and until do not take a topology, .*; write the topology's own period"
        ):
            combinator(3, (adding(1.0), missing(1)))


def test_a_topology_can_restart():
    # It restarts after 2 steps: then it counts from 0 again, and skips at its second step once more.
    tx = plastic(optax.sgd(1.0), restart([2], missing(1, skip_at=2)))

    def step(carry, before):
        params, state = tx.step(jnp.ones(3), carry[1], carry[0], clock=Clock(1, before))
        return (params, state), (params[0], state.after[0].inner[0])

    @jax.jit
    def run(params):
        params = tx.prepare(params)
        (_, state), values = jax.lax.scan(step, (params, tx.init(params)), jnp.arange(5))
        return values, tx.mask(jnp.ones(3), state)

    (params, counts), copy = run(np.zeros(3))
    assert params.tolist() == [-1, -1, -2, -2, -3] and counts.tolist() == [1, 2, 1, 2, 3]
    assert copy.tolist() == [1, 0, 1]


# each_task


def begun(tx, params, state, task=1):
    """Parameters and state after the border before a task."""
    return jax.jit(tx.begin_task)(params, state, Clock(update=4, task=task, task_update=1))


def test_each_task_acts_before_the_first_update_of_a_task_whatever_the_period():
    tx = plastic(optax.sgd(0.0), each_task(every(3, adding(1.0))), adding(10.0))
    params, state = trajectory(tx, ZERO, ZERO, 3)
    np.testing.assert_array_equal(params, [10, 20, 30])
    params, state = begun(tx, ZERO, jax.tree.map(lambda x: np.asarray(x)[-1], state))
    assert float(params) == 1 and [float(state.after[0].inner), float(state.after[1])] == [1, 3]


def test_the_surgeries_of_a_tuple_act_and_its_gradient_pieces_at_every_step():
    # Weight decay of 0.5 with a learning rate of 1: 4, 2. The border then shrinks to a quarter.
    tx = plastic(optax.sgd(1.0), each_task(shrink_and_perturb(shrink=0.25, perturb_scale=0.0, weight_decay=0.5)))
    params, state = trajectory(tx, np.float32(8), ZERO, 2)
    np.testing.assert_array_equal(params, [4, 2])
    params, _ = begun(tx, np.float32(2), jax.tree.map(lambda x: np.asarray(x)[-1], state))
    assert float(params) == 0.5


def test_a_method_of_each_task_restarts_but_has_no_period():
    # One is added at the border. The count restarts, since the border is at step 50.
    tx = plastic(optax.sgd(0.0), restart([50], each_task(adding(1.0))))
    state = tx.init(ZERO)
    clocks = [Clock(update=4, step=step, task=1, task_update=1) for step in (10, 20, 50)]
    begin = jax.jit(tx.begin_task)
    for clock, count in zip(clocks, [1, 2, 1]):
        params, state = begin(ZERO, state, clock)
        assert float(params) == 1 and int(state.after[0].inner) == count
    for combinator in (every, until):
        with pytest.raises(ValueError, match=r"^every and until do not take a method of each_task, which acts at "):
            combinator(3, each_task(adding(1.0)))


@pytest.mark.parametrize(("reset_moments", "left"), [(True, 0), (False, 1)])
def test_each_task_resets_the_moments_of_fresh_weights(reset_moments, left):
    tx = plastic(optax.sgd(0.1, 0.9), each_task(recreating(WIRING, at=1)), reset_moments=reset_moments)
    _, states = trajectory(tx, PARAMS, ONES, 1)
    params, state = begun(tx, PARAMS, jax.tree.map(lambda x: np.asarray(x)[-1], states))
    assert optax.tree.get(state.optimizer, "trace")["b0"].tolist() == [1, left, 1, 1]
    assert not np.asarray(params["w1"])[1].any() and np.asarray(params["w1"])[0].all()


def test_each_task_draws_anew_for_every_task():
    noise = stateless_surgery(lambda params, *, random, **signals: Edit(jax.random.normal(random)))
    tx = plastic(optax.sgd(0.0), each_task(noise))
    first, state = begun(tx, ZERO, tx.init(ZERO))
    assert float(first) != float(begun(tx, ZERO, state)[0])


def test_an_update_begins_with_what_acts_before_the_first_of_a_task():
    tx = plastic(optax.sgd(0.0), each_task(adding(1.0)), missing(1))

    @jax.jit
    def numbers(state):
        def at(number):
            return tx.before_update(jnp.zeros(3), state, Clock(update=7, task_update=number))[0]

        return jax.lax.map(at, jnp.array([1, 2, 1, 2]))

    # One is added at the first update of each task; the weight without which the network is stays 0.
    np.testing.assert_array_equal(numbers(tx.init(np.zeros(3))), [[1, 0, 1], [0, 0, 0]] * 2)


def test_without_each_task_nothing_begins():
    tx = plastic(optax.sgd(0.0), adding(1.0))
    assert tx.begin_task is None
    begun = ZERO, tx.init(ZERO)
    assert tx.before_update(*begun, Clock(update=1, task_update=1)) == begun


@pytest.mark.parametrize(
    ("method", "error"),
    [
        (optax.scale(2.0), "^each_task takes a surgery, such as head_reset or shrink_and_perturb$"),
        ((adding(1.0), missing(1)), "^each_task takes a surgery, such as head_reset or shrink_and_perturb$"),
        ((optax.scale(2.0),), "^each_task takes a surgery, such as head_reset or shrink_and_perturb; this has none$"),
        (
            every(2, redo(WIRING)),
            "^a method that needs the features of a batch acts after updates, not between tasks; ",
        ),
    ],
)
def test_each_task_refuses(method, error):
    with pytest.raises(ValueError, match=error):
        each_task(method)
