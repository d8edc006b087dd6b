"""Measurements in separate processes with a number of cores, and the rate of one product in a loop."""

import functools
import importlib.util
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from pliant.experiment.devices import prepare


def on_cores(cores: int, measure: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `measure` in a separate process with a number of cores."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _take_cores, (cores,)) as process:
        return process.submit(measure, *arguments).result()


def _take_cores(cores: int) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    prepare()


@functools.cache
def torch(program: str, cores: int, seconds: float, *flags: str) -> float | None:
    """The rate of a PyTorch program beside this file, a process on each core; `None` without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return None
    command = [sys.executable, str(Path(__file__).with_name(program)), str(seconds), *flags]
    processes = [
        subprocess.Popen([*command, "--core", str(core)], stdout=subprocess.PIPE, text=True)
        for core in sorted(os.sched_getaffinity(0))[:cores]
    ]
    return sum(float(process.communicate()[0]) for process in processes)


def products_per_second(size: int) -> float:
    """Products of two matrices `(size, size)` in a second, at the best of eight rates."""
    x = jnp.full((size, size), 1 / size)
    products = jax.jit(lambda x: jax.lax.fori_loop(0, 200, lambda _, y: y @ x, x))
    times = []
    for _ in range(8):
        started = time.perf_counter()
        jax.block_until_ready(products(x))
        times.append(time.perf_counter() - started)
    return 200 / min(times)
