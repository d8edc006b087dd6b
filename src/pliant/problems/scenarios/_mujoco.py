"""Sequences of tasks of a robot in today's MuJoCo, outside of the device."""

from collections.abc import Sequence

import jax
import numpy as np

from pliant.core.clock import Calendar, Task
from pliant.core.problem import HostEnvironment, Renderer, Spec, VectorEnv
from pliant.problems.mujoco._host import Seed, SimulatorHost
from pliant.problems.mujoco._packages import Package, choose, describe
from pliant.problems.mujoco._simulator import Description, Simulator

from ._mujoco_host import TaskSequence
from ._mujoco_robots import ROBOTS, factors, seen
from ._tasks import Change, Domain


def host_environment(
    domain: Domain, changes: Sequence[Change], tasks: tuple[Task, ...], num_envs: int
) -> HostEnvironment:
    """A sequence of tasks as an environment: HalfCheetah-v4, Ant-v4 or Humanoid-v4 with the edits of each task.

    At the end of a task all environments of all members restart in the next task. Episodes have at most 1,000 steps.
    A resumed run continues in its task, with new episodes. envpool simulates if it is installed and there is more than
    one environment, else gymnasium; the models are the same.

    Args:
        domain: of the robot.
        changes: the edits of each task.
        tasks: in order; the run ends with the last.
        num_envs: environments of each member.

    Raises:
        ValueError: if gymnasium or mujoco is not installed.

    Differs from the published engine: the plain robots are today's, with their bodies, motors and rewards, and with 17,
    27 and 376 observed numbers; returns cannot be compared. The friction of a contact changes by the published factor,
    which is the square of the factor of the coefficients. The waist of the humanoid gets heavier, and not thicker.
    """
    choose("gymnasium", 1)  # has the models; fails here and not when the run begins
    description, calendar = describe("gymnasium", ROBOTS[domain].name), Calendar(tasks)
    size, action, time_limit, _ = description

    def open(seed: np.ndarray) -> VectorEnv:
        total = len(seed) * num_envs
        package = choose("auto", total)

        def open_task(task: int) -> VectorEnv:
            def simulate(seed: Seed) -> Simulator:
                return _simulator(domain, changes[task], description, package, total, seed)

            return SimulatorHost(seed, num_envs, time_limit, simulate)

        return TaskSequence(calendar, num_envs, open_task)

    def render(seed: np.ndarray) -> Renderer:
        from pliant.problems.mujoco._renderer import MujocoRenderer, choose_opengl

        choose_opengl()

        def open_task(task: int) -> Renderer:
            def simulate(seed: Seed) -> Simulator:
                return _simulator(domain, changes[task], description, "gymnasium", 1, seed, "rgb_array")

            return MujocoRenderer(seed[None], 1, time_limit, simulate)

        return TaskSequence(calendar, 1, open_task)

    spec = Spec(jax.ShapeDtypeStruct((size,), np.float32), action)
    return HostEnvironment(spec, num_envs, tasks[-1].until, open, tasks=tasks, render=render)


def _simulator(
    domain: Domain,
    change: Change,
    description: Description,
    package: Package,
    total: int,
    seed: Seed,
    render_mode: str | None = None,
) -> Simulator:
    """The environments of one task in a package; `render_mode` is an option of gymnasium's environments."""
    from ._mujoco_model import edited
    from ._mujoco_simulator import EditedSimulator

    robot = ROBOTS[domain]
    model = edited(robot.file, robot.parts, change)
    if package == "gymnasium":
        from pliant.problems.mujoco._gymnasium import GymnasiumSimulator

        robots = GymnasiumSimulator(
            robot.name, total, description.observation, seed, model=model, render_mode=render_mode
        )
    else:
        from pliant.problems.mujoco._envpool import EnvpoolSimulator

        robots = EnvpoolSimulator(robot.name, [seed(number) for number in range(total)], model=model)
    motors = factors(domain, change, description.action.size)
    return EditedSimulator(robots, seen(robot, change, description.observation), motors)
