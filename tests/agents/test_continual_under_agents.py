"""What continual methods and agents owe each other, both found by their names alone.

What a method does, its contract shows, and that an agent minds penalty, end and beginning of a task, tests with methods
of their own do here. So a method of the library is only traced under each agent, which takes no program.
"""

import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import on_policy
import pytest
import trees
from agents_at_work import CALLS, NAMES, at_work, tasks_of

from pliant.agents import ppo, sgd
from pliant.agents._on_policy import Extras
from pliant.core import registry
from pliant.core.agent import Transitions
from pliant.core.base import Edit, Surgery
from pliant.core.clock import Clock
from pliant.core.continual import Continual
from pliant.core.judgement import Judgement
from pliant.core.problem import ActorCritic, Batch, Discrete, Network, Stream

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


def of_library(name, agent):
    """Makes a method of the library with room for few inputs."""
    method = registry.find("continual", name)
    small = {"samples": 4, "candidates": 2, "capacity": 4, "batch_size": 2, "finetune": 2 * (agent == "sac")}

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


def pairs():
    """Each method under SAC, and under one of the others; all other pairs for `make test-all`."""
    others = [name for name in TAKING if name != "sac"]
    for number, method in enumerate(registry.names("continual")):
        for agent in TAKING:
            is_fast = agent in ("sac", others[number % len(others)])
            yield pytest.param(method, agent, marks=() if is_fast else pytest.mark.exhaustive)


@pytest.mark.parametrize(("method", "agent"), list(pairs()))
def test_a_method_keeps_the_shapes_of_an_agent(agent, method, monkeypatch):
    try:
        made = at_work_with(monkeypatch, agent, of_library(method, agent))
    except ValueError as refusal:  # the method is for networks of dense layers alone
        assert agent != "sac" and "write --agent sac" in str(refusal)
        return
    member = jax.eval_shape(made.begin, np.uint32(0))
    after, rounds = jax.eval_shape(made.advance, member, np.int32(0))
    assert like(after) == like(member)
    assert all(value.shape == (CALLS,) for value in rounds.metrics.values())
    assert like(jax.eval_shape(lambda member: border(made.agent, member.agent), member)) == like(member.agent)
    if agent in IN_ENVIRONMENTS:
        acting = jax.eval_shape(lambda member: made.agent.acting_params(member.agent), member)
        if (acting_params_for := made.agent.acting_params_for) is not None:
            assert like(jax.eval_shape(lambda m: acting_params_for(m.agent, jnp.int32(1)), member)) == like(acting)
        memory = jax.eval_shape(lambda member: made.agent.memory(member.agent, jnp.int32(2)), member)
        assert [numbers.shape for numbers in memory] == [(), ()]


def telling(**context):
    """Pulls the weights towards 2, and notes what it is told; at the beginning of later tasks weights become 2 w + 1.

    The method itself doubles them, and its surgery adds 1.
    """
    inputs = context["inputs"]

    def mean(params):
        return sum(w.sum() for w in jax.tree.leaves(params)) / sum(w.size for w in jax.tree.leaves(params))

    def init(params):
        nothing = jnp.zeros((6, *inputs.shape), inputs.dtype)
        return Told(mean(params), mean(params), nothing, jnp.int32(-1), jnp.zeros(2, jnp.uint32))

    def penalty(params, state, update):
        del state, update
        return sum(((w - 2) ** 2).sum() for w in jax.tree.leaves(params))

    def end_task(params, state, *, inputs, clock, key):
        return params, Told(state.first, mean(params), inputs, clock.task, jax.random.key_data(key))

    def idle(params, state, *, random, **signals):
        del random, signals
        return Edit(params), state

    def add(params, state, *, random, clock):
        del random
        return Edit(jax.tree.map(lambda w: w + (clock.task > 0), params)), state

    def double(params, state, *, clock, key):
        del clock, key
        return jax.tree.map(lambda w: 2 * w, params), state

    surgery = Surgery(lambda params: (), idle, begin_task=add)
    return Continual(init, method=surgery, penalty=penalty, begin_task=double, end_task=end_task, samples=6)


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
        np.testing.assert_allclose(twice.last, 2 * once.last + 1, rtol=1e-6)  # surgeries act last


# All pieces of a method, in numbers by hand


class Steered(NamedTuple):
    share: Any  # () of each step, which `project` keeps
    history: Any  # (4, 3): weight before and after, and gradient, of the newest updates


def steering(**context):
    """A penalty of 3 w. The number of the update multiplies gradients. A later task begins with w + 1, half the share.

    The share of a step is 1/2 at first.
    """
    del context

    def begin_task(params, state, *, clock, key):
        del clock, key
        return {"w": params["w"] + 1}, state._replace(share=state.share / 2)

    def track(state, *, previous, params, grads):
        row = jnp.concatenate([tree["w"] for tree in (previous, params, grads)])
        return state._replace(history=jnp.concatenate([state.history[1:], row[None]]))

    return Continual(
        init=lambda params: Steered(jnp.float32(0.5), jnp.zeros((4, 3))),
        penalty=lambda params, state, update: 3 * params["w"].sum(),
        change_gradients=lambda grads, params, state, clock: {"w": clock.update * grads["w"]},
        project=lambda params, state, previous: {
            "w": previous["w"] + state.share * (params["w"] - previous["w"]),
        },
        track=track,
        begin_task=begin_task,
    )


def assert_steered(state, history):
    assert state.continual.share == 0.25
    np.testing.assert_allclose(state.continual.history, history, rtol=1e-5)
    np.testing.assert_allclose(state.params["w"], [history[-1][1]], rtol=1e-5)


def test_sgd_calls_each_piece_in_its_turn():
    # The loss is w^2: gradients are 2 w + 3, and the learning rate is 0.1. After two updates the second task begins.
    network = Network(lambda key: {"w": jnp.ones(1)}, lambda params, x: params["w"][None] * x)
    batches = Batch(np.ones((2, 1, 1), np.float32), np.zeros((2, 1, 1), np.float32))

    def judge(prediction, y):
        return Judgement(((prediction - y) ** 2).mean(), {})

    stream = Stream(lambda *_: (), lambda data, state, _: (state, batches), judge, network, 4, tasks=tasks_of(4, 2))
    learner = sgd.make(sgd.Config(learning_rate=0.1), stream, no_methods, steering)

    learn = jax.jit(lambda state, clock: learner.learn(state, batches, clock)[0])
    state = jax.jit(learner.init)(trees.key(0))
    for calls in range(2):
        state = learn(state, Clock(*map(np.int32, (1 + 2 * calls, 2 * calls, calls, 1))))
    history = [
        [1, 0.75, 5],  # 1/2 of 0.1 x 5
        [0.75, 0.3, 4.5],  # 1/2 of 0.1 x 2 x 4.5
        [1.3, 0.88, 5.6],  # 1/4 of 0.1 x 3 x 5.6
        [0.88, 0.404, 4.76],  # 1/4 of 0.1 x 4 x 4.76
    ]
    assert_steered(trees.numpy(state), history)
    # No task begins with the third update of a task.
    state = learn(state, Clock(*map(np.int32, (5, 4, 1, 3))))
    np.testing.assert_allclose(trees.numpy(state).continual.history[-2][0], 0.404, rtol=1e-5)


def test_ppo_calls_each_piece_in_its_turn():
    # The value is w, and the return 0. Adam with such an eps is gradient descent with a learning rate of 0.1. Gradients
    # 2 w + 3 above 4.8 are clipped before the method changes them; `track` gets them as they were.
    def apply(params, x, carry):
        return (jnp.zeros((len(x), 2)), jnp.broadcast_to(params["w"], len(x))), carry

    network = ActorCritic(lambda key: {"w": jnp.ones(1)}, apply, lambda batch: ())
    environment = on_policy.arena_of(Discrete(2), num_envs=1, steps=4, network=network)._replace(tasks=tasks_of(4, 2))
    config = ppo.Config(
        horizon=2, epochs=2, minibatches=1, learning_rate=1e7, b1=0.0, b2=0.0, eps=1e8, discount=0.0,
        normalize_advantages="none", value_coefficient=1.0, entropy_coefficient=0.0, max_gradient_norm=4.8, clip=0.2,
        value_clip=0.0, schedule="constant",
    )  # fmt: skip
    agent = ppo.make(config, environment, no_methods, steering)

    numbers, never = np.zeros((2, 1), np.float32), np.zeros((2, 1), bool)
    seen = np.zeros((2, 1, on_policy.INPUTS), np.float32)
    transitions = Transitions(
        seen, np.zeros((2, 1), np.int32), Extras(numbers, numbers, ()), numbers, never, never, seen
    )

    @jax.jit
    def run(key, transitions):
        state, _ = agent.learn(agent.init(key), transitions, 0)
        state, _ = agent.learn(agent.begin_task(state, Clock(3, 2, 1, 1)), transitions, 1)
        return state, agent.memory(state, 2)

    state, memory = trees.numpy(run(trees.key(0), transitions))
    history = [
        [1, 0.76, 5],  # 1/2 of 0.1 x 4.8
        [0.76, 0.308, 4.52],  # 1/2 of 0.1 x 2 x 4.52
        [1.308, 0.948, 5.616],  # 1/4 of 0.1 x 3 x 4.8
        [0.948, 0.468, 4.896],  # 1/4 of 0.1 x 4 x 4.8
    ]
    assert_steered(state, history)
    assert memory == (1, 1 + 12)
