"""Rewire, by hand: what acts, what stays, and what is drawn."""

import functools

import hand_wired
import jax
import numpy as np
import pytest
import trees

from pliant.continual import rewire
from pliant.core.clock import Clock, Task
from pliant.core.continual import DenseLayers, Memory
from pliant.core.likelihood import unit_normal

CLOCK = Clock(1)
SIZES, HIDDEN = (4, 7, 7, 7, 3), ("Dense_0", "Dense_1", "Dense_2")
X = trees.normal(1, 6, 4)


def dense_layers(key, sizes):
    params = hand_wired.initializer(*sizes)(key)
    return {f"Dense_{i}": {"kernel": params[f"w{i}"], "bias": params[f"b{i}"]} for i in range(len(sizes) - 1)}


def layers(*sizes):
    return DenseLayers(sizes, jax.nn.relu, dense_layers, lambda numbers: numbers, "actor")


def method_for(tasks=3, sizes=SIZES, **settings):
    return rewire(tuple(Task(f"{k}", k + 1) for k in range(tasks)), unit_normal, layers(*sizes), **settings)


METHOD = method_for(cycle=2)


def some_params(seed=0):
    return trees.random_like(jax.eval_shape(METHOD.network.init, trees.key(0)), seed)


def act(method, params, route, key, greedy):
    is_first = np.zeros(len(X), bool)
    _, outputs, _ = method.network.act(params, route, (), X, is_first=is_first, key=key, greedy=greedy)
    return outputs


@jax.jit
def on_task(params, state, task):
    return act(METHOD, params, METHOD.network.route(state, task), jax.random.key(0), greedy=True)


@jax.jit
def in_mode(params, state, mode):
    state = state._replace(mode=mode)
    return act(METHOD, params, METHOD.network.training_route(state), jax.random.key(0), greedy=True)


init = jax.jit(METHOD.init)
begin_task = jax.jit(functools.partial(METHOD.begin_task, clock=CLOCK, key=trees.key(0)))
end_task = jax.jit(functools.partial(METHOD.end_task, inputs=np.zeros((0, 4)), clock=CLOCK, key=trees.key(0)))


@jax.jit
def choose(params, state, before, scores):
    return METHOD.trial.choose(params, METHOD.trial.standing(state, before), scores, CLOCK)


def reordered(body, z, a):
    """The body Z' W A, Z' b of which the anchor is this one; kernels here are (inputs, outputs)."""
    made = {}
    for name in HIDDEN:
        Z = np.eye(7, dtype=np.float32)[np.argsort(z[name])]
        A = np.eye(7, dtype=np.float32)[np.argsort(a[name])] if name in a else np.eye(4, dtype=np.float32)
        kernel = A.T @ body[name]["kernel"] @ Z
        made[name] = {"kernel": kernel, "bias": Z.T @ body[name]["bias"]}
    return made


def test_a_finished_task_is_kept_where_the_weights_are_the_reordered_anchor():
    params, state = end_task(some_params(), init(some_params()))
    before = on_task(params, state, 0)
    params, state = begin_task(params, state)
    learned = some_params(1)
    params = trees.numpy(params) | {
        "output_scores": learned["output_scores"],
        "input_scores": learned["input_scores"],
        "mode_scores": learned["mode_scores"],
        "body": reordered(trees.numpy(params["body"]), learned["output_scores"], learned["input_scores"]),
    }
    assert trees.differs(on_task(params, state, 0), before)  # the stored wiring is that of the anchor
    np.testing.assert_allclose(on_task(*end_task(params, state), 0), before, rtol=1e-5, atol=1e-6)


def test_modes_that_are_worse_than_before_leave_the_network_before():
    params, state = init_and_two_tasks()
    params, state = begin_task(params, state)  # back to slot 0
    before = on_task(params, state._replace(learns=np.bool_(False)), 0)
    np.testing.assert_array_equal(in_mode(params, state, 2), before)  # all modes begin with its wiring
    learned = some_params(9)
    worse, _ = choose(learned, state, 1.0, np.float32([0.5, 0.99, -3]))
    trees.assert_equal(worse["body"], state.anchor)
    np.testing.assert_array_equal(in_mode(worse, state, 1), before)
    as_good, chosen = choose(learned, state, 1.0, np.float32([0.5, 1, -3]))
    trees.assert_equal(as_good, learned)
    assert chosen.mode == 1


def init_and_two_tasks():
    params, state = end_task(some_params(), init(some_params()))
    params, state = begin_task(params, state)
    learned = some_params(2) | {"heads": trees.numpy(params["heads"])}
    return end_task(learned, state)


def test_a_task_in_training_is_played_by_its_modes_and_finished_tasks_by_their_slots():
    params, state = init_and_two_tasks()
    params, state = begin_task(params, state)
    params = trees.numpy(params) | {"mode_scores": some_params(5)["mode_scores"]}
    np.testing.assert_array_equal(on_task(params, state, 2), in_mode(params, state, state.mode))
    finished = state._replace(learns=np.bool_(False))
    np.testing.assert_array_equal(on_task(params, finished, 2), on_task(params, state, 0))
    assert trees.differs(on_task(params, state, 1), on_task(params, state, 0))


def test_environments_of_a_trial_play_the_modes_in_turn():
    params, state = some_params(3), init(some_params())
    outputs = [np.asarray(in_mode(params, state, mode)) for mode in range(3)]
    together = jax.jit(
        lambda params, state, first: act(
            METHOD, params, METHOD.trial.route(state, first), jax.random.key(0), greedy=True
        )
    )(params, state, 2)
    expected = [outputs[(2 + env) % 3][env] for env in range(len(X))]
    np.testing.assert_allclose(together, expected, atol=1e-6)


def test_only_the_head_of_the_task_moves():
    params, state = some_params(), init(some_params())
    state = state._replace(finished=np.int32(3))  # slot 1 of 2
    moved = some_params(1)
    kept = jax.jit(METHOD.project)(moved, state, params)
    expected = jax.tree.map(lambda new, old: np.stack([old[0], new[1]]), moved["heads"], params["heads"])
    trees.assert_equal(kept, moved | {"heads": expected})


@pytest.mark.parametrize(("noise", "drops"), [(0.0, True), (0.1, False)])
def test_units_drop_out_where_there_is_no_noise(noise, drops):
    method = method_for(sizes=(4, 300, 200, 3), noise=noise, dropout=0.25)
    params = trees.random_like(jax.eval_shape(method.network.init, trees.key(0)))

    @jax.jit
    def program(params, key):
        state = method.init(params)
        route = method.network.training_route(state)
        draws = jax.vmap(lambda key: method.network.draw(state, 50, key))(jax.random.split(key, 40))
        outputs = jax.vmap(lambda key: act(method, params, route, key, greedy=False))(jax.random.split(key, 20))
        return draws, outputs, act(method, params, route, key, greedy=True)

    draws, outputs, greedy = trees.numpy(program(params, trees.key(1)))
    if drops:
        assert [factors.shape for factors in draws.dropout] == [(40, 50, 300), (40, 50, 200)]
        for factors in (*draws.dropout, *draws.other_dropout):
            values, counts = np.unique(factors, return_counts=True)
            np.testing.assert_allclose(values, [0, 1 / 0.75])
            np.testing.assert_allclose(counts[0] / factors.size, 0.25, atol=0.003)  # 4 sd of 400,000 draws
        assert trees.differs(draws.dropout, draws.other_dropout)
        assert len({step.tobytes() for step in outputs}) == 20
    else:
        assert draws.dropout == draws.other_dropout == ()
        # Three modes, of which the first acts greedily; a step has one for all environments.
        assert len({step.round(3).tobytes() for step in outputs}) == 3
        assert any(np.allclose(step, greedy, atol=1e-4) for step in outputs)
    assert set(draws.mode) == set(draws.other_mode) == {0, 1, 2}
    assert (draws.mode != draws.other_mode).all()
    assert set((draws.other_mode - draws.mode) % 3) == {1, 2}
    assert [uniforms.shape for uniforms in draws.uniforms] == [(40, 300), (40, 200)]


@pytest.mark.parametrize(
    ("sizes", "tasks", "cycle", "numbers"),
    [
        ((18, 256, 256, 256, 12), 8, 4, 294_972),  # halfcheetah
        ((18, 256, 256, 256, 12), 8, 2, 287_268),  # halfcheetah/robustness
        ((27, 256, 256, 256, 16), 8, 4, 304_720),  # ant
        ((240, 256, 256, 256, 34), 4, 4, 436_906),  # humanoid
    ],
)
def test_published_memory(sizes, tasks, cycle, numbers):
    method = method_for(tasks, sizes, cycle=cycle)
    params = jax.eval_shape(method.network.init, trees.key(0))
    state = jax.eval_shape(method.init, params)
    found = jax.jit(lambda tasks: method.memory(params, state, tasks))(tasks)
    # What acts: the hidden layers, and for each slot a head and an order of 3 * 256 units.
    body = 256 * (sizes[0] + 1) + 2 * 256 * 257
    assert found == Memory(body + cycle * (257 * sizes[-1] + 3 * 256), numbers)


def test_what_it_refuses():
    with pytest.raises(ValueError, match=r"^rewire replaces dense layers"):
        rewire((), unit_normal, None)
    for setting, value in [("modes", 0), ("temperature", 0), ("noise", -1), ("dropout", 1), ("cycle", -1)]:
        with pytest.raises(ValueError, match=f"^{setting}={value}: write a number"):
            method_for(**{setting: value})
