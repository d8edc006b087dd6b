"""The contract of continual methods; a new file in `pliant.continual` is tested here without further code.

A method sees three tasks, in each of which the weights of a policy's network move at random. It is compiled twice: for
one member, and for a population. All other tests trace, and compile nothing.
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
from pliant.core.continual import ContinualContext, Memory, memory_of
from pliant.core.likelihood import gaussian
from pliant.core.plastic import plastic

METHODS = {name: registry.find("continual", name) for name in registry.names("continual")}
SIZES, TASKS = (3, 5, 4), 3  # the outputs: two means, and two log standard deviations
INITIALIZE, WIRING = hand_wired.initializer(*SIZES), hand_wired.mlp(*SIZES)
PARAMS = hand_wired.params(*SIZES)


def apply(params, x):
    outputs, _ = WIRING.apply(params, x)
    return outputs[:, :2], outputs[:, 2:]


CONTEXT = ContinualContext(
    initialize=INITIALIZE,
    apply=apply,
    likelihood=gaussian,
    inputs=jax.ShapeDtypeStruct((3,), np.float32),
    tasks=tuple(Task(f"{k}", 100 * (k + 1)) for k in range(TASKS)),
)


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


def ended(method, params, state, task, key):
    """The parameters and the state after a task."""
    data_key, method_key = jax.random.split(key)
    inputs = jax.random.normal(data_key, (method.samples, *CONTEXT.inputs.shape), CONTEXT.inputs.dtype)
    return method.end_task(params, state, inputs=inputs, clock=Clock(7 * (task + 1), 0, task), key=method_key)


class Seen(NamedTuple):
    """Of each task, unless otherwise said."""

    params: list[Any]  # at its end
    views: list[list[Any]]  # the parameters that act on each of all tasks after its end
    penalty: list[Any]  # during it, a little away from where it began
    gradient: list[Any]  # of the penalty


def through_tasks(case, seed, values):
    method = build(case, **values)

    def moved(params, key):
        return jax.tree.map(lambda w: w + 0.3 * jax.random.normal(key, w.shape), params)

    key, params_key = jax.random.split(jax.random.key(seed))
    params = INITIALIZE(params_key)
    state, seen = method.init(params), Seen([], [], [], [])
    for task in range(TASKS):
        key, move_key, end_key = jax.random.split(key, 3)
        params = moved(params, move_key)
        penalty, gradient = jax.value_and_grad(method.penalty)(params, state, Clock(7 * task + 1, 0, task, 1))
        params, state = ended(method, params, state, jnp.int32(task), end_key)
        views = [method.view(params, state, jnp.int32(other)) for other in range(TASKS)]
        for record, value in zip(seen, (params, views, penalty, gradient), strict=True):
            record.append(value)
    return seen


class Ran(NamedTuple):
    case: tuple[str, dict[str, bool]]
    alone: Seen  # seed 1
    together: Seen  # seeds 0 and 1


@pytest.fixture(scope="module", params=CASES)
def ran(request):
    run = functools.partial(through_tasks, request.param)
    values = numbers_of(request.param[0])
    alone = jax.jit(run)(np.int32(1), values)
    together = jax.jit(jax.vmap(run))(np.arange(2), {key: np.stack([value] * 2) for key, value in values.items()})
    return Ran(request.param, *map(trees.numpy, (alone, together)))


def test_a_population_is_its_members(ran):
    trees.assert_close(trees.at(ran.together, 1), ran.alone)
    assert trees.differs(trees.at(ran.together, 0).params, ran.alone.params)


def test_whatever_it_gives_is_finite(ran):
    assert trees.finite(ran.alone)
    assert min(ran.alone.penalty) >= 0


def test_there_is_no_penalty_in_the_first_task(ran):
    assert ran.alone.penalty[0] == 0
    assert not any(leaf.any() for leaf in jax.tree.leaves(ran.alone.gradient[0]))


def test_copies_act_on_their_tasks_to_the_bit_and_otherwise_the_newest_network_does(ran):
    method = build(ran.case)
    for now in range(TASKS):
        for task in range(TASKS):
            acts = task if method.per_task and task <= now else now
            trees.assert_equal(ran.alone.views[now][task], ran.alone.params[acts])


def like(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)


@pytest.mark.parametrize("case", CASES)
def test_state_and_parameters_keep_their_shapes_so_that_it_is_compiled_once(case):
    method = build(case)
    given = jax.eval_shape(lambda params: (params, method.init(params)), PARAMS)
    back = jax.eval_shape(lambda params, state: ended(method, params, state, jnp.int32(1), trees.key(0)), *given)
    assert jax.tree.structure(back) == jax.tree.structure(given)
    assert like(back) == like(given)
    views = jax.eval_shape(method.view, *given, jax.ShapeDtypeStruct((), np.int32))
    assert like(views) == like(given[0])
    penalty = jax.eval_shape(lambda *of: jnp.asarray(method.penalty(*of, Clock(1))), *given)
    assert (penalty.shape, penalty.dtype) == ((), np.float32)


@pytest.mark.parametrize("case", CASES)
def test_memory_grows_with_the_copies_alone(case):
    method, numbers = build(case), sum(leaf.size for leaf in jax.tree.leaves(PARAMS))
    found = [memory_of(method, PARAMS, tasks) for tasks in range(TASKS + 1)]
    copies = [1, 1, 2, 3] if method.per_task else [1] * 4
    assert [memory.parameters for memory in found] == [numbers * number for number in copies]
    buffers = {memory.parameters_and_buffers - memory.parameters for memory in found}
    assert len(buffers) == 1 and min(buffers) >= 0
    assert memory_of(method, jax.eval_shape(lambda: PARAMS), 2) == found[2]  # shapes will do


@pytest.mark.parametrize("case", CASES)
def test_its_pieces_compose_with_an_optimizer_and_promote_no_dtype(case):
    tx = plastic(optax.sgd(0.1), build(case).method)

    def learn(params):
        state = tx.init(params)
        params, state = tx.before_update(params, state, Clock(1, 0, 1, 1))
        return tx.step(params, state, params, features={}, clock=Clock(1, 0, 1, 1))[0]

    with jax.numpy_dtype_promotion("strict"):
        after = jax.eval_shape(learn, PARAMS)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, PARAMS)


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
    ],
)
def test_published_memory_after_eight_tasks_of_halfcheetah(case, parameters, with_buffers):
    P, params = 139_532, hand_wired.params(*HALFCHEETAH)
    assert sum(leaf.size for leaf in params.values()) == P
    assert memory_of(build(case), params, 8) == Memory(parameters * P, with_buffers * P)
