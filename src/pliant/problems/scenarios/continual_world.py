"""Continual World: a robot arm learns to hammer, push, close, pull, press and place, one task after another."""

import dataclasses
import importlib.util
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import numpy as np

from pliant.core import registry
from pliant.core.problem import Continuous, HostEnvironment, Spec
from pliant.core.settings import AtLeast, Between
from pliant.problems.mujoco._host import Seed
from pliant.problems.mujoco._simulator import Simulator

from ._mujoco_host import sequence_environment
from ._sequence import EPISODES, named, tasks_of
from ._tasks import Scenario

AGENTS: Mapping[str, Mapping[str, Any]] = {"sac": {}, "td3": {}, "ppo": {}}
RUN = {"evaluate_tasks": EPISODES}
SMALL = {"time_limit": 20}  # for tests

_TEN = (
    "hammer", "push-wall", "faucet-close", "push-back", "stick-pull", "handle-press-side", "push", "shelf-place",
    "window-close", "peg-unplug-side",
)  # fmt: skip

SCENARIOS = {
    "cw10": Scenario(_TEN),
    "cw20": Scenario(_TEN, 2),
    "t1": Scenario(("push", "window-close", "hammer")),
    "t2": Scenario(("hammer", "window-close", "faucet-close")),
    "t3": Scenario(("window-close", "handle-press-side", "peg-unplug-side")),
    "t4": Scenario(("faucet-close", "shelf-place", "peg-unplug-side")),
    "t5": Scenario(("faucet-close", "shelf-place", "push-back")),
    "t6": Scenario(("stick-pull", "peg-unplug-side", "stick-pull")),
    "t7": Scenario(("stick-pull", "push-back", "push-wall")),
    "t8": Scenario(("push-wall", "shelf-place", "push-back")),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the sequence; the defaults are those of the published program."""

    scenario: str = "cw10"
    """The sequence: cw10, ten tasks; cw20, the ten twice; or t1 to t8, three tasks each."""
    tasks: str = ""
    """Names of MetaWorld's tasks in order, such as push,door-open, in the place of the scenario's. Empty: the
    scenario's."""
    repeat: Annotated[int, AtLeast(0)] = 0
    """How often the tasks come, one after another; 0: as often as the scenario says, and your own tasks once."""
    task_steps: Annotated[int, AtLeast(1)] = 1_000_000
    """Length of each task (steps over all environments of a member, of which whole steps of all environments count)."""
    env: str = ""
    """One task for the whole run, such as push-wall; the other settings then give the run's length only. Empty: the
    tasks in turn."""
    num_envs: Annotated[int, AtLeast(1)] = 1
    """Environments of each member, side by side."""
    time_limit: Annotated[int, Between(1, 500)] = 200
    """Steps after which an episode is truncated."""
    one_hot: bool = False
    """Whether an observation ends in a number for each kind of task: 1 for the own, 0 for the others."""


def make(config: Config) -> HostEnvironment:
    r"""The problem as an environment: tasks of MetaWorld, version 3, with a Sawyer arm.

    An observation has 39 numbers: positions of the hand, opening of the gripper, positions and orientations of at most
    two objects, the same of the step before, and the goal. An action in $[-1, 1]^4$ moves the hand along three axes and
    closes the gripper. The reward is from 0 to 10, and dense. Object and goal are placed at random in each episode, by
    a generator that is seeded with the run.

    Episodes never terminate. At the end of a task they are cut short, and the next task begins with new episodes.

    `info` has `success`, 1 if the task was solved at a step of the episode so far, as Continual World counts, and
    `success_last`, 1 if it is solved at the newest step, as Sun and Mu count.

    Raises:
        ValueError: if there is no such scenario or task, the run is too short or too long, or a package is not
            installed.

    Differs from the authors' code: there the tasks are of version 1, which today's MuJoCo cannot simulate, with 12
    observed numbers and other rewards; returns and successes cannot be compared. Places are drawn without a seed. A
    reset takes a step of the run, and leads from the last observation to the first of the next episode with a reward of
    0; here no transition crosses the end of an episode. Continual World numbers tasks by their place in the sequence,
    so that a task that returns has another one-hot number; here it has the same.

    References:
        Wołczyk et al., `Continual World: a robotic benchmark for continual reinforcement learning
        <https://arxiv.org/abs/2105.10919>`_, NeurIPS 2021.
        Yu et al., `Meta-World: a benchmark and evaluation for multi-task and meta reinforcement learning
        <https://arxiv.org/abs/1910.10897>`_, CoRL 2019.
        Sun and Mu, Rewiring neurons in non-stationary environments, NeurIPS 2023.
    """
    if not importlib.util.find_spec("metaworld"):  # fails here and not when the run begins
        raise ValueError("problem continual_world needs metaworld: pip install -e '.[metaworld]'")
    from ._metaworld import ACTION, OBSERVATION, TASKS, MetaworldSimulator

    names = _names(config)
    for name in (*names, *([config.env] if config.env else [])):
        registry.check("task of MetaWorld", name, TASKS)
    tasks = tasks_of(names, config.task_steps, config.num_envs, config.env)
    kinds = tuple(dict.fromkeys(names)) if config.one_hot else ()

    def simulate(task: int, total: int, seed: Seed, render_mode: str | None) -> Simulator:
        name = tasks[task].name
        one_hot = np.array([name == kind for kind in kinds], float)
        return MetaworldSimulator(name, total, seed, one_hot, render_mode)

    spec = Spec(jax.ShapeDtypeStruct((OBSERVATION + len(kinds),), np.float32), Continuous(ACTION))
    return sequence_environment(spec, tasks, config.num_envs, config.time_limit, simulate)


def _names(config: Config) -> tuple[str, ...]:
    if config.tasks:
        return named(config.tasks) * max(config.repeat, 1)
    registry.check("scenario of Continual World", config.scenario, SCENARIOS)
    scenario = SCENARIOS[config.scenario]
    return scenario.tasks * (config.repeat or scenario.repeat)
