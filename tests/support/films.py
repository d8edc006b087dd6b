"""Films of simulators, on machines with and without a way to draw."""

import os

import pytest

from pliant.problems.mujoco import _renderer


def need_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chooses how to draw, as a film does, for this test alone; leaves the test out where nothing can draw."""
    monkeypatch.setenv("MUJOCO_GL", os.environ.get("MUJOCO_GL", ""))
    try:
        _renderer.choose_opengl()
    except ValueError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(_renderer, "choose_opengl", lambda: None)  # it was chosen
