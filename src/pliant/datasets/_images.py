"""A data set of images in memory."""

from typing import NamedTuple

import numpy as np

from ._sources import DataError


class Images(NamedTuple):
    """Images and labels, to learn from and to be tested on; arrays of NumPy."""

    train_x: np.ndarray  # (examples, rows, columns, channels) uint8
    train_y: np.ndarray  # (examples,) int32, below `classes`
    test_x: np.ndarray  # (test examples, rows, columns, channels) uint8
    test_y: np.ndarray  # (test examples,) int32
    classes: int

    def train_by_class(self, each: int | None = None, setting: str = "each") -> np.ndarray:
        """The first images of each class, `(classes, each, rows, columns, channels)`, in the order of the data set.

        Args:
            each: number of images; `None`: as many as the smallest class has.
            setting: what the user calls the number, for the error.

        Raises:
            DataError: if a class has fewer images.
        """
        return _by_class(self.train_x, self.train_y, self.classes, each, setting, "to learn from")

    def test_by_class(self, each: int | None = None, setting: str = "each") -> np.ndarray:
        """As `train_by_class`, of the test images."""
        return _by_class(self.test_x, self.test_y, self.classes, each, setting, "to be tested on")


def checked(images: Images, where: object) -> Images:
    """The same images, after a look at shapes, types and labels.

    Raises:
        DataError: naming the data, if they do not fit together.
    """
    for x, y, which in ((images.train_x, images.train_y, "training"), (images.test_x, images.test_y, "test")):
        if x.ndim != 4 or x.dtype != np.uint8 or x.size == 0:
            raise DataError(f"{where}: the {which} images have shape {x.shape} and type {x.dtype}; they have to be "
                            "uint8 (images, rows, columns, channels)")  # fmt: skip
        if y.shape != (len(x),):
            raise DataError(
                f"{where}: there are {len(x)} {which} images and {len(y)} labels; take files of one data set"
            )
        if y.min() < 0 or y.max() >= images.classes:
            wrong = y.min() if y.min() < 0 else y.max()
            raise DataError(
                f"{where}: a {which} label is {wrong}, outside of the {images.classes} classes from 0 to "
                f"{images.classes - 1}; take the files of this data set"
            )
    if images.train_x.shape[1:] != images.test_x.shape[1:]:
        raise DataError(
            f"{where}: the training images have {_size(images.train_x)} pixels and the test images "
            f"{_size(images.test_x)}; take files of one data set"
        )
    return images


def _size(x: np.ndarray) -> str:
    return " x ".join(map(str, x.shape[1:3]))


def _by_class(x: np.ndarray, y: np.ndarray, classes: int, each: int | None, setting: str, purpose: str) -> np.ndarray:
    counts = np.bincount(y, minlength=classes)
    each = int(counts.min()) if each is None else each
    if counts.min() < each or each == 0:
        least = int(counts.argmin())
        raise DataError(
            f"class {least} has {counts[least]} images {purpose}, and {setting} asks for {each or 1}; write a smaller "
            "number, or take other data"
        )
    if counts.max() == counts.min() and (np.diff(y) >= 0).all():  # grouped already: a view, whatever the size
        return x.reshape(classes, -1, *x.shape[1:])[:, :each]
    order = np.argsort(y, kind="stable")
    starts = np.cumsum(counts) - counts
    return x[order[starts[:, None] + np.arange(each)]]
