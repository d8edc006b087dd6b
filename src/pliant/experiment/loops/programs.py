"""Programs with the problem on the device: a slice of a chunk is one call."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from typing_extensions import override

from pliant.core.base import Array
from pliant.experiment.configuration.components import Components, Metrics

from .acting import acting_in_task, now_acting
from .plan import Change, Chunk, Ended, Plan, Programs, Question, Slice
from .saving import named, named_back

# Facts about episodes, `(steps of an environment, num_envs)` each: `ended` (bool), and, valid where `ended` is true,
# `return`, `length` and the problem's records. Empty for a stream.
Episodes = dict[str, Array]


class OfMember(NamedTuple):
    """The functions of one member, of which a loop on the device consists.

    A member is a named tuple with the fields `agent` and `diverged`, and further state.
    """

    begin: Callable[[Components, Array, Any], Any]  # (components, seed, shared) -> member
    # (components, member, step, steps of the chunk, shared, slice) -> (member, metrics, episodes)
    advance: Callable[[Components, Any, Array, int, Any, Slice], tuple[Any, Metrics, Episodes]]
    unit: Callable[[Components, int], int]  # (components, steps of the chunk) -> see `Programs.unit`
    # (components, steps of the chunk) -> the steps with which `advance` is compiled
    compiled_for: Callable[[Components, int], int] = lambda components, steps: steps
    # (components, step, metrics) -> the metrics of a chunk that ends after `step` steps
    at_the_end: Callable[[Components, int, Metrics], Metrics] = lambda components, step, metrics: metrics
    # (components, metrics of a chunk without its steps) -> the metrics before the first step; `None`: there are none
    at_the_start: Callable[[Components, Metrics], Metrics] | None = None


class DevicePrograms(Programs):
    """The programs of a population and a problem on the device.

    Args:
        plan: what to run.
        of_member: the loop.
        num_envs: environments of a member; 1 for a stream.
    """

    def __init__(self, plan: Plan, of_member: OfMember, num_envs: int = 1):
        self._plan = plan
        self._of_member = of_member
        # Asked for at each chunk, and a stream traces the drawing of its batches to answer.
        self._unit = functools.cache(functools.partial(of_member.unit, plan.components))
        self._compiled_for = functools.cache(functools.partial(of_member.compiled_for, plan.components))
        self._num_envs = num_envs
        self._map = plan.member_map(len(plan.members))
        self._values = self._map.place(plan.members.swept)
        self._shared = self._map.share(plan.loop.shared(plan.problem))
        self._advance: dict[int, Any] = {}  # by the length of the chunk for which it is compiled
        self._changing = functools.cache(lambda change: self._map.jit(self._changed_by(change), donate=True))
        self._asking = functools.cache(lambda question: self._map.jit(self._asked(question)))
        self._state: Any = None  # of all members, padded

    @override
    def begin(self) -> None:
        def begin(seed: Array, values: Any, shared: Any) -> Any:
            return self._of_member.begin(self._plan.make(values), seed, shared)

        self._state = self._map.jit(begin)(self._map.place(self._plan.members.seeds), self._values, self._shared)

    @override
    def unit(self, length: int) -> int:
        return self._unit(length)

    @override
    def advance(self, step: int, length: int, chunk: tuple[int, int] | None = None) -> Chunk:
        first, last = chunk or (step, step + length)
        metrics, diverged, episodes = self._call(step, length, (first, last))
        is_over = step + length == last
        metrics = self._of_member.at_the_end(self._plan.components, last, metrics) if is_over else {}
        return Chunk(metrics, diverged, self._ended(episodes, step))

    @override
    def measure(self, chunk: tuple[int, int]) -> Metrics:
        if (at_the_start := self._of_member.at_the_start) is None:
            return {}
        # Nothing is learned in no steps, and what is measured after them is measured before all.
        metrics, *_ = self._call(chunk[0], 0, chunk)
        return at_the_start(self._plan.components, metrics)

    def _call(self, step: int, length: int, chunk: tuple[int, int]) -> tuple[Metrics, np.ndarray, Episodes]:
        """Advances all members by a slice of a chunk: metrics, valid at the end of the chunk, divergence, episodes."""
        first, last = chunk
        steps = last - first
        unit, compiled_for = self._unit(steps), self._compiled_for(steps)

        def advance(member: Any, values: Any, given: tuple[Array, Slice, Any]) -> Any:
            step, slice, shared = given
            made = self._plan.make(values)
            member, metrics, episodes = self._of_member.advance(made, member, step, compiled_for, shared, slice)
            return member, metrics, member.diverged, episodes

        if compiled_for not in self._advance:
            self._advance[compiled_for] = self._map.jit(advance, donate=True)
        slice = Slice(np.int32((step - first) // unit), np.int32(length // unit), np.int32(steps))
        given = np.int32(step), slice, self._shared
        self._state, *results = self._advance[compiled_for](self._state, self._values, given)
        return self._map.gather(results)

    def _ended(self, episodes: Episodes, before: int) -> Ended:
        """The episodes that ended, from `(members, steps, num_envs)` arrays."""
        if not episodes:
            return Ended(np.zeros(0, int), np.zeros(0, int), {})
        member, t, environment = np.nonzero(episodes.pop("ended"))
        step = before + t * self._num_envs + environment + 1
        return Ended(member, step, {name: x[member, t, environment] for name, x in episodes.items()})

    @override
    def acting_params(self, task: int | None = None) -> Any:
        if task is None or self._plan.components.agent.acting_params_for is None:
            return self.ask(now_acting, 0)
        return self.ask(acting_in_task, np.int32(task))

    def _changed_by(self, change: Change) -> Callable[..., Any]:
        def of_member(member: Any, values: Any, own: Any, shared: Any) -> Any:
            return member._replace(agent=change(self._plan.make(values).agent, member.agent, own, shared))

        return of_member

    @override
    def change(self, change: Change, shared: Any, own: Any = ()) -> None:
        self._state = self._changing(change)(self._state, self._values, self._map.place(own), shared)

    def _asked(self, question: Question) -> Callable[..., Any]:
        def of_member(member: Any, values: Any, shared: Any) -> Any:
            return question(self._plan.make(values).agent, member.agent, shared)

        return of_member

    @override
    def ask(self, question: Question, shared: Any) -> Any:
        return self._map.gather(self._asking(question)(self._state, self._values, shared))

    @override
    def save(self) -> dict[str, np.ndarray]:
        return self._map.gather(named(self._state._asdict()))

    @override
    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        leaves = jax.eval_shape(named, self._state._asdict())
        members = len(self._plan.members)
        return {name: jax.ShapeDtypeStruct((members, *x.shape[1:]), x.dtype) for name, x in leaves.items()}

    @override
    def restore(self, arrays: Mapping[str, np.ndarray], step: int) -> None:
        del step
        placed = {name: self._map.place(array) for name, array in arrays.items()}
        self._state = type(self._state)(**named_back(placed, self._state._asdict()))

    @override
    def close(self) -> None:
        pass
