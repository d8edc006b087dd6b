"""Members that act in environments on the device without learning."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from typing_extensions import override

from pliant.core.base import Array
from pliant.core.problem import Environment, Views
from pliant.core.seeding import evaluation_keys
from pliant.experiment.errors import ConfigError

from .acting import InFlight, act_and_step, begin_episodes, episode_facts
from .plan import Acting, Form, Plan, Play, Step

_CHUNK = 256  # steps in one call


class DevicePlay(Play):
    """Steps of the members, and what they show; for the arguments see `Loop.play`."""

    def __init__(self, plan: Plan, *, mode: Acting, seed: int, form: Form | None = None):
        if form is not None and plan.problem.render is None:
            raise ConfigError(f"{plan.config.problem.name} cannot be shown: it draws nothing")
        self._plan, self._mode, self._seed = plan, mode, seed
        self._views: Views | None = plan.problem.render if form else None
        self._form = form
        self._map = plan.member_map(len(plan.members))
        self._begin = self._map.jit(functools.partial(self._begin_member, in_task=False))
        self._begin_in_task = self._map.jit(functools.partial(self._begin_member, in_task=True))
        self._advance = self._map.jit(self._advance_member, donate=True)

    @override
    def __call__(self, acting_params: Any, task: int | None = None, seed: int | None = None) -> Iterator[Step]:
        params, seeds, values = self._map.place((acting_params, *self._plan.members))
        of_evaluation = np.uint32(self._seed if seed is None else seed)
        begin = self._begin if task is None else self._begin_in_task
        state = begin(seeds, values, (of_evaluation, np.int32(task or 0)))
        for chunk in itertools.count():
            state, steps = self._advance(state, params, seeds, values, (of_evaluation, np.int32(chunk)))
            steps = self._map.gather(steps)  # (members, steps, ...) each
            for t in range(_CHUNK):
                step = jax.tree.map(lambda x, t=t: x[:, t], steps)
                yield step._replace(shown=self._drawn(step.shown))

    @override
    def close(self) -> None:
        pass

    def _begin_member(
        self, seed: Array, values: Any, given: tuple[Array, Array], in_task: bool
    ) -> tuple[Any, InFlight]:
        components = self._plan.make(values)
        environment: Environment = components.problem
        of_evaluation, task = given
        key = evaluation_keys(seed, of_evaluation)[0]
        init_task: Any = environment.init_task
        state, observation = init_task(key, task) if in_task else environment.init(key)
        E = environment.num_envs
        return state, begin_episodes(components.agent.initial_carry(E), observation, (E,))

    def _advance_member(
        self, now: tuple[Any, InFlight], params: Any, seed: Array, values: Any, given: tuple[Array, Array]
    ) -> Any:
        components = self._plan.make(values)
        of_evaluation, chunk = given
        environment, acting_key = components.problem, evaluation_keys(seed, of_evaluation)[1]

        def one_step(now: tuple[Any, InFlight], t: Array) -> tuple[tuple[Any, InFlight], Step]:
            before, key = now[0], jax.random.fold_in(acting_key, t)
            *now, acted = act_and_step(components.agent, environment, params, *now, key, acting=self._mode)
            scene = None if self._views is None else self._views.scene(before)
            return tuple(now), Step(acted.facts["ended"], episode_facts(acted.facts, acted.answer), scene)

        return jax.lax.scan(one_step, now, chunk * _CHUNK + jnp.arange(_CHUNK))

    def _drawn(self, scenes: Any) -> Any:
        """The picture or the text of the first member's environment."""
        if self._views is None:
            return None
        scene = jax.tree.map(lambda x: x[0], scenes)
        return self._views.picture(scene) if self._form == "picture" else self._views.text(scene)
