"""Trained agents act, and learn nothing: the same steps as in training, in the two forms of arenas.

What is random here comes from a number of the evaluation's own, `seed`, and from a member's seed. Members of one
seed meet the same environments, whatever was swept, at whatever checkpoint, and whether they act greedily or not.
"""

import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array, Key
from pliant.core.problem import VectorEnv
from pliant.experiment.configuration.build import build, quietly
from pliant.experiment.loops.components import Components
from pliant.experiment.loops.population import Spread, layout
from pliant.experiment.loops.programs import like_key, seed_axis

from .restore import Trained

# A run splits its seed's key in two, which is to fold in 0 and 1: this number keeps the evaluation's keys apart.
_NOT_TRAINING = 2**31

_CHUNK = 256  # steps of an arena on the device in one call

AnyHost = TypeVar("AnyHost", bound=VectorEnv)


class Step(NamedTuple):
    """What followed an action of all members."""

    ended: np.ndarray  # (members, num_envs) bool
    episode: dict[str, np.ndarray]  # (members, num_envs) each: facts about the episodes, of use where they ended
    scene: Any = ()  # (members, ...) each: what was to be seen before the action


Policies: TypeAlias = Any  # `(members, ...)` arrays: of all members, what acting needs of the agent's state


def policies_of(trained: Trained) -> Policies:
    """What acting needs of states that were saved; the rest of them, such as a replay, is left on the host."""

    def policy(leaves: Sequence[Array], values: Any) -> Any:
        agent = _components(trained, values).agent
        # Made for its structure alone: nobody reads the numbers, and the compiler drops them.
        like, structure = jax.tree.flatten(agent.init(jax.random.key(0)))
        return agent.policy(structure.unflatten(map(like_key, leaves, like)))

    return jax.jit(jax.vmap(policy))(trained.agents, trained.members.swept)


def open_host(trained: Trained, make: Callable[[np.ndarray], AnyHost], seed: int) -> AnyHost:
    """Environments outside of the device that take up what the run saved of its own, such as the friction in force.

    A run on the device saved nothing of the kind: they begin anew.
    """
    keys = jax.vmap(lambda member: jax.random.key_data(_keys(member, seed)[0]))(trained.members.seeds)
    host = make(np.asarray(keys))
    if trained.host:
        host.restore(trained.host)
    return host


def on_host(
    trained: Trained, *, greedy: bool, seed: int
) -> Callable[[Policies, VectorEnv, np.ndarray], Iterator[Step]]:
    """Makes what lets agents act in environments outside of the device; it is compiled once, at its first use.

    Args:
        trained: members as those who will act.
        greedy: whether the most probable actions are taken.
        seed: what random actions come from.

    Returns:
        `play(policies, host, observation)`: steps without end of the host, which stays open; `observation` is what it
        showed when it was reset.
    """

    def act(policy: Any, carry: Any, observation: Array, is_first: Array, member: Array, values: Any, t: Array) -> Any:
        key = jax.random.fold_in(_keys(member, seed)[1], t)
        agent = _components(trained, values).agent
        carry, action, _ = agent.act(policy, carry, observation, is_first, key, greedy=greedy)
        return carry, action

    seeds, values = jax.tree.map(jnp.asarray, trained.members)
    act = jax.jit(jax.vmap(act, (0, 0, 0, 0, 0, 0, None)))

    def play(policies: Policies, host: VectorEnv, observation: np.ndarray) -> Iterator[Step]:
        shape = observation.shape[:2]
        carry = _components(trained, {}).agent.initial_carry(shape[1])
        carry = jax.tree.map(lambda x: np.broadcast_to(x, (shape[0], *np.shape(x))), carry)
        is_first, returns, lengths = np.ones(shape, bool), np.zeros(shape), np.zeros(shape, np.int32)
        for t in itertools.count():
            carry, action = act(policies, carry, observation, is_first, seeds, values, np.int32(t))
            action = np.asarray(action)
            # Of a member that diverged: what it does matters no more.
            host.send(np.where(np.isfinite(action), action, action.dtype.type(0)))
            answer = host.receive()
            returns, lengths = returns + answer.reward, lengths + 1
            observation, is_first = answer.observation, answer.terminated | answer.truncated
            yield Step(is_first, _facts(returns, lengths, answer))
            returns, lengths = np.where(is_first, 0, returns), np.where(is_first, 0, lengths)

    return play


def on_device(
    trained: Trained, *, greedy: bool, seed: int, scene: Callable[[Any], Any] = lambda state: ()
) -> Callable[[Policies], Iterator[Step]]:
    """Makes what lets agents act in an arena on the device; it is compiled once, at its first use.

    Args:
        trained: members as those who will act.
        greedy: whether the most probable actions are taken.
        seed: what the environments, and random actions, come from.
        scene: what is to be seen of the arena's state before each action, a tree of arrays; by default nothing.

    Returns:
        `play(policies)`: steps without end of environments that begin anew.
    """

    def begin(member: Any, _: Any) -> Any:
        policy, (member_seed, values) = member
        components = _components(trained, values)
        environment = components.problem
        problem_key, acting_key = _keys(member_seed, seed)
        state, observation = environment.init(problem_key)
        E = environment.num_envs
        carry = components.agent.initial_carry(E)
        here = (state, carry, observation, jnp.ones(E, bool), jnp.zeros(E), jnp.zeros(E, jnp.int32))
        return policy, acting_key, values, here

    def advance(member: Any, chunk: Array) -> Any:
        policy, acting_key, values, here = member
        components = _components(trained, values)

        def one_step(here: Any, t: Array) -> Any:
            state, carry, observation, is_first, returns, lengths = here
            key = jax.random.fold_in(acting_key, t)
            carry, action, _ = components.agent.act(policy, carry, observation, is_first, key, greedy=greedy)
            seen = scene(state)
            state, answer = components.problem.step(state, action)
            returns, lengths = returns + answer.reward, lengths + 1
            ended = answer.terminated | answer.truncated
            facts = _facts(returns, lengths, answer)
            returns, lengths = jnp.where(ended, 0, returns), jnp.where(ended, 0, lengths)
            return (state, carry, answer.observation, ended, returns, lengths), Step(ended, facts, seen)

        here, steps = jax.lax.scan(one_step, here, chunk * _CHUNK + jnp.arange(_CHUNK))
        return (policy, acting_key, values, here), steps

    members = len(trained.members)
    spread = Spread(layout(members, seed_axis(trained.config), jax.local_device_count(), jax.default_backend()))
    begin, advance = spread.jit(begin), spread.jit(advance, donate=True)

    def play(policies: Policies) -> Iterator[Step]:
        state = begin(spread.place((policies, tuple(trained.members))), 0)
        for chunk in itertools.count():
            state, steps = advance(state, jnp.int32(chunk))
            steps = spread.gather(steps)  # (members, steps, ...) each
            for t in range(_CHUNK):
                yield jax.tree.map(operator.itemgetter((slice(None), t)), steps)

    return play


def first_episodes(
    episodes: int,
    steps: Iterator[Step],
    shape: tuple[int, int],
    on_progress: Callable[[int], None] = lambda done: None,
    left_out: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """What is told of each member's first episodes.

    Args:
        episodes: how many of each member count, at least 1; see `evaluate`.
        steps: what follows the members' actions.
        shape: (members, num_envs).
        on_progress: is told how many episodes are over.
        left_out: `(members,)` bool: who is not waited for, being diverged; not all of them. `None`: nobody.

    Returns:
        `(members, episodes)` for each fact; zeros of whoever is left out.
    """
    members, num_envs = shape
    facts: dict[str, np.ndarray] = {}
    left_out = np.zeros(members, bool) if left_out is None else left_out
    # Of the episodes in flight, from 0; of those who are left out all are over.
    number = np.where(left_out[:, None], episodes, np.arange(num_envs))
    done, all_of_them = 0, int((~left_out).sum()) * episodes
    on_progress(done)
    for step in steps:
        member, environment = np.nonzero(step.ended & (number < episodes))
        for name, values in step.episode.items():
            of_all = facts.setdefault(name, np.zeros((members, episodes), values.dtype))
            of_all[member, number[member, environment]] = values[member, environment]
        number = number + num_envs * step.ended
        if len(member):
            done += len(member)
            on_progress(done)
        if done == all_of_them:
            break
    return facts


def _keys(seed: Array, evaluation_seed: int) -> tuple[Key, Key]:
    """The keys of a member's environments and of its actions."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _NOT_TRAINING), evaluation_seed)
    environment_key, acting_key = jax.random.split(key)
    return environment_key, acting_key


def _components(trained: Trained, values: Any) -> Components:
    with quietly():
        return build(trained.config.with_values(values))


def _facts(returns: Any, lengths: Any, answer: Any) -> dict[str, Any]:
    ends = {"terminated": answer.terminated, "truncated": answer.truncated}
    return {"return": returns, "length": lengths, **ends, **answer.info}
