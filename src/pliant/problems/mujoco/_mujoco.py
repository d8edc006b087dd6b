"""MuJoCo's tasks as environments: their sizes, and the package that simulates them."""

import functools
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeAlias

import jax
import numpy as np

from pliant.core.problem import Continuous, HostEnvironment, Renderer, Spec, VectorEnv
from pliant.core.settings import require_one_of

from ._friction import FrictionSchedule
from ._host import Seed, SimulatorHost
from ._packages import Backend, Package, choose
from ._simulator import Description, Simulator

Version: TypeAlias = Literal["v3", "v4", "v5"]


class Robot(NamedTuple):
    """A robot of gymnasium's MuJoCo family.

    Attributes:
        name: in gymnasium, without the version.
        observation: size of an observation, by version.
        action: size of an action.
        time_limit: steps after which an episode is truncated.
    """

    name: str
    observation: Mapping[Version, int]
    action: int
    time_limit: int = 1000


ANT = Robot("Ant", {"v3": 111, "v4": 27, "v5": 105}, 8)
HOPPER = Robot("Hopper", {"v3": 11, "v4": 11, "v5": 11}, 3)
WALKER = Robot("Walker2d", {"v3": 17, "v4": 17, "v5": 17}, 6)


def environment(
    robot: Robot,
    version: Version,
    backend: Backend,
    num_envs: int,
    steps: int,
    friction: Callable[[np.ndarray], FrictionSchedule] | None = None,
) -> HostEnvironment:
    """A robot's task as an environment.

    Actions reach the simulator unchanged: it clamps the actuators, but computes the control cost of the given action.

    Args:
        robot: the robot.
        version: of gymnasium; `v3` is the version for MuJoCo 2, without contact forces, but with zeros for them in the
            observation of Ant.
        backend: the package that simulates. The packages differ in the random numbers from which episodes begin only.
        num_envs: environments of each member.
        steps: of a run, over all environments of a member.
        friction: `seed -> schedule` of the friction; `None`: the robot's own.

    Raises:
        ValueError: if there is no such version or backend, or the package is not installed.
    """
    require_one_of("version", version, tuple(robot.observation))
    choose(backend, num_envs)  # fails here and not when the run begins
    name = f"{robot.name}-{version}"
    description = Description(robot.observation[version], Continuous(robot.action), robot.time_limit)
    return described(name, description, functools.partial(choose, backend), num_envs, steps, friction)


def described(
    name: str,
    description: Description,
    package: Callable[[int], Package],
    num_envs: int,
    steps: int,
    friction: Callable[[np.ndarray], FrictionSchedule] | None = None,
) -> HostEnvironment:
    """A task with a given description as an environment.

    Args:
        name: in the packages, with the version.
        description: of the task.
        package: `number of environments -> package` that simulates.
        num_envs: environments of each member.
        steps: of a run.
        friction: as in `environment`.
    """
    size, action, time_limit, facts = description

    def open(seed: np.ndarray) -> VectorEnv:
        total = len(seed) * num_envs
        if package(total) == "gymnasium":
            from ._gymnasium import GymnasiumSimulator

            def simulate(seed: Seed) -> Simulator:
                return GymnasiumSimulator(name, total, size, seed, facts)
        else:
            from ._envpool import EnvpoolSimulator, SlipperySimulator

            def simulate(seed: Seed) -> Simulator:
                if friction is not None:
                    return SlipperySimulator(name, seed)
                return EnvpoolSimulator(name, [seed(number) for number in range(total)], facts)

        return SimulatorHost(seed, num_envs, time_limit, simulate, friction and friction(seed))

    spec = Spec(jax.ShapeDtypeStruct((size,), np.float32), action)
    return HostEnvironment(spec, num_envs, steps, open, render=renderer_of(name, description, friction))


def renderer_of(
    name: str, description: Description, friction: Callable[[np.ndarray], FrictionSchedule] | None = None
) -> Callable[[np.ndarray], Renderer]:
    """Makes environments of a task that can be drawn; for the arguments see `described`."""

    def render(seed: np.ndarray) -> Renderer:
        choose("gymnasium", 1)
        from ._gymnasium import GymnasiumSimulator
        from ._renderer import MujocoRenderer, choose_opengl

        choose_opengl()
        seed = seed[None]

        def simulate(seed: Seed) -> GymnasiumSimulator:
            return GymnasiumSimulator(name, 1, description.observation, seed, render_mode="rgb_array")

        return MujocoRenderer(seed, 1, description.time_limit, simulate, friction and friction(seed))

    return render
