"""The speed of soft actor-critic: updates/s without environments, and steps/s on HalfCheetah-v4, in the steady state.

    python benchmarks/sac.py [--seconds 20]

Actor and two critics have three layers of 256 units, and a batch has 256 steps. One seed runs in a process with one
core (so this needs Linux), and four seeds in a process with two cores; rates are of all seeds together.

The first table is of updates alone: observations of 18 numbers and actions of 6, from the replay of 128 artificial
environments, 64 updates a call.

* `sac`: actor, temperature and targets change at each update;
* `published`: as in the continual scenarios: leaky rectifiers, actor and targets change every second update, and the
  actor learns from the next states, too;
* `ewc`, `l2_anchor`: `published` with a continual method of the actor, after a finished task.

They are compared with a usual program, if PyTorch is installed (`_torch_sac.py`), a process on each core, and with the
floor: the time of the updates' matrix products at the rate of one product in a loop.

The second table is of `pliant run mujoco --agent sac`, an update at each step, as it is compiled, without diagnostics
and evaluations: beside the usual program, and as a fraction of the same updates without environments and actions.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _cores import on_cores, products_per_second, torch

import pliant.continual
from pliant.agents import sac
from pliant.core.agent import Agent, Transitions
from pliant.core.clock import Clock
from pliant.core.continual import Continual, no_continual
from pliant.core.problem import Continuous, Environment, Spec
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.loops.planning import plan
from pliant.experiment.loops.population import MemberMap, layout
from pliant.report import Table

PROGRAM = "_torch_sac.py"
SIZES = ((1, 1), (4, 2))  # seeds, cores
OBSERVATION, ACTION, NUM_ENVS, BATCH, UNITS = 18, 6, 128, 256, 256
EXPLORATION = 1_000
CHUNK = 100  # steps of a seed in one call of training

PUBLISHED = dict(
    policy_delay=2, target_delay=2, actor_states="both", activation="leaky_relu", negative_slope=0.2,
    tanh_correction="half", entropy_target="batch_mean", truncation="terminal",
)  # fmt: skip
ROWS: dict[str, dict[str, Any]] = {"sac": {}, "published": PUBLISHED, "ewc": PUBLISHED, "l2_anchor": PUBLISHED}
METHODS: dict[str, Callable[..., Continual]] = {
    "ewc": lambda apply, likelihood, **others: pliant.continual.ewc(apply, likelihood),
    "l2_anchor": lambda **others: pliant.continual.l2_anchor(),
}


def agent_of(row: str, observation: int, num_envs: int, update_to_data: float) -> Agent:
    config = sac.Config(
        **ROWS[row], learning_starts=0, buffer_size=100_000, batch_size=BATCH, hidden_units=UNITS, actor_layers=3,
        critic_layers=3, update_to_data=update_to_data,
    )  # fmt: skip
    spec = Spec(jax.ShapeDtypeStruct((observation,), jnp.float32), Continuous(ACTION))
    nowhere: Any = None  # there is no step
    environment = Environment(spec, num_envs, 1_000_000, nowhere, nowhere)
    return sac.make(config, environment, lambda wiring, network, updates: (), METHODS.get(row, no_continual))


def made_up(key: jax.Array, observation: int, num_envs: int) -> Transitions:
    """Artificial transitions of one call."""
    observation_key, action_key, reward_key, next_key = jax.random.split(key, 4)
    seen, nothing = (1, num_envs, observation), jnp.zeros((1, num_envs), bool)
    return Transitions(
        jax.random.normal(observation_key, seen),
        jnp.tanh(jax.random.normal(action_key, (1, num_envs, ACTION))),
        sac.Extras(nothing),
        jax.random.normal(reward_key, (1, num_envs)),
        nothing,
        nothing,
        jax.random.normal(next_key, seen),
    )


def rate(advance: Callable[[int], Any], per_call: int, seconds: float) -> float:
    """What `advance(calls before)` does `per_call` times in a call, per second."""
    advance(0)
    advance(1)
    calls, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < seconds:
        advance(2 + calls)
        calls += 1
    return calls * per_call / taken


def updating(
    row: str,
    seeds: int,
    seconds: float,
    observation: int = OBSERVATION,
    num_envs: int = NUM_ENVS,
    update_to_data: float = 0.5,
    calls: int = 1,
) -> float:
    """Updates per second from artificial transitions, all seeds together; so many calls of `learn` at once."""
    agent = agent_of(row, observation, num_envs, update_to_data)
    member_map = MemberMap(layout(seeds, "vmap", len(jax.devices())))

    def begin(seed: jax.Array, _: Any) -> Any:
        state = agent.init(jax.random.key(seed))
        if agent.end_task is None:
            return state
        return agent.end_task(state, Clock(update=jnp.int32(1), task=jnp.int32(0)))

    def learn(state: Any, call: jax.Array) -> Any:
        def one(state: Any, number: jax.Array) -> tuple[Any, None]:
            return agent.learn(state, made_up(jax.random.key(number), observation, num_envs), number)[0], None

        return jax.lax.scan(one, state, call * calls + jnp.arange(calls))[0]

    state = member_map.jit(begin)(member_map.place(np.arange(seeds, dtype=np.uint32)), 0)
    program = member_map.jit(learn, donate=True)

    def advance(call: int) -> None:
        nonlocal state
        state = jax.block_until_ready(program(state, jnp.int32(call)))

    return rate(advance, round(num_envs * update_to_data) * calls * seeds, seconds)


def config_of(seeds: int) -> RunConfig:
    return from_mapping(
        {
            "problem": {"name": "mujoco", "env": "HalfCheetah-v4"},
            "agent": {
                "name": "sac", "actor_layers": 3, "critic_layers": 3,
                "learning_starts": EXPLORATION, "random_steps": EXPLORATION,
            },
            "diagnostics": [], "evaluate_every": 0, "seeds": str(seeds), "seed_axis": "vmap",
        }
    )  # fmt: skip


def training(seeds: int, seconds: float) -> float:
    """Steps per second, all seeds together."""
    its_plan = plan(config_of(seeds))
    programs = its_plan.loop.programs(its_plan)
    programs.begin()
    programs.advance(0, EXPLORATION)
    measured = rate(lambda call: programs.advance(EXPLORATION + call * CHUNK, CHUNK), CHUNK * seeds, seconds)
    programs.close()
    return measured


def arithmetic() -> float:
    """Updates per second that their matrix products allow, at the rate of one repeated product."""
    inputs = OBSERVATION + ACTION
    actor, critic = OBSERVATION * UNITS + 2 * UNITS**2 + UNITS * 2 * ACTION, inputs * UNITS + 2 * UNITS**2 + UNITS
    # Next actions and target values; values, their way back to the weights and to the inputs of all layers but the
    # first.
    of_critics = actor + 2 * critic + 2 * (2 * critic + critic - inputs * UNITS)
    # Actions and their values, the way back through the critics, to the actor's weights and to its layers; in the
    # published setting twice as much, every second time.
    of_actor = 4 * critic + 2 * actor + actor - OBSERVATION * UNITS
    return products_per_second(UNITS) * UNITS**3 / BATCH / (of_critics + of_actor)


def times(ours: float, theirs: float | None) -> list[str | None]:
    return [f"{theirs:.1f}" if theirs else None, f"{ours / theirs:.1f}x" if theirs else None]


def of_updates(seconds: float, kind: str) -> Table:
    floor, rows = on_cores(1, arithmetic), []
    for seeds, cores in SIZES:
        rates: dict[str, float] = {}
        for row in ROWS:
            rates[row] = ours = on_cores(cores, updating, row, seeds, seconds)
            theirs = torch(PROGRAM, cores, seconds, *["--published"] * (row != "sac"))
            plain = rates["sac" if row == "sac" else "published"]
            rows.append(
                [row, str(seeds), str(cores), f"{ours:.1f}", *times(ours, theirs),
                 f"{ours / cores / floor:.0%}", f"{plain / ours:.2f}"]
            )  # fmt: skip
    note = f"The floor: matrix products alone allow {floor:.0f} updates/s on one core."
    columns = ["row", "seeds", "cores", "updates/s", "PyTorch", "times PyTorch", "of the floor", "time, plain = 1"]
    return Table(f"Updates/s of SAC, {kind}", columns, rows, [note])


def of_training(seconds: float, kind: str) -> Table:
    rows = []
    for seeds, cores in SIZES:
        ours = on_cores(cores, training, seeds, seconds)
        alone = on_cores(cores, updating, "sac", seeds, seconds, 17, 1, 1.0, CHUNK)
        theirs = torch(PROGRAM, cores, seconds, "--trains")
        rows.append([str(seeds), str(cores), f"{ours:.1f}", *times(ours, theirs), f"{ours / alone:.0%}"])
    columns = ["seeds", "cores", "steps/s", "PyTorch", "times PyTorch", "of the updates alone"]
    return Table(f"Steps/s of SAC on HalfCheetah-v4, {kind}", columns, rows)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="per measurement")
    seconds = parser.parse_args().seconds
    kind = f"{jax.devices()[0].device_kind} ({os.uname().machine}), jax {jax.__version__}"
    of_updates(seconds, kind).to_terminal()
    of_training(seconds, kind).to_terminal()


if __name__ == "__main__":
    main()
