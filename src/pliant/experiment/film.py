"""A film of a trained agent."""

import importlib
import itertools
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pliant.core.problem import Film, HostArena

from .build import problem_of
from .errors import ConfigError
from .playing import on_host, open_host
from .trained import Trained

_FRAMES_PER_SECOND = 25
_WIDEST_GIF = 320  # pixels: a GIF of hundreds of larger frames has tens of megabytes


def film(trained: Trained, file: Path, *, greedy: bool = True, entropy: int = 0, steps: int = 300) -> int:
    """Films the first episode of one member, one frame a step.

    Args:
        trained: who acts: one member.
        file: where the film goes: a `.gif`, or an `.mp4` if the package imageio-ffmpeg is installed.
        greedy: whether the most probable actions are taken.
        entropy: what the environment and random actions come from, as in `evaluate`.
        steps: after which the film ends even if the episode does not, at least 1.

    Returns:
        The number of frames.

    Raises:
        ConfigError: if the problem cannot be drawn, or there is no way to write such a file.
        ValueError: if there is nothing to draw with.
    """
    if file.suffix not in (".gif", ".mp4"):
        raise ConfigError(f"film {file}: write a name that ends in .gif or .mp4")
    ffmpeg = _ffmpeg(file) if file.suffix == ".mp4" else None
    arena = problem_of(trained.config)
    if not isinstance(arena, HostArena):
        raise ConfigError(f"film {file}: {trained.config.problem.name} draws nothing yet")
    with closing(open_host(trained, lambda entropy: arena.film(entropy[0]), entropy)) as host:
        frames = itertools.islice(_frames(trained, host, greedy, entropy), steps)
        return _write_gif(file, frames) if ffmpeg is None else _write_mp4(file, frames, ffmpeg)


def _frames(trained: Trained, host: Film, greedy: bool, entropy: int) -> Iterator[np.ndarray]:
    """What is seen before each step of an episode, `(height, width, 3)`."""
    observation = host.reset()
    yield host.draw()
    for ended, _ in on_host(trained, host, observation, greedy=greedy, entropy=entropy):
        if ended.any():  # what is there now is the next episode
            return
        yield host.draw()


def _write_gif(file: Path, frames: Iterator[np.ndarray]) -> int:
    images = []
    for frame in frames:
        image = Image.fromarray(frame)
        image.thumbnail((_WIDEST_GIF, _WIDEST_GIF))
        images.append(image.quantize())
    images[0].save(file, save_all=True, append_images=images[1:], duration=1000 // _FRAMES_PER_SECOND, loop=0)
    return len(images)


def _write_mp4(file: Path, frames: Iterator[np.ndarray], ffmpeg: Any) -> int:
    first = next(frames)
    height, width, _ = first.shape
    count = 0
    with closing(ffmpeg.write_frames(str(file), (width, height), fps=_FRAMES_PER_SECOND)) as writer:
        with warnings.catch_warnings():  # JAX warns of a fork, but what is forked becomes ffmpeg at once
            warnings.filterwarnings("ignore", r"os\.fork", RuntimeWarning)
            writer.send(None)
        for frame in itertools.chain([first], frames):
            writer.send(np.ascontiguousarray(frame))
            count += 1
    return count


def _ffmpeg(file: Path) -> Any:
    try:
        return importlib.import_module("imageio_ffmpeg")
    except ModuleNotFoundError:
        raise ConfigError(f"film {file}: an MP4 needs pip install imageio-ffmpeg; or write a name in .gif") from None
