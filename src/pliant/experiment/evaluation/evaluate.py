"""Episodes of trained agents, as a table."""

from collections.abc import Sequence
from contextlib import closing

import numpy as np
import pandas as pd

from pliant.experiment.errors import ConfigError
from pliant.experiment.loops.plan import Mode
from pliant.experiment.progress import OnProgress

from .restore import Trained
from .rollout import first_episodes

_COLUMNS = ("return", "length", "terminated", "truncated")  # the first of the facts of an episode


def evaluate(
    trained: Trained,
    *,
    episodes: int = 10,
    modes: Sequence[Mode] = ("greedy", "sampled"),
    seed: int = 0,
    on_progress: OnProgress = lambda done, total: None,
) -> pd.DataFrame:
    """Lets agents act without learning, until each has played the given number of episodes.

    The episodes that count are fixed in advance, so that short episodes do not count more often because they end
    earlier. Episode 1 is the first of a member's first environment, episode 2 the first of its second environment, and
    so on. After the first episodes of all environments come their second episodes. Further episodes are dropped.

    Args:
        trained: the agents and their environments, which `transfer` replaces. Environments outside of the device start
            from the state that the run saved, such as the current friction.
        episodes: of each member in each mode, at least 1.
        modes: `"greedy"` takes the most probable actions, `"sampled"` random ones as in training.
        seed: of environments and random actions, beside the seeds of the members; from 0 to 2**32 - 1.
        on_progress: is called with the number of finished episodes and the number of all.

    Returns:
        One row per episode: `seed`, the swept settings, `mode`, `episode` (from 1), `return`, `length`, `terminated`,
        `truncated`, and the problem's records of the episode.

    Raises:
        ConfigError: if there are no episodes or no members, or the problem is a stream.
    """
    members = len(trained.members)
    if episodes < 1 or not members:
        raise ConfigError(f"episodes={episodes} of {members} members: there is nothing to play; write at least 1")
    plan, params = trained.plan, trained.acting_params()
    each = members * episodes
    tables = []
    for index, mode in enumerate(modes):

        def report(done: int, before: int = index * each) -> None:
            on_progress(before + done, len(modes) * each)

        with closing(plan.loop.play(plan, mode=mode, seed=seed, host=trained.host)) as play, closing(play(params)) as s:
            facts = first_episodes(episodes, s, (members, plan.problem.num_envs), report)
        tables.append(_table(trained, mode, facts))
    return pd.concat(tables, ignore_index=True)


def _table(trained: Trained, mode: Mode, facts: dict[str, np.ndarray]) -> pd.DataFrame:
    members, episodes = facts["return"].shape
    who = {"seed": trained.members.seeds, **trained.members.swept}
    return pd.DataFrame(
        {
            **{name: np.repeat(values, episodes) for name, values in who.items()},
            "mode": mode,
            "episode": np.tile(np.arange(1, episodes + 1), members),
            **{name: facts[name].reshape(-1) for name in dict.fromkeys((*_COLUMNS, *facts))},
        }
    )
