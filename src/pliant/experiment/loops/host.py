"""The loop that brings agents and environments outside of the device together, for a whole population.

If there are many members, they are dealt to two crews. While the environments of one are at work, the other acts or
learns, so that neither what computes nor what simulates has to wait. Each crew goes through

    act     <- on what its environments show; sets them going
    receive <- waits for their answer; once the horizon is full:
    learn   <- sets learning going, and then diagnostics; sends what was chosen by the same program when it is done

and makes a move when its turn comes, or passes while it is learning. An agent that learns after each step thus takes
one call of a program for it, and what it learned is not brought to where one acts.
"""

import contextlib
import functools
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.problem import VectorEnv
from pliant.experiment.configuration.build import build, some_transitions
from pliant.experiment.configuration.config import RunConfig

from . import device as device_loop
from .components import Components
from .population import Spread, layout
from .programs import Ended, Population, Stretch, like_key, plain, seed_axis

logger = logging.getLogger(__name__)

_TWO_CREWS_FROM = 16  # members; measured: smaller crews get in each other's way more than they gain


class HostPrograms:
    """Programs whose problem lies outside of the device; see `Programs`."""

    def __init__(self, config: RunConfig, members: Population):
        components = build(config)
        self._steps_at_once = components.steps_at_once
        self._open = contextlib.ExitStack()
        crews = np.array_split(np.arange(len(members)), 2 if len(members) >= _TWO_CREWS_FROM else 1)
        learners = self._open.enter_context(ThreadPoolExecutor(2, "learning")) if len(crews) == 2 else None
        compiled: dict[int, _Compiled] = {}
        self._crews = []
        for crew in crews:
            if len(crew) not in compiled:
                compiled[len(crew)] = _Compiled(config, len(crew))
            swept = {name: values[crew] for name, values in members.swept.items()}
            population = Population(members.seeds[crew], swept)
            self._crews.append(_Crew(components, compiled[len(crew)], population, crew[0], learners))

    def begin(self) -> None:
        """See `Programs`."""
        for crew in self._crews:
            self._open.callback(crew.begin().close)

    def advance(self, step: int, length: int) -> Stretch:
        """See `Programs`."""
        for crew in self._crews:
            crew.start(step // self._steps_at_once, length // self._steps_at_once)
        while busy := [crew for crew in self._crews if crew.rounds_left]:
            if not any([crew.move() for crew in busy]):
                busy[0].move(wait=True)
        stretches = [crew.results() for crew in self._crews]
        return Stretch(
            {key: np.concatenate([s.metrics[key] for s in stretches]) for key in stretches[0].metrics},
            np.concatenate([s.diverged for s in stretches]),
            _joined([s.ended for s in stretches if s.ended.values] or [stretches[0].ended]),
        )

    def policies(self) -> Any:
        """See `Programs`."""
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *[crew.policies() for crew in self._crews])

    def save(self) -> list[np.ndarray]:
        """See `Programs`; episodes in flight are not saved."""
        return [np.concatenate(arrays) for arrays in zip(*[crew.save() for crew in self._crews], strict=True)]

    def shapes(self) -> list[jax.ShapeDtypeStruct]:
        """See `Programs`."""
        members = sum(crew.size for crew in self._crews)
        return [jax.ShapeDtypeStruct((members, *like.shape[1:]), like.dtype) for like in self._crews[0].saved()]

    def restore(self, arrays: Sequence[np.ndarray], step: int) -> None:
        """See `Programs`."""
        logger.info("the episodes that were in flight at step %s begin anew", f"{step:,}")
        ends = np.cumsum([crew.size for crew in self._crews])[:-1]
        for crew, saved in zip(self._crews, zip(*[np.split(array, ends) for array in arrays])):
            crew.restore(saved)

    def close(self) -> None:
        """See `Programs`."""
        self._open.close()


def _joined(ended: Sequence[Ended]) -> Ended:
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *ended)


class _Compiled:
    """The programs of a crew; crews of one size share them."""

    def __init__(self, config: RunConfig, size: int):
        self._config = config
        self.spread = Spread(layout(size, seed_axis(config), jax.local_device_count(), jax.default_backend()))
        self.begin = self.spread.jit(self._begin)
        self.act = jax.jit(jax.vmap(self._act, (0, 0, 0, None)))
        self.policy = self.spread.jit(lambda member, _: self._components(member[1]).agent.policy(member[0]))
        self.learn = self.spread.jit(self._learn, donate=True)  # and acts upon what is seen then
        self.measure = self.spread.jit(self._measure)

    def _components(self, values: Mapping[str, Any]) -> Components:
        return build(self._config.with_values(values))

    def _begin(self, member: Any, _: Any) -> Any:
        seed, values = member
        agent = self._components(values).agent
        problem_key, init_key, acting_key = device_loop.keys_of(seed)
        return agent.init(init_key), acting_key, jax.random.key_data(problem_key)

    def _act(self, policy: Any, seen: "_Seen", values: Any, t: Any) -> Any:
        key = jax.random.fold_in(seen.acting_key, t)
        return self._components(values).agent.act(policy, seen.carry, seen.observation, seen.is_first, key)

    def _learn(self, kept: Any, given: Any, shared: Any) -> Any:
        state, told = kept
        values, transitions, seen = given
        number, rounds = shared
        components = self._components(values)
        state, metrics, diverged = device_loop.learn(components, state, transitions, number)
        averages = jax.tree.map(lambda average, x: average + (x - average) / (rounds + 1), told.averages, metrics)
        diverged = jnp.where(told.diverged >= 0, told.diverged, diverged)
        acted = self._act(components.agent.policy(state), seen, values, (number + 1) * components.agent.horizon)
        return (state, _Told(averages, diverged)), acted

    def _measure(self, member: Any, _: Any) -> Any:
        previous, state, values, transitions = member
        components = self._components(values)
        return components.measure(components.agent.signals(previous, state, transitions))


def _some_metrics(components: Components) -> dict[str, jax.Array]:
    state = components.agent.init(jax.random.key(0))
    return device_loop.learn(components, state, some_transitions(components), jnp.int32(0))[1]


class _Told(NamedTuple):
    """What learning has told; it stays on the device until it is asked for."""

    averages: dict[str, Any]  # (members,) each: of the rounds of a stretch so far
    diverged: Any  # (members,) the step at which each member diverged; -1: not


class _Seen(NamedTuple):
    """What is acted upon."""

    carry: Any  # a tree, (members, num_envs, ...) each
    observation: Any  # (members, num_envs, *observation)
    is_first: Any  # (members, num_envs) bool
    acting_key: Any  # (members,) of which each step's is made


class _Crew:
    """Some of the members, with their environments.

    Args:
        components: of any member: what they share.
        compiled: its programs.
        members: who they are.
        first: index of the first of them in the population.
        learners: where it learns, while other crews go on; `None` if there are none.
    """

    def __init__(
        self, components: Components, compiled: _Compiled, members: Population, first: int, learners: Executor | None
    ):
        self._learners = learners
        self._arena = components.problem
        self._horizon = components.agent.horizon
        self._steps_at_once = components.steps_at_once
        self._measures = bool(components.diagnostics)
        self._programs = compiled
        self._spread = compiled.spread
        self._members = members
        self._first = first
        self._shape = (len(members), components.problem.num_envs)
        # Where all that an agent needs is there already: to say so takes as long as a small update.
        self._on_one_device = compiled.spread.layout.devices == 1 and compiled.spread.layout.padded == len(members)
        carry = components.agent.initial_carry(components.problem.num_envs)
        self._initial_carry = jax.tree.map(lambda x: np.broadcast_to(x, (len(members), *np.shape(x))), carry)
        self._like_transitions = jax.eval_shape(functools.partial(some_transitions, components))
        self._metrics = tuple(jax.eval_shape(functools.partial(_some_metrics, components)))
        self._values = compiled.spread.place(members.swept)
        self._acting_values = jax.tree.map(lambda x: jnp.asarray(x), members.swept)
        self.rounds_left = 0

    @property
    def size(self) -> int:
        """How many members it has."""
        return len(self._members)

    def begin(self) -> VectorEnv:
        """Puts its members before their first step; returns their environments, to be closed."""
        seeds = self._spread.place(self._members.seeds)
        self._state, self._acting_key, seed = self._programs.begin((seeds, self._values), 0)
        self._host: VectorEnv = self._arena.open(self._spread.gather(seed))
        self._diverged = self._spread.place(np.full(self.size, -1, np.int32))
        self._begin_episodes()
        return self._host

    def _begin_episodes(self) -> None:
        self._observation = self._host.reset()
        self._is_first = np.ones(self._shape, bool)
        self._carry = self._initial_carry
        self._acts_by: Any = None  # what acting needs, where it acts; not before it is asked for
        self._acted: Any = None  # what is done next, if that is known already
        self._returns = np.zeros(self._shape)
        self._lengths = np.zeros(self._shape, np.int32)

    def _for_acting(self, tree: Any) -> Any:
        """Acting alone is one small program for the whole crew, on one device."""
        if self._on_one_device:
            return tree
        return jax.tree.map(lambda x: jax.device_put(x, jax.devices()[0])[: self.size], tree)

    def _for_learning(self, tree: Any) -> Any:
        return tree if self._on_one_device else self._spread.place(tree)

    def _policy(self) -> Any:
        return self._programs.policy((self._state, self._values), 0)

    # -- moves

    def start(self, number: int, rounds: int) -> None:
        """Begins a stretch of some rounds, `number` rounds having been before."""
        self._number, self.rounds_left = number, rounds
        averages = {name: np.zeros(self.size, np.float32) for name in self._metrics}
        self._told = _Told(self._spread.place(averages), self._diverged)
        self._rounds = 0
        self._measured: Any = {}
        self._ended: list[tuple[int, int, dict[str, float]]] = []
        self._begin_round()

    def _begin_round(self) -> None:
        # New arrays for each round: the device may still be reading the old ones.
        self._seen = jax.tree.map(lambda x: np.empty((self.size, *x.shape), x.dtype), self._like_transitions)
        self._t = 0
        self._learning: Future | None = None
        self._act()

    def move(self, wait: bool = False) -> bool:
        """Does what is due, and returns true; unless it is learning, and not to be waited for."""
        if self._learning is None:
            self._receive()
            if self._t < self._horizon:
                self._act()
                return True
            if self._learners is not None:
                self._learning = self._learners.submit(self._learn)
                return True
            self._learn()
        elif not wait and not self._learning.done():
            return False
        else:
            self._learning.result()
        self._number += 1
        self.rounds_left -= 1
        if self.rounds_left:
            self._begin_round()
        return True

    def _act(self) -> None:
        t = self._t
        self._carry, action, extras = self._act_alone() if self._acted is None else self._spread.gather(self._acted)
        self._acted = None
        action = np.asarray(action)
        # Of a member that diverges in this round, or did before: what it does matters no more.
        action = np.where(np.isfinite(action), action, action.dtype.type(0))
        self._host.send(action)
        self._seen.observation[:, t] = self._observation
        self._seen.action[:, t] = action
        jax.tree.map(lambda seen, x: seen.__setitem__((slice(None), t), x), self._seen.extras, extras)

    def _act_alone(self) -> Any:
        if self._acts_by is None:
            self._acts_by, self._key_here = self._for_acting((self._policy(), self._acting_key))
        seen = _Seen(self._carry, self._observation, self._is_first, self._key_here)
        return self._programs.act(
            self._acts_by, seen, self._acting_values, np.int32(self._number * self._horizon + self._t)
        )

    def _receive(self) -> None:
        t, seen = self._t, self._seen
        answer = self._host.receive()
        ended = answer.terminated | answer.truncated
        seen.reward[:, t] = answer.reward
        seen.terminated[:, t] = answer.terminated
        seen.truncated[:, t] = answer.truncated
        seen.next_observation[:, t] = answer.final_observation
        self._returns += answer.reward
        self._lengths += 1
        self._observation, self._is_first = answer.observation, ended
        self._t += 1
        if ended.any():
            self._note_ended(ended, answer.info)

    def _note_ended(self, ended: np.ndarray, info: Mapping[str, np.ndarray]) -> None:
        values = {"return": self._returns, "length": self._lengths, **info}
        steps_before = self._number * self._steps_at_once + (self._t - 1) * self._shape[1]
        for member, environment in np.argwhere(ended):
            numbers = {name: float(x[member, environment]) for name, x in values.items()}
            self._ended.append((self._first + member, steps_before + environment + 1, numbers))
        self._returns[ended] = 0
        self._lengths[ended] = 0

    def _learn(self) -> None:
        """Runs in a thread of its own if there are other crews, while this one passes."""
        measures = self._measures and self.rounds_left == 1
        previous = self._policy() if measures else None  # learning takes the memory of the state
        transitions, carry, observation, is_first = self._for_learning(
            (self._seen, self._carry, self._observation, self._is_first)
        )
        seen = _Seen(carry, observation, is_first, self._acting_key)
        (self._state, self._told), self._acted = self._programs.learn(
            (self._state, self._told),
            (self._values, transitions, seen),
            (np.int32(self._number), np.int32(self._rounds)),
        )
        self._acts_by = None
        self._rounds += 1
        if measures:
            measured = self._programs.measure((previous, self._state, self._values, transitions), 0)
            self._measured = self._spread.gather(measured)

    # -- what came out

    def results(self) -> Stretch:
        """Of the stretch that `start` began."""
        averages, diverged = self._spread.gather(self._told)
        self._diverged = self._told.diverged
        members, steps, values = zip(*self._ended) if self._ended else ((), (), ())
        names = values[0] if values else ()
        ended = Ended(
            np.asarray(members, int),
            np.asarray(steps, int),
            {name: np.asarray([v[name] for v in values]) for name in names},
        )
        averaged = {(name, ""): average for name, average in averages.items()}
        return Stretch({**averaged, **self._measured}, diverged, ended)

    def policies(self) -> Any:
        return self._spread.gather(self._policy())

    def saved(self) -> list[jax.Array | np.ndarray]:
        """What is to be saved, where it is: on the devices with the padding."""
        host = self._host.save()
        return [*map(plain, jax.tree.leaves(self._state)), self._diverged, *(host[name] for name in sorted(host))]

    def save(self) -> list[np.ndarray]:
        return [self._spread.gather(x) for x in self.saved()]

    def restore(self, arrays: Sequence[np.ndarray]) -> None:
        leaves, structure = jax.tree.flatten(self._state)
        self._state = structure.unflatten(
            like_key(self._spread.place(array), leaf) for array, leaf in zip(arrays, leaves)
        )
        diverged, *host = arrays[len(leaves) :]
        self._diverged = self._spread.place(diverged)
        self._host.restore(dict(zip(sorted(self._host.save()), host, strict=True)))
        self._begin_episodes()
