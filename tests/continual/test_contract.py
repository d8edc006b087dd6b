"""The contract of continual methods; a new file in `pliant.continual` is tested here without further code.

A method sees three tasks, in each of which the weights of a policy's network, or of the method's own, move at random.
It is compiled once, for a population; `make test-all` compiles it for a member alone, too. All other tests trace, and
compile nothing.
"""

import functools
import inspect
import typing
from typing import Any, NamedTuple

import busy
import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trees

from pliant.core import registry
from pliant.core.clock import Clock, Task
from pliant.core.continual import ContinualContext, DenseLayers, Memory, Replayed, Update, without_context
from pliant.core.likelihood import gaussian
from pliant.core.plastic import plastic
from pliant.networks._dense import dense_layers

METHODS = {name: registry.find("continual", name) for name in registry.names("continual")}
SIZES, TASKS = (3, 5, 4), 3  # the outputs: two means, and two log standard deviations
INITIALIZE, WIRING = hand_wired.initializer(*SIZES), hand_wired.mlp(*SIZES)


def apply(params, x):
    outputs, _ = WIRING.apply(params, x)
    return outputs[:, :2], outputs[:, 2:]


CONTEXT = ContinualContext(
    initialize=INITIALIZE,
    apply=apply,
    likelihood=gaussian,
    inputs=jax.ShapeDtypeStruct((3,), np.float32),
    tasks=tuple(Task(f"{k}", 100 * (k + 1)) for k in range(TASKS)),
    layers=DenseLayers(SIZES, jax.nn.relu, dense_layers, lambda numbers: (numbers[:, :2], numbers[:, 2:]), "actor"),
)
INPUTS = trees.normal(0, 4, 3)  # of an update


def settings_of(name):
    """The settings of a method by name; the run fills in all other arguments."""
    parameters = inspect.signature(METHODS[name]).parameters
    return {key: p for key, p in parameters.items() if key not in ContinualContext._fields}


def cases():
    """Each method with its defaults, and with each of its switches turned."""
    for name in METHODS:
        yield name, {}
        for setting, parameter in settings_of(name).items():
            if isinstance(parameter.default, bool):
                yield name, {setting: not parameter.default}


CASES = [pytest.param(case, id=f"{case[0]}{''.join(f'-{setting}' for setting in case[1])}") for case in cases()]


def build(case, **more):
    """The method of a case for the network of this file, with room for few inputs."""
    name, turned = case
    return METHODS[name](**busy.settings(METHODS[name], CONTEXT._asdict()) | turned | more)


def numbers_of(name):
    """The settings that a sweep may trace, with values."""
    hints = typing.get_type_hints(METHODS[name])
    return {key: np.float32(0.5) for key in settings_of(name) if hints[key] is float}


def network_of(method):
    """The method's network, or that of this file."""
    return method.network or without_context(INITIALIZE, apply)


def penalty_of(method, params, state, clock, key):
    """The penalty of an update, with the forward pass that an agent makes for it."""
    context = network_of(method).draw(state, len(INPUTS), key)
    outputs = network_of(method).apply(params, INPUTS, context)
    return jnp.asarray(method.penalty(params, state, Update(clock, INPUTS, outputs, context)))


def updated(method, params, state, clock, key):
    """The parameters and the state after an update that moves all weights at random."""
    moves = jax.tree.map(lambda w: 0.3 * jax.random.normal(key, w.shape), params)
    moves = method.changed(moves, params, state, clock)
    moved = jax.tree.map(jnp.add, params, moves)
    return method.after_update(moved, state, previous=params, grads=moves)


def ended(method, params, state, clock, key):
    """The parameters and the state after the end of a task: the trial, the updates on the replay, and the end."""
    propose_key, trained_key, tune_key, data_key, method_key = jax.random.split(key, 5)
    if method.trial is not None:
        state = method.trial.propose(params, state, REPLAYED, propose_key)
        scores = jnp.arange(method.trial.candidates, dtype=jnp.float32)
        chosen = method.trial.choose(params, state, scores, clock)
        is_later = clock.task > 0  # no trial follows on the first task
        params, state = jax.tree.map(lambda new, old: jnp.where(is_later, new, old), chosen, (params, state))
    params, state = method.end_training(params, state, clock=clock, key=trained_key)
    if method.finetune:
        params, state = updated(method, params, state, clock, tune_key)
    inputs = jax.random.normal(data_key, (method.samples, *CONTEXT.inputs.shape), CONTEXT.inputs.dtype)
    return method.end_task(params, state, inputs=inputs, clock=clock, key=method_key)


REPLAYED = Replayed(
    sample=lambda key, count: (jax.random.normal(key, (count, 3)), jnp.zeros((count, 2))),
    value=lambda inputs, actions, seen: inputs.sum(1) + actions.sum(1) + seen.sum(1),
)


def begun(method, params, state, clock, key):
    """The parameters and the state before a later task."""
    params, state = method.begin_task(params, state, clock=clock, key=key)
    if method.trial is not None and method.trial.standing is not None:
        state = method.trial.standing(state, jnp.float32(0.5))
    return params, state


def acts(method, params, route, key):
    """The outputs along a route, greedy, at the beginning of episodes."""
    network, num_envs = network_of(method), len(INPUTS)
    is_first = jnp.ones(num_envs, bool)
    carry = network.initial_carry(num_envs)
    _, outputs, seen = network.act(params, route, carry, INPUTS, is_first=is_first, key=key, greedy=True)
    assert (seen.shape, seen.dtype) == ((num_envs, network.seen), np.float32)
    return outputs


def on_task(method, params, state, key, task):
    """The parameters that act on a task, and their outputs."""
    view = method.view(params, state, task)
    return view, acts(method, view, network_of(method).route(state, task), key)


class Seen(NamedTuple):
    """Of each task, on a leading axis."""

    params: Any  # at its end
    views: Any  # (tasks, ...): the parameters that act on each of all tasks after its end
    newest: Any  # the outputs of the network at its end
    outputs: Any  # (tasks, ...): those on each of all tasks after its end
    memory: Any  # at its end
    penalty: Any  # during it, a little away from where it began
    gradient: Any  # of the penalty


def through_tasks(case, seed, values):
    method = build(case, **values)
    network = network_of(method)
    key, params_key = jax.random.split(jax.random.key(seed))
    params = network.init(params_key)

    def through_one(now, given):
        task, key = given
        begin_key, move_key, draw_key, end_key, act_key = jax.random.split(key, 5)
        clock = Clock(7 * task + 1, 0, task, 1)
        params, state = jax.lax.cond(task > 0, lambda now: begun(method, *now, clock, begin_key), lambda now: now, now)
        params, state = updated(method, params, state, clock, move_key)
        penalty, gradient = jax.value_and_grad(functools.partial(penalty_of, method))(params, state, clock, draw_key)
        params, state = ended(method, params, state, clock._replace(update=7 * (task + 1)), end_key)
        views, outputs = jax.vmap(functools.partial(on_task, method, params, state, act_key))(jnp.arange(TASKS))
        newest = acts(method, params, network.training_route(state), act_key)
        memory = jax.tree.map(jnp.asarray, method.memory(params, state, task + 1))
        return (params, state), Seen(params, views, newest, outputs, memory, penalty, gradient)

    tasks = jnp.arange(TASKS), jax.random.split(key, TASKS)
    return jax.lax.scan(through_one, (params, method.init(params)), tasks)[1]  # a task after another: less to compile


class Ran(NamedTuple):
    case: tuple[str, dict[str, bool]]
    one: Seen  # seed 1, beside seed 0
    again: Seen  # seed 1, beside seed 2
    other: Seen  # seed 0


@pytest.fixture(scope="module", params=CASES)
def ran(request):
    together = jax.jit(jax.vmap(functools.partial(through_tasks, request.param)))
    values = {key: np.stack([value] * 2) for key, value in numbers_of(request.param[0]).items()}
    first, second = (trees.numpy(together(np.array(seeds), values)) for seeds in ((0, 1), (1, 2)))
    return Ran(request.param, trees.at(first, 1), trees.at(second, 0), trees.at(first, 0))


def test_a_member_does_not_depend_on_the_others(ran):
    trees.assert_close(ran.again, ran.one)
    assert trees.differs(ran.other.params, ran.one.params)


@pytest.mark.exhaustive
def test_a_population_is_its_members(ran):
    alone = jax.jit(functools.partial(through_tasks, ran.case))(np.int32(1), numbers_of(ran.case[0]))
    trees.assert_close(alone, ran.one)


def test_whatever_it_gives_is_finite(ran):
    assert trees.finite(ran.one)


def test_a_penalty_is_of_earlier_tasks_and_at_least_0(ran):
    if build(ran.case).network is None:  # other networks have terms of their own, some of them without a constant
        assert min(ran.one.penalty) >= 0 == ran.one.penalty[0]
        assert not any(leaf.any() for leaf in jax.tree.leaves(trees.at(ran.one.gradient, 0)))


def test_what_acts_on_a_task(ran):
    method = build(ran.case)
    for now in range(TASKS):
        for task in range(TASKS):
            acting = task if method.per_task and task <= now else now
            if method.network is None:
                trees.assert_equal(trees.at(ran.one.views, (now, task)), trees.at(ran.one.params, acting))
            if method.trial is None:  # candidates may leave the network of the updates, and share weights
                ours, theirs = trees.at(ran.one.outputs, (now, task)), trees.at(ran.one.newest, acting)
                trees.assert_close(ours, theirs, 1e-5, 1e-6)


def like(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)


@pytest.mark.parametrize("case", CASES)
def test_state_and_parameters_keep_their_shapes_so_that_it_is_compiled_once(case):
    method, key = build(case), trees.key(0)
    network, clock = network_of(method), Clock(np.int32(8), np.int32(7), np.int32(1), np.int32(1))
    params = jax.eval_shape(network.init, key)
    given = jax.eval_shape(lambda params: (params, method.init(params)), params)
    for happens in (begun, updated, ended):
        back = jax.eval_shape(functools.partial(happens, method), *given, clock, key)
        assert jax.tree.structure(back) == jax.tree.structure(given)
        assert like(back) == like(given)
    views = jax.eval_shape(method.view, *given, jax.ShapeDtypeStruct((), np.int32))
    assert like(views) == like(given[0])
    penalty = jax.eval_shape(functools.partial(penalty_of, method), *given, clock, key)
    assert (penalty.shape, penalty.dtype) == ((), np.float32)


@pytest.mark.parametrize("case", CASES)
def test_all_routes_have_the_same_shapes(case):
    method, network = build(case), network_of(build(case))
    state = jax.eval_shape(lambda key: method.init(network.init(key)), trees.key(0))
    routes = [
        jax.eval_shape(network.training_route, state),
        jax.eval_shape(network.route, state, jax.ShapeDtypeStruct((), np.int32)),
    ]
    if method.trial is not None:
        routes.append(jax.eval_shape(lambda state: method.trial.route(state, 0), state))
    assert all(jax.tree.map(jnp.shape, route) == jax.tree.map(jnp.shape, routes[0]) for route in routes)


def test_memory_never_shrinks_and_holds_what_acts(ran):
    memory = [(int(network), int(whole)) for network, whole in zip(*ran.one.memory)]
    networks, wholes = zip(*memory)
    assert sorted(networks) == list(networks) and sorted(wholes) == list(wholes)
    assert all(0 < network <= whole for network, whole in memory)
    if not build(ran.case).per_task:
        assert set(networks) == {sum(leaf.size for leaf in jax.tree.leaves(trees.at(ran.one.params, 0)))}


@pytest.mark.parametrize("case", CASES)
def test_its_pieces_compose_with_an_optimizer_and_promote_no_dtype(case):
    method = build(case)
    tx = plastic(optax.sgd(0.1), method.method)

    def learn(params):
        state = tx.init(params)
        params, state = tx.before_update(params, state, Clock(1, 0, 1, 1))
        return tx.step(params, state, params, features={}, clock=Clock(1, 0, 1, 1))[0]

    params = jax.eval_shape(network_of(method).init, trees.key(0))
    with jax.numpy_dtype_promotion("strict"):
        after = jax.eval_shape(learn, params)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, params)


@pytest.mark.parametrize("name", METHODS)
def test_its_settings_make_a_command_line(name):
    hints, document = typing.get_type_hints(METHODS[name]), inspect.getdoc(METHODS[name])
    for setting, parameter in settings_of(name).items():
        assert parameter.default is not parameter.empty, f"{setting} has no default, and is no field of the context"
        allowed = hints[setting] in (float, int, bool, str) or typing.get_origin(hints[setting]) is typing.Literal
        assert allowed, f"{setting}: {hints[setting]}"
        assert f"\n    {setting}: " in document
    for section in ("Args:", "Differs from the authors' code:", "References:", "Example:"):
        assert f"\n{section}" in document, f"{name}: its docstring has no {section}"
    assert document.splitlines()[0].endswith(".") and document.splitlines()[1] == ""


# Numbers of the published suite

HALFCHEETAH = (18, 256, 256, 256, 12)  # observations, hidden units, and twice the actions


@pytest.mark.parametrize(
    ("case", "parameters", "with_buffers"),
    [
        (("fine_tuning", {}), 1, 1),
        (("fine_tuning", {"copies": True}), 8, 8),
        (("from_scratch", {}), 8, 8),
        (("l2_anchor", {}), 1, 2),
        (("ewc", {}), 1, 3),
        (("packnet", {}), 1, 2),
    ],
)
def test_published_memory_after_eight_tasks_of_halfcheetah(case, parameters, with_buffers):
    P, params = 139_532, hand_wired.params(*HALFCHEETAH)
    assert sum(leaf.size for leaf in params.values()) == P
    method = build(case)
    found = jax.jit(lambda params: method.memory(params, method.init(params), 8))(params)
    assert found == Memory(parameters * P, with_buffers * P)
