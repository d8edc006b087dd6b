"""What methods and agents owe each other: each method is tried under each agent, both found by their names alone."""

import dataclasses
import inspect
from typing import NamedTuple

import environments
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pliant.core import registry
from pliant.core.base import Edit, Topology
from pliant.core.problem import Continuous
from pliant.experiment.loops import device as device_loop
from pliant.experiment.loops import stream as stream_loop
from pliant.experiment.loops.components import Components
from pliant.problems import slowly_changing_regression

STEPS = 64
# Of an agent, where it has the setting.
SMALL = {
    "horizon": 8, "epochs": 2, "minibatches": 2, "hidden_units": 6,
    "learning_starts": 8, "batch_size": 8, "buffer_size": 50, "update_to_data": 0.5,
    "actor_layers": 1, "critic_layers": 2,
}  # fmt: skip
BUSY = {"period": 2, "end": 4, "maturity": 0, "replacement_rate": 0.15, "threshold": 0.5}  # it acts within few steps


def problem_for(agent):
    if agent.LEARNS_FROM == "stream":
        config = slowly_changing_regression.Config(flip_every=20, examples=STEPS)
        return slowly_changing_regression.make(config), stream_loop
    return environments.auto_reset(environments.drifting(Continuous(2)), STEPS, num_envs=2, time_limit=5), device_loop


def method_for(name):
    """Makes a method of what the network has to tell it, as the runner does."""

    def methods_for(wiring, network, updates):
        method = registry.find("methods", name)
        context = {"wiring": wiring, "initialize": network.init, "activation": network.activation, "updates": updates}
        given = {**BUSY, **context}
        return (method(**{key: given[key] for key in inspect.signature(method).parameters if key in given}),)

    return methods_for


def learned(agent_name, methods_for):
    """What the agent came to and the metrics, in one compiled run of several calls of `learn`."""
    agent = registry.find("agents", agent_name)
    problem, loop = problem_for(agent)
    fields = {field.name for field in dataclasses.fields(agent.Config)}
    config = agent.Config(**{key: value for key, value in SMALL.items() if key in fields})
    parts = Components(problem, agent.make(config, problem, methods_for), {})

    def run(seed):
        member, metrics, _ = loop.advance(parts, loop.begin(parts, seed), jnp.int32(0), STEPS)
        return member.agent, metrics, member.diverged

    # Nearly all the time goes into compiling; without optimization it takes a third less.
    return jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})(jnp.uint32(0))


class Seen(NamedTuple):
    last_step: jax.Array  # () the number of the update


@pytest.fixture(scope="module", params=registry.names("agents"))
def plain(request):
    """An agent's name, its state when it has learned without any method, and how many updates it had announced."""
    announced = []

    def recorder(wiring, network, updates):
        announced.append(updates)

        def update(grads, state, params=None, *, step, **signals):
            return grads, Seen(step)

        return (optax.GradientTransformationExtraArgs(lambda params: Seen(jnp.int32(0)), update),)

    return request.param, learned(request.param, recorder)[0], set(announced)


@pytest.fixture
def alone(plain):
    """An agent's name, and its params when it has learned without any method."""
    agent, state, _ = plain
    return agent, state.params


def test_an_agent_makes_as_many_updates_as_it_announces(plain):
    _, state, announced = plain
    made = [int(last) for _, last in optax.tree.get_all_with_path(state.optimizer, "last_step")]
    assert {max(made)} == announced


@pytest.mark.parametrize("method", registry.names("methods"))
def test_a_method_acts_under_an_agent(alone, method):
    agent, without = alone
    state, metrics, diverged = learned(agent, method_for(method))
    assert diverged == -1
    assert all(np.isfinite(value) for value in metrics.values())
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    assert jax.tree.map(jnp.shape, state.params) == jax.tree.map(jnp.shape, without)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(without)))


@pytest.mark.parametrize("name", registry.names("agents"))
def test_an_agent_begins_with_the_network_that_a_method_prepares(name):
    nothing = Topology(
        lambda params: (),
        lambda params, state: jax.tree.map(jnp.zeros_like, params),
        lambda grads, params, state, **signals: (grads, False, state),
        lambda params, state, **signals: (Edit(params), state),
    )
    agent = registry.find("agents", name)
    fields = {field.name for field in dataclasses.fields(agent.Config)}
    config = agent.Config(**{key: value for key, value in SMALL.items() if key in fields})
    made = agent.make(config, problem_for(agent)[0], lambda *network: (nothing,))
    params = jax.jit(made.init)(jax.random.key(0)).params
    assert jax.tree.leaves(params) and not any(leaf.any() for leaf in jax.tree.leaves(params))
