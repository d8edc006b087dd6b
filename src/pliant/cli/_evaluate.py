"""`pliant evaluate`: episodes of a run's agents, without learning."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from pliant.core.settings import AtLeast
from pliant.experiment.configuration.settings import Setting
from pliant.experiment.errors import ConfigError
from pliant.experiment.evaluation.evaluate import evaluate
from pliant.experiment.evaluation.restore import Trained
from pliant.experiment.evaluation.transfer import transfer
from pliant.experiment.progress import OnProgress
from pliant.report import Cell, Table, bootstrap_interval, interquartile_mean
from pliant.report.statistics import HOW_INTERVALS

from ._acting import SEED, add_arguments, check_file, members, modes
from ._arguments import Flag, Parser
from ._progress import progress

_DESCRIPTION = """\
Lets the agents of a run act without learning, from any of its checkpoints,
and prints the results of their episodes: for each seed, and for all seeds
with 95 % bootstrap intervals. With --greedy agents take the most probable
actions, with --sample random actions as in training. Without a flag they act
both ways; on some problems only with random actions. The run is only read,
and may continue meanwhile.

Each seed plays the same number of episodes, fixed in advance, so that short
episodes do not count more often. The environments are not those of training:
their random numbers come from --seed. Environments outside of the device
(MuJoCo) start from the state that the run saved; on slippery_ant this state
is the friction at the checkpoint, and the step of its next change.

If the problem has a setting env, --env lets the same agents act in other
environments, such as larger ones. Without --env they act in the environments
of the run; after a sequence of tasks, in those of the checkpoint's task, or
of --task.

  pliant evaluate runs/ant-ppo-1a2b3c4d --episodes 30
  pliant evaluate runs/minigrid_doorkey-ppo-1a2b3c4d --env 8x8,16x16"""

_SETTINGS = {
    "episodes": Setting("episodes", int, 10, "Episodes of each seed, in each env, in each mode.", AtLeast(1)),
    "seed": SEED,
}


def command(arguments: list[str]) -> None:
    """Plays the episodes and prints their tables; with `--out`, writes the single episodes."""
    given = parser().parse_args(arguments)
    values = {name: getattr(given, name, setting.default) for name, setting in _SETTINGS.items()}
    check_file("--out", given.out)
    envs = [None] if given.env is None else list(dict.fromkeys(map(str.strip, given.env.split(","))))
    if "" in envs:
        raise ConfigError(f"--env={given.env}: write one name or several, such as --env A,B")

    trained, left_out = members(given)
    places = [transfer(trained, env, given.backend, given.task) for env in envs]
    console = Console(highlight=False)
    name = given.run.resolve().name
    with progress(name, "episodes") as on_progress:
        episodes = _play(places, on_progress, modes=modes(given, trained), **values)
    for table in _tables(f"{name} at step {trained.step:,}", episodes, left_out):
        table.to_terminal(console)
        console.print()
    problem = trained.config.problem.found
    for note in getattr(problem, "NOTES_ON_EVALUATION", ()):
        console.print(note, markup=False)
    if given.out is not None:
        episodes.to_csv(given.out, index=False)
        console.print(f"episodes: {given.out}", soft_wrap=True, markup=False)


def parser() -> Parser:
    """The arguments."""
    parser = Parser("pliant evaluate", _DESCRIPTION)
    add_arguments(parser, "NAME[,NAME...]")
    parser.add_argument("--out", metavar="FILE", type=Path, help="a CSV file for the single episodes [default none]")
    parser.add_settings("how much", [Flag((name,), name, setting) for name, setting in _SETTINGS.items()])
    return parser


def _play(places: Sequence[Trained], on_progress: OnProgress, **how: Any) -> pd.DataFrame:
    """The episodes in all environments, with a column `env` if the problem names its environments."""
    names = [place.config.problem.settings.get("env", "") for place in places]
    tables = []
    for before, (env, place) in enumerate(zip(names, places)):

        def report(done: int, each: int, before: int = before) -> None:
            on_progress(before * each + done, len(places) * each)

        episodes = evaluate(place, on_progress=report, **how)
        if env:
            episodes.insert(episodes.columns.get_loc("mode"), "env", pd.Categorical([env] * len(episodes), names))
        tables.append(episodes)
    return pd.concat(tables, ignore_index=True)


def _tables(name: str, episodes: pd.DataFrame, left_out: list[str]) -> Iterator[Table]:
    """The results of the episodes of each seed and of all seeds, for each swept value, environment and mode."""
    columns = list(episodes.columns)
    cell = columns[1 : columns.index("episode")]  # swept settings, environment and mode
    facts = [column for column in columns if column not in ("seed", *cell, "episode", "terminated", "truncated")]
    of_each: list[list[Cell]] = []
    of_all: list[list[Cell]] = []
    for key, group in episodes.groupby(cell, observed=True):
        means: dict[str, list[float]] = {fact: [] for fact in facts}  # of each seed
        for seed, own in group.groupby("seed"):
            for fact in facts:
                means[fact].append(float(own[fact].mean()))
            latest = [of_seeds[-1] for of_seeds in means.values()]
            counts = [*_failures(own), int(own["truncated"].sum())]
            of_each.append([*tuple(key), int(seed), len(own), *latest, *counts])
        of_return, *others = map(bootstrap_interval, means.values())
        middle = bootstrap_interval(means["return"], interquartile_mean)
        of_all.append([*tuple(key), of_return, middle, *others, *_failures(group)])

    ends = [column.rpartition(".")[2] for column in cell]
    heads = [(end if ends.count(end) == 1 else column).replace("_", " ") for end, column in zip(ends, cell)]
    first, *rest = facts
    failures = ["failures"] if "success" in facts else []
    notes = (
        "Means over the episodes of a seed. Cut short: the number of truncated episodes, as by a time limit; the "
        "others terminated.",
        *("Failures: the number of episodes without success." for _ in failures),
        *left_out,
    )
    yield Table(f"{name}: each seed", [*heads, "seed", "episodes", *facts, *failures, "cut short"], of_each, notes)
    seeds = len(set(episodes["seed"]))
    if seeds > 1:
        notes = (
            f"Means over seeds, and the interquartile mean (IQM) of the returns: {HOW_INTERVALS}.",
            *("Failures: the number over all seeds." for _ in failures),
        )
        yield Table(f"{name}: all {seeds} seeds", [*heads, first, "IQM", *rest, *failures], of_all, notes)


def _failures(episodes: pd.DataFrame) -> list[int]:
    """The number of episodes without success, if the problem records success."""
    return [int((episodes["success"] == 0).sum())] if "success" in episodes else []
