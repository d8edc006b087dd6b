"""Trained agents act, and learn nothing: the same steps as in training, in the two forms of arenas.

What is random here comes from a number of the evaluation's own, `entropy`, and from a member's seed. Members of one
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
from pliant.core.problem import Host

from .build import build, quietly
from .parts import Parts
from .population import Spread, layout
from .programs import like_key, seed_axis
from .trained import Trained

# A run splits its seed's key in two, which is to fold in 0 and 1: this number keeps the evaluation's keys apart.
_NOT_TRAINING = 2**31

_CHUNK = 256  # steps of an arena on the device in one call

AnyHost = TypeVar("AnyHost", bound=Host)


class Step(NamedTuple):
    """What followed an action of all members."""

    ended: np.ndarray  # (members, environments) bool
    episode: dict[str, np.ndarray]  # (members, environments) each: facts about the episodes, of use where they ended
    scene: Any = ()  # (members, ...) each: what was to be seen before the action


Policies: TypeAlias = Any  # `(members, ...)` arrays: of all members, what acting needs of the agent's state


def policies_of(trained: Trained) -> Policies:
    """What acting needs of states that were saved; the rest of them, such as a replay, is left on the host."""

    def policy(leaves: Sequence[Array], values: Any) -> Any:
        agent = _parts(trained, values).agent
        # Made for its structure alone: nobody reads the numbers, and the compiler drops them.
        like, structure = jax.tree.flatten(agent.init(jax.random.key(0)))
        return agent.policy(structure.unflatten(map(like_key, leaves, like)))

    return jax.jit(jax.vmap(policy))(trained.agents, trained.members.swept)


def open_host(trained: Trained, make: Callable[[np.ndarray], AnyHost], entropy: int) -> AnyHost:
    """Environments outside of the device that take up what the run saved of its own, such as the friction in force.

    A run on the device saved nothing of the kind: they begin anew.
    """
    keys = jax.vmap(lambda seed: jax.random.key_data(_keys(seed, entropy)[0]))(trained.members.seeds)
    host = make(np.asarray(keys))
    if trained.host:
        host.restore(trained.host)
    return host


def on_host(trained: Trained, *, greedy: bool, entropy: int) -> Callable[[Policies, Host, np.ndarray], Iterator[Step]]:
    """Makes what lets agents act in environments outside of the device; it is compiled once, at its first use.

    Args:
        trained: members as those who will act.
        greedy: whether the most probable actions are taken.
        entropy: what random actions come from.

    Returns:
        `play(policies, host, observation)`: steps without end of the host, which stays open; `observation` is what it
        showed when it was reset.
    """

    def act(policy: Any, memory: Any, observation: Array, begins: Array, seed: Array, values: Any, t: Array) -> Any:
        key = jax.random.fold_in(_keys(seed, entropy)[1], t)
        agent = _parts(trained, values).agent
        memory, action, _ = agent.act(policy, memory, observation, begins, key, greedy=greedy)
        return memory, action

    seeds, values = jax.tree.map(jnp.asarray, trained.members)
    act = jax.jit(jax.vmap(act, (0, 0, 0, 0, 0, 0, None)))

    def play(policies: Policies, host: Host, observation: np.ndarray) -> Iterator[Step]:
        shape = observation.shape[:2]
        memory = _parts(trained, {}).agent.remember(shape[1])
        memory = jax.tree.map(lambda x: np.broadcast_to(x, (shape[0], *np.shape(x))), memory)
        begins, returns, lengths = np.ones(shape, bool), np.zeros(shape), np.zeros(shape, np.int32)
        for t in itertools.count():
            memory, action = act(policies, memory, observation, begins, seeds, values, np.int32(t))
            action = np.asarray(action)
            # Of a member that diverged: what it does matters no more.
            host.send(np.where(np.isfinite(action), action, action.dtype.type(0)))
            answer = host.receive()
            returns, lengths = returns + answer.reward, lengths + 1
            observation, begins = answer.observation, answer.terminated | answer.truncated
            yield Step(begins, _facts(returns, lengths, answer))
            returns, lengths = np.where(begins, 0, returns), np.where(begins, 0, lengths)

    return play


def on_device(
    trained: Trained, *, greedy: bool, entropy: int, scene: Callable[[Any], Any] = lambda state: ()
) -> Callable[[Policies], Iterator[Step]]:
    """Makes what lets agents act in an arena on the device; it is compiled once, at its first use.

    Args:
        trained: members as those who will act.
        greedy: whether the most probable actions are taken.
        entropy: what the environments, and random actions, come from.
        scene: what is to be seen of the arena's state before each action, a tree of arrays; by default nothing.

    Returns:
        `play(policies)`: steps without end of environments that begin anew.
    """

    def begin(member: Any, _: Any) -> Any:
        policy, (seed, values) = member
        parts = _parts(trained, values)
        arena = parts.problem
        problem_key, acting_key = _keys(seed, entropy)
        state, observation = arena.init(problem_key)
        E = arena.environments
        memory = parts.agent.remember(E)
        here = (state, memory, observation, jnp.ones(E, bool), jnp.zeros(E), jnp.zeros(E, jnp.int32))
        return policy, acting_key, values, here

    def advance(member: Any, chunk: Array) -> Any:
        policy, acting_key, values, here = member
        parts = _parts(trained, values)

        def one_step(here: Any, t: Array) -> Any:
            state, memory, observation, begins, returns, lengths = here
            key = jax.random.fold_in(acting_key, t)
            memory, action, _ = parts.agent.act(policy, memory, observation, begins, key, greedy=greedy)
            seen = scene(state)
            state, answer = parts.problem.step(state, action)
            returns, lengths = returns + answer.reward, lengths + 1
            ended = answer.terminated | answer.truncated
            facts = _facts(returns, lengths, answer)
            returns, lengths = jnp.where(ended, 0, returns), jnp.where(ended, 0, lengths)
            return (state, memory, answer.observation, ended, returns, lengths), Step(ended, facts, seen)

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
    tell: Callable[[int], None] = lambda done: None,
    left_out: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """What is told of each member's first episodes.

    Args:
        episodes: how many of each member count, at least 1; see `evaluate`.
        steps: what follows the members' actions.
        shape: (members, environments).
        tell: is told how many episodes are over.
        left_out: `(members,)` bool: who is not waited for, being diverged; not all of them. `None`: nobody.

    Returns:
        `(members, episodes)` for each fact; zeros of whoever is left out.
    """
    members, environments = shape
    facts: dict[str, np.ndarray] = {}
    left_out = np.zeros(members, bool) if left_out is None else left_out
    # Of the episodes in flight, from 0; of those who are left out all are over.
    number = np.where(left_out[:, None], episodes, np.arange(environments))
    done, all_of_them = 0, int((~left_out).sum()) * episodes
    tell(done)
    for step in steps:
        member, environment = np.nonzero(step.ended & (number < episodes))
        for name, values in step.episode.items():
            of_all = facts.setdefault(name, np.zeros((members, episodes), values.dtype))
            of_all[member, number[member, environment]] = values[member, environment]
        number = number + environments * step.ended
        if len(member):
            done += len(member)
            tell(done)
        if done == all_of_them:
            break
    return facts


def _keys(seed: Array, entropy: int) -> tuple[Key, Key]:
    """The keys of a member's environments and of its actions."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _NOT_TRAINING), entropy)
    environments, actions = jax.random.split(key)
    return environments, actions


def _parts(trained: Trained, values: Any) -> Parts:
    with quietly():
        return build(trained.config.with_values(values))


def _facts(returns: Any, lengths: Any, answer: Any) -> dict[str, Any]:
    ends = {"terminated": answer.terminated, "truncated": answer.truncated}
    return {"return": returns, "length": lengths, **ends, **answer.info}
