"""The speed of slowly-changing regression: examples/s of a whole population, in the steady state.

    python benchmarks/regression.py [--seeds 100] [--seconds 5]

Each row is one configuration of the paper, as `pliant run` compiles it, with a row of metrics every 10,000 examples.
It is the median of five times after one call for compilation. The reference is the authors' program: the rate of one
process on one core of the machine of docs/performance.md, times the cores.
"""

import argparse
import resource
import time

import jax
import numpy as np

from pliant.core.registry import presets
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.devices import prepare
from pliant.experiment.loops.planning import plan
from pliant.report import Table

REFERENCE = {"backprop": 9_500, "continual backprop": 3_700}  # examples/s, one core
PRESETS = presets("slowly_changing_regression")
ROWS = {
    "backprop": ("sgd/bp/relu", {"agent.learning_rate": [0.01]}),
    "backprop, Adam": ("adam/bp/relu", {"agent.learning_rate": [0.01]}),
    "L2": ("sgd/bp/relu_wd", {"method.weight_decay": [0.01]}),
    "shrink and perturb": ("sgd/bp/relu_snp", {"method.perturb_scale": [1e-3]}),
    "continual backprop": ("sgd/cbp/relu", {"method.replacement_rate": [1e-4]}),
    "continual backprop, Adam": ("adam/cbp/relu", {"method.replacement_rate": [1e-4]}),
}


def measure(preset: str, sweep: dict[str, list[float]], seeds: int, seconds: float) -> float:
    """Examples per second, all members together."""
    config = from_mapping({**PRESETS[preset], "sweep": sweep, "seeds": str(seeds)})
    its_plan = plan(config)
    programs = its_plan.loop.programs(its_plan)
    stretch = config.record_every
    programs.begin()
    step, rates = 0, []
    for repeat in range(6):
        calls, started = 0, time.perf_counter()
        while calls == 0 or (repeat and time.perf_counter() - started < seconds / 5):
            programs.advance(step, stretch)
            step, calls = step + stretch, calls + 1
        rates.append(calls * stretch * seeds / (time.perf_counter() - started))
    return float(np.median(rates[1:]))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0, help="per row")
    given = parser.parse_args()
    prepare()
    cores, kind = len(jax.devices()), jax.devices()[0].device_kind
    rows = []
    for name, (preset, sweep) in ROWS.items():
        rate = measure(preset, sweep, given.seeds, given.seconds)
        reference = REFERENCE.get(name)
        rows.append([name, f"{rate / 1e6:.1f}M", f"{rate / (reference * cores):.0f}x" if reference else None])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    title = f"Examples/s of {given.seeds} seeds on {cores} x {kind}, jax {jax.__version__}"
    notes = [f"Peak memory of the whole process: {memory:.2f} GiB."]
    Table(title, ["method", "examples/s", "times the reference on as many cores"], rows, notes).to_terminal()


if __name__ == "__main__":
    main()
