"""The first episodes of agents that act without learning."""

from collections.abc import Callable, Iterator

import numpy as np

from pliant.experiment.loops.plan import Step


def first_episodes(
    episodes: int,
    steps: Iterator[Step],
    shape: tuple[int, int],
    on_progress: Callable[[int], None] = lambda done: None,
    left_out: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The facts of each member's first episodes.

    Args:
        episodes: number of episodes that count for each member, at least 1; see `evaluate`.
        steps: of `Play`.
        shape: (members, num_envs).
        on_progress: is called with the number of finished episodes.
        left_out: `(members,)` bool: members whose episodes do not count because they diverged; not all of them. `None`:
            all members count.

    Returns:
        `(members, episodes)` for each fact; zeros for members that are left out.
    """
    members, num_envs = shape
    facts: dict[str, np.ndarray] = {}
    left_out = np.zeros(members, bool) if left_out is None else left_out
    # The numbers of the episodes in flight, from 0; members that are left out have finished all.
    number = np.where(left_out[:, None], episodes, np.arange(num_envs))
    done, all_of_them = 0, int((~left_out).sum()) * episodes
    on_progress(done)
    for step in steps:
        member, environment = np.nonzero(step.ended & (number < episodes))
        for name, values in step.episode.items():
            of_all = facts.setdefault(name, np.zeros((members, episodes), values.dtype))
            of_all[member, number[member, environment]] = values[member, environment]
        number = number + num_envs * step.ended
        if len(member):
            done += len(member)
            on_progress(done)
        if done == all_of_them:
            break
    return facts
