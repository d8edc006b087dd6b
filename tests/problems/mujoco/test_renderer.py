import itertools
import os
import subprocess

import numpy as np
import pytest

from pliant.problems.mujoco import _renderer, ant, cyclic_mujoco, mujoco, slippery_ant

SEED = np.array([1, 2], np.uint32)


@pytest.fixture(scope="module")
def opengl():
    """Leaves `MUJOCO_GL` as it was; what this machine has to draw with, which is looked for once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUJOCO_GL", os.environ.get("MUJOCO_GL", ""))
        try:
            _renderer.choose_opengl()
        except ValueError as error:
            pytest.skip(str(error))
        yield os.environ["MUJOCO_GL"]


# Ant stands for Hopper, Walker and Slippery Ant, which are made alike.
@pytest.mark.parametrize("module", [ant, mujoco, cyclic_mujoco])
def test_a_film_shows_the_environment_as_it_moves(module, opengl, monkeypatch):
    monkeypatch.setattr(_renderer, "choose_opengl", lambda: None)  # it was chosen
    environment = module.make(module.Config())
    film = environment.render(SEED)
    assert film.reset().shape == (1, 1, *environment.spec.observation.shape)
    frames = []
    for _ in range(3):
        frames.append(film.draw())
        for _ in range(5):
            film.send(np.ones((1, 1, environment.spec.action.size), np.float32))
            film.receive()
    film.close()
    for frame, other in itertools.pairwise(frames):
        assert frame.shape == (480, 480, 3) and frame.dtype == np.uint8
        assert frame.std() > 10 and (frame != other).any()


def test_a_film_has_the_dynamics_of_the_member(monkeypatch, tmp_path):
    # What is drawn apart: the film is the member alone in gymnasium, with the friction that was saved.
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    environment = slippery_ant.make(slippery_ant.Config(backend="gymnasium", change_time=5, num_envs=1))
    film, host = environment.render(SEED), environment.open(SEED[None])
    saved = host.save() | {"friction": np.array([0.7]), "friction_number": np.array([3]), "steps": np.array([40])}
    film.restore(saved), host.restore(saved)
    np.testing.assert_array_equal(film.reset(), host.reset())
    for action in np.random.default_rng(0).standard_normal((60, 1, 1, 8)).astype(np.float32):
        film.send(action), host.send(action)
        for ours, theirs in zip(film.receive()[:5], host.receive()[:5]):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("given", "tried"), [("", "egl, osmesa, glfw"), ("osmesa", "osmesa")])
def test_nothing_to_draw_with_is_said_in_one_line(given, tried, monkeypatch):
    asked = []

    def fail(command, env, **_):
        asked.append((command[-1], env["MUJOCO_GL"]))
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setenv("MUJOCO_GL", given)
    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(ValueError) as raised:
        ant.make(ant.Config()).render(SEED)
    message = f"no OpenGL to draw with: MUJOCO_GL={tried} failed; install EGL or OSMesa (apt install libegl1)"
    assert str(raised.value) == message
    assert asked == [(platform, platform) for platform in tried.split(", ")]
    assert os.environ["MUJOCO_GL"] == given


def test_the_first_platform_that_works_is_taken(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "")
    answer = {"egl": 1, "osmesa": 0}
    run = lambda command, **_: subprocess.CompletedProcess(command, answer[command[-1]])  # noqa: E731
    monkeypatch.setattr(subprocess, "run", run)
    _renderer.choose_opengl()
    assert os.environ["MUJOCO_GL"] == "osmesa"
