"""The speed of soft actor-critic: updates/s without environments, and steps/s on HalfCheetah-v4, in the steady state.

    python benchmarks/sac.py [--seconds 20] [--methods rewire packnet]

Actor and two critics have three layers of 256 units, and a batch has 256 steps. One seed runs in a process with one
core (so this needs Linux), and four seeds in a process with two cores; rates are of all seeds together.

The first two tables are of updates alone: observations of 18 numbers and actions of 6, from the replay of 128
artificial environments, 64 updates a call. The first has

* `sac`: actor, temperature and targets change at each update;
* `published`: as in the continual scenarios: leaky rectifiers, actor and targets change every second update, and the
  actor learns from the next states, too.

These are compared with a usual program, if PyTorch is installed (`_torch_sac.py`), a process on each core; with the
bare update, call by call in turn: the same equations without replay and without anything of pliant (`_bare_sac.py`);
and with the floor: the time of the updates' matrix products at the rate of one product in a loop.

The second table is of `published` with each continual method of the actor, one seed on one core: the time of an update
as a multiple of the same without a method, call by call in turn with it. Settings are those of the
scenario halfcheetah/forgetting with its eight tasks. A method has finished one task; the progressive network is at its
last column, and the subspace has four anchors.

The third table is of `pliant run mujoco --agent sac`, an update at each step, as it is compiled, without diagnostics
and evaluations: beside the usual program, and as a fraction of the same updates without environments and actions.

The fourth table is of `pliant run crl_halfcheetah/forgetting` with one seed: 128 environments, and 64 updates for a
step of all. It has the rate of the whole, of the physics alone, of the updates alone, and the fraction of the rate at
which these two come one after the other.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _bare_sac import Bare
from _cores import on_cores, products_per_second, torch

from pliant.agents import sac
from pliant.core import registry
from pliant.core.agent import Agent, Transitions
from pliant.core.clock import Clock, Task
from pliant.core.problem import Continuous, Environment, Spec
from pliant.experiment.configuration.build import build
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
SCENARIO_CHUNK = 10 * NUM_ENVS

PUBLISHED = dict(
    policy_delay=2, target_delay=2, actor_states="both", activation="leaky_relu", negative_slope=0.2,
    tanh_correction="half", entropy_target="batch_mean", truncation="terminal",
)  # fmt: skip
ROWS: dict[str, dict[str, Any]] = {"sac": {}, "published": PUBLISHED}
METHODS = tuple(registry.names("continual"))
SETTINGS = {"packnet": {"finetune": 0}}  # beside those of the scenario
FINISHED = {"progressive": 7, "subspace": 3}  # tasks, before the measurement; else one
TARGETS = {"packnet": 1.1, "subspace": 1.5, "progressive": 2.0, "rewire": 2.2}  # times of an update without a method
TASK_STEPS = 1_000_000
TASKS = tuple(Task(f"task {k}", (k + 1) * TASK_STEPS) for k in range(8))


def agent_of(row: str, observation: int, num_envs: int, update_to_data: float) -> Agent:
    config = from_mapping(
        {
            "problem": {"name": "crl_halfcheetah", "scenario": "forgetting"},
            "agent": {
                "name": "sac", **ROWS.get(row, PUBLISHED), "learning_starts": 0, "buffer_size": 100_000,
                "batch_size": BATCH, "hidden_units": UNITS, "actor_layers": 3, "critic_layers": 3,
                "update_to_data": update_to_data,
            },
            "continual": {"name": row, **SETTINGS.get(row, {})} if row in METHODS else None,
            "diagnostics": [],
        }
    )  # fmt: skip
    spec = Spec(jax.ShapeDtypeStruct((observation,), jnp.float32), Continuous(ACTION))
    nowhere: Any = None  # there is no step
    environment = Environment(spec, num_envs, TASKS[-1].until, nowhere, nowhere, tasks=TASKS)
    agent = build(config, environment).agent
    assert isinstance(agent, Agent)
    return agent


def finished(row: str) -> int:
    """How many tasks the agent of a row has finished before it is measured."""
    return FINISHED.get(row, 1) if row in METHODS else 0


def begun(agent: Agent, state: Any, tasks: int) -> Any:
    """The state after so many tasks without updates, at the beginning of the next."""

    def one(task: jax.Array, state: Any) -> Any:
        assert agent.end_task is not None and agent.begin_task is not None
        state = agent.end_task(state, Clock(update=1, task=task))
        return agent.begin_task(state, Clock(update=1, task=task + 1))

    return jax.lax.fori_loop(0, tasks, one, state) if tasks else state


def made_up(key: jax.Array, observation: int, num_envs: int, extras: sac.Extras) -> Transitions:
    """Artificial transitions of one call, with extras of these shapes."""
    observation_key, action_key, reward_key, next_key = jax.random.split(key, 4)
    observed, nothing = (1, num_envs, observation), jnp.zeros((1, num_envs), bool)
    return Transitions(
        jax.random.normal(observation_key, observed),
        jnp.tanh(jax.random.normal(action_key, (1, num_envs, ACTION))),
        jax.tree.map(lambda x: jnp.zeros((1, *x.shape), x.dtype), extras),
        jax.random.normal(reward_key, (1, num_envs)),
        nothing,
        nothing,
        jax.random.normal(next_key, observed),
    )


def rates(advances: Sequence[Callable[[int], Any]], per_call: int, seconds: float) -> list[float]:
    """What each `advance(calls before)` does `per_call` times in a call, per second.

    They are called in turn, so that a disturbance of the machine meets all alike.
    """
    for advance in advances:
        advance(0)
        advance(1)
    taken, calls, ends = [0.0] * len(advances), 0, time.perf_counter() + seconds
    while time.perf_counter() < ends:
        for i, advance in enumerate(advances):
            started = time.perf_counter()
            advance(2 + calls)
            taken[i] += time.perf_counter() - started
        calls += 1
    return [calls * per_call / each for each in taken]


def repeating(program: Callable[[Any, jax.Array], Any], state: Any) -> Callable[[int], None]:
    """Calls a program with the number of the call and the state that the call before returned."""

    def advance(call: int) -> None:
        nonlocal state
        state = jax.block_until_ready(program(state, jnp.int32(call)))

    return advance


def advancing(
    row: str, seeds: int, observation: int, num_envs: int, update_to_data: float, calls: int
) -> Callable[[int], None]:
    """Makes updates from artificial transitions, in so many calls of `learn` at once."""
    agent = agent_of(row, observation, num_envs, update_to_data)
    member_map = MemberMap(layout(seeds, "vmap", len(jax.devices())))
    first = finished(row) * TASK_STEPS // num_envs  # call of the task
    extras = extras_of(agent, observation, num_envs)

    def begin(seed: jax.Array, _: Any) -> Any:
        return begun(agent, agent.init(jax.random.key(seed)), finished(row))

    def learn(state: Any, call: jax.Array) -> Any:
        def one(state: Any, number: jax.Array) -> tuple[Any, None]:
            transitions = made_up(jax.random.key(number), observation, num_envs, extras)
            return agent.learn(state, transitions, first + number)[0], None

        return jax.lax.scan(one, state, call * calls + jnp.arange(calls))[0]

    state = member_map.jit(begin)(member_map.place(np.arange(seeds, dtype=np.uint32)), 0)
    return repeating(member_map.jit(learn, donate=True), state)


def advancing_bare(row: str, seeds: int, updates: int) -> Callable[[int], None]:
    """Makes so many bare updates in a call."""
    bare = Bare(row == "published", OBSERVATION, ACTION, UNITS, BATCH)
    member_map = MemberMap(layout(seeds, "vmap", len(jax.devices())))
    state = member_map.jit(lambda seed, _: bare.init(jax.random.key(seed)))(
        member_map.place(np.arange(seeds, dtype=np.uint32)), 0
    )
    return repeating(member_map.jit(lambda state, _: bare.updated(state, updates), donate=True), state)


def beside_bare(row: str, seeds: int, seconds: float) -> list[float]:
    """Updates per second of a row, and of the bare update, all seeds together."""
    ours, updates = advancing(row, seeds, OBSERVATION, NUM_ENVS, 0.5, 1), NUM_ENVS // 2
    return rates([ours, advancing_bare(row, seeds, updates)], updates * seeds, seconds)


def updating(
    rows: Sequence[str],
    seeds: int,
    seconds: float,
    observation: int = OBSERVATION,
    num_envs: int = NUM_ENVS,
    update_to_data: float = 0.5,
    calls: int = 1,
) -> list[float]:
    """Updates per second of each row from artificial transitions, all seeds together."""
    advances = [advancing(row, seeds, observation, num_envs, update_to_data, calls) for row in rows]
    return rates(advances, round(num_envs * update_to_data) * calls * seeds, seconds)


def extras_of(agent: Agent, observation: int, num_envs: int) -> sac.Extras:
    """The shapes of what the agent records of an action."""

    def acts(key: jax.Array) -> sac.Extras:
        observations, is_first = jnp.zeros((num_envs, observation)), jnp.ones(num_envs, bool)
        params, carry = agent.acting_params(agent.init(key)), agent.initial_carry(num_envs)
        return agent.act(params, carry, observations, is_first, key)[2]

    return jax.eval_shape(acts, jax.random.key(0))


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


def scenario_config() -> RunConfig:
    preset = registry.presets("crl_halfcheetah")["forgetting"]
    started = {"learning_starts": SCENARIO_CHUNK, "random_steps": NUM_ENVS}
    rest = {"diagnostics": [], "evaluate_tasks": 0, "seed_axis": "vmap"}
    return from_mapping({**preset, "agent": {**preset["agent"], **started}, **rest})


def training(config: RunConfig, exploration: int, chunk: int, seconds: float) -> float:
    """Steps per second after the exploration, all seeds together."""
    its_plan = plan(config)
    programs = its_plan.loop.programs(its_plan)
    programs.begin()
    programs.advance(0, exploration)
    steps = chunk * len(its_plan.members)
    (rate,) = rates([lambda call: programs.advance(exploration + call * chunk, chunk)], steps, seconds)
    programs.close()
    return rate


def physics(config: RunConfig, seconds: float) -> float:
    """Steps per second of the environments of one seed, under random actions."""
    problem = plan(config).problem
    opened = problem.open(np.zeros((1, 2), np.uint32))
    opened.reset()
    actions = np.random.default_rng(0).uniform(-1, 1, (10, 1, problem.num_envs, ACTION)).astype(np.float32)

    def advance(call: int) -> None:
        for action in actions:
            opened.send(action)
            opened.receive()

    (rate,) = rates([advance], len(actions) * problem.num_envs, seconds)
    opened.close()
    return rate


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
        for row in ROWS:
            ours, bare = on_cores(cores, beside_bare, row, seeds, 2 * seconds)
            theirs = torch(PROGRAM, cores, seconds, *["--published"] * (row != "sac"))
            rows.append(
                [
                    row, str(seeds), str(cores), f"{ours:.1f}", *times(ours, theirs),
                    f"{ours / bare:.0%}", f"{ours / cores / floor:.0%}",
                ]
            )  # fmt: skip
    note = f"The floor: matrix products alone allow {floor:.0f} updates/s on one core."
    columns = ["row", "seeds", "cores", "updates/s", "PyTorch", "times PyTorch", "of the bare update", "of the floor"]
    return Table(f"Updates/s of SAC, {kind}", columns, rows, [note])


def of_methods(methods: Sequence[str], seconds: float, kind: str) -> Table:
    rows = []
    for row in methods:
        plain, ours = on_cores(1, updating, ["published", row], 1, 2 * seconds)
        target = TARGETS.get(row)
        at_most = None if target is None else f"{target:.1f}"
        rows.append([row, str(finished(row) + 1), f"{ours:.1f}", f"{plain:.1f}", f"{plain / ours:.2f}", at_most])
    columns = ["method", "task", "updates/s", "published", "time, published = 1", "at most"]
    return Table(f"Updates/s of SAC with a continual method, {kind}", columns, rows)


def of_training(seconds: float, kind: str) -> Table:
    rows = []
    for seeds, cores in SIZES:
        ours = on_cores(cores, training, config_of(seeds), EXPLORATION, CHUNK, seconds)
        (alone,) = on_cores(cores, updating, ["sac"], seeds, seconds, 17, 1, 1.0, CHUNK)
        theirs = torch(PROGRAM, cores, seconds, "--trains")
        rows.append([str(seeds), str(cores), f"{ours:.1f}", *times(ours, theirs), f"{ours / alone:.0%}"])
    columns = ["seeds", "cores", "steps/s", "PyTorch", "times PyTorch", "of the updates alone"]
    return Table(f"Steps/s of SAC on HalfCheetah-v4, {kind}", columns, rows)


def of_scenario(seconds: float, kind: str) -> Table:
    rows = []
    for cores in (1, 2):
        whole = on_cores(cores, training, scenario_config(), SCENARIO_CHUNK, SCENARIO_CHUNK, seconds)
        alone = on_cores(cores, physics, scenario_config(), seconds)
        (updates,) = on_cores(cores, updating, ["published"], 1, seconds)
        steps = 2 * updates  # 64 updates for 128 steps
        both = 1 / (1 / alone + 1 / steps)
        rows.append([str(cores), f"{whole:.0f}", f"{alone:.0f}", f"{steps:.0f}", f"{both:.0f}", f"{whole / both:.0%}"])
    columns = ["cores", "steps/s", "physics alone", "updates alone", "one after the other", "of these"]
    return Table(f"Steps/s of SAC on crl_halfcheetah/forgetting, {kind}", columns, rows)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="per measurement")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="the second table alone, of these methods")
    given = parser.parse_args()
    seconds = given.seconds
    kind = f"{jax.devices()[0].device_kind} ({os.uname().machine}), jax {jax.__version__}"
    if given.methods:
        of_methods(given.methods, seconds, kind).to_terminal()
        return
    of_updates(seconds, kind).to_terminal()
    of_methods(METHODS, seconds, kind).to_terminal()
    of_training(seconds, kind).to_terminal()
    of_scenario(seconds, kind).to_terminal()


if __name__ == "__main__":
    main()
