"""What the trained agents of a recipe come to, as a table with the paper's numbers beside ours."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from pliant.experiment.configuration.config import from_mapping
from pliant.experiment.evaluation.evaluate import evaluate
from pliant.experiment.evaluation.restore import load
from pliant.experiment.evaluation.transfer import transfer
from pliant.experiment.run import OnProgress
from pliant.report import Cell, Estimate, Table, bootstrap_interval
from pliant.report.recipe import Evaluation

from .comparison import run_of

_HOW_TO_READ = (
    "Means over seeds with 95 % bootstrap intervals, actions sampled as in training. Success: the fraction of episodes "
    "that reached the goal. Failures: episodes that did not, of all."
)


_AS_PUBLISHED = (
    " As the paper counts: the mean return of the first {episodes} episodes to be over in {num_envs} environments "
    "side by side, among which short ones are too many; estimated by drawing from those of each seed."
)
_EVALUATIONS = 200  # of each seed, when it is estimated what the paper would have counted


def episodes_of(evaluation: Evaluation, directories: Mapping[str, Path], on_progress: OnProgress) -> pd.DataFrame:
    """Lets the agents act.

    Args:
        evaluation: whose, where and how long.
        directories: of the runs, by `run_of` the lines.
        on_progress: is told how many episodes are over, of all.

    Returns:
        One row an episode: the columns of `evaluate`, behind the line's `label` and the `env`.
    """
    agents = {
        line.label: load(directories[run_of(line)], seeds=from_mapping(line.config).seed_list)
        for line in evaluation.lines
    }
    amounts = {label: len(trained.members) * evaluation.episodes for label, trained in agents.items()}
    total, before, tables = sum(amounts.values()) * len(evaluation.envs), 0, []
    for label, trained in agents.items():
        for env in evaluation.envs:

            def told(done: int, of: int, before: int = before) -> None:
                on_progress(before + done, total)

            played = evaluate(
                transfer(trained, env), episodes=evaluation.episodes, policies=("sampled",), on_progress=told
            )
            tables.append(played.assign(label=label, env=env))
            before += amounts[label]
    played = pd.concat(tables, ignore_index=True)
    first = ["label", "env"]
    return played[[*first, *played.columns.drop(first)]]


def table_of(evaluation: Evaluation, episodes: pd.DataFrame) -> Table:
    """A row for each line and env: success, return beside the paper's, length, failures."""
    rows: list[list[Cell]] = []
    num_envs = evaluation.side_by_side
    means = episodes.groupby(["label", "env", "seed"])[["success", "return", "length"]].mean()
    for line in evaluation.lines:
        for env in evaluation.envs:
            of_seeds = means.loc[line.label, env]
            success, mean_return, length = (bootstrap_interval(of_seeds[fact].to_numpy()) for fact in of_seeds)
            mine = episodes.loc[(episodes["label"] == line.label) & (episodes["env"] == env)]
            paper = evaluation.published.get(line.label, {}).get(env)
            as_published = [_as_published(mine, num_envs, evaluation.episodes)] if num_envs else []
            failures = f"{int((mine['success'] == 0).sum())} of {len(mine)}"
            rows.append([line.label, env, success, mean_return, *as_published, paper, length, failures])
    counted = ["as the paper counts"] if num_envs else []
    columns = ["method", "env", "success [95 %]", "return [95 %]", *counted, "paper", "length [95 %]", "failures"]
    how = _HOW_TO_READ
    if num_envs:
        how += _AS_PUBLISHED.format(episodes=evaluation.episodes, num_envs=num_envs)
    notes = (how, *_contrasts(evaluation, means), *evaluation.notes)
    return Table(evaluation.title, columns, rows, notes)


def _as_published(played: pd.DataFrame, num_envs: int, episodes: int) -> Estimate:
    """The mean return if the paper had counted, with its interval over seeds: episodes are drawn from those played."""
    random, shape = np.random.default_rng(0), (_EVALUATIONS, num_envs, episodes)
    returns = []
    for _, own in played.groupby("seed"):
        drawn = random.integers(len(own), size=shape)
        over_at = own["length"].to_numpy()[drawn].cumsum(-1).reshape(_EVALUATIONS, -1)
        first = np.argsort(over_at, axis=1, kind="stable")[:, :episodes]
        counted = np.take_along_axis(drawn.reshape(_EVALUATIONS, -1), first, axis=1)
        returns.append(own["return"].to_numpy()[counted].mean())
    return bootstrap_interval(returns)


def _contrasts(evaluation: Evaluation, means: pd.DataFrame) -> list[str]:
    """Differences seed by seed: agents of one seed meet the same environments."""
    texts = []
    for contrast in evaluation.contrasts:
        of_both = [means.loc[label, contrast.env] for label in (contrast.better, contrast.worse)]
        difference = (of_both[0] - of_both[1]).dropna()
        words = []
        for fact in ("return", "success"):
            found = bootstrap_interval(difference[fact].to_numpy())
            words.append(f"{fact} {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]")
        wins = int(np.sum(difference["return"] > 0))
        texts.append(
            f"{contrast.better} minus {contrast.worse} on {contrast.env}, seed by seed: {', '.join(words)}, a higher "
            f"return in {wins} of {len(difference)} seeds"
            + ("." if contrast.published is None else f"; the paper claims a return of {contrast.published:+.2f}.")
        )
    return texts
