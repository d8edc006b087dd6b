"""ImageNet at 32 x 32 pixels: 700 colour images of each of 1000 classes.

Two formats are read. The official one, for which image-net.org asks for an account, is `Imagenet32_train_npz.zip`,
unpacked: `train_data_batch_1.npz` to `train_data_batch_10.npz`, each with `data (images, 3072)` and `labels (images,)`
from 1. The other one is a file for each class, `0.npy` to `999.npy`, `(images, 3, 32, 32)`: the folder `classes` of the
program that was published with continual ImageNet.

A class has the first 700 of its images: 600 to learn from, then 100 for the test, as in that program. Where the
smallest class has fewer, all classes have as many as that class, and a seventh of them, rounded down, is for the test.
The validation images (`val_data.npz`) are not used.

References:
    Chrabaszcz, Loshchilov and Hutter, `A downsampled variant of ImageNet as an alternative to the CIFAR datasets
    <https://arxiv.org/abs/1707.08819>`_, 2017.

    Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_, Nature
    2024.
"""

import contextlib
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from ._images import Images, checked
from ._sources import DataError, cache, found

SYNTHETIC = {"classes": 20, "train": 60, "test": 10, "side": 32, "channels": 3}

_BATCH, _CLASS = "train_data_batch_{}.npz", "{}.npy"
_CLASSES = 1000
_EACH = 700  # images of a class
_MOST = 300_000  # images of a file: larger headers are damaged or hostile; an official batch has 128,116
_HEADER = (MemoryError, SyntaxError, tokenize.TokenError)  # raised by NumPy for headers that it cannot read


def load() -> Images:
    """The data set from the cache, where the user has put it."""
    return read(cache() / "imagenet32")


def read(folder: Path) -> Images:
    """The data set in a folder, or in a folder of it: the official batches, or a file for each class.

    Raises:
        DataError: naming the file that is missing, damaged or of another kind.
    """
    batch, first_class = found(folder, (_BATCH.format(1),)), found(folder, (_CLASS.format(0),))
    if batch is not None:
        return _read_batches(batch.parent)
    if first_class is not None:
        return _read_classes(first_class.parent)
    raise DataError(
        f"{folder / _BATCH.format(1)} is missing; unpack Imagenet32_train_npz.zip there, from "
        "https://image-net.org/download-images.php with an account, or name the folder that has its files, or "
        f"{_CLASS.format(0)} to {_CLASS.format(_CLASSES - 1)}: --data DIR"
    )


def write(folder: Path, images: Images) -> None:
    """Writes a data set as two official batches, in which the images for the test come last."""
    x = np.concatenate([images.train_x, images.test_x]).transpose(0, 3, 1, 2).reshape(-1, 3 * 32 * 32)
    y = np.concatenate([images.train_y, images.test_y]) + 1
    for number, (data, labels) in enumerate(zip(np.array_split(x, 2), np.array_split(y, 2)), start=1):
        np.savez(folder / _BATCH.format(number), data=data, labels=labels)


class _Part(NamedTuple):
    """Images of a file, each with its class and its place among the images of the class."""

    y: np.ndarray  # (images,)
    rank: np.ndarray  # (images,)
    x: np.ndarray  # (images, 3, 32, 32) uint8


def _read_batches(folder: Path) -> Images:
    """Reads the labels of all batches, and then the images, one batch at a time."""
    paths = _numbered(folder, _BATCH, 1)
    labels = [_labels(path) for path in paths]
    y = np.concatenate(labels) - 1
    counts = np.bincount(y)
    order = np.argsort(y, kind="stable")
    rank = np.empty(len(y), np.intp)
    rank[order] = np.arange(len(y)) - (np.cumsum(counts) - counts)[y[order]]

    def parts() -> Iterator[_Part]:
        start = 0
        for path, size in zip(paths, map(len, labels)):
            here = slice(start, start + size)
            x = _bytes(_member(path, "data", (size, 3 * 32 * 32), "u"), path)
            yield _Part(y[here], rank[here], x.reshape(-1, 3, 32, 32))
            start += size

    return _collected(counts, parts(), folder)


def _read_classes(folder: Path) -> Images:
    """Reads the headers of the files of all classes, and then the first images, one class at a time."""
    paths = _numbered(folder, _CLASS, 0)
    counts = np.array([len(_mapped(path)) for path in paths])

    def parts() -> Iterator[_Part]:
        for k, path in enumerate(paths):
            x = _bytes(_mapped(path)[:_EACH], path)
            yield _Part(np.full(len(x), k), np.arange(len(x)), x)

    return _collected(counts, parts(), folder)


def _collected(counts: np.ndarray, parts: Iterable[_Part], where: Path) -> Images:
    """The first images of each class, in the order of the classes."""
    classes, each = len(counts), min(int(counts.min()), _EACH)
    if each < 7:
        raise DataError(f"{where}: class {counts.argmin()} has {each} images, and 7 are the fewest; add the others")
    test = each // 7
    train = each - test
    train_x, test_x = (np.empty((classes, size, 32, 32, 3), np.uint8) for size in (train, test))
    for part in parts:
        for x, first in ((train_x, 0), (test_x, train)):
            rows = np.flatnonzero((first <= part.rank) & (part.rank < first + x.shape[1]))
            x[part.y[rows], part.rank[rows] - first] = part.x[rows].transpose(0, 2, 3, 1)
    y = np.arange(classes, dtype=np.int32)
    images = Images(
        train_x.reshape(-1, 32, 32, 3), y.repeat(train), test_x.reshape(-1, 32, 32, 3), y.repeat(test), classes
    )
    return checked(images, where)


def _numbered(folder: Path, form: str, first: int) -> list[Path]:
    """The files of a folder in the order of their numbers, of which none may be missing."""
    before, after = form.split("{}")
    there = {path.name for path in folder.glob(form.format("*"))}
    there = {name for name in there if name[len(before) : -len(after)].isdecimal()}
    names = [form.format(number) for number in range(first, first + len(there))]
    for name in names:
        if name not in there:
            raise DataError(
                f"{folder / name} is missing, and {min(there.difference(names))} is there; the files have the numbers "
                f"from {first} on, without a gap: put the missing file there"
            )
    return [folder / name for name in names]


def _labels(path: Path) -> np.ndarray:
    """The labels of a batch, `(images,)`, from 1."""
    labels = _member(path, "labels", (None,), "iu").astype(np.int64)
    if labels.min() < 1 or labels.max() > _CLASSES:
        wrong = labels.min() if labels.min() < 1 else labels.max()
        raise DataError(f"{path}: a label is {wrong}; the labels of the official batches are from 1 to {_CLASSES}")
    return labels


def _member(path: Path, name: str, shape: tuple[int | None, ...], kinds: str) -> np.ndarray:
    """An array of an npz file, read after a look at its header."""
    with _readable(path), zipfile.ZipFile(path) as archive:
        if f"{name}.npy" not in archive.namelist():
            raise DataError(f"{path} has no array {name}; take the files of Imagenet32_train_npz.zip")
        with archive.open(f"{name}.npy") as file:
            _expect(file, shape, kinds, f"{path}: {name}")
        with archive.open(f"{name}.npy") as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def _mapped(path: Path) -> np.ndarray:
    """The array of the file of a class, whose numbers are read where they are used."""
    with _readable(path):
        with path.open("rb") as file:
            _expect(file, (None, 3, 32, 32), "iuf", str(path))
        return np.lib.format.open_memmap(path, mode="r")


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what NumPy and zipfile raise for a damaged file into one line."""
    try:
        yield
    except DataError:
        raise
    except (EOFError, OSError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile, zlib.error, *_HEADER) as error:
        reason = str(error).partition("\n")[0][:60] or type(error).__name__
        raise DataError(f"{path} is damaged, or holds no plain numbers ({reason}); get it again") from error


def _expect(file: IO[bytes], shape: tuple[int | None, ...], kinds: str, where: str) -> None:
    """Looks at the header of an array before its numbers are read; `None` is the number of images."""
    np.lib.format.read_magic(file)
    found, _, dtype = np.lib.format.read_array_header_1_0(file)
    fits = len(found) == len(shape) and all(size in (None, other) for other, size in zip(found, shape))
    if not fits or dtype.kind not in kinds or not 0 < found[0] <= _MOST:
        wanted = ", ".join(f"1 to {_MOST:,} images" if size is None else str(size) for size in shape)
        raise DataError(f"{where} has shape {found} and type {dtype}; it has to be ({wanted}) of whole numbers")


def _bytes(x: np.ndarray, path: Path) -> np.ndarray:
    """The same pixels as uint8, for types in which these pixels are often stored.

    Raises:
        DataError: if that would change them, as for pixels that are standardized.
    """
    if x.dtype == np.uint8:
        return np.asarray(x)
    scaled = x * 255 if x.dtype.kind == "f" and x.max() <= 1 else x
    if not (scaled.min() >= 0 and scaled.max() <= 255 and (np.abs(scaled - np.rint(scaled)) < 1e-3).all()):
        raise DataError(
            f"{path} has numbers other than 0 to 255, or these divided by 255; undo what was done to the pixels, and "
            "write them by np.save(file, pixels.astype(np.uint8))"
        )
    return np.rint(scaled).astype(np.uint8)
