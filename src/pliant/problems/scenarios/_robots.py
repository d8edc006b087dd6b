"""The robots in the old engine of Brax, with the physics of several tasks as arrays.

The engine reads a robot from a text, and builds a system of arrays from it: masses, radii, friction, gravity. Here each
task has its system, and all that differs among them is stacked, so that the index of the task may be traced: one
compiled program serves all tasks of a domain.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array

from ._brax import load
from ._tasks import Change, Domain


class Robot(NamedTuple):
    """What the tasks' names stand for in the engine's models."""

    module: str
    kind: str  # the class
    parts: dict[str, str]  # part -> what the names of its bodies contain
    collider: int  # index of the collision shape of a body whose radius a task edits
    observation: int  # size
    action: int  # size
    quantities: tuple[str, ...] = ()  # names of the observed numbers, in order


_JOINTS = ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")

ROBOTS: dict[Domain, Robot] = {
    "halfcheetah": Robot(
        "half_cheetah",
        "Halfcheetah",
        {"torso": "torso", "feet": "foot"},
        0,
        18,
        6,
        ("z", "w", "y", *(f"q_{j}" for j in _JOINTS), "vx", "vz", "dpitch", *(f"dq_{j}" for j in _JOINTS)),
    ),
    "ant": Robot("ant", "Ant", {"lower_legs": "$ Body"}, 0, 27, 8),
    "humanoid": Robot(
        "humanoid", "Humanoid", {"torso": "torso", "lower_waist": "lwaist", "shins": "shin"}, -1, 240, 17
    ),
}


def edited(domain: Domain, change: Change) -> Any:
    """The engine's configuration of a robot with a change.

    Returns:
        a message `brax.v1.Config`; hidden quantities and factors of actions are no part of it.
    """
    from google.protobuf import text_format

    robot = ROBOTS[domain]
    config = load("physics.config_pb2").Config()
    text_format.Parse(load(f"envs.{robot.module}")._SYSTEM_CONFIG, config)
    config.gravity.z *= change.gravity
    config.friction *= change.friction
    for part, factor in change.parts.items():
        for body in config.bodies:
            if robot.parts[part] in body.name:
                body.mass *= factor
                body.colliders[robot.collider].capsule.radius *= factor
    return config


def robots(domain: Domain, configs: Sequence[Any]) -> Callable[[Array], Any]:
    """The engine's environment of a robot for each of several tasks.

    Args:
        domain: of the robot.
        configs: one for each task, of `edited`.

    Returns:
        `task -> environment`, with `reset(key)` and `step(state, action)`; the index `()` of the task may be traced.
        Call these functions under `jit` only: elsewhere the engine computes by NumPy.
    """
    robot = ROBOTS[domain]
    plain = getattr(load(f"envs.{robot.module}"), robot.kind)()
    traced = load("experimental.tracing.customize").TracedConfig
    distinct = [config for i, config in enumerate(configs) if config not in configs[:i]]
    which = np.array([distinct.index(config) for config in configs])
    systems = [load("physics.system").System(config) for config in distinct]
    columns = list(zip(*(jax.tree.leaves(_arrays(system)) for system in systems)))
    stacked = [None if _all_equal(column) else np.stack(column).astype(np.float32) for column in columns]
    radii = np.array([[s.capsule.radius for b in c.bodies for s in b.colliders] for c in distinct], np.float32)

    def at(task: Array) -> Any:
        index = jnp.asarray(which)[task]
        leaves = [column[0] if stack is None else jnp.asarray(stack)[index] for column, stack in zip(columns, stacked)]
        system, culls, thresholds = jax.tree.unflatten(jax.tree.structure(_arrays(systems[0])), leaves)
        for collider, cull, threshold in zip(system.colliders, culls, thresholds):
            collider.cull, collider.velocity_threshold = cull, threshold
        # The height at which an episode begins comes from the radii of the configuration.
        radius = iter(jnp.asarray(radii)[index])
        bodies = [
            {"colliders": [{"capsule": {"radius": next(radius)}} for _ in b.colliders]} for b in distinct[0].bodies
        ]
        system.config = traced(system.config, {"bodies": bodies})
        environment = copy.copy(plain)
        environment.sys = system
        return environment

    return at


def _arrays(system: Any) -> tuple[Any, ...]:
    """A system with the arrays that the engine keeps out of its tree: in the colliders."""
    return system, [c.cull for c in system.colliders], [c.velocity_threshold for c in system.colliders]


def _all_equal(column: Sequence[Any]) -> bool:
    return all(np.array_equal(value, column[0]) for value in column)
