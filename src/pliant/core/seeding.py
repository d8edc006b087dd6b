"""The random keys that a run makes from a seed; no other module makes keys from seeds.

The problem has a separate key: members with the same seed meet the same data and environments, whatever their agents
and methods draw.
"""

from typing import NamedTuple

import jax

from .base import Array, Key

# Training splits a seed's key in two, which folds in 0 and 1: this number keeps the keys of evaluations apart.
_NOT_TRAINING = 2**31


class Keys(NamedTuple):
    """The keys of one member; each is consumed once."""

    problem: Key  # its data, or its environments
    agent: Key  # the agent's initial state
    acting: Key  # the agent's random actions; folded with the number of the step


def learner_keys(seed: Array | int) -> tuple[Key, Key]:
    """The keys of a stream and of its learner, which does not act, from a seed `()`."""
    problem, learner = jax.random.split(jax.random.key(seed))
    return problem, learner


def agent_keys(seed: Array | int) -> Keys:
    """The keys of environments and of the agent that acts in them, from a seed `()`."""
    problem, learner = learner_keys(seed)
    return Keys(problem, *jax.random.split(learner))


def evaluation_keys(seed: Array | int, evaluation_seed: int | Array) -> tuple[Key, Key]:
    """The keys of a member's environments and actions in an evaluation; training never uses these keys.

    Args:
        seed: `()`, of the member.
        evaluation_seed: of the evaluation, from 0 to 2**32 - 1.
    """
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _NOT_TRAINING), evaluation_seed)
    problem, acting = jax.random.split(key)
    return problem, acting
