"""The speed of PPO on MuJoCo: steps/s of all members together with learning, in the steady state.

    python benchmarks/ppo.py [--seconds 20]

Each row is a preset as `pliant run` compiles it, without diagnostics, timed after a first round for compilation. It is
compared with

* the authors' program: the rate of one process on one core of such a machine (measured before), times the cores;
* a usual program of today, if PyTorch is installed (`_torch_ppo.py`), a process on each core, in this run;
* the floor: the time of the physics alone with all cores (envpool, 16 environments), and of the updates' arithmetic at
  the rate of large matrix products.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
from _products import operations_per_second

from pliant.core.registry import presets
from pliant.experiment.configuration.build import make_problem
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.devices import prepare
from pliant.experiment.loops.planning import plan
from pliant.report import Table

REFERENCE = {"ant": 1_200}  # steps/s, one core
TORCH = {"ant": ("Ant-v4", 84), "hopper": ("Hopper-v4", 0), "walker": ("Walker2d-v4", 0)}
ROWS = (("ant", (1, 4, 16)), ("hopper", (1, 4)), ("walker", (1, 4)))
ROUND = 2048


def config_of(problem: str, preset: str, seeds: int):
    return from_mapping({**presets(problem)[preset], "diagnostics": [], "seeds": str(seeds)})


def training(problem: str, preset: str, seeds: int, seconds: float) -> float:
    """Steps per second, all members together."""
    its_plan = plan(config_of(problem, preset, seeds))
    programs = its_plan.loop.programs(its_plan)
    programs.begin()
    programs.advance(0, ROUND)
    step, started = ROUND, time.perf_counter()
    while (taken := time.perf_counter() - started) < seconds:
        programs.advance(step, 2 * ROUND)
        step += 2 * ROUND
    programs.close()
    return (step - ROUND) * seeds / taken


def physics(problem: str, seconds: float, num_envs: int = 16) -> float:
    """Steps per second of the environments alone, under actions like those of a new policy."""
    environment = make_problem(config_of(problem, "std", num_envs))
    host = environment.open(np.arange(2 * num_envs, dtype=np.uint32).reshape(-1, 2))
    host.reset()
    actions = np.random.default_rng(0).normal(size=(100, num_envs, 1, environment.spec.action.size)).astype(np.float32)
    calls, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < seconds:
        host.send(actions[calls % 100])
        host.receive()
        calls += 1
    host.close()
    return calls * num_envs / taken


def arithmetic(problem: str) -> float:
    """Steps per second that the matrix products of the updates allow, at the rate of large matrix products."""
    spec = make_problem(config_of(problem, "std", 1)).spec
    first, middle = spec.observation.shape[0] * 256, 256 * 256
    weights = [(first, middle + 256 * outputs) for outputs in (spec.action.size, 1)]
    # Forward, to the weights, and to the inputs of all layers but the first; ten epochs.
    operations = 10 * sum(2 * (2 * (first + rest) + rest) for first, rest in weights)
    return operations_per_second() / operations


def torch(problem: str, seconds: float) -> float | None:
    """Steps per second of the PyTorch program, a process on each core; `None` without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return None
    name, zeros = TORCH[problem]
    command = [sys.executable, str(Path(__file__).with_name("_torch_ppo.py")), name, str(zeros), str(seconds)]
    cores = len(jax.devices())
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(cores)]
    return sum(float(process.communicate()[0]) for process in processes)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="per row")
    given = parser.parse_args()
    prepare()
    cores, kind = len(jax.devices()), jax.devices()[0].device_kind
    rows, notes = [], []
    for problem, all_seeds in ROWS:
        floor = 1 / (1 / physics(problem, given.seconds / 4) + 1 / arithmetic(problem))
        usual = torch(problem, given.seconds)
        notes.append(f"{problem}: the floor is {floor:.0f} steps/s" + (f", PyTorch {usual:.0f}." if usual else "."))
        for seeds in all_seeds:
            for preset in ("std", "cbp"):
                rate = training(problem, preset, seeds, given.seconds)
                one = usual and (usual / cores if seeds == 1 else usual)
                authors = REFERENCE.get(problem, 0) * (1 if seeds == 1 else cores)
                rows.append(
                    [
                        f"{problem}/{preset}",
                        str(seeds),
                        f"{rate:.0f}",
                        f"{rate / authors:.1f}x" if authors else None,
                        f"{rate / one:.1f}x" if one else None,
                        f"{rate / floor:.0%}",
                    ]
                )
    notes.append("One seed is compared with one process, several seeds with a process on each core.")
    title = f"Steps/s of training on {cores} x {kind} ({os.uname().machine}), jax {jax.__version__}"
    columns = ["preset", "seeds", "steps/s", "times the authors' program", "times PyTorch", "of the floor"]
    Table(title, columns, rows, notes).to_terminal()


if __name__ == "__main__":
    main()
