"""Your own data: two arrays and a list of tasks are a problem for `pliant run`.

Usage:
    pliant run examples/10_your_own_data.py:digit_pairs --method continual_backprop --seeds 4
"""

import pliant
from pliant.datasets import load_images


def digit_pairs(epochs: int = 20) -> pliant.Stream:
    images = load_images("digits")
    x, y = images.train_x, images.train_y
    tasks = [(f"{k} or {k + 1}", (y == k) | (y == k + 1)) for k in (0, 2, 4, 6, 8)]
    return pliant.stream_of(x, y, tasks, epochs=epochs, batch_size=20, test=0.2)
