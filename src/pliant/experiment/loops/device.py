"""The loop that brings an agent and environments on the device together, for one member of a population.

for each slice of a chunk (one compiled call, all members):
    for each round of the slice:
        for each of `horizon` steps:
            action     <- the agent acts on the observation
            transition <- the environments answer
        state <- the agent learns from the transitions
metrics <- means over the rounds of the chunk; diagnostics on the last round
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from typing_extensions import override

from pliant.core.agent import Agent, Transitions
from pliant.core.base import Array, Key
from pliant.core.problem import Environment
from pliant.core.seeding import agent_keys
from pliant.experiment.configuration.components import Components, Metrics

from .acting import InFlight, act_and_step, begin_episodes
from .device_play import DevicePlay
from .learning import average, if_due, learn, metric_names, round_steps
from .plan import Acting, Form, Loop, Plan, Play, Programs, Slice
from .programs import DevicePrograms, Episodes, OfMember


class Member(NamedTuple):
    agent: Any  # the agent's state
    problem: Any  # the environments' state
    episodes: InFlight
    acting_key: Key
    diverged: Array  # () the step at which a number was first not finite; -1: never
    averages: dict[str, Array]  # () each: metrics of learning, averaged over the rounds of the chunk so far


def begin(components: Components, seed: Array, shared: Any = ()) -> Member:
    """The member before the first step; members share no data."""
    del shared
    keys = agent_keys(seed)
    environment: Environment = components.problem
    state, observation = environment.init(keys.problem)
    E = environment.num_envs
    return Member(
        agent=components.agent.init(keys.agent),
        problem=state,
        episodes=begin_episodes(components.agent.initial_carry(E), observation, (E,)),
        acting_key=keys.acting,
        diverged=jnp.full((), -1, jnp.int32),
        averages={name: jnp.zeros(()) for name in metric_names(components)},
    )


def advance(
    components: Components, member: Member, step: Array, steps: int, shared: Any = (), slice: Slice | None = None
) -> tuple[Member, Metrics, Episodes]:
    """Advances one member by a chunk, or by a slice of a chunk.

    Args:
        components: what to run.
        member: its state.
        step: `()`, steps before the slice; the same for all members.
        steps: the chunk's length, known when compiling; whole rounds.
        shared: nothing.
        slice: rounds of the chunk; `None`: all.

    Returns:
        The member after the slice; the metrics of the chunk, valid at its end; and the episodes: first those of the
        slice, then zeros.
    """
    del shared
    rounds, done = steps // round_steps(components), step // round_steps(components)
    slice = slice or Slice(0, rounds, steps)

    # Inlined, and traced once for the shapes and the loop.
    collect = jax.jit(functools.partial(_collect, components), inline=True)

    def watched(params: Any, transitions: Transitions) -> Any:
        """The inputs of the diagnostics of a round."""
        return (params, transitions) if components.diagnostics else ()

    def one_round(i: Array, carry: Any) -> Any:
        number = done + i
        member, transitions, ended = collect(carry[0], number)
        params = components.agent.acting_params(member.agent)
        state, metrics, diverged = learn(components, member.agent, transitions, number)
        member = member._replace(
            agent=state,
            diverged=jnp.where(member.diverged >= 0, member.diverged, diverged),
            averages=average(member.averages, metrics, slice.before + i),
        )
        episodes = jax.tree.map(lambda rows, row: rows.at[i].set(row), carry[2], ended)
        return member, watched(params, transitions), episodes

    _, transitions, ended = jax.eval_shape(collect, member, done)
    nothing_yet = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), transitions)
    no_episodes = jax.tree.map(lambda x: jnp.zeros((rounds, *x.shape), x.dtype), ended)
    carry = (member, watched(components.agent.acting_params(member.agent), nothing_yet), no_episodes)
    member, seen, episodes = jax.lax.fori_loop(0, slice.units, one_round, carry)
    averaged: Metrics = {(name, ""): value for name, value in member.averages.items()}
    if components.diagnostics:

        def measured(seen: Any) -> Metrics:
            params, transitions = seen
            return components.measure(components.agent.signals(params, member.agent, transitions))

        # A rank may take longer than all slices of a chunk.
        ends = slice.before + slice.units == slice.steps // round_steps(components)
        averaged |= if_due(ends, measured, seen)
    return member, averaged, {name: x.reshape(-1, *x.shape[2:]) for name, x in episodes.items()}


def _collect(components: Components, member: Member, number: Array) -> tuple[Member, Transitions, Episodes]:
    """Acts for one horizon, after `number` rounds."""
    environment: Environment = components.problem
    agent: Agent = components.agent
    params = agent.acting_params(member.agent)

    def one_step(member: Member, t: Array) -> tuple[Member, tuple[Transitions, Episodes]]:
        before = member.episodes.seen.observation
        key = jax.random.fold_in(member.acting_key, t)
        problem, episodes, acted = act_and_step(agent, environment, params, member.problem, member.episodes, key)
        answer = acted.answer
        transition = Transitions(
            before, acted.action, acted.extras, answer.reward, answer.terminated, answer.truncated,
            answer.final_observation,
        )  # fmt: skip
        return member._replace(problem=problem, episodes=episodes), (transition, acted.facts)

    times = number * agent.horizon + jnp.arange(agent.horizon)
    member, (transitions, episodes) = jax.lax.scan(one_step, member, times)
    return member, transitions, episodes


def _unit(components: Components, steps: int) -> int:
    """The steps of one round, for chunks of all lengths."""
    del steps
    return round_steps(components)


class DeviceLoop(Loop):
    """The loop of environments on the device."""

    unit = "steps"
    has_episodes = True
    frame_seconds = 0.1

    @override
    def in_short(self, components: Components, seed: Array, shared: Any) -> Member:
        del shared
        return advance(components, begin(components, seed), jnp.int32(0), round_steps(components))[0]

    @override
    def programs(self, plan: Plan) -> Programs:
        return DevicePrograms(plan, OfMember(begin, advance, _unit), plan.components.problem.num_envs)

    @override
    def play(
        self, plan: Plan, *, mode: Acting, seed: int, host: Mapping[str, np.ndarray], form: Form | None = None
    ) -> Play:
        del host  # only environments outside of the device save it
        return DevicePlay(plan, mode=mode, seed=seed, form=form)
