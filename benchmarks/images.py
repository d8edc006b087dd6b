"""The speed of learning from streams of images: updates/s of all seeds together, in the steady state.

    python benchmarks/images.py [--seconds 20] [--rows permuted_2000 conv_net]

Each row is a published configuration as `pliant run` compiles it, without diagnostics, on made-up images of the real
size, timed after a first call for compilation. It is compared with

* a usual program, if PyTorch is installed (`_torch_images.py`): the same network, batch and optimizer, one seed in a
  process. Rows with several seeds are compared with a process on each core. One process has one thread or one for each
  core, whichever is faster. Our turns and those of PyTorch alternate; a rate is the median of three turns;
* the floor of permuted MNIST: an update reads each weight forwards, and reads and writes it backwards. The bandwidth is
  measured in each turn, in a process on each core: NumPy multiplies an array in place by a number (`_bandwidth.py`).
  Together the arrays are as large as the network with 2000 units, which no cache holds; for 100 units each array is as
  large as the network of one seed, which stays in a core's cache. Beside the floor of a network that no cache
  holds stands the rate of reading alone, as NumPy finds the largest number of an array;
* the floor of convolutions: the multiplications and additions of an update, at the rate of large matrix products of
  NumPy with all cores, measured in each turn;
* the row without continual backprop.

The images of the residual network are not augmented, and no split is judged.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from _products import operations_per_second

from pliant.core.registry import presets
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.devices import prepare
from pliant.experiment.loops.planning import plan
from pliant.report import Table

TURNS = 3
BYTES = 3 * 4  # of a weight in an update: read forwards, read and written backwards
CORES = os.cpu_count() or 1
WEIGHTS, NARROW_WEIGHTS = 9_588_000, 99_400  # of permuted MNIST with 2000 units, and with 100
# Of an update: two for each weight that meets a number forwards, and as many for the gradients of kernel and input. The
# images need no gradient.
CONV_NET, RESNET18 = 3.10e9, 299.6e9

# Made-up data have fewer images than the real ones. Epochs that are no multiple of a call are not judged.
PERMUTED = {"data": "synthetic", "tasks": 2}
PAIRS = {"data": "synthetic", "tasks": 1, "classes_per_task": 20, "train_images": 60, "test_images": 10}
CIFAR = {
    "data": "synthetic", "tasks": 1, "classes_per_task": 100, "train_images": 54, "validation_images": 6,
    "test_images": 10, "augment": False,
}  # fmt: skip


class Row(NamedTuple):
    problem: str
    preset: str
    settings: dict[str, Any]  # of the problem, in place of the preset's
    steps: int  # of a seed in one call
    seeds: int = 1
    torch: str | None = None  # the program of _torch_images.py that has the same arithmetic
    plain: str | None = None  # the row without continual backprop
    weights: int | None = None  # of a network whose floor is that of memory
    in_cache: bool = False  # whether a core has the whole network of a seed, and not a part of it
    operations: float | None = None  # of an update of a network whose floor is that of arithmetic


ROWS = {
    "permuted_2000": Row("permuted_mnist", "bp/std_net", PERMUTED, 80, 1, "permuted_2000", weights=WEIGHTS),
    "permuted_2000_seeds": Row("permuted_mnist", "bp/std_net", PERMUTED, 80, 4, "permuted_2000", weights=WEIGHTS),
    "permuted_100_seeds": Row(
        "permuted_mnist", "bp/small_net", PERMUTED, 240, 20, "permuted_100", weights=NARROW_WEIGHTS, in_cache=True
    ),
    "conv_net": Row("continual_imagenet", "bp", PAIRS, 10, 1, "conv_net", operations=CONV_NET),
    "conv_net_seeds": Row("continual_imagenet", "bp", PAIRS, 10, 2, "conv_net", operations=CONV_NET),
    "conv_net_cbp": Row("continual_imagenet", "cbp", PAIRS, 10, 1, "conv_net", "conv_net", operations=CONV_NET),
    "resnet18": Row("incremental_cifar", "base_deep_learning_system", CIFAR, 1, 1, "resnet18", operations=RESNET18),
    "resnet18_bfloat16": Row(
        "incremental_cifar", "base_deep_learning_system", {**CIFAR, "precision": "bfloat16"}, 1, 1, "resnet18_bfloat16"
    ),
}


def config_of(row: Row) -> RunConfig:
    given = presets(row.problem)[row.preset]
    agent = {**given["agent"], "early_stopping": False}
    problem = {**given["problem"], **row.settings}
    config = {**given, "problem": problem, "agent": agent, "diagnostics": [], "sweep": {}, "record_every": row.steps}
    return from_mapping({**config, "seeds": str(row.seeds)})


class Ours:
    """A row as `pliant run` computes it."""

    def __init__(self, row: Row):
        self.row, its_plan = row, plan(config_of(row))
        self.programs = its_plan.loop.programs(its_plan)
        self.programs.begin()
        self.step = 0
        self.advance()

    def advance(self) -> None:
        self.programs.advance(self.step, self.row.steps)
        self.step += self.row.steps

    def rate(self, seconds: float) -> float:
        """Updates per second, all seeds together."""
        before, started = self.step, time.perf_counter()
        while (taken := time.perf_counter() - started) < seconds or self.step == before:
            self.advance()
        return (self.step - before) * self.row.seeds / taken


def torch(row: Row, seconds: float) -> float | None:
    """Updates per second of the PyTorch program; `None` without PyTorch."""
    if row.torch is None or importlib.util.find_spec("torch") is None:
        return None
    # (processes, threads of each)
    ways = {(CORES, 1)} if row.seeds > 1 else {(1, 1), (1, CORES)}
    command = [sys.executable, str(Path(__file__).with_name("_torch_images.py")), row.torch, str(seconds / len(ways))]
    rates = []
    for count, threads in ways:
        each = [*command, "--threads", str(threads)]
        processes = [subprocess.Popen(each, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        rates.append(sum(float(process.communicate()[0]) for process in processes))
    return max(rates)


def floor_of(row: Row, seconds: float) -> float | None:
    """Updates per second of all cores together: each moves every weight three times, or does all operations."""
    if row.operations is not None:
        return operations_per_second() / row.operations
    if row.weights is None:
        return None
    return bandwidth(row.weights if row.in_cache else row.weights // CORES, seconds) / (BYTES * row.weights)


def bandwidth(numbers: int, seconds: float, *options: str) -> float:
    """Bytes per second of all cores, each with an array of its own."""
    command = [sys.executable, str(Path(__file__).with_name("_bandwidth.py")), str(numbers), str(seconds), *options]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(CORES)]
    return sum(float(process.communicate()[0]) for process in processes)


def median(rates: list[float]) -> float | None:
    return float(np.median(rates)) if rates else None


def measure(row: Row, seconds: float) -> tuple[float, float | None, float | None]:
    """Updates per second of ours, of PyTorch, and at the floor, by turns."""
    ours, own, theirs, floors = Ours(row), [], [], []
    for _ in range(TURNS):
        own.append(ours.rate(seconds / TURNS))
        if (rate := torch(row, seconds / TURNS)) is not None:
            theirs.append(rate)
        if (rate := floor_of(row, seconds / TURNS / 4)) is not None:
            floors.append(rate)
    return float(np.median(own)), median(theirs), median(floors)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="per row, and again for PyTorch")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    given = parser.parse_args()
    prepare()
    rates, rows, notes = {}, [], []
    for name in given.rows:
        row = ROWS[name]
        ours, theirs, floor = measure(row, given.seconds)
        rates[name] = ours
        plain = rates.get(row.plain)
        rows.append([
            name, str(row.seeds), f"{ours:.4g}", f"{theirs:.4g}" if theirs else None,
            f"{ours / theirs:.1f}x" if theirs else None, f"{ours / floor:.0%}" if floor else None,
            f"{ours / plain:.0%}" if plain else None,
        ])  # fmt: skip
        if floor and row.operations:
            rate = floor * row.operations / 1e9
            notes.append(f"{name}: the floor is {floor:.3g} updates/s, {rate:.0f} billion operations per second.")
        elif floor and row.weights:
            moved = floor * BYTES * row.weights / 1e9
            note = f"{name}: the floor is {floor:,.0f} updates/s, {moved:.1f} GB/s"
            if not row.in_cache:
                note += (
                    f"; reading alone {bandwidth(row.weights // CORES, given.seconds / 4, '--reading') / 1e9:.1f} GB/s"
                )
            notes.append(note + ".")
    if importlib.util.find_spec("torch") is None:
        notes.append("PyTorch is not installed: pip install torch adds the comparison.")
    cores, kind = len(jax.devices()), jax.devices()[0].device_kind
    title = f"Updates/s on {cores} x {kind} ({os.uname().machine}), jax {jax.__version__}"
    columns = ["row", "seeds", "updates/s", "PyTorch", "times PyTorch", "of the floor", "of plain"]
    Table(title, columns, rows, notes).to_terminal()


if __name__ == "__main__":
    main()
