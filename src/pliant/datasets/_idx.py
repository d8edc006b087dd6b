"""The IDX format of MNIST: a big-endian header with the type and the sizes, then the numbers."""

import gzip
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ._images import Images, checked
from ._sources import DataError, need

_UINT8 = 0x08
_MOST = 2**31  # bytes of an array: larger headers are damaged or hostile
MNIST = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The uint8 array of an IDX file, compressed by gzip or not.

    Args:
        path: of the file.
        axes: number of axes that the array must have.

    Raises:
        DataError: if it is not such a file, or is truncated.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] != _UINT8 or head[3] != axes:
                raise DataError(f"{path} is not an IDX file of bytes with {axes} axes; get it again")
            shape = struct.unpack(f">{axes}I", file.read(4 * axes).ljust(4 * axes, b"\0"))
            size = int(np.prod(shape, dtype=object))
            if size > _MOST:
                raise DataError(f"{path} claims to hold {size:,} bytes; get it again")
            content = file.read(size + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}); get it again") from error
    if len(content) != size:
        have = "more" if len(content) > size else f"{len(content):,}"
        raise DataError(f"{path} should hold {size:,} bytes and holds {have}; get it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Writes a uint8 array, compressed."""
    head = bytes([0, 0, _UINT8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes(), mtime=0))


def read_folder(folder: Path, classes: int = 10, parts: Sequence[str] = MNIST) -> Images:
    """The data set of four files.

    Args:
        folder: with the files, compressed or not.
        classes: number of classes.
        parts: names of the files without `.gz`: training images, their labels, test images, their labels.

    Raises:
        DataError: naming the file that is missing, damaged or does not fit.
    """
    train_x, train_y, test_x, test_y = (
        read_idx(need(folder, (f"{part}.gz", part)), 3 if "images" in part else 1) for part in parts
    )
    images = Images(train_x[..., None], train_y.astype(np.int32), test_x[..., None], test_y.astype(np.int32), classes)
    return checked(images, folder)


def write_folder(folder: Path, images: Images, parts: Sequence[str] = MNIST) -> None:
    """Writes a data set as four files, those of MNIST by default."""
    arrays = images.train_x[..., 0], images.train_y, images.test_x[..., 0], images.test_y
    for part, array in zip(parts, arrays):
        write_idx(folder / f"{part}.gz", array.astype(np.uint8))
