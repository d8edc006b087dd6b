"""Members that act in environments on the device without learning."""

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
from .plan import Form, Mode, Plan, Play, Step

_CHUNK = 256  # steps in one call


class DevicePlay(Play):
    """Steps of the members, and what they show; for the arguments see `Loop.play`."""

    def __init__(self, plan: Plan, *, mode: Mode, seed: int, form: Form | None = None):
        if form is not None and plan.problem.render is None:
            raise ConfigError(f"{plan.config.problem.name} cannot be shown: it draws nothing")
        self._plan, self._mode, self._seed = plan, mode, seed
        self._views: Views | None = plan.problem.render if form else None
        self._form = form
        self._map = plan.member_map(len(plan.members))
        self._begin = self._map.jit(self._begin_member)
        self._advance = self._map.jit(self._advance_member, donate=True)

    @override
    def __call__(self, acting_params: Any) -> Iterator[Step]:
        params, seeds, values = self._map.place((acting_params, *self._plan.members))
        state = self._begin(seeds, values, 0)
        for chunk in itertools.count():
            state, steps = self._advance(state, params, seeds, values, np.int32(chunk))
            steps = self._map.gather(steps)  # (members, steps, ...) each
            for t in range(_CHUNK):
                step = jax.tree.map(lambda x, t=t: x[:, t], steps)
                yield step._replace(shown=self._drawn(step.shown))

    @override
    def close(self) -> None:
        pass

    def _begin_member(self, seed: Array, values: Any, _: Any) -> tuple[Any, InFlight]:
        components = self._plan.make(values)
        environment: Environment = components.problem
        state, observation = environment.init(evaluation_keys(seed, self._seed)[0])
        E = environment.num_envs
        return state, begin_episodes(components.agent.initial_carry(E), observation, (E,))

    def _advance_member(self, now: tuple[Any, InFlight], params: Any, seed: Array, values: Any, chunk: Array) -> Any:
        components = self._plan.make(values)
        environment, acting_key = components.problem, evaluation_keys(seed, self._seed)[1]

        def one_step(now: tuple[Any, InFlight], t: Array) -> tuple[tuple[Any, InFlight], Step]:
            before, key = now[0], jax.random.fold_in(acting_key, t)
            *now, acted = act_and_step(components.agent, environment, params, *now, key, greedy=self._mode == "greedy")
            scene = None if self._views is None else self._views.scene(before)
            return tuple(now), Step(acted.facts["ended"], episode_facts(acted.facts, acted.answer), scene)

        return jax.lax.scan(one_step, now, chunk * _CHUNK + jnp.arange(_CHUNK))

    def _drawn(self, scenes: Any) -> Any:
        """The picture or the text of the first member's environment."""
        if self._views is None:
            return None
        scene = jax.tree.map(lambda x: x[0], scenes)
        return self._views.picture(scene) if self._form == "picture" else self._views.text(scene)
