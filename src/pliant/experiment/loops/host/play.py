"""Members that act in environments outside of the device without learning."""

import copy
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from typing_extensions import override

from pliant.core.base import Array
from pliant.core.problem import Renderer, VectorEnv
from pliant.core.seeding import evaluation_keys
from pliant.experiment.errors import ConfigError
from pliant.experiment.loops.acting import ActingInput, act, begin_episodes, episode_facts, follow, harmless
from pliant.experiment.loops.plan import Acting, Form, Plan, Play, Step


class HostPlay(Play):
    """Steps of the members, and what they show; for the arguments see `Loop.play`."""

    def __init__(
        self, plan: Plan, *, mode: Acting, seed: int, host: Mapping[str, np.ndarray], form: Form | None = None
    ):
        name = plan.config.problem.name
        if form == "text":
            raise ConfigError(f"{name} cannot be shown in a terminal; write a film, such as with --gif {name}.gif")
        if form is not None and plan.problem.render is None:
            raise ConfigError(f"{name} cannot be shown: it draws nothing")
        self._plan, self._mode, self._seed, self._form = plan, mode, seed, form
        self._make: Any = plan.problem.open if form is None else plan.problem.render
        self._saved = host
        self._host: VectorEnv | Renderer | None = None  # opened at the first step
        self._seeds, self._values = jax.device_put(tuple(plan.members))
        self._act = jax.jit(jax.vmap(self._act_of_member, (0, 0, 0, 0, None)))

    def _open(self) -> Any:
        """The environments as the run saved them; they are opened once."""
        if self._host is None:
            keys = jax.jit(jax.vmap(lambda seed: jax.random.key_data(evaluation_keys(seed, self._seed)[0])))
            seeds = np.asarray(keys(self._plan.members.seeds))
            opened = self._make(seeds if self._form is None else seeds[0])
            if self._saved:
                opened.restore(self._saved)
            self._as_opened = copy.deepcopy(opened.save())
            self._host = opened
        host: Any = self._host
        host.restore(copy.deepcopy(self._as_opened))
        return host

    def _act_of_member(self, params: Any, seen: ActingInput, seed: Array, values: Any, t: Array) -> Any:
        key = jax.random.fold_in(evaluation_keys(seed, self._seed)[1], t)
        agent, space = self._plan.make(values).agent, self._plan.problem.spec.action
        carry, action, _ = act(agent, space, params, seen, key, self._mode)
        return carry, action

    @override
    def __call__(self, acting_params: Any, task: int | None = None, seed: int | None = None) -> Iterator[Step]:
        assert task is None and seed is None, "only environments on the device"
        params = jax.device_put(acting_params)  # once, and not at each step
        host = self._open()
        observation = host.reset()
        shape = observation.shape[:2]
        carry = self._plan.components.agent.initial_carry(shape[1])
        carry = jax.tree.map(lambda x: np.broadcast_to(x, (shape[0], *np.shape(x))), carry)
        now = begin_episodes(carry, observation, shape, np)
        for t in itertools.count():
            shown = host.draw() if self._form else None
            carry, action = self._act(params, now.seen, self._seeds, self._values, np.int32(t))
            host.send(harmless(np.asarray(action)))
            answer = host.receive()
            now, facts = follow(now, carry, answer, np)
            yield Step(facts["ended"], episode_facts(facts, answer), shown)

    @override
    def close(self) -> None:
        if self._host is not None:
            self._host.close()
            self._host = None
