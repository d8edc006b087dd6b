"""The robots of the domains in today's MuJoCo: how its models name what the tasks edit."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ._tasks import MOTORS, Change, Domain


class Part(NamedTuple):
    """A part of a robot, by names of collision shapes; not every body has a name."""

    bodies: tuple[str, ...]  # one shape of each body whose mass changes
    shapes: tuple[str, ...]  # the spheres and capsules whose radius changes


class Robot(NamedTuple):
    """A robot in gymnasium and envpool.

    Attributes:
        name: of its environment.
        file: of its model.
        parts: of the robot, by the names of the tasks.
        motors: in the order of the actions, by the names of the tasks.
        observation: index of each observed quantity, by the names of the tasks.
    """

    name: str
    file: str
    parts: Mapping[str, Part]
    motors: tuple[str, ...]
    observation: Mapping[str, int] = {}


def _half_cheetah() -> dict[str, int]:
    """The observation of HalfCheetah. Its torso has one angle in place of the numbers `w` and `y` of a quaternion."""
    angles, velocities = ([f"{kind}_{joint}" for joint in MOTORS["halfcheetah"]] for kind in ("q", "dq"))
    index = {name: number for number, name in enumerate(["z", "pitch", *angles, "vx", "vz", "dpitch", *velocities])}
    return {**index, "w": index["pitch"], "y": index["pitch"]}


_FEET = ("right_foot", "left_foot")
_ANKLES = ("left_ankle_geom", "right_ankle_geom", "third_ankle_geom", "fourth_ankle_geom")

ROBOTS: dict[Domain, Robot] = {
    "halfcheetah": Robot(
        "HalfCheetah-v4",
        "half_cheetah.xml",
        {"torso": Part(("torso",), ("torso",)), "feet": Part(("bfoot", "ffoot"), ("bfoot", "ffoot"))},
        MOTORS["halfcheetah"],
        _half_cheetah(),
    ),
    "ant": Robot(
        "Ant-v4",
        "ant.xml",
        {"lower_legs": Part(_ANKLES, _ANKLES)},
        (*MOTORS["ant"][6:], *MOTORS["ant"][:6]),  # the fourth leg comes first
    ),
    # The shapes of the waist keep their radius. In the published engine they touch nothing; here, four times as thick,
    # they would be inside of the thighs. A foot is a body of its own here, and part of the shin there.
    "humanoid": Robot(
        "Humanoid-v4",
        "humanoid.xml",
        {
            "torso": Part(("torso1",), ()),
            "lower_waist": Part(("lwaist",), ()),
            "shins": Part(("right_shin1", "left_shin1", *_FEET), _FEET),
        },
        MOTORS["humanoid"],
    ),
}


def seen(robot: Robot, change: Change, size: int) -> np.ndarray:
    """`(size,)` of an observation: 0 for the numbers that the task hides, 1 for all others."""
    mask = np.ones(size)
    mask[[robot.observation[name] for name in change.hidden]] = 0
    return mask


def factors(domain: Domain, change: Change, size: int) -> np.ndarray:
    """`(size,)` factors of the task for the actions, in the robot's order."""
    if not change.actions:
        return np.ones(size)
    of_motor = dict(zip(MOTORS[domain], change.actions, strict=True))
    return np.array([of_motor[motor] for motor in ROBOTS[domain].motors])
