"""The loop that connects agents to environments outside of the device, for a whole population.

Many members are divided into two groups. While the environments of one group step, the other group acts or learns, so
that neither agents nor simulators wait; see `group`.
"""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from typing_extensions import override

from pliant.core.base import Array
from pliant.core.seeding import agent_keys
from pliant.experiment.configuration.components import Components
from pliant.experiment.loops.learning import learn, zero_transitions
from pliant.experiment.loops.plan import Acting, Change, Chunk, Form, Loop, Plan, Play, Programs, Question

from .group import Group
from .play import HostPlay
from .programs import GroupPrograms

logger = logging.getLogger(__name__)

# Members from which two groups are faster, measured: of agents that learn after a round, and after each step.
_TWO_GROUPS_FROM, _TWO_GROUPS_OF_EACH_STEP_FROM = 4, 16


class HostPrograms(Programs):
    """Programs with the problem outside of the device."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._open = contextlib.ExitStack()
        members = np.arange(len(plan.members))
        rounds = plan.components.agent.horizon > 1
        least = _TWO_GROUPS_FROM if rounds else _TWO_GROUPS_OF_EACH_STEP_FROM
        groups = np.array_split(members, 2 if len(members) >= least else 1)
        learners = self._open.enter_context(ThreadPoolExecutor(2, "learning")) if len(groups) == 2 else None
        compiled = {size: GroupPrograms(plan, size) for size in {len(group) for group in groups}}
        self._groups = [
            Group(plan, compiled[len(group)], plan.members.only(group), group[0], learners) for group in groups
        ]

    @property
    def _ends(self) -> np.ndarray:
        """The members before each group but the first."""
        return np.cumsum([group.size for group in self._groups])[:-1]

    @override
    def begin(self) -> None:
        for group in self._groups:
            self._open.callback(group.begin().close)

    @override
    def unit(self, length: int) -> int:
        del length
        return self._plan.steps_at_once

    @override
    def advance(self, step: int, length: int, chunk: tuple[int, int] | None = None) -> Chunk:
        first, last = chunk or (step, step + length)
        at_once = self._plan.steps_at_once
        before = (step - first) // at_once
        for group in self._groups:
            group.start(step // at_once, length // at_once, before=before, ends=step + length == last)
        while busy := [group for group in self._groups if group.rounds_left]:
            if not any([group.poll() for group in busy]):
                busy[0].poll(wait=True)
        chunks = [group.results() for group in self._groups]
        return Chunk(
            {key: np.concatenate([chunk.metrics[key] for chunk in chunks]) for key in chunks[0].metrics},
            np.concatenate([chunk.diverged for chunk in chunks]),
            _joined([chunk.ended for chunk in chunks if chunk.ended.values] or [chunks[0].ended]),
        )

    @override
    def acting_params(self, task: int | None = None) -> Any:
        return _joined([group.acting_params(task) for group in self._groups])

    @override
    def change(self, change: Change, shared: Any, own: Any = ()) -> None:
        ends = self._ends
        parts = [jax.tree.map(lambda x, part=part: np.split(x, ends)[part], own) for part in range(len(self._groups))]
        for group, part in zip(self._groups, parts):
            group.change(change, shared, part)

    @override
    def ask(self, question: Question, shared: Any) -> Any:
        return _joined([group.ask(question, shared) for group in self._groups])

    @override
    def save(self) -> dict[str, np.ndarray]:
        """Episodes in flight are not saved."""
        return _joined([group.save() for group in self._groups])

    @override
    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        members = len(self._plan.members)
        return {
            name: jax.ShapeDtypeStruct((members, *like.shape[1:]), like.dtype)
            for name, like in self._groups[0].saved().items()
        }

    @override
    def restore(self, arrays: Mapping[str, np.ndarray], step: int) -> None:
        logger.info("the episodes that were in flight at step %s restart", f"{step:,}")
        split = {name: np.split(array, self._ends) for name, array in arrays.items()}
        for number, group in enumerate(self._groups):
            group.restore({name: arrays[number] for name, arrays in split.items()})

    @override
    def close(self) -> None:
        self._open.close()


def _joined(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *trees)


class _Short(NamedTuple):
    agent: Any
    metrics: Any
    diverged: Any


class HostLoop(Loop):
    """The loop of environments outside of the device."""

    unit = "steps"
    has_episodes = True
    frame_seconds = 0.04  # 25 frames a second, for simulators of motion

    @override
    def can_sweep(self, kind: str) -> bool:
        return kind != "problems"

    @override
    def in_short(self, components: Components, seed: Array, shared: Any) -> _Short:
        del shared
        state = components.agent.init(agent_keys(seed).agent)
        return _Short(*learn(components, state, zero_transitions(components), jnp.int32(0)))

    @override
    def programs(self, plan: Plan) -> Programs:
        return HostPrograms(plan)

    @override
    def play(
        self, plan: Plan, *, mode: Acting, seed: int, host: Mapping[str, np.ndarray], form: Form | None = None
    ) -> Play:
        return HostPlay(plan, mode=mode, seed=seed, host=host, form=form)
