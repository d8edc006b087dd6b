"""What continual methods and agents owe each other, both found by their names alone.

What a method does, its contract shows, and that an agent minds penalty, end and beginning of a task, tests with methods
of their own do here. So a method of the library is only traced under each agent, which takes no program.
"""

import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees
from agents_at_work import CALLS, NAMES, at_work

from pliant.core import registry
from pliant.core.base import Edit, Surgery
from pliant.core.clock import Clock
from pliant.core.continual import Continual

TASKS = 2
QUICK = {"xla_backend_optimization_level": 0}  # nearly all the time goes into compiling
TAKING = [name for name in NAMES if "continual_for" in inspect.signature(registry.find("agents", name).make).parameters]
IN_ENVIRONMENTS = [name for name in TAKING if registry.find("agents", name).LEARNS_FROM == "environment"]


class Told(NamedTuple):
    first: Any  # () the mean of all weights at the beginning of a run
    last: Any  # () and at the end of the newest task
    inputs: Any
    task: Any  # () -1: no task has ended
    key: Any


def no_methods(wiring, network, updates):
    del wiring, network, updates
    return ()


def at_work_with(monkeypatch, name, continual_for):
    """An agent with a continual method, on two tasks."""
    module = registry.find("agents", name)
    make = module.make
    with monkeypatch.context() as patch:
        patch.setattr(module, "make", lambda *given, **more: make(*given, **more, continual_for=continual_for))
        return at_work(name, no_methods, TASKS)


def of_library(name):
    """Makes a method of the library with room for few inputs."""
    method = registry.find("continual", name)
    small = {"samples": 4, "capacity": 4, "batch_size": 2}

    def continual_for(**context):
        wanted = inspect.signature(method).parameters
        given = {**context, "tasks": TASKS * [None], **small}
        return method(**{key: value for key, value in given.items() if key in wanted})

    return continual_for


def like(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def border(agent, state):
    """The state after the first task and before the second; a stream has no state between them."""
    clock = Clock(jnp.int32(8), jnp.int32(8), jnp.int32(0), jnp.int32(4))
    state = agent.end_task(state, clock)
    if (begin_task := getattr(agent, "begin_task", None)) is not None:
        state = begin_task(state, clock._replace(task=clock.task + 1))
    return state


@pytest.mark.parametrize("agent", TAKING)
@pytest.mark.parametrize("method", registry.names("continual"))
def test_a_method_keeps_the_shapes_of_an_agent(agent, method, monkeypatch):
    made = at_work_with(monkeypatch, agent, of_library(method))
    member = jax.eval_shape(made.begin, np.uint32(0))
    after, rounds = jax.eval_shape(made.advance, member, np.int32(0))
    assert like(after) == like(member)
    assert all(value.shape == (CALLS,) for value in rounds.metrics.values())
    assert like(jax.eval_shape(lambda member: border(made.agent, member.agent), member)) == like(member.agent)
    if agent in IN_ENVIRONMENTS:
        acting = jax.eval_shape(lambda member: made.agent.acting_params(member.agent), member)
        if (acting_params_for := made.agent.acting_params_for) is not None:
            assert like(jax.eval_shape(lambda m: acting_params_for(m.agent, jnp.int32(1)), member)) == like(acting)
        assert made.agent.memory(2).parameters >= made.agent.memory(1).parameters > 0


def telling(**context):
    """Pulls the weights towards 2, notes what it is told, and adds 1 to all weights at the beginning of later tasks."""
    inputs = context["inputs"]

    def mean(params):
        return sum(w.sum() for w in jax.tree.leaves(params)) / sum(w.size for w in jax.tree.leaves(params))

    def init(params):
        nothing = jnp.zeros((6, *inputs.shape), inputs.dtype)
        return Told(mean(params), mean(params), nothing, jnp.int32(-1), jnp.zeros(2, jnp.uint32))

    def penalty(params, state, clock):
        del state, clock
        return sum(((w - 2) ** 2).sum() for w in jax.tree.leaves(params))

    def end_task(params, state, *, inputs, clock, key):
        return params, Told(state.first, mean(params), inputs, clock.task, jax.random.key_data(key))

    def idle(params, state, *, random, **signals):
        del random, signals
        return Edit(params), state

    def begin_task(params, state, *, random, clock):
        del random
        return Edit(jax.tree.map(lambda w: w + (clock.task > 0), params)), state

    return Continual(init, Surgery(lambda params: (), idle, begin_task=begin_task), penalty, end_task, samples=6)


def told(state):
    """What the method of a state noted."""
    [found] = (node for node in jax.tree.leaves(state, is_leaf=is_told) if is_told(node))
    return found


def is_told(node):
    return isinstance(node, Told)


@pytest.mark.parametrize("name", TAKING)
def test_an_agent_minds_penalty_and_borders(name, monkeypatch):
    made = at_work_with(monkeypatch, name, telling)

    def run(seed):
        member, rounds = made.advance(made.begin(seed), 0)
        once = border(made.agent, member.agent)
        return told(member.agent), rounds.data, told(once), told(border(made.agent, once))

    before, data, once, twice = trees.numpy(jax.jit(run, compiler_options=QUICK)(np.uint32(0)))
    assert before.task == -1 and once.task == 0
    assert once.last > once.first + 1e-3, "nothing pulled the weights"
    seen = data.x if hasattr(data, "x") else data.observation
    seen = seen.reshape(-1, seen.shape[-1])[-len(once.inputs) :]  # of the newest batches, or of the last round
    assert (once.inputs[:, None] == seen[None]).all(-1).any(1).sum() > 1
    assert (once.key != twice.key).any()  # each end of a task has a key of its own
    if name in IN_ENVIRONMENTS:
        np.testing.assert_allclose(twice.last, once.last + 1, rtol=1e-6)
