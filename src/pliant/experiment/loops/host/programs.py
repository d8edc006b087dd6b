"""The compiled programs of a group of members whose environments are outside of the device."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.agent import Transitions
from pliant.core.base import Array
from pliant.core.seeding import agent_keys
from pliant.experiment.loops.acting import ActingInput
from pliant.experiment.loops.learning import average, learn, metric_names
from pliant.experiment.loops.plan import Change, Plan, Question

from .numpy_act import NotInNumPyError, NumPyAct
from .round import seen_in_round


class RunningMetrics(NamedTuple):
    """The metrics of learning, which stay on the device until the end of a slice."""

    averages: dict[str, Any]  # (members,) each: of the rounds of a chunk so far
    diverged: Any  # (members,) the step at which each member diverged; -1: it did not


class GroupPrograms:
    """The programs of a group; groups of the same size share them.

    Args:
        plan: what to run.
        size: members of the group.
    """

    def __init__(self, plan: Plan, size: int):
        self._plan = plan
        self.map = plan.member_map(size)
        self.begin = self.map.jit(self._begin)
        self.numpy_act = self._in_numpy(size)
        self.extras = self.map.jit(self._extras)
        self.act = jax.jit(jax.vmap(self._act, (0, 0, 0, 0, None)))
        self.learn = self.map.jit(self._learn, donate=True)
        self.changing = functools.cache(lambda change: self.map.jit(self._changed_by(change), donate=True))
        self.asking = functools.cache(lambda question: self.map.jit(self._asked(question)))
        self.measure = self.map.jit(self._measure)
        self.metric_names = metric_names(plan.components)

    def _in_numpy(self, size: int) -> NumPyAct | None:
        """The acting program in NumPy; `None` where the compiled one acts."""
        agent, members = self._plan.components.agent, self._plan.members
        # Parameters that change at each step stay on the device: learning chooses the next action in the same call.
        if self._plan.config.acting == "compiled" or agent.horizon == 1:
            return None

        def arguments(seed: Array) -> Any:
            state, key, _ = self._begin(seed, {}, 0)
            seen = jax.tree.map(lambda x: x[0], seen_in_round(self._plan.components))
            return agent.acting_params(state), key, seen

        of_members = jax.eval_shape(jax.vmap(arguments), jax.ShapeDtypeStruct((size,), members.seeds.dtype))
        values = {name: jax.ShapeDtypeStruct((size,), jnp.asarray(x).dtype) for name, x in members.swept.items()}
        like = (*of_members, values, jax.ShapeDtypeStruct((), np.int32))
        try:
            return NumPyAct(jax.vmap(self._act, (0, 0, 0, 0, None)), like, size)
        except NotInNumPyError:
            return None

    def _begin(self, seed: Array, values: Any, _: Any) -> Any:
        """The agent's state, its acting key, and the data of its environments' key."""
        keys = agent_keys(seed)
        return self._plan.make(values).agent.init(keys.agent), keys.acting, jax.random.key_data(keys.problem)

    def _act(self, params: Any, acting_key: Array, seen: ActingInput, values: Any, t: Any) -> Any:
        """The carry, the action and its extras, after `t` steps of the environments."""
        return self._plan.make(values).agent.act(params, *seen, jax.random.fold_in(acting_key, t))

    def _extras(self, params: Any, given: Any, first: Any) -> Any:
        """The extras of the actions of a round from time `first` on, `(horizon, num_envs, ...)` each."""
        values, acting_key, seen = given
        times = first + jnp.arange(self._plan.components.agent.horizon)
        return jax.vmap(lambda seen, t: self._act(params, acting_key, seen, values, t)[2])(seen, times)

    def _changed_by(self, change: Change) -> Callable[..., Any]:
        def of_member(state: Any, values: Any, own: Any, shared: Any) -> Any:
            return change(self._plan.make(values).agent, state, own, shared)

        return of_member

    def _asked(self, question: Question) -> Callable[..., Any]:
        def of_member(state: Any, values: Any, shared: Any) -> Any:
            return question(self._plan.make(values).agent, state, shared)

        return of_member

    def _learn(self, kept: tuple[Any, RunningMetrics], given: Any, shared: tuple[Any, Any]) -> Any:
        """Learns from a round and acts on the next observations: one call for an agent that learns at each step."""
        state, running = kept
        values, transitions, acting_key, seen = given
        number, rounds = shared
        components = self._plan.make(values)
        agent = components.agent
        state, metrics, diverged = learn(components, state, transitions, number)
        averages = average(running.averages, metrics, rounds)
        diverged = jnp.where(running.diverged >= 0, running.diverged, diverged)
        kept = state, RunningMetrics(averages, diverged)
        if self.numpy_act is not None:
            return kept, None
        acted = self._act(agent.acting_params(state), acting_key, seen, values, (number + 1) * agent.horizon)
        return kept, acted

    def _measure(self, previous: Any, state: Any, values: Any, transitions: Transitions, _: Any) -> Any:
        """The diagnostics after a round."""
        components = self._plan.make(values)
        return components.measure(components.agent.signals(previous, state, transitions))
