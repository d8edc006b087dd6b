"""Environments that can be drawn, without a screen where there is none."""

import os
import subprocess
import sys

import numpy as np

from ._host import SimulatorHost

_PLATFORMS = ("egl", "osmesa", "glfw")  # by the GPU or in software; in software; on a screen
_TRY = """
import importlib, mujoco, sys
context = importlib.import_module("mujoco." + sys.argv[1]).GLContext(64, 64)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.mjtFontScale.mjFONTSCALE_100)
"""


class MujocoRenderer(SimulatorHost):
    """One environment of one member that can be drawn (a `Renderer`)."""

    def draw(self) -> np.ndarray:
        """See `Renderer`."""
        return self.simulator.draw()


def choose_opengl() -> None:
    """Finds an OpenGL to draw with, and tells MuJoCo by `MUJOCO_GL`; what is there already is the only one tried.

    Raises:
        ValueError: if there is none.
    """
    given = os.environ.get("MUJOCO_GL")
    platforms = (given,) if given else _PLATFORMS
    for platform in platforms:
        # In a process of its own: after a failure PyOpenGL is of no more use in the same one.
        attempt = [sys.executable, "-c", _TRY, platform]
        environment = os.environ | {"MUJOCO_GL": platform}
        if subprocess.run(attempt, env=environment, capture_output=True, check=False).returncode == 0:
            os.environ["MUJOCO_GL"] = platform
            return
    tried = ", ".join(platforms)
    raise ValueError(f"no OpenGL to draw with: MUJOCO_GL={tried} failed; install EGL or OSMesa (apt install libegl1)")
