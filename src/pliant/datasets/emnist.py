"""EMNIST, balanced: 112,800 + 18,800 grey images of handwritten letters and digits, 47 classes, 28 x 28 pixels.

The images are transposed, as in the files. The four files are not downloaded, because they are a small part of an
archive of half a gigabyte.

References:
    Cohen, Afshar, Tapson and van Schaik, `EMNIST: extending MNIST to handwritten letters
    <https://arxiv.org/abs/1702.05373>`_, IJCNN 2017.
"""

from pathlib import Path

from ._idx import read_folder, write_folder
from ._images import Images
from ._sources import DataError, cache, found

SYNTHETIC = {"classes": 47, "train": 60, "test": 4, "side": 28, "channels": 1}

_URL = "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"
_PARTS = tuple(
    f"emnist-balanced-{part}-{kind}"
    for part in ("train", "test")
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
)


def load() -> Images:
    """The data set in the cache, where the user puts it."""
    folder = cache() / "emnist"
    for part in _PARTS:
        if found(folder, (f"{part}.gz", part)) is None:
            raise DataError(
                f"{folder / part}.gz is missing; put the four files emnist-balanced-*.gz of {_URL} into {folder}"
            )
    return read(folder)


def read(folder: Path) -> Images:
    """The data set in a folder with the four files `emnist-balanced-*`, compressed or not."""
    return read_folder(folder, SYNTHETIC["classes"], _PARTS)


def write(folder: Path, images: Images) -> None:
    """Writes a data set as the four files."""
    write_folder(folder, images, _PARTS)
