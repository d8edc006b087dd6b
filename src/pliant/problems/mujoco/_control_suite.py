"""The observations of the tasks of DeepMind Control.

envpool gives all tasks of a robot the same parts of the observation. Parts that the suite's task does not have are left
out here: they hold zeros, except the `origin` of Quadruped.
"""

import re
from collections.abc import Iterable

_NOT_SHOWN = {
    r"Dog(Stand|Walk|Trot|Run)-": ("ball_state", "target_position"),
    r"FingerSpin-": ("target_position", "dist_to_target"),
    r"FishUpright-": ("target",),
    r"Humanoid(Stand|Walk|Run)-": ("position",),
    r"HumanoidRunPureState-": ("joint_angles", "head_height", "extremities", "torso_vertical", "com_velocity"),
    r"Quadruped(Walk|Run)-": ("origin", "rangefinder", "ball_state", "target_position"),
    r"QuadrupedEscape-": ("ball_state", "target_position"),
    r"QuadrupedFetch-": ("origin", "rangefinder"),
}


def observation_keys(task: str, names: Iterable[str]) -> list[str]:
    """Names of the parts of a task's observation, in the suite's order.

    Args:
        task: as in envpool, such as `DogRun-v1`.
        names: of envpool's parts, in order.
    """
    for pattern, others in _NOT_SHOWN.items():
        if re.match(pattern, task):
            return [name for name in names if name not in others]
    return list(names)
