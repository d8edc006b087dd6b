"""Bytes per second that one core reads and writes, over and over an array in place.

python benchmarks/_bandwidth.py NUMBERS SECONDS
"""

import sys
import time

import numpy as np

PASSES = 20  # between two looks at the clock


def bandwidth(numbers: int, seconds: float) -> float:
    """Bytes per second over an array `(numbers,)` float32, which NumPy multiplies by a number."""
    array, one = np.ones(numbers, np.float32), np.float32(1)
    passes, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < seconds:
        for _ in range(PASSES):
            np.multiply(array, one, out=array)
        passes += PASSES
    return passes * 2 * array.nbytes / taken


if __name__ == "__main__":
    print(bandwidth(int(sys.argv[1]), float(sys.argv[2])))
