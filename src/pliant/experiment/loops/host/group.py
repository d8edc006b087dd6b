"""A group of members whose environments are outside of the device. Each group cycles through

    act     <- chooses actions for the observations, and starts a step of the environments
    receive <- waits for the results; when the round is full:
    learn   <- starts learning, and then diagnostics; the same program chooses the next actions

A call of `poll` does one of these, or none while the group is learning. An agent that learns after each step needs one
call of a program per step, and its parameters never leave the device.
"""

from collections.abc import Mapping
from concurrent.futures import Executor, Future
from typing import Any

import jax
import numpy as np

from pliant.core.problem import VectorEnv
from pliant.experiment.loops.acting import (
    InFlight,
    acting_in_task,
    begin_episodes,
    follow,
    harmless,
    now_acting,
)
from pliant.experiment.loops.learning import zero_transitions
from pliant.experiment.loops.plan import Change, Chunk, Plan, Question
from pliant.experiment.loops.population import Population
from pliant.experiment.loops.saving import host_in, named, named_back, of_host

from .numpy_act import NumPyAct
from .programs import GroupPrograms, RunningMetrics
from .round import EndedEpisodes, Round, seen_in_round


class Group:
    """Some of the members, with their environments.

    Args:
        plan: of the run.
        programs: for as many members.
        members: the members of the group.
        first: index of the first of them in the population.
        learners: threads in which it learns while another group acts; `None` if there is no other group.
    """

    def __init__(self, plan: Plan, programs: GroupPrograms, members: Population, first: int, learners: Executor | None):
        components = plan.components
        self._problem = plan.problem
        self._agent, self._horizon = components.agent, components.agent.horizon
        self._steps_at_once = plan.steps_at_once
        self._measures = bool(components.diagnostics)
        self._programs, self._map = programs, programs.map
        self._members, self._first = members, first
        self._learners = learners
        self._shape = (len(members), plan.problem.num_envs)
        # Then arrays need not be moved: to move them takes as long as a small update.
        self._on_one_device = self._map.layout.devices == 1 and self._map.layout.padded == len(members)
        carry = components.agent.initial_carry(plan.problem.num_envs)
        self._initial_carry = jax.tree.map(lambda x: np.broadcast_to(x, (len(members), *np.shape(x))), carry)
        self._like_round = jax.eval_shape(lambda: (zero_transitions(components), seen_in_round(components)))
        self._values = self._map.place(members.swept)
        self._acting_values = jax.device_put(members.swept)
        self.rounds_left = 0

    @property
    def size(self) -> int:
        """The number of members."""
        return len(self._members)

    def begin(self) -> VectorEnv:
        """Puts the members before their first step; returns their environments, which the caller closes."""
        seeds = self._map.place(self._members.seeds)
        self._state, self._acting_key, seed = self._programs.begin(seeds, self._values, 0)
        self._host: VectorEnv = self._problem.open(self._map.gather(seed))
        averages = {name: np.zeros(self.size, np.float32) for name in self._programs.metric_names}
        self._running = self._map.place(RunningMetrics(averages, np.full(self.size, -1, np.int32)))
        self._begin_episodes()
        return self._host

    def _begin_episodes(self) -> None:
        self._now: InFlight = begin_episodes(self._initial_carry, self._host.reset(), self._shape, np)
        self._acting_params_here: Any = None  # on the device that acts; made at the first use
        self._acted: Any = None  # the next action, if the program that learns has chosen it

    # -- a slice of a chunk

    def start(self, number: int, rounds: int, *, before: int, ends: bool) -> None:
        """Begins a slice of a chunk.

        Args:
            number: rounds before the slice.
            rounds: rounds of the slice.
            before: rounds of the chunk before the slice.
            ends: whether the chunk ends with the slice.
        """
        self._number, self.rounds_left, self._rounds, self._ends = number, rounds, before, ends
        self._measured: Any = {}
        self._ended = EndedEpisodes(self._first)
        self._begin_round()

    def _begin_round(self) -> None:
        self._round = Round(self._like_round, self.size)
        self._t = 0
        self._learning: Future | None = None
        if self._programs.numpy_act is not None:
            self._begin_numpy(self._programs.numpy_act)
        self._act()

    def _begin_numpy(self, program: NumPyAct) -> None:
        """Takes the parameters of a round, and draws its random numbers."""
        self._act_in_numpy = program.of_round(self.acting_params(), self._members.swept)
        first = np.int32(self._number * self._horizon)
        key = self._for_acting(self._acting_key)
        self._drawn = [np.asarray(numbers) for numbers in program.draw(key, first, self._horizon)]

    def poll(self, wait: bool = False) -> bool:
        """Does the next part of the cycle; returns false if the group is still learning and `wait` is false."""
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

    def results(self) -> Chunk:
        """The results of the slice that `start` began."""
        averages, diverged = self._map.gather(self._running)
        averaged = {(name, ""): average for name, average in averages.items()} if self._ends else {}
        return Chunk({**averaged, **self._measured}, diverged, self._ended.table())

    # -- a step

    def _act(self) -> None:
        if self._programs.numpy_act is not None:
            extras = None
            self._carry, action = self._act_in_numpy(self._now.seen, [numbers[self._t] for numbers in self._drawn])
        else:
            # The carry is on the host before each call: a carry on the device would be another signature to compile.
            acted = self._map.gather(self._act_alone() if self._acted is None else self._acted)
            self._carry, action, extras = acted
            self._acted = None
        action = harmless(action)
        self._host.send(action)
        self._round.write_action(self._t, self._now.seen, action, extras)

    def _act_alone(self) -> Any:
        if self._acting_params_here is None:
            self._acting_params_here, self._key_here = self._for_acting((self._acting_params(), self._acting_key))
        t = np.int32(self._number * self._horizon + self._t)
        return self._programs.act(self._acting_params_here, self._key_here, self._now.seen, self._acting_values, t)

    def _receive(self) -> None:
        answer = self._host.receive()
        self._round.write_answer(self._t, answer)
        self._now, facts = follow(self._now, self._carry, answer, np)
        if facts["ended"].any():
            self._ended.add(self._number * self._steps_at_once + self._t * self._shape[1], facts)
        self._t += 1

    def _learn(self) -> None:
        """Runs in another thread if there is another group."""
        measures = self._measures and self._ends and self.rounds_left == 1
        previous = self._acting_params() if measures else None  # learning reuses the memory of the state
        transitions, seen = self._for_learning((self._round.transitions, self._now.seen))
        if self._programs.numpy_act is not None:
            given = self._values, self._acting_key, self._for_learning(self._round.seen)
            first = np.int32(self._number * self._horizon)
            transitions = transitions._replace(extras=self._programs.extras(self._acting_params(), given, first))
        (self._state, self._running), self._acted = self._programs.learn(
            (self._state, self._running),
            (self._values, transitions, self._acting_key, seen),
            (np.int32(self._number), np.int32(self._rounds)),
        )
        self._acting_params_here = None
        self._rounds += 1
        if measures:
            measured = self._programs.measure(previous, self._state, self._values, transitions, 0)
            self._measured = self._map.gather(measured)

    # -- between the devices and the host

    def _for_acting(self, tree: Any) -> Any:
        """Moves arrays to the one device that acts for the whole group."""
        if self._on_one_device:
            return tree
        return jax.tree.map(lambda x: jax.device_put(x, jax.devices()[0])[: self.size], tree)

    def _for_learning(self, tree: Any) -> Any:
        return tree if self._on_one_device else self._map.place(tree)

    def _acting_params(self) -> Any:
        return self._programs.asking(now_acting)(self._state, self._values, 0)

    def acting_params(self, task: int | None = None) -> Any:
        """The agents' acting parameters, `(members, ...)` each; see `Programs`."""
        if task is None or self._agent.acting_params_for is None:
            return self._map.gather(self._acting_params())
        return self.ask(acting_in_task, np.int32(task))

    def change(self, change: Change, shared: Any, own: Any) -> None:
        """See `Programs`; drops what the agents before chose."""
        self._state = self._programs.changing(change)(self._state, self._values, self._map.place(own), shared)
        self._acting_params_here = self._acted = None

    def ask(self, question: Question, shared: Any) -> Any:
        """See `Programs`."""
        return self._map.gather(self._programs.asking(question)(self._state, self._values, shared))

    def saved(self) -> dict[str, Any]:
        """The state to save, on the devices, with padding."""
        return named({"agent": self._state, **self._running._asdict()}) | of_host(self._host.save())

    def save(self) -> dict[str, np.ndarray]:
        """The state to save, `(members, ...)` each."""
        return self._map.gather(self.saved())

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restores the state of `save`; episodes restart."""
        host = host_in(arrays)
        placed = {name: self._map.place(array) for name, array in arrays.items() if name not in of_host(host)}
        trees = named_back(placed, {"agent": self._state, **self._running._asdict()})
        self._state = trees.pop("agent")
        self._running = RunningMetrics(**trees)
        self._host.restore(host)
        self._begin_episodes()
