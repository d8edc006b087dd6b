"""The evaluations of a recipe: its trained agents act, and a table has the paper's numbers beside ours."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.evaluation.evaluate import evaluate
from pliant.experiment.evaluation.restore import load
from pliant.experiment.evaluation.transfer import transfer
from pliant.experiment.progress import OnProgress
from pliant.report import Cell, Estimate, Table, bootstrap_interval
from pliant.report.recipe import Evaluation
from pliant.report.statistics import HOW_INTERVALS

from .runs import run_of

_HOW_TO_READ = (
    f"Means over seeds {HOW_INTERVALS}; actions sampled as in training. Success: the fraction of episodes that reached "
    "the goal. Failures: the number of episodes that did not, of all."
)
_AS_PUBLISHED = (
    " As the paper counts: the mean return of the first {episodes} episodes to end in {num_envs} environments side by "
    "side, among which short episodes are too frequent; estimated by drawing from the episodes of each seed."
)
_EVALUATIONS = 200  # evaluations that are resampled for each seed, as the paper counts


def episodes_of(
    evaluation: Evaluation, directories: Mapping[str, Path], on_progress: OnProgress = lambda done, total: None
) -> pd.DataFrame:
    """Plays the episodes of an evaluation.

    Args:
        evaluation: with the agents, the environments and the number of episodes.
        directories: of the runs, by the key (`run_of`) of their lines.
        on_progress: is called with the number of finished episodes and the number of all.

    Returns:
        One row per episode: the line's `label` and the `env`, then the columns of `evaluate`.
    """
    agents = {
        line.label: load(directories[run_of(line)], seeds=from_mapping(line.config).seed_list)
        for line in evaluation.lines
    }
    amounts = {label: len(trained.members) * evaluation.episodes for label, trained in agents.items()}
    total, before, tables = sum(amounts.values()) * len(evaluation.envs), 0, []
    for label, trained in agents.items():
        for env in evaluation.envs:

            def of_all(done: int, of: int, before: int = before) -> None:
                on_progress(before + done, total)

            played = evaluate(
                transfer(trained, env), episodes=evaluation.episodes, modes=("sampled",), on_progress=of_all
            )
            tables.append(played.assign(label=label, env=env))
            before += amounts[label]
    played = pd.concat(tables, ignore_index=True)
    first = ["label", "env"]
    return played[[*first, *played.columns.drop(first)]]


def table_of(evaluation: Evaluation, episodes: pd.DataFrame) -> Table:
    """A row for each line and environment: success, return beside the paper's, length, failures.

    Args:
        evaluation: with the paper's numbers.
        episodes: as `episodes_of` returns them.

    Returns:
        The table. Its notes explain the columns, and compare the claimed differences with ours.
    """
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


def shortfalls_of(evaluation: Evaluation, episodes: pd.DataFrame) -> tuple[str, ...]:
    """How an evaluation falls short: returns of the paper outside our interval, and the recipe's sentences."""
    returns = episodes.groupby(["label", "env", "seed"])["return"].mean()
    points, outside = 0, []
    for label, numbers in evaluation.published.items():
        for env, paper in numbers.items():
            ours = bootstrap_interval(returns.loc[label, env].to_numpy())
            if np.isnan(ours.low):  # of too few seeds
                continue
            points += 1
            if not ours.low <= paper <= ours.high:
                found = f"{ours.value:.2f} [{ours.low:.2f}, {ours.high:.2f}]"
                outside.append(f"{label} on {env} (paper {paper:.2f}, ours {found})")
    sentence = (
        f"Returns of the paper outside the 95 % interval of our mean, {len(outside)} of {points}: {', '.join(outside)}."
    )
    return (*([sentence] if outside else []), *evaluation.falls_short)


def _as_published(played: pd.DataFrame, num_envs: int, episodes: int) -> Estimate:
    """The mean return as the paper counts, with its interval over seeds; resamples the played episodes."""
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
    """Differences seed by seed, because agents with the same seed act in the same environments."""
    texts = []
    for contrast in evaluation.contrasts:
        of_both = [means.loc[label, contrast.env] for label in (contrast.better, contrast.worse)]
        difference = (of_both[0] - of_both[1]).dropna()
        words = []
        for fact in ("return", "success"):
            found = bootstrap_interval(difference[fact].to_numpy())
            interval = f"[{found.low:+.3f}, {found.high:+.3f}]"
            each = f"({', '.join(f'{x:+.3f}' for x in difference[fact])})"
            words.append(f"{fact} {found.value:+.3f} {each if np.isnan(found.low) else interval}")
        wins = int(np.sum(difference["return"] > 0))
        texts.append(
            f"{contrast.better} minus {contrast.worse} on {contrast.env}, seed by seed: {', '.join(words)}, a higher "
            f"return in {wins} of {len(difference)} seeds"
            + ("." if contrast.published is None else f"; the paper claims a return of {contrast.published:+.2f}.")
        )
    return texts
