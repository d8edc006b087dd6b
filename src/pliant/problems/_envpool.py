"""MuJoCo's tasks in envpool: threads outside of Python step many environments at once."""

import os
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import envpool
import numpy as np

_MODELS = "mujoco/assets_gym"  # where envpool looks for them, below its base path
_NEVER = 10**9  # steps: the host limits the episodes' time, so that whoever falls at the last step has terminated
_THE_ONLY_ONE = np.zeros(1, np.int32)


class EnvpoolSimulator:
    """A `Simulator`: all environments in one pool.

    Args:
        name: as in envpool, such as `Ant-v3`.
        seeds: one for each environment.
        options: of envpool's environments.
    """

    def __init__(self, name: str, seeds: Sequence[int], **options: Any):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._pool: Any = envpool.make_gymnasium(
            name,
            num_envs=len(seeds),
            num_threads=min(cores, len(seeds)),
            env_seed=list(seeds),
            max_episode_steps=_NEVER,
            **options,
        )

    def restart(self, which: np.ndarray, friction: np.ndarray | None) -> np.ndarray:
        """See `Simulator`; the friction is the model's."""
        return self._pool.reset(which)[0]

    def send(self, action: np.ndarray) -> None:
        """See `Simulator`."""
        self._pool.send(action)

    def receive(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Simulator`."""
        observation, reward, terminated, _, _ = self._pool.recv()
        return observation, reward, terminated

    def close(self) -> None:
        """See `Simulator`."""
        self._pool.close()


class SlipperySimulator:
    """A `Simulator` whose environments differ in friction: a pool for each, made anew when its friction changes.

    Args:
        name: as in envpool, such as `Ant-v3`.
        seed: the number of an environment to its seed.
    """

    def __init__(self, name: str, seed: Callable[[int], int]):
        self._name, self._seed = name, seed
        self._friction: dict[int, float] = {}
        self._pools: dict[int, EnvpoolSimulator] = {}  # in the order of their numbers

    def restart(self, which: np.ndarray, friction: np.ndarray | None) -> np.ndarray:
        """See `Simulator`."""
        numbers = which.tolist()
        for number, value in zip(numbers, np.asarray(friction).tolist()):
            if value != self._friction.get(number):
                self._friction[number] = value
                self._pools[number] = self._make(number)
        return np.concatenate([self._pools[number].restart(_THE_ONLY_ONE, None) for number in numbers])

    def send(self, action: np.ndarray) -> None:
        """See `Simulator`."""
        for number, pool in self._pools.items():
            pool.send(action[number : number + 1])

    def receive(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Simulator`."""
        observations, rewards, terminated = zip(*(pool.receive() for pool in self._pools.values()))
        return np.concatenate(observations), np.concatenate(rewards), np.concatenate(terminated)

    def close(self) -> None:
        """See `Simulator`."""
        for pool in self._pools.values():
            pool.close()

    def _make(self, number: int) -> EnvpoolSimulator:
        """A pool of one environment, whose model says its friction."""
        task = self._name.split("-")[0].lower()
        models = Path(envpool.make_spec(self._name).config.base_path, _MODELS)
        model = ElementTree.parse(models / f"{task}_envpool.xml")
        # The floor has no friction of its own: it has the default, like the body.
        (default,) = model.iterfind("default/geom")
        _, torsional, rolling = default.attrib["friction"].split()
        default.attrib["friction"] = f"{self._friction[number]!r} {torsional} {rolling}"
        with tempfile.TemporaryDirectory(prefix="pliant-") as base:  # needed only while the pool is made
            Path(base, _MODELS).mkdir(parents=True)
            model.write(Path(base, _MODELS, f"{task}.xml"))
            return EnvpoolSimulator(self._name, [self._seed(number)], base_path=base)
