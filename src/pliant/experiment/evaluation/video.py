"""Writes pictures as a film."""

import importlib
import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from pliant.experiment.errors import ConfigError

_WIDEST_GIF = 640  # pixels of the longer side; a GIF of hundreds of larger pictures has tens of megabytes


def write_gif(file: Path, pictures: Iterator[np.ndarray], pause: float) -> int:
    """Writes a GIF, which any browser shows.

    Args:
        file: to write.
        pictures: `(height, width, 3)` uint8 each, at least one.
        pause: seconds for which a picture is shown, in whole hundredths.

    Returns:
        The number of pictures.
    """
    images = []
    for picture in pictures:
        image = Image.fromarray(picture)
        image.thumbnail((_WIDEST_GIF, _WIDEST_GIF))
        images.append(image.quantize())
    first, *rest = images
    first.save(file, "GIF", save_all=True, append_images=rest, duration=round(1000 * pause), loop=0)
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
