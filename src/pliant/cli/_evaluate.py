"""`pliant evaluate`: episodes of a run's agents, without learning."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from pliant.core.settings import AtLeast
from pliant.experiment import config as configs
from pliant.experiment.errors import ConfigError
from pliant.experiment.evaluate import evaluate
from pliant.experiment.film import film
from pliant.experiment.settings import Setting
from pliant.experiment.trained import Trained, load
from pliant.report import Cell, Table, bootstrap_interval, interquartile_mean

from ._arguments import Flag, Parser
from ._progress import progress

_DESCRIPTION = """\
Lets the agents of a run act without learning, from any of its checkpoints,
and prints what their episodes came to: of each seed, and of all with 95 %
bootstrap intervals over seeds. They act greedily (the most probable actions)
and sampled (random ones, as in training), unless --greedy or --sample says
which; both flags are the same as none. The run is only read, and may go on
meanwhile.

Each seed plays the same number of episodes, settled beforehand, so that
short ones do not count more often. Their environments are those of no
training: what is random in them comes from --entropy. Environments outside
of the device (MuJoCo) take up what the run saved of them; on slippery_ant
that is the friction in force at the checkpoint, and when it is to change.

  pliant evaluate runs/ant-ppo-1a2b3c4d --episodes 30
  pliant evaluate runs/ant-ppo-1a2b3c4d --seeds 3-3 --greedy --film ant.gif"""

_SETTINGS = {
    "episodes": Setting("episodes", int, 10, "Episodes of each seed, under each policy.", AtLeast(1)),
    "entropy": Setting(
        "entropy", int, 0, "What is random comes from this number and from a member's seed.", AtLeast(0)
    ),
    "film_steps": Setting("film_steps", int, 300, "Steps of the episode that the film shows at most.", AtLeast(1)),
}
_STEP = Setting("step", int, 0, "", AtLeast(0))


def command(arguments: list[str]) -> None:
    """Plays, prints the table, and writes what else was asked for."""
    given = _parser().parse_args(arguments)
    values = {name: getattr(given, name, setting.default) for name, setting in _SETTINGS.items()}
    step = None if given.step is None else _STEP.read(given.step, "--step")
    for flag, file in (("--film", given.film), ("--out", given.out)):
        if file is not None and not file.parent.is_dir():
            raise ConfigError(f"{flag} {file}: there is no folder {file.parent}; make it first")
    both = given.greedy == given.sample
    policies = [name for name, chosen in (("greedy", given.greedy), ("sampled", given.sample)) if both or chosen]

    trained, left_out = _without_diverged(_chosen(load(given.run, step), given))
    console = Console(highlight=False)
    if given.film is not None:
        one = trained.only(np.arange(1))
        frames = film(
            one, given.film, greedy="greedy" in policies, entropy=values["entropy"], steps=values["film_steps"]
        )
        who = {"seed": one.members.seeds, **one.members.swept}
        named = ", ".join(f"{name} {value[0]}" for name, value in who.items())
        console.print(f"film: {given.film} ({named}, {policies[0]}, {frames} frames)", soft_wrap=True, markup=False)
    name = given.run.resolve().name
    with progress(name, "episodes") as tell:
        episodes = evaluate(
            trained, episodes=values["episodes"], policies=policies, entropy=values["entropy"], tell=tell
        )
    for table in _tables(f"{name} at step {trained.step:,}", episodes, left_out):
        table.to_terminal(console)
        console.print()
    if given.out is not None:
        episodes.to_csv(given.out, index=False)
        console.print(f"episodes: {given.out}", soft_wrap=True, markup=False)


def _parser() -> Parser:
    parser = Parser("pliant evaluate", _DESCRIPTION)
    parser.add_argument("run", metavar="RUN", type=Path, help="a run's directory")
    parser.add_argument("--greedy", action="store_true", help="the most probable actions alone")
    parser.add_argument("--sample", action="store_true", help="random actions alone")
    parser.add_argument("--step", metavar="N", help="which checkpoint [default: the newest good one]")
    parser.add_argument("--seeds", metavar="SEEDS", help="which of the run's seeds: 3 (0 to 2), 0-9,20 [default all]")
    parser.add_argument(
        "--where",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="of what the run swept, this value alone; may stand several times",
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="a CSV file for the single episodes [default none]")
    parser.add_argument(
        "--film",
        metavar="FILE",
        type=Path,
        help="a .gif (or an .mp4, with the package imageio-ffmpeg) of the first seed's first episode [default none]",
    )
    parser.add_settings("how much", [Flag((name,), name, setting) for name, setting in _SETTINGS.items()])
    return parser


def _chosen(trained: Trained, given: argparse.Namespace) -> Trained:
    """The members that are asked for."""
    config, members = trained.config, trained.members
    mine = np.ones(len(members), bool)
    if given.seeds is not None:
        seeds = configs.read_seeds(given.seeds)
        missing = set(seeds) - set(config.seed_list)
        if missing:
            raise ConfigError(
                f"--seeds {given.seeds}: there is no seed {min(missing)}; the run has seeds={config.seeds}"
            )
        mine &= np.isin(members.seeds, seeds)
    for text in given.where:
        name, _, value = text.partition("=")
        dotted, setting = configs.resolve(config, name)
        if dotted not in members.swept:
            swept = " and ".join(members.swept) or "nothing"
            raise ConfigError(f"--where {text}: the run did not sweep {dotted}, but {swept}")
        mine &= members.swept[dotted] == setting.read(value, f"--where {name}")
        if not mine.any():
            values = ", ".join(map(str, config.sweep[dotted]))
            raise ConfigError(f"--where {text}: there is nobody left; the run swept {dotted} over {values}")
    return trained.only(np.flatnonzero(mine))


def _without_diverged(trained: Trained) -> tuple[Trained, list[str]]:
    """The members that can act, and what is to be said of the others."""
    diverged = trained.diverged[trained.diverged >= 0]
    if len(diverged) == len(trained.members):
        raise ConfigError(f"all of them diverged, the first at step {diverged.min():,}: there is nobody to evaluate")
    left = trained.only(np.flatnonzero(trained.diverged < 0))
    if not len(diverged):
        return left, []
    return left, [f"Left out: {len(diverged)} that diverged, the first at step {diverged.min():,}."]


def _tables(name: str, episodes: pd.DataFrame, left_out: list[str]) -> Iterator[Table]:
    """What episodes came to, for each policy and value of what was swept: of each seed, and of all."""
    columns = list(episodes.columns)
    cell = columns[1 : columns.index("episode")]  # what was swept, and the policy
    facts = [column for column in columns if column not in ("seed", *cell, "episode", "terminated", "truncated")]
    of_each: list[list[Cell]] = []
    of_all: list[list[Cell]] = []
    for key, group in episodes.groupby(cell):
        means: dict[str, list[float]] = {fact: [] for fact in facts}  # of each seed
        for seed, own in group.groupby("seed"):
            for fact in facts:
                means[fact].append(float(own[fact].mean()))
            latest = [of_seeds[-1] for of_seeds in means.values()]
            of_each.append([*tuple(key), int(seed), len(own), *latest, int(own["truncated"].sum())])
        of_return, *others = map(bootstrap_interval, means.values())
        of_all.append([*tuple(key), of_return, bootstrap_interval(means["return"], interquartile_mean), *others])

    ends = [column.rpartition(".")[2] for column in cell]
    heads = [(end if ends.count(end) == 1 else column).replace("_", " ") for end, column in zip(ends, cell)]
    first, *rest = facts
    notes = (
        "Means over the episodes of a seed. Cut short: how many of them were truncated, as by a time limit; the others "
        "terminated.",
        *left_out,
    )
    yield Table(f"{name}: each seed", [*heads, "seed", "episodes", *facts, "cut short"], of_each, notes)
    seeds = len(set(episodes["seed"]))
    if seeds > 1:
        note = "Means over seeds, and the interquartile mean (IQM) of the returns, with 95 % bootstrap intervals."
        yield Table(f"{name}: all {seeds} seeds", [*heads, first, "IQM", *rest], of_all, [note])
