"""Writes pictures as a film."""

import importlib
import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pliant.experiment.errors import ConfigError

_WIDEST_GIF = 640  # pixels of the longer side; a GIF of hundreds of larger pictures has tens of megabytes
_LARGEST_FACTOR = 3  # of small pictures
_CAPTION = 22  # pixels
_LAST = 1.5  # seconds for which a GIF stays at its end before it begins again


def captioned(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture with a line of text below, small ones enlarged.

    Args:
        picture: `(height, width, 3)` uint8.
        text: as wide as the picture at most; more is cut off.

    Returns:
        `(k * height + 22, k * width, 3)` uint8: $k$ is at most 3, and no side becomes longer than 640 pixels by it.
    """
    factor = min(_LARGEST_FACTOR, max(1, _WIDEST_GIF // max(picture.shape[:2])))
    large = picture.repeat(factor, 0).repeat(factor, 1)
    strip = Image.new("RGB", (large.shape[1], _CAPTION))
    ImageDraw.Draw(strip).text((5, 3), text, (255, 255, 255), ImageFont.load_default(13))
    return np.concatenate([large, np.asarray(strip)])


def write_gif(file: Path, pictures: Iterator[np.ndarray], pause: float) -> int:
    """Writes a GIF, which any browser shows.

    Args:
        file: to write.
        pictures: `(height, width, 3)` uint8 each, at least one.
        pause: seconds for which a picture is shown, in whole hundredths; the last one is shown for 1.5 seconds more.

    Returns:
        The number of pictures.
    """
    images = []
    for picture in pictures:
        image = Image.fromarray(picture)
        image.thumbnail((_WIDEST_GIF, _WIDEST_GIF))
        images.append(image.quantize())
    first, *rest = images
    durations = [*[round(1000 * pause)] * len(rest), round(1000 * (pause + _LAST))]
    first.save(file, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)
    return len(images)


def write_mp4(file: Path, pictures: Iterator[np.ndarray], pause: float) -> int:
    """Writes an MP4, which is smaller than a GIF and has all colours, with the package imageio-ffmpeg.

    Args:
        file: to write; its name ends in .mp4.
        pictures: `(height, width, 3)` uint8 each, at least one.
        pause: seconds for which a picture is shown.

    Returns:
        The number of pictures.

    Raises:
        ConfigError: if the package is not installed; `pictures` is not read then.
    """
    write_frames = _write_frames(file)
    first = next(pictures)
    height, width, _ = first.shape
    count = 0
    with closing(write_frames(str(file), (width, height), fps=1 / pause)) as writer:
        with warnings.catch_warnings():  # JAX warns of a fork; the child becomes ffmpeg at once
            warnings.filterwarnings("ignore", r"os\.fork", RuntimeWarning)
            writer.send(None)
        for picture in itertools.chain([first], pictures):
            writer.send(np.ascontiguousarray(picture))
            count += 1
    return count


def _write_frames(file: Path) -> Callable:
    try:
        return importlib.import_module("imageio_ffmpeg").write_frames
    except ModuleNotFoundError:
        raise ConfigError(f"{file}: an MP4 needs pip install imageio-ffmpeg; or write a GIF") from None
