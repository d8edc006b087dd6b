"""Any agent that the registry finds, at work on a small problem, whatever it learns from: for the tests of all agents.

An agent on a stream and one in environments are driven alike: `begin(seed)` makes a member, and `advance(member, call)`
runs its next `CALLS` calls of `learn`. This is a loop of its own, so that agents are tested without the experiment's.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import busy
import environments
import jax
import jax.numpy as jnp

from pliant.core import registry
from pliant.core.agent import Agent, Transitions
from pliant.core.clock import Calendar, Task
from pliant.core.problem import Continuous, Environment
from pliant.problems import slowly_changing_regression

NAMES = registry.names("agents")
CALLS, ADVANCES = 4, 2  # calls of `learn` in one `advance`, and how often it takes that to end a run
OF_STREAM = 8  # updates that a call makes on a stream
# Settings that keep an agent small, where it has them.
SMALL = {
    "horizon": 4, "epochs": 2, "minibatches": 2, "hidden_units": 5,
    "learning_starts": 8, "batch_size": 8, "buffer_size": 60, "actor_layers": 1, "critic_layers": 2,
}  # fmt: skip

_HORIZONS: dict[str, int] = {}  # of each agent with these settings


class Member(NamedTuple):
    """Everything that changes during a run."""

    agent: Any
    problem: Any
    acting: Any  # of an agent in environments: carry, observation, is_first


class Round(NamedTuple):
    """What one call of `learn` got and gave."""

    metrics: dict[str, Any]
    previous: Any  # what `signals` wants to know of before
    data: Any  # transitions, or batches


class AtWork(NamedTuple):
    agent: Any  # an `Agent` or a `Learner`
    problem: Any
    begin: Callable[[Any], Member]  # seed -> member
    advance: Callable[[Member, Any], tuple[Member, Round]]  # (member, call) -> member, and the rounds in a row


def at_work(name: str, methods_for: Callable[..., tuple], tasks: int = 0) -> AtWork:
    """An agent with methods, on a problem of the kind it learns from, whose run is `ADVANCES` advances long.

    The run has so many tasks of the same length; the data are those without tasks.
    """
    module = registry.find("agents", name)
    fields = {field.name for field in dataclasses.fields(module.Config)}
    config = module.Config(**{key: value for key, value in SMALL.items() if key in fields})
    make = functools.partial(module.make, config)
    if module.LEARNS_FROM == "stream":
        return on_stream(make, methods_for, tasks)
    if tasks and "learning_starts" in fields:  # tasks are short
        make = functools.partial(module.make, dataclasses.replace(config, learning_starts=0))
    if name not in _HORIZONS:
        _HORIZONS[name] = make(drift(10**6), methods_for=lambda *network: ()).horizon
    return in_environments(make, methods_for, 2 * _HORIZONS[name] * CALLS * ADVANCES, tasks)


def tasks_of(steps: int, number: int) -> tuple[Task, ...]:
    return tuple(Task(f"{k}", steps * (k + 1) // number) for k in range(number))


def drift(steps: int) -> Environment:
    """Two environments side by side, with episodes that end in both ways."""
    return environments.auto_reset(environments.drifting(Continuous(2)), steps, num_envs=2, time_limit=5)


def on_stream(make: Callable[..., Any], methods_for: Callable[..., tuple], tasks: int) -> AtWork:
    steps = OF_STREAM * CALLS * ADVANCES
    stream = slowly_changing_regression.make(slowly_changing_regression.Config(flip_every=20, examples=steps))
    stream = stream._replace(tasks=tasks_of(steps, tasks))
    learner = make(stream, methods_for=methods_for)

    def begin(seed):
        data_key, agent_key = jax.random.split(jax.random.key(seed))
        return Member(learner.init(agent_key), stream.init((), data_key), ())

    def one(member, call):
        problem, batches = stream.draw((), member.problem, OF_STREAM)
        agent, judged = learner.learn(member.agent, batches, stream.calendar.clock(call * OF_STREAM))
        last = jax.tree.map(lambda x: x[-1], batches)
        return Member(agent, problem, ()), Round({"loss": judged.loss.mean()}, member.agent, last)

    return AtWork(learner, stream, begin, in_a_row(one))


def in_environments(make: Callable[..., Agent], methods_for: Callable[..., tuple], steps: int, tasks: int) -> AtWork:
    environment = drift(steps)._replace(tasks=tasks_of(steps, tasks))
    agent = make(environment, methods_for=methods_for)

    def begin(seed):
        problem_key, agent_key = jax.random.split(jax.random.key(seed))
        problem, observation = environment.init(problem_key)
        acting = agent.initial_carry(2), observation, jnp.ones(2, bool)
        return Member(agent.init(agent_key), problem, acting)

    def begun(state, call):
        """The agent's state before a call, with which a task may begin."""
        if agent.begin_task is None or not tasks:
            return state
        clock = Calendar(environment.tasks).clock(call * agent.horizon * environment.num_envs)
        return jax.lax.cond((clock.task_update == 1) & (clock.task > 0), agent.begin_task, lambda s, _: s, state, clock)

    def one(member, call):
        member = member._replace(agent=begun(member.agent, call))
        acting_params = agent.acting_params(member.agent)

        def step(now, t):
            problem, (carry, observation, is_first) = now
            carry, action, extras = agent.act(acting_params, carry, observation, is_first, jax.random.key(t))
            problem, then = environment.step(problem, action)
            data = Transitions(
                observation, action, extras, then.reward, then.terminated, then.truncated, then.final_observation
            )
            return (problem, (carry, then.observation, then.terminated | then.truncated)), data

        times = call * agent.horizon + jnp.arange(agent.horizon)
        (problem, acting), transitions = jax.lax.scan(step, (member.problem, member.acting), times)
        state, metrics = agent.learn(member.agent, transitions, call)
        return Member(state, problem, acting), Round(metrics, acting_params, transitions)

    return AtWork(agent, environment, begin, in_a_row(one))


def in_a_row(one: Callable[[Member, Any], tuple[Member, Round]]) -> Callable[[Member, Any], tuple[Member, Round]]:
    return lambda member, call: jax.lax.scan(one, member, call + jnp.arange(CALLS))


def methods_for(names: Sequence[str]) -> Callable[..., tuple]:
    """Makes methods of the library, with settings with which they act soon, of what an agent tells about a network."""

    def made(wiring, network, updates):
        del updates  # too few for growth to come to its end
        context = {"wiring": wiring, "initialize": network.init, "activation": network.activation, "updates": 1000}
        methods = []
        for name in names:
            method = registry.find("methods", name)
            wanted = inspect.signature(method).parameters
            methods.append(method(**busy.settings(method, {k: v for k, v in context.items() if k in wanted})))
        return tuple(methods)

    return made
