"""Bytes per second that one core reads and writes, over and over an array in place; or reads only.

python benchmarks/_bandwidth.py NUMBERS SECONDS [--reading]
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

PASSES = 20  # between two looks at the clock


def bandwidth(numbers: int, seconds: float) -> float:
    """Bytes per second over an array `(numbers,)` float32, which NumPy multiplies by a number."""
    array, one = np.ones(numbers, np.float32), np.float32(1)
    return 2 * array.nbytes * _rate(lambda: np.multiply(array, one, out=array), seconds)


def reading(numbers: int, seconds: float) -> float:
    """Bytes per second over an array `(numbers,)` float32, of which NumPy finds the largest number."""
    array = np.ones(numbers, np.float32)
    return array.nbytes * _rate(array.max, seconds)


def _rate(function: Callable[[], object], seconds: float) -> float:
    """Calls per second."""
    passes, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < seconds:
        for _ in range(PASSES):
            function()
        passes += PASSES
    return passes / taken


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("numbers", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--reading", action="store_true", help="read only")
    given = parser.parse_args()
    print((reading if given.reading else bandwidth)(given.numbers, given.seconds))
