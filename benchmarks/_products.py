"""The rate of large matrix products, with all cores: no program does arithmetic faster."""

import time

import numpy as np

_SIZE, _TIMES = 3000, 5


def operations_per_second() -> float:
    """Multiplications and additions per second of NumPy, of the fastest of a few products."""
    matrix = np.random.default_rng(0).normal(size=(_SIZE, _SIZE)).astype(np.float32)
    times = []
    for _ in range(_TIMES):
        started = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - started)
    return 2 * _SIZE**3 / min(times)
