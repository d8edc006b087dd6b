"""A sequence of tasks whose borders are steps of a run."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from typing_extensions import override

from pliant.core.clock import Calendar, Task
from pliant.core.problem import HostEnvironment, Renderer, Spec, Timestep, VectorEnv
from pliant.problems.mujoco._host import Seed, SimulatorHost
from pliant.problems.mujoco._simulator import Simulator


def sequence_environment(
    spec: Spec,
    tasks: tuple[Task, ...],
    num_envs: int,
    time_limit: int,
    simulate: Callable[[int, int, Seed, str | None], Simulator],
) -> HostEnvironment:
    """A sequence of simulated tasks as an environment.

    At the end of a task all environments of all members restart in the next task. A resumed run continues in its task,
    with new episodes.

    Args:
        spec: of one environment.
        tasks: in order; the run ends with the last.
        num_envs: environments of each member.
        time_limit: steps after which an episode is truncated.
        simulate: `(index of a task, number of environments, index of an environment -> seed, render_mode) ->
            simulator`; `render_mode` is an option of gymnasium's environments.
    """
    calendar = Calendar(tasks)

    def open(seed: np.ndarray) -> VectorEnv:
        def open_task(task: int) -> VectorEnv:
            def simulator(of_environment: Seed) -> Simulator:
                return simulate(task, len(seed) * num_envs, of_environment, None)

            return SimulatorHost(seed, num_envs, time_limit, simulator)

        return TaskSequence(calendar, num_envs, open_task)

    def render(seed: np.ndarray) -> Renderer:
        from pliant.problems.mujoco._renderer import MujocoRenderer, choose_opengl

        choose_opengl()

        def open_task(task: int) -> Renderer:
            def simulator(of_environment: Seed) -> Simulator:
                return simulate(task, 1, of_environment, "rgb_array")

            return MujocoRenderer(seed[None], 1, time_limit, simulator)

        return TaskSequence(calendar, 1, open_task)

    return HostEnvironment(spec, num_envs, tasks[-1].until, open, tasks=tasks, render=render)


class TaskSequence(Renderer):
    """Environments of one task after another, for a whole population.

    The steps of all members advance together. At the end of a task, all environments that have not terminated are
    truncated, and the environments of the next task begin their first episodes.

    Args:
        calendar: the tasks.
        num_envs: environments of each member.
        open_task: `index of a task -> environments` of all members, which begin after the steps given to `restore`.
    """

    def __init__(self, calendar: Calendar, num_envs: int, open_task: Callable[[int], Any]):
        self._calendar, self._num_envs, self._open_task = calendar, num_envs, open_task
        self._step = self._task = 0
        self._environments = open_task(0)

    @override
    def reset(self) -> np.ndarray:
        return self._environments.reset()

    @override
    def send(self, action: np.ndarray) -> None:
        self._environments.send(action)

    @override
    def receive(self) -> Timestep:
        timestep = self._environments.receive()
        self._step += self._num_envs
        if self._calendar.task(self._step) == self._task:
            return timestep
        self.restore(self.save())
        return timestep._replace(observation=self.reset(), truncated=~timestep.terminated)

    @override
    def save(self) -> dict[str, np.ndarray]:
        return self._environments.save()

    @override
    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self.close()
        self._step = int(saved["steps"].max())
        self._task = int(self._calendar.task(self._step))
        self._environments = self._open_task(self._task)
        self._environments.restore(saved)

    @override
    def close(self) -> None:
        self._environments.close()

    @override
    def draw(self) -> np.ndarray:
        return self._environments.draw()
