"""Episodes of trained agents, as a table."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd

from pliant.core.problem import Environment, HostEnvironment
from pliant.experiment.configuration.build import problem_of
from pliant.experiment.errors import ConfigError
from pliant.experiment.run import OnProgress

from .restore import Trained
from .rollout import Step, first_episodes, on_device, on_host, open_host, policies_of

Policy: TypeAlias = Literal["greedy", "sampled"]

_COLUMNS = ("return", "length", "terminated", "truncated")  # the first of those that say what an episode came to


def evaluate(
    trained: Trained,
    *,
    episodes: int = 10,
    policies: Sequence[Policy] = ("greedy", "sampled"),
    seed: int = 0,
    on_progress: OnProgress = lambda done, total: None,
) -> pd.DataFrame:
    """Lets agents act without learning, until each has played as many episodes as are asked for.

    Which episodes count is settled before they are played, so that short ones do not come in more often for being over
    sooner: episode 1 is the first of a member's first environment, 2 the first of its second, and so on; when all have
    had their first come the second ones. What an environment plays beyond is dropped.

    Args:
        trained: who acts, and where: see `elsewhere`. Environments outside of the device go on from what the run saved.
        episodes: of each member under each policy, at least 1.
        policies: how to act: `"greedy"` takes the most probable actions, `"sampled"` random ones as in training.
        seed: what environments and random actions come from, beside the seeds; from 0 to 2**32 - 1.
        on_progress: is told how many episodes are over, of all.

    Returns:
        One row an episode: `seed`, the swept settings, `policy`, `episode` (from 1), `return`, `length`, `terminated`,
        `truncated`, and what else the arena tells of an episode at its end.

    Raises:
        ConfigError: if there are no episodes to play, or nobody to play them.
    """
    members = len(trained.members)
    if episodes < 1 or not members:
        raise ConfigError(f"episodes={episodes} of {members} members: there is nothing to play; write 1 or more")
    environment = problem_of(trained.config)
    each = members * episodes
    tables = []
    for index, policy in enumerate(policies):

        def told(done: int, before: int = index * each) -> None:
            on_progress(before + done, len(policies) * each)

        with closing(_steps(trained, environment, policy == "greedy", seed)) as steps:
            facts = first_episodes(episodes, steps, (members, environment.num_envs), told)
        tables.append(_table(trained, policy, facts))
    return pd.concat(tables, ignore_index=True)


def _steps(trained: Trained, environment: Environment | HostEnvironment, greedy: bool, seed: int) -> Iterator[Step]:
    if isinstance(environment, HostEnvironment):
        with closing(open_host(trained, environment.open, seed)) as host:
            yield from on_host(trained, greedy=greedy, seed=seed)(policies_of(trained), host, host.reset())
    else:
        yield from on_device(trained, greedy=greedy, seed=seed)(policies_of(trained))


def _table(trained: Trained, policy: Policy, facts: dict[str, np.ndarray]) -> pd.DataFrame:
    members, episodes = facts["return"].shape
    who = {"seed": trained.members.seeds, **trained.members.swept}
    return pd.DataFrame(
        {
            **{name: np.repeat(values, episodes) for name, values in who.items()},
            "policy": policy,
            "episode": np.tile(np.arange(1, episodes + 1), members),
            **{name: facts[name].reshape(-1) for name in dict.fromkeys((*_COLUMNS, *facts))},
        }
    )
