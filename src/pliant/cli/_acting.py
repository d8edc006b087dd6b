"""The flags of `pliant evaluate` and `pliant visualize` for members, environments and modes of acting."""

import argparse
from pathlib import Path

import numpy as np

from pliant.core.settings import AtLeast
from pliant.experiment.configuration.seeds import read_seeds
from pliant.experiment.configuration.settings import Setting
from pliant.experiment.errors import ConfigError
from pliant.experiment.evaluation.restore import Trained, load
from pliant.experiment.loops.plan import Mode

from ._arguments import Parser
from ._sources import add_source, add_sources

SEED = Setting("seed", int, 0, "Seed of environments and random actions, beside the members' seeds.", AtLeast(0))
_STEP = Setting("step", int, 0, "", AtLeast(0))


def add_arguments(parser: Parser, env: str) -> None:
    """Adds the flags.

    Args:
        parser: of the command.
        env: the value of `--env` in the help.
    """
    parser.add_argument("run", metavar="RUN", type=Path, help="a run's directory")
    add_source(parser)
    parser.add_argument("--greedy", "--argmax", action="store_true", help="the most probable actions")
    parser.add_argument("--sample", action="store_true", help="random actions, as in training")
    parser.add_argument(
        "--env",
        metavar=env,
        help="the problem's setting env [default: as in the run; in a curriculum, the task of the checkpoint]",
    )
    parser.add_argument(
        "--task",
        metavar="NAME",
        help="a task of the run, by its name, its index from 0, or INDEX/NAME: its environments, and the parameters "
        "that the continual method keeps for it [default: the task of the checkpoint]",
    )
    parser.add_argument("--backend", metavar="NAME", help="the problem's setting backend [default: as in the run]")
    parser.add_argument(
        "--step",
        metavar="N",
        help="step of the checkpoint; best: the one with the highest mean of the evaluations up to it, 20 at most "
        "[default: the newest good one]",
    )
    parser.add_argument("--seeds", metavar="SEEDS", help="which of the run's seeds: 3 (0 to 2), 0-9,20 [default all]")
    parser.add_argument(
        "--where",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="only members with this value of a swept setting; may be given several times",
    )


def check_file(flag: str, file: Path | None) -> None:
    """Refuses a file that cannot be written, before the work for it is done."""
    if file is None:
        return
    if not file.parent.is_dir():
        raise ConfigError(f"{flag} {file}: there is no folder {file.parent}; make it first")
    is_new = not file.exists()
    try:
        with open(file, "ab"):
            pass
    except OSError as error:
        raise ConfigError(f"{flag} {file}: cannot be written: {error.strerror}") from None
    if is_new:
        file.unlink()


def members(given: argparse.Namespace) -> tuple[Trained, list[str]]:
    """The chosen members that can act, and notes about the others."""
    add_sources(given)
    step = given.step if given.step in (None, "best") else _read_step(given.step)
    seeds = None if given.seeds is None else read_seeds(given.seeds)
    return _without_diverged(_chosen(load(given.run, step, seeds), given))


def _read_step(text: str) -> int:
    try:
        return _STEP.read(text, "--step")
    except ConfigError as error:
        raise ConfigError(f"{error}, or best") from None


def modes(given: argparse.Namespace, trained: Trained) -> list[Mode]:
    """The modes that the flags name; without flags, those of the problem's `EVALUATE`, or both."""
    asked: list[Mode] = [name for name, flag in (("greedy", given.greedy), ("sampled", given.sample)) if flag]
    problem = trained.config.problem.found
    return asked or list(getattr(problem, "EVALUATE", ("greedy", "sampled")))


def _chosen(trained: Trained, given: argparse.Namespace) -> Trained:
    """The members that the flags choose."""
    for text in given.where:
        name, _, value = text.partition("=")
        try:
            trained = trained.where(name, value)
        except ConfigError as error:
            raise ConfigError(f"--where {error}") from None
    return trained


def _without_diverged(trained: Trained) -> tuple[Trained, list[str]]:
    """The members that can act, and notes about the others."""
    diverged = trained.diverged[trained.diverged >= 0]
    if len(diverged) == len(trained.members):
        raise ConfigError(f"all of the members diverged, the first at step {diverged.min():,}: none of them can act")
    left = trained.only(np.flatnonzero(trained.diverged < 0))
    if not len(diverged):
        return left, []
    return left, [f"Left out: {len(diverged)} diverged members, the first at step {diverged.min():,}."]
