"""MuJoCo's tasks in envpool, whose threads outside of Python step many environments at once."""

import contextlib
import math
import os
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import envpool
import numpy as np
from envpool.registration import registry
from typing_extensions import override

from pliant.core.problem import Continuous

from . import _control_suite
from ._simulator import Answer, Description, Simulator

_MODELS = "mujoco/assets_gym"  # their folder in envpool's base path
_NEVER = 10**9  # steps: the host has the time limit, so that an episode that falls at its last step terminates
_THE_ONLY_ONE = np.zeros(1, np.int32)
_WITH_CONTACT_FORCES = ("Humanoid-v4", "HumanoidStandup-v4")  # in gymnasium; in envpool they would be zero
_FAMILIES = ("envpool.mujoco.gym", "envpool.mujoco.dmc", "envpool.mujoco.metaworld")
_WITHOUT_LIMITS = "Lqr"  # its actuators have no limits, so there is no range to explore


def tasks() -> list[str]:
    """Names of the tasks of gymnasium's MuJoCo, of DeepMind Control, and of MetaWorld."""
    found = [name for name in envpool.list_all_envs() if registry.specs[name][0] in _FAMILIES]
    return [name for name in found if not name.startswith(_WITHOUT_LIMITS)]


def others() -> list[str]:
    """Names of all tasks that are not MuJoCo's."""
    return sorted({*envpool.list_all_envs()} - {*tasks()})


def describe(name: str) -> Description:
    """The description of a task, without making an environment."""
    spec: Any = envpool.make_spec(name)
    observation, action = spec.observation_space, spec.action_space
    if isinstance(observation, Mapping):
        size = sum(math.prod(observation[part].shape) for part in _control_suite.observation_keys(name, observation))
    else:
        size = observation.shape[0]
    bound = 1.0 if _scale(action) is not None else float(action.high[0])
    facts = ("success",) if "info:success" in spec.state_array_spec else ()
    return Description(size, Continuous(action.shape[0], bound), spec.config.max_episode_steps, facts)


def _scale(space: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Middles and half widths of an action's ranges; `None` if all are one symmetric range."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    if (low == -high).all() and (high == high[0]).all():
        return None
    return (high + low) / 2, (high - low) / 2


class EnvpoolSimulator(Simulator):
    """All environments in one pool.

    The parts of an observation are concatenated. If actuators have different or asymmetric ranges, numbers from -1 to 1
    are mapped onto them.

    Args:
        name: in envpool, such as `Ant-v3`.
        seeds: one for each environment.
        facts: names of the numbers in envpool's `info` that are returned as facts of a step.
        model: MJCF text of a model in place of the task's, with the same joints and actuators; `None`: the task's.
    """

    def __init__(self, name: str, seeds: Sequence[int], facts: tuple[str, ...] = (), model: str | None = None):
        options = {"post_constraint": True} if name in _WITH_CONTACT_FORCES else {}
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with contextlib.ExitStack() as stack:
            if model is not None:
                options["base_path"] = stack.enter_context(_base_path(name, model))
            self._pool: Any = envpool.make_gymnasium(
                name,
                num_envs=len(seeds),
                num_threads=min(cores, len(seeds)),
                env_seed=list(seeds),
                max_episode_steps=_NEVER,
                **options,
            )
        space = self._pool.observation_space
        self._parts = _control_suite.observation_keys(name, space) if isinstance(space, Mapping) else None
        self._scale = _scale(self._pool.action_space)
        self._facts = facts

    @override
    def restart(self, which: np.ndarray, in_force: np.ndarray | None) -> np.ndarray:
        return self._flat(self._pool.reset(which)[0])

    @override
    def send(self, action: np.ndarray) -> None:
        if self._scale is not None:
            middle, half = self._scale
            action = middle + half * action
        self._pool.send(action)

    @override
    def receive(self) -> Answer:
        observation, reward, terminated, _, info = self._pool.recv()
        return self._flat(observation), reward, terminated, {name: info[name] for name in self._facts}

    @override
    def close(self) -> None:
        self._pool.close()

    def _flat(self, observation: Any) -> np.ndarray:
        """The observations, `(num_envs, observation)`."""
        if self._parts is None:
            return observation
        parts = [observation[part] for part in self._parts]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


class SlipperySimulator(Simulator):
    """Environments that differ in friction: one pool for each, which is made again when its friction changes.

    Args:
        name: in envpool, such as `Ant-v3`.
        seed: `index of an environment -> seed`.
    """

    def __init__(self, name: str, seed: Callable[[int], int]):
        self._name, self._seed = name, seed
        self._friction: dict[int, float] = {}
        self._pools: dict[int, EnvpoolSimulator] = {}  # by index, in order

    @override
    def restart(self, which: np.ndarray, in_force: np.ndarray | None) -> np.ndarray:
        numbers = which.tolist()
        for number, value in zip(numbers, np.asarray(in_force).tolist()):
            if value != self._friction.get(number):
                self._friction[number] = value
                self._pools[number] = self._make(number)
        return np.concatenate([self._pools[number].restart(_THE_ONLY_ONE, None) for number in numbers])

    @override
    def send(self, action: np.ndarray) -> None:
        for number, pool in self._pools.items():
            pool.send(action[number : number + 1])

    @override
    def receive(self) -> Answer:
        observations, rewards, terminated, _ = zip(*(pool.receive() for pool in self._pools.values()))
        return np.concatenate(observations), np.concatenate(rewards), np.concatenate(terminated), {}

    @override
    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()

    def _make(self, number: int) -> EnvpoolSimulator:
        """A pool of one environment, whose model sets the friction."""
        task = self._name.split("-")[0].lower()
        models = Path(envpool.make_spec(self._name).config.base_path, _MODELS)
        model = ElementTree.parse(models / f"{task}_envpool.xml")
        # The floor has the default friction, like the body.
        (default,) = model.iterfind("default/geom")
        _, torsional, rolling = default.attrib["friction"].split()
        default.attrib["friction"] = f"{self._friction[number]!r} {torsional} {rolling}"
        text = ElementTree.tostring(model.getroot(), "unicode")
        return EnvpoolSimulator(self._name, [self._seed(number)], model=text)


@contextlib.contextmanager
def _base_path(name: str, model: str) -> Iterator[str]:
    """A folder in which envpool finds a model for a task; needed only while the pool is made."""
    with tempfile.TemporaryDirectory(prefix="pliant-") as base:
        Path(base, _MODELS).mkdir(parents=True)
        Path(base, _MODELS, envpool.make_spec(name).config.xml_file).write_text(model)
        yield base
