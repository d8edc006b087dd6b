"""The tasks of the scenarios: edits of a robot's physics, sensors and motors, and the order in which they come.

The table names no engine. Parts of robots, numbers of observations and motors have names and an order of their own;
each engine says what they are in its models.

References:
    Gaya et al., `Building a Subspace of Policies for Scalable Continual Learning <https://arxiv.org/abs/2211.10445>`_,
    ICLR 2023.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

Domain = Literal["halfcheetah", "ant", "humanoid"]


class Change(NamedTuple):
    """The difference between a task and the plain robot; without arguments there is none.

    Attributes:
        gravity: factor of the gravity.
        friction: factor of the friction coefficient of every body and of the floor. In the published engine the
            friction of a contact is the product of two coefficients: it has the square of this factor.
        parts: factors of parts, by `PARTS`: of the mass of each body of the part, and of the radius of one of its
            collision shapes. The inertia stays, and so does the length of a limb from tip to tip.
        hidden: observed quantities, by name, that are replaced by zeros.
        actions: factor of each motor, in the order of `MOTORS`: 0 disabled, -1 inverted; they act before the physics
            and before the cost of actions. Empty: all are 1.
    """

    gravity: float = 1.0
    friction: float = 1.0
    parts: Mapping[str, float] = {}
    hidden: tuple[str, ...] = ()
    actions: tuple[float, ...] = ()


class Scenario(NamedTuple):
    """A published sequence of tasks."""

    tasks: tuple[str, ...]
    repeat: int = 1  # how often the tasks come, one after another


PARTS: dict[Domain, tuple[str, ...]] = {
    "halfcheetah": ("torso", "feet"),
    "ant": ("lower_legs",),
    "humanoid": ("torso", "lower_waist", "shins"),
}

_LEGS = tuple(f"{joint}_{leg}" for leg in (1, 2, 3, 4) for joint in ("hip", "ankle"))

# The humanoid's motors are as many as its joints; no task names them.
MOTORS: dict[Domain, tuple[str, ...]] = {
    "halfcheetah": ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"),
    "ant": _LEGS,  # legs 1 to 4 are at (+, +), (-, +), (-, -), (+, -) of the torso
    "humanoid": (),
}


def _only(*legs: int) -> tuple[float, ...]:
    """Factors of the ant's motors: those of these legs act, the others are disabled."""
    return tuple(float(leg in legs) for leg in (1, 2, 3, 4) for _ in range(2))


# z: height; w, y: of the torso's quaternion; q: angle of a joint; vz: vertical velocity; dq: velocity of a joint. The
# authors draw nine of 18 positions by NumPy's legacy generator; the quantities are fixed here, as other engines have
# another layout.
_DEFECTIVE = ("z", "w", "y", "q_bfoot", "q_fthigh", "vz", "dq_bshin", "dq_bfoot", "dq_fthigh")

_NORMAL = Change()

TASKS: dict[Domain, dict[str, Change]] = {
    "halfcheetah": {
        "normal": _NORMAL,
        "carry_stuff": Change(parts={"torso": 4.0}),
        "carry_stuff_hugegravity": Change(parts={"torso": 4.0}, gravity=1.5),
        "defective_module": Change(hidden=_DEFECTIVE),
        "hugefoot": Change(parts={"feet": 1.5}),
        "hugefoot_rainfall": Change(parts={"feet": 1.5}, friction=0.4),
        "inverted_actions": Change(actions=(-1.0,) * 6),
        "moon": Change(gravity=0.15),
        "tinyfoot": Change(parts={"feet": 0.5}),
        "tinyfoot_moon": Change(parts={"feet": 0.5}, gravity=0.15),
        "rainfall": Change(friction=0.4),
    },
    "ant": {
        "normal": _NORMAL,
        "hugefoot": Change(parts={"lower_legs": 1.5}),
        "moon": Change(gravity=0.7),
        "rainfall": Change(friction=0.375),
        "disabled_hard1": Change(actions=_only(1)),
        "disabled_hard2": Change(actions=_only(2)),
        "disabled_forefeet": Change(actions=_only(3, 4)),
        "disabled_backfeet": Change(actions=_only(1, 2)),
        "disabled_first_diagonal": Change(actions=_only(2, 4)),
        "disabled_second_diagonal": Change(actions=_only(1, 3)),
        "inverted_actions": Change(actions=(-1.0,) * 8),
    },
    "humanoid": {
        "normal": _NORMAL,
        "moon": Change(gravity=0.15),
        "carrystuff": Change(parts={"torso": 4.0, "lower_waist": 4.0}),
        "tinyfeet": Change(parts={"shins": 0.5}),
    },
}

_ALTERNATING = Scenario(("normal", "inverted_actions", "normal", "inverted_actions"), 2)

SCENARIOS: dict[Domain, dict[str, Scenario]] = {
    "halfcheetah": {
        "forgetting": Scenario(("hugefoot", "moon", "carry_stuff", "rainfall"), 2),
        "transfer": Scenario(("carry_stuff_hugegravity", "moon", "defective_module", "hugefoot_rainfall"), 2),
        "robustness": _ALTERNATING,
        "compositionality": Scenario(("tinyfoot", "moon", "carry_stuff_hugegravity", "tinyfoot_moon"), 2),
    },
    "ant": {
        "forgetting": Scenario(("normal", "hugefoot", "rainfall", "moon"), 2),
        "transfer": Scenario(
            ("disabled_first_diagonal", "disabled_second_diagonal", "disabled_forefeet", "disabled_backfeet"), 2
        ),
        "robustness": _ALTERNATING,
        "compositionality": Scenario(("disabled_hard1", "disabled_hard2", "disabled_forefeet", "disabled_backfeet"), 2),
    },
    "humanoid": {"hard": Scenario(("normal", "moon", "carrystuff", "tinyfeet"))},
}

# Environment steps of a task: one million and two millions by the published counter, which counts whole steps of 128
# environments: 7,812 and 15,625 of them.
TASK_STEPS: dict[Domain, int] = {"halfcheetah": 999_936, "ant": 999_936, "humanoid": 2_000_000}

_GRAVITY = {"halfcheetah": (0.15, 1.5), "ant": (0.5, 1.5), "humanoid": (0.15, 1.5)}
_FRICTION = (0.4, 1.25)
_PARTS = {
    "torso": (0.5, 4.0),
    "lower_waist": (0.5, 4.0),
    "feet": (0.5, 1.5),
    "lower_legs": (0.5, 1.5),
    "shins": (0.5, 1.5),
}


def random_change(domain: Domain, seed: int, index: int) -> Change:
    r"""Randomised physics: one task of an endless sequence, a function of its arguments alone.

    Each factor $f$ is log-uniform in its range, $f = l \, (h / l)^u$ with $u$ uniform on $[0, 1)$, independent of the
    others. The ranges span the published tasks and go beyond the plain robot on both sides: gravity 0.15 to 1.5 (Ant:
    0.5 to 1.5), friction 0.4 to 1.25, torso and lower waist 0.5 to 4, feet, lower legs and shins 0.5 to 1.5.

    Args:
        domain: of the robot.
        seed: of the sequence, 0 or more.
        index: of the task in the sequence, from 0.

    Example:
        >>> random_change("ant", seed=0, index=7) == random_change("ant", seed=0, index=7)
        True
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))

    def factor(low: float, high: float) -> float:
        return float(low * (high / low) ** generator.random())

    gravity, friction = factor(*_GRAVITY[domain]), factor(*_FRICTION)
    return Change(gravity, friction, {part: factor(*_PARTS[part]) for part in PARTS[domain]})
