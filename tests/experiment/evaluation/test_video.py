"""Pictures as a film in a file."""

import sys

import numpy as np
import pytest
from PIL import Image

from pliant.experiment.errors import ConfigError
from pliant.experiment.evaluation.video import captioned, write_gif, write_mp4


def pictures(height=8, width=16):
    """Three, of one grey each."""
    return (np.full((height, width, 3), level, np.uint8) for level in (0, 100, 200))


def test_a_gif(tmp_path):
    assert write_gif(tmp_path / "f.gif", pictures(), 0.1) == 3
    with Image.open(tmp_path / "f.gif") as film:
        assert (film.n_frames, film.size, film.info["duration"], film.info["loop"]) == (3, (16, 8), 100, 0)
        levels, durations = [], []
        for number in range(3):
            film.seek(number)
            levels.append(int(np.asarray(film.convert("L"))[0, 0]))
            durations.append(film.info["duration"])
    assert levels == [0, 100, 200]
    assert durations == [100, 100, 1600]  # it stays at its end


def test_a_gif_is_not_too_wide(tmp_path):
    write_gif(tmp_path / "f.gif", pictures(400, 1280), 0.04)
    with Image.open(tmp_path / "f.gif") as film:
        assert (film.size, film.info["duration"]) == ((640, 200), 40)


@pytest.mark.parametrize(("side", "factor"), [(8, 3), (213, 3), (214, 2), (320, 2), (321, 1), (1280, 1)])
def test_a_picture_with_a_caption(side, factor):
    shown = captioned(np.full((side, side // 2, 3), 100, np.uint8), "step 3")
    assert shown.shape == (factor * side + 22, factor * (side // 2), 3) and shown.dtype == np.uint8
    assert (shown[: factor * side] == 100).all()
    assert side < 20 or shown[factor * side :].max() > 200  # white on black


def test_an_mp4(tmp_path, mp4_written):
    assert write_mp4(tmp_path / "f.mp4", pictures(), 0.04) == 3
    opening, *frames = mp4_written
    assert opening == (str(tmp_path / "f.mp4"), (16, 8), 25)
    np.testing.assert_array_equal(frames, list(pictures()))


def test_an_mp4_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # as if it was not installed
    with pytest.raises(ConfigError, match=r"f.mp4: an MP4 needs pip install imageio-ffmpeg; or write a GIF$"):
        write_mp4(tmp_path / "f.mp4", iter([]), 0.04)
