"""The speed of PPO on MiniGrid DoorKey 8x8: frames/s of all members together with learning, in the steady state.

    python benchmarks/minigrid.py [--seconds 20]

Each row is a preset as `pliant run` compiles it, with 16 environments per seed, without diagnostics, timed after a
first call for compilation. It is compared with

* a usual program, if PyTorch is installed (`_torch_minigrid.py`): one process that learns, and 15 processes with an
  environment each, on all cores, in this run. PyTorch has one thread or one for each core, whichever is faster. It
  trains one seed; our rows with several seeds are compared with it, too;
* the floor: the sum of the times that the environments, acting, and learning without a plasticity method take alone,
  each in a separate program with the same number of seeds.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from pliant.core.base import Key
from pliant.core.registry import presets
from pliant.experiment.configuration.components import Components
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.devices import prepare
from pliant.experiment.loops.learning import zero_transitions
from pliant.experiment.loops.planning import plan
from pliant.report import Table

SIZE = "8x8"
ROWS = {"ppo": False, "reference": True, "everywhere": True}  # preset -> whether PyTorch does continual backprop, too
SEEDS = (1, 10)
ROUNDS = 10  # in one call, as between two rows of metrics in the presets
MANY = 256  # environments

Piece: TypeAlias = Callable[
    [Components, Key], tuple[Any, Callable[[Any, Key], Any]]
]  # what it begins with, and a round


def config_of(preset: str, seeds: int, num_envs: int = 16) -> RunConfig:
    given = presets("minigrid_doorkey")[preset]
    problem = {**given["problem"], "tasks": f"{SIZE}:2000M", "num_envs": num_envs}
    return from_mapping({**given, "problem": problem, "diagnostics": [], "seeds": str(seeds)})


def training(preset: str, seeds: int, seconds: float) -> float:
    """Frames per second, all members together."""
    config = config_of(preset, seeds)
    its_plan = plan(config)
    programs = its_plan.loop.programs(its_plan)
    stretch = ROUNDS * its_plan.steps_at_once
    programs.begin()
    programs.advance(0, stretch)
    step, started = stretch, time.perf_counter()
    while (taken := time.perf_counter() - started) < seconds:
        programs.advance(step, stretch)
        step += stretch
    programs.close()
    return (step - stretch) * seeds / taken


def environment(parts: Components, key: Key) -> tuple[Any, Callable[[Any, Key], Any]]:
    """Environments under random actions."""
    environment = parts.problem
    first = environment.step(environment.init(key)[0], jnp.zeros(environment.num_envs, jnp.int32))

    def one_round(carry: Any, key: Key) -> Any:
        actions = jax.random.randint(key, (parts.agent.horizon, environment.num_envs), 0, environment.spec.action.n)
        return jax.lax.scan(lambda carry, action: (environment.step(carry[0], action), None), carry, actions)[0]

    return first, one_round


def acting(parts: Components, key: Key) -> tuple[Any, Callable[[Any, Key], Any]]:
    """The forward pass and the choice of an action, for one step after another."""
    environment, agent = parts.problem, parts.agent
    acting_params, is_first = agent.acting_params(agent.init(key)), jnp.zeros(environment.num_envs, bool)
    first = agent.act(acting_params, agent.initial_carry(environment.num_envs), environment.init(key)[1], is_first, key)

    def one_step(carry: Any, key: Key) -> tuple[Any, None]:
        memory, action, _ = carry
        # The observation depends on the action; otherwise XLA would compute the forward pass once.
        observation = jnp.broadcast_to(
            action[:, None, None, None], (environment.num_envs, *environment.spec.observation.shape)
        )
        return agent.act(
            acting_params, memory, observation.astype(environment.spec.observation.dtype), is_first, key
        ), None

    def one_round(carry: Any, key: Key) -> Any:
        return jax.lax.scan(one_step, carry, jax.random.split(key, agent.horizon))[0]

    return first, one_round


def learning(parts: Components, key: Key) -> tuple[Any, Callable[[Any, Key], Any]]:
    """All gradient steps of an update, from artificial transitions."""
    init_key, seen_key, reward_key = jax.random.split(key, 3)
    like = zero_transitions(parts)
    transitions = like._replace(
        observation=jax.random.randint(seen_key, like.observation.shape, 0, 11).astype(like.observation.dtype),
        reward=jax.random.normal(reward_key, like.reward.shape),
    )
    return parts.agent.init(init_key), lambda state, _: parts.agent.learn(state, transitions, jnp.int32(0))[0]


def alone(piece: Piece, config: RunConfig, seconds: float, clock: Callable[[], float] = time.perf_counter) -> float:
    """Frames per second of a program that computes only one piece of training, all members together."""
    its_plan = plan(config)
    parts, members = its_plan.components, its_plan.members
    member_map = its_plan.member_map(len(members))

    def rounds(seed: jax.Array, _: Any) -> Any:
        first_key, key = jax.random.split(jax.random.key(seed))
        first, one_round = piece(parts, first_key)
        return jax.lax.scan(lambda carry, key: (one_round(carry, key), None), first, jax.random.split(key, ROUNDS))[0]

    program, seeds = member_map.jit(rounds), member_map.place(members.seeds)
    jax.block_until_ready(program(seeds, 0))
    calls, started = 0, clock()
    while (taken := clock() - started) < seconds:
        jax.block_until_ready(program(seeds, 0))
        calls += 1
    return calls * ROUNDS * its_plan.steps_at_once * len(members) / taken


def torch(continual_backprop: bool, seconds: float) -> float | None:
    """Frames per second of the PyTorch program; `None` without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return None
    command = [sys.executable, "-P", str(Path(__file__).with_name("_torch_minigrid.py")), SIZE, str(seconds / 2)]
    rates = []
    for threads in {1, os.cpu_count()}:
        options = ["--threads", str(threads), *["--continual-backprop"] * continual_backprop]
        rates.append(float(subprocess.run([*command, *options], stdout=subprocess.PIPE, check=True).stdout))
    return max(rates)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="per row")
    given = parser.parse_args()
    prepare()
    usual = {continual_backprop: torch(continual_backprop, given.seconds) for continual_backprop in (False, True)}
    rows, notes = [], []
    if usual[False] and usual[True]:
        notes.append(f"PyTorch: {usual[False]:.0f} frames/s, with continual backprop {usual[True]:.0f}.")
    for seeds in SEEDS:
        config = config_of("ppo", seeds)
        pieces = {piece.__name__: alone(piece, config, given.seconds / 4) for piece in (environment, acting, learning)}
        floor = 1 / sum(1 / rate for rate in pieces.values())
        each = ", ".join(f"{name} {rate:.0f}" for name, rate in pieces.items())
        notes.append(f"Alone, seeds {seeds}: {each}; all three one after another, the floor: {floor:.0f} frames/s.")
        for preset, continual_backprop in ROWS.items():
            rate, one = training(preset, seeds, given.seconds), usual[continual_backprop]
            times = f"{rate / one:.1f}x" if one else None
            rows.append([f"minigrid_doorkey/{preset}", str(seeds), f"{rate:.0f}", times, f"{rate / floor:.0%}"])
    many = alone(environment, config_of("ppo", 1, MANY), given.seconds / 4, time.process_time)
    notes.append(f"The environment alone, {MANY} of one seed: {many / 1e6:.2f}M steps per CPU-second.")
    cores, kind = len(jax.devices()), jax.devices()[0].device_kind
    title = f"Frames/s of training on DoorKey {SIZE} on {cores} x {kind} ({os.uname().machine}), jax {jax.__version__}"
    columns = ["preset", "seeds", "frames/s", "times PyTorch", "of the floor"]
    Table(title, columns, rows, notes).to_terminal()


if __name__ == "__main__":
    main()
