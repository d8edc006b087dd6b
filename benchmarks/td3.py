"""The speed of TD3 on HalfCheetah-v4: steps/s of all seeds together, an update at each step, in the steady state.

    python benchmarks/td3.py [--seconds 20]

Each row is a preset as `pliant run` compiles it, environments and masks included, without diagnostics and evaluations,
timed after exploration: one seed in a process with one core (so this needs Linux), and four seeds in a process with
two cores. It is compared with

* a usual program, if PyTorch is installed (`_torch_td3.py`), which trains one seed on one core: a process on each core,
  in this run; also with the additional work of the published program of Neuroplastic Expansion;
* the update alone: the same function, compiled into a loop without environments and actions, with the same number of
  seeds;
* the floor, below the table: the time of the updates' matrix products at the rate of one product in a loop.

`static` is `td3` with masks only. `code` changes the masks every hundred updates and, as the published program,
evaluates another batch at each update to choose the size of the next batch.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from _cores import on_cores, products_per_second, torch

from pliant.core.registry import presets
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.loops.learning import zero_transitions
from pliant.experiment.loops.planning import plan
from pliant.report import Table

ROWS = ("td3", "static", "code")  # presets; the others are compared with the first
SIZES = ((1, 1), (4, 2))  # seeds, cores
EXPLORATION = 1_000
CHUNK = 100  # steps of a seed in one call


def config_of(preset: str, seeds: int) -> RunConfig:
    given = presets("mujoco")[preset]
    agent = {**given["agent"], "learning_starts": EXPLORATION}
    return from_mapping({**given, "agent": agent, "diagnostics": [], "evaluate_every": 0, "seeds": str(seeds)})


def rate(advance: Callable[[int], Any], seeds: int, seconds: float) -> float:
    """Steps per second of `advance(steps before)`, which computes `CHUNK` steps of each seed."""
    step = EXPLORATION
    advance(step)
    first = step = step + CHUNK
    started = time.perf_counter()
    while (taken := time.perf_counter() - started) < seconds:
        advance(step)
        step += CHUNK
    return (step - first) * seeds / taken


def training(preset: str, seeds: int, seconds: float) -> float:
    """Steps per second, all seeds together."""
    its_plan = plan(config_of(preset, seeds))
    programs = its_plan.loop.programs(its_plan)
    programs.begin()
    programs.advance(0, EXPLORATION)
    measured = rate(lambda step: programs.advance(step, CHUNK), seeds, seconds)
    programs.close()
    return measured


def updating(preset: str, seeds: int, seconds: float) -> float:
    """Steps per second of a program that only updates, from artificial transitions, all seeds together."""
    its_plan = plan(config_of(preset, seeds))
    parts, members = its_plan.components, its_plan.members
    agent = parts.agent
    member_map = its_plan.member_map(len(members))

    def made_up(key: jax.Array) -> Any:
        like = zero_transitions(parts)
        seen_key, next_key, reward_key = jax.random.split(key, 3)
        return like._replace(
            observation=jax.random.normal(seen_key, like.observation.shape),
            next_observation=jax.random.normal(next_key, like.observation.shape),
            reward=jax.random.normal(reward_key, like.reward.shape),
        )

    def learn(state: Any, key: jax.Array, before: jax.Array, steps: int) -> Any:
        def one(state: Any, now: Any) -> tuple[Any, None]:
            call, key = now
            return agent.learn(state, made_up(key), call)[0], None

        return jax.lax.scan(one, state, (before + jnp.arange(steps), jax.random.split(key, steps)))[0]

    def begin(seed: jax.Array, _: Any) -> Any:
        init_key, key = jax.random.split(jax.random.key(seed))
        return learn(agent.init(init_key), key, jnp.int32(0), EXPLORATION)

    state = member_map.jit(begin)(member_map.place(members.seeds), 0)
    program = member_map.jit(lambda state, step: learn(state, jax.random.key(step), step, CHUNK), donate=True)

    def advance(step: int) -> None:
        nonlocal state
        state = jax.block_until_ready(program(state, jnp.int32(step)))

    return rate(advance, seeds, seconds)


def arithmetic() -> float:
    """Updates per second that their matrix products allow, at the rate of one repeated product."""
    actor, critic = 17 * 256 + 256 * 256 + 256 * 6, (17 + 6) * 256 + 2 * 256 * 256 + 256
    # Target actions and values; values, their way back to the weights and to the inputs of all layers but the first.
    each = actor + 2 * critic + 2 * (2 * critic + critic - 23 * 256)
    # Actions and one critic's values, their way back through the critic, to the actor's weights and to its layers.
    every_second = 2 * critic + 2 * actor + actor - 17 * 256
    return products_per_second(256) * 256**2 / (each + every_second / 2)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="per measurement")
    seconds = parser.parse_args().seconds
    floor = on_cores(1, arithmetic)
    rows, notes = [], [f"The floor: matrix products alone allow {floor:.0f} updates/s on one core."]
    for seeds, cores in SIZES:
        usual, published = (torch("_torch_td3.py", cores, seconds, *flags) for flags in ((), ("--published",)))
        if usual and published:
            notes.append(f"PyTorch, cores {cores}: {usual:.0f} steps/s, as published {published:.0f}.")
        rates: dict[str, float] = {}
        for preset in ROWS:
            rates[preset] = ours = on_cores(cores, training, preset, seeds, seconds)
            alone = on_cores(cores, updating, preset, seeds, seconds)
            times = [f"{ours / theirs:.1f}x" if theirs else None for theirs in (usual, published)]
            counts = [f"mujoco/{preset}", str(seeds), str(cores), f"{ours:.0f}"]
            rows.append([*counts, *times, f"{ours / alone:.0%}", f"{ours / rates[ROWS[0]]:.0%}"])
    kind = jax.devices()[0].device_kind
    title = f"Steps/s of TD3 on HalfCheetah-v4, {kind} ({os.uname().machine}), jax {jax.__version__}"
    columns = ["preset", "seeds", "cores", "steps/s", "times PyTorch", "times as published"]
    Table(title, [*columns, "of the update alone", f"of {ROWS[0]}"], rows, notes).to_terminal()


if __name__ == "__main__":
    main()
