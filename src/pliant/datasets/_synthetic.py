"""Made-up images that can be learned: each class has a pattern, and each image the pattern of its class with noise."""

import numpy as np

from ._images import Images


def made_up(
    classes: int, train: int, test: int, side: int, channels: int, noise: float = 48.0, seed: int = 0
) -> Images:
    """A data set of made-up images.

    Args:
        classes: number of classes.
        train: images of each class to learn from.
        test: images of each class to be tested on.
        side: rows, and columns.
        channels: 1 or 3.
        noise: standard deviation of the noise, in steps of 255.
        seed: of patterns and noise.
    """
    random = np.random.default_rng(seed)
    coarse = random.uniform(40, 215, (classes, 4, 4, channels))
    patterns = coarse.repeat(-(-side // 4), 1).repeat(-(-side // 4), 2)[:, :side, :side]

    def images(each: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.tile(np.arange(classes, dtype=np.int32), each)
        noisy = patterns[y] + random.normal(0, noise, (len(y), side, side, channels))
        return np.clip(noisy, 0, 255).astype(np.uint8), y

    (train_x, train_y), (test_x, test_y) = images(train), images(test)
    return Images(train_x, train_y, test_x, test_y, classes)
