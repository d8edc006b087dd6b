"""Stripes: images of bright rows and of bright columns, in one file."""

from pathlib import Path

import numpy as np

from ._images import Images, checked
from ._sources import cache, need

SYNTHETIC = {"classes": 2, "train": 10, "test": 3, "side": 6, "channels": 1}

_FILE = "stripes.npz"


def load() -> Images:
    """The data set from the cache."""
    return read(cache() / "stripes")


def read(folder: Path) -> Images:
    """The data set in a folder with the file `stripes.npz`."""
    with np.load(need(folder, (_FILE,)), allow_pickle=False) as arrays:
        return checked(Images(arrays["train_x"], arrays["train_y"], arrays["test_x"], arrays["test_y"], 2), folder)


def write(folder: Path, images: Images) -> None:
    """Writes the file."""
    np.savez(folder / _FILE, **{name: array for name, array in images._asdict().items() if name != "classes"})
