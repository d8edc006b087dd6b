"""The speed of normal noise for every weight: time of a number on one core, of `surgery.noise` and of JAX.

    python benchmarks/noise.py [--numbers 94800] [--members 6] [--seconds 5]

The numbers are drawn and added to weights in a compiled loop, as by shrink and perturb. The two programs are measured
in turn; each time is the fastest of several.
"""

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from _cores import on_cores

from pliant.core.base import Array, Key
from pliant.report import Table
from pliant.surgery.noise import normal

STEPS = 20  # of a call
DRAWS: dict[str, Callable[[Key, int], Array]] = {
    "jax.random.normal": lambda key, number: jax.random.normal(key, (number,)),
    "surgery.noise.normal": normal,
}


def program(draw: Callable[[Key, int], Array], members: int, numbers: int) -> Callable[[], None]:
    """A call that perturbs the weights of all members `STEPS` times."""

    def perturb(weights: Array, key: Key) -> tuple[Array, None]:
        noise = jax.vmap(lambda key: draw(key, numbers))(jax.random.split(key, members))
        return weights + 1e-5 * noise, None

    @jax.jit
    def run(key: Key) -> Array:
        return jax.lax.scan(perturb, jnp.zeros((members, numbers)), jax.random.split(key, STEPS))[0]

    key = jax.random.key(0)
    return lambda: run(key).block_until_ready()


def measure(members: int, numbers: int, seconds: float) -> dict[str, float]:
    """Seconds for a number, the fastest of several calls, of each program."""
    programs = {name: program(draw, members, numbers) for name, draw in DRAWS.items()}
    for call in programs.values():
        call()
    fastest = dict.fromkeys(programs, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, call in programs.items():
            started = time.perf_counter()
            call()
            fastest[name] = min(fastest[name], time.perf_counter() - started)
    return {name: taken / (STEPS * members * numbers) for name, taken in fastest.items()}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--numbers", type=int, default=94_800, help="of a member")
    parser.add_argument("--members", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    taken = on_cores(1, measure, given.members, given.numbers, given.seconds)
    slowest = max(taken.values())
    rows = [[name, f"{seconds * 1e9:.1f}", f"{slowest / seconds:.1f}"] for name, seconds in taken.items()]
    Table("Normal noise on one core", ["program", "ns for a number", "times as fast"], rows).to_terminal()


if __name__ == "__main__":
    main()
