"""Sequences of tasks of a robot in today's MuJoCo, outside of the device."""

from collections.abc import Sequence

import jax
import numpy as np

from pliant.core.clock import Task
from pliant.core.problem import HostEnvironment, Spec
from pliant.problems.mujoco._host import Seed
from pliant.problems.mujoco._packages import Package, choose, describe
from pliant.problems.mujoco._simulator import Description, Simulator

from ._mujoco_host import sequence_environment
from ._mujoco_robots import ROBOTS, factors, seen
from ._tasks import Change, Domain


def host_environment(
    domain: Domain, changes: Sequence[Change], tasks: tuple[Task, ...], num_envs: int
) -> HostEnvironment:
    """A sequence of tasks as an environment: HalfCheetah-v4, Ant-v4 or Humanoid-v4 with the edits of each task.

    Episodes have at most 1,000 steps. envpool simulates if it is installed and there is more than one environment, else
    gymnasium; the models are the same.

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
    description = describe("gymnasium", ROBOTS[domain].name)

    def simulate(task: int, total: int, seed: Seed, render_mode: str | None) -> Simulator:
        package = choose("auto" if render_mode is None else "gymnasium", total)
        return _simulator(domain, changes[task], description, package, total, seed, render_mode)

    spec = Spec(jax.ShapeDtypeStruct((description.observation,), np.float32), description.action)
    return sequence_environment(spec, tasks, num_envs, description.time_limit, simulate)


def _simulator(
    domain: Domain,
    change: Change,
    description: Description,
    package: Package,
    total: int,
    seed: Seed,
    render_mode: str | None,
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
