"""MetaWorld's tasks: Python environments with an arm that pushes, pulls, turns or lifts something."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.sawyer_xyz_env import SawyerMocapBase
from mujoco import mjtEq
from typing_extensions import override

from pliant.problems.mujoco._gymnasium import PythonSimulator

TASKS = tuple(name.removesuffix("-v3") for name in ALL_V3_ENVIRONMENTS)
OBSERVATION, ACTION = 39, 4  # numbers of each

_CAMERA = "corner2"  # it hangs upside down


class MetaworldSimulator(PythonSimulator):
    """Environments of one task of MetaWorld, each with a generator of its own for the places of object and goal.

    Args:
        name: of the task, such as `push-wall`.
        environments: number of environments.
        seed: `index of an environment -> seed`.
        appended: numbers that follow each observation.
        render_mode: an option of gymnasium's environments.
    """

    def __init__(
        self,
        name: str,
        environments: int,
        seed: Callable[[int], int],
        appended: np.ndarray,
        render_mode: str | None = None,
    ):
        made: list[Any] = [_Task(_made(name, render_mode), appended) for _ in range(environments)]
        super().__init__(made, OBSERVATION + appended.size, seed, ("success",))

    @override
    def draw(self) -> np.ndarray:
        return super().draw()[::-1, ::-1]


class _Task(gymnasium.ObservationWrapper):
    """An environment of MetaWorld whose `reset` takes a seed, with numbers after each observation."""

    def __init__(self, environment: Any, appended: np.ndarray):
        super().__init__(environment)
        self._appended = appended

    @override
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self.env.unwrapped.seed(seed)  # its own `reset` ignores seeds
        return super().reset(options=options)

    @override
    def observation(self, observation: np.ndarray) -> np.ndarray:
        return np.concatenate([observation, self._appended])


class _Welded(SawyerMocapBase):
    """An arm that follows the agent's target in any version of MuJoCo.

    MetaWorld writes rows of 11 numbers into the table of constraints, which has more columns today.
    """

    @override
    def reset_mocap_welds(self) -> None:
        self.model.eq_data[self.model.eq_type == mjtEq.mjEQ_WELD, :11] = (0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5)


def _made(name: str, render_mode: str | None) -> Any:
    """An environment that draws places at random for each episode, and shows the goal."""
    task: Any = ALL_V3_ENVIRONMENTS[f"{name}-v3"]
    environment = type(task.__name__, (_Welded, task), {})(render_mode=render_mode, camera_name=_CAMERA)
    environment._set_task_called = True
    environment._freeze_rand_vec, environment.seeded_rand_vec = False, True
    environment._partially_observable = False
    del environment.sawyer_observation_space  # cached, and without a goal
    return environment
