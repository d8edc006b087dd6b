"""Environments that can be drawn, with or without a screen."""

import os
import subprocess
import sys

import numpy as np
from typing_extensions import override

from pliant.core.problem import Renderer

from ._host import SimulatorHost

_PLATFORMS = ("egl", "osmesa", "glfw")  # by the GPU or in software; in software; on a screen
_TRY = """
import importlib, mujoco, sys
context = importlib.import_module("mujoco." + sys.argv[1]).GLContext(64, 64)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.mjtFontScale.mjFONTSCALE_100)
"""


class MujocoRenderer(SimulatorHost, Renderer):
    """One environment of one member that can be drawn."""

    @override
    def draw(self) -> np.ndarray:
        return self.simulator.draw()


def choose_opengl() -> None:
    """Finds a platform of OpenGL that works, and sets `MUJOCO_GL` to it; tries only `MUJOCO_GL` if it is set.

    Raises:
        ValueError: if no platform works.
    """
    given = os.environ.get("MUJOCO_GL")
    platforms = (given,) if given else _PLATFORMS
    for platform in platforms:
        # In another process: after a failure PyOpenGL no longer works in the same process.
        attempt = [sys.executable, "-c", _TRY, platform]
        environment = os.environ | {"MUJOCO_GL": platform}
        if subprocess.run(attempt, env=environment, capture_output=True, check=False).returncode == 0:
            os.environ["MUJOCO_GL"] = platform
            return
    tried = ", ".join(platforms)
    raise ValueError(f"no OpenGL to draw with: MUJOCO_GL={tried} failed; install EGL or OSMesa (apt install libegl1)")
