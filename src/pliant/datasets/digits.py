"""Digits: 1,797 grey images of handwritten digits, 8 x 8 pixels, which come with the package.

The test part of the `Optical recognition of handwritten digits` data set, as scikit-learn distributes it: 1,500 images
to learn from, and the last 297 for the test. Its values from 0 to 16 are scaled to 255.

References:
    Alpaydin and Kaynak, `Optical recognition of handwritten digits <https://doi.org/10.24432/C50P49>`_, UCI Machine
    Learning Repository 1998, under CC BY 4.0.
"""

from pathlib import Path

import numpy as np

from ._images import Images, checked

_TRAIN = 1500


def load() -> Images:
    """The data set in the package."""
    path = Path(__file__).with_name("digits.npz")
    with np.load(path, allow_pickle=False) as file:
        x, y = file["x"][..., None], file["y"].astype(np.int32)
    return checked(Images(x[:_TRAIN], y[:_TRAIN], x[_TRAIN:], y[_TRAIN:], 10), path)
