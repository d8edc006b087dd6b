"""Decides which seeds of a run a process computes.

A run's directory is named after its configuration without seeds, and several processes may add seeds to it. Each
process holds the shards that it works on. Processes take shards one after another, under the lock of the run, so that
each seed is computed once.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pliant.experiment.configuration.config import digest_of
from pliant.experiment.configuration.yaml_file import parse, read_text
from pliant.experiment.errors import ConfigError, StoreError

from .checkpoints import config_of
from .files import write_atomically
from .lock import locked
from .metrics import first_damage
from .shards import Shard, blocks, check_disjoint, has_results, named_shards, seeds_text
from .store import clear, is_finished, writing

logger = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds; a process holds the lock of a run for a moment only


class Claim(NamedTuple):
    """The shards that hold the given seeds."""

    finished: list[Shard]
    to_do: list[Shard]  # held by this process: first shards that were begun, then the new one


@contextlib.contextmanager
def claimed(run: Path, seeds: Sequence[int], config: str, *, steps: int, force: bool = False) -> Iterator[Claim]:
    """Makes the run's directory if it is missing, and holds the unfinished shards of the seeds.

    New seeds become one new shard. A shard that was begun is one program: it is resumed as a whole, with its other
    seeds.

    Args:
        run: the run's directory.
        seeds: to compute.
        config: the text of `config.yaml`, without seeds.
        steps: of the whole run.
        force: delete the results of these seeds first.

    Raises:
        ConfigError: if `force` would delete the results of other seeds, too.
        StoreError: if the directory cannot be written, if its `config.yaml` differs, or if another process works on one
            of these seeds.
    """
    wanted = set(seeds)
    with contextlib.ExitStack() as held:
        with writing(run):
            run.mkdir(parents=True, exist_ok=True)
            with locked(run, wait=_PATIENCE):
                _describe(run, config)
                there = [shard for shard in _in_use(run) if not wanted.isdisjoint(shard.seeds)]
                if not force:
                    _check_configuration(there, config)
                if force:
                    _check_alone(there, wanted)
                    for shard in there:
                        with locked(shard.path):
                            clear(shard.path)
                            _drop(shard)
                    there = []
                finished = [shard for shard in there if is_finished(shard.path)]
                begun = [shard for shard in there if shard not in finished]
                new = blocks(run, wanted.difference(*(shard.seeds for shard in there)))
                for shard in (*begun, *new):
                    shard.path.mkdir(parents=True, exist_ok=True)
                    held.enter_context(locked(shard.path))
        _say(run, finished, begun, new, wanted)
        _warn(finished, steps)
        yield Claim(finished, [*begun, *new])


def _describe(run: Path, config: str) -> None:
    """Writes `config.yaml`, or refuses one that says something else."""
    file = run / "config.yaml"
    if not file.exists():
        write_atomically(file, config.encode())
    elif not _is_same(file, config):
        raise StoreError(
            f"{file} was edited or cut short: it is not the configuration of this run; move {file} away to have it "
            "written again"
        )


def _is_same(file: Path, config: str) -> bool:
    try:
        return _digest(read_text(file)) == _digest(config)
    except ValueError:
        return False


def _digest(text: str) -> str:
    """The digest of a configuration file; empty if it is none."""
    try:
        return digest_of(parse(text))
    except (ValueError, TypeError, AttributeError):
        return ""


def _check_configuration(shards: Sequence[Shard], config: str) -> None:
    """Refuses shards of another configuration, as there are in a directory whose `config.yaml` was edited."""
    for shard in shards:
        if config_of(shard.path) not in ("", _digest(config)):
            raise StoreError(
                f"{shard.path} belongs to another configuration: {shard.path.parent.parent / 'config.yaml'} was edited "
                "or replaced; undo that, or write --force to compute its seeds again"
            )


def _in_use(run: Path) -> list[Shard]:
    """The shards with results or with a process at work; deletes empty shards, which killed processes leave."""
    in_use = []
    for shard in named_shards(run):
        if not has_results(shard.path):
            with contextlib.suppress(StoreError), locked(shard.path):
                _drop(shard)
                continue
        in_use.append(shard)
    check_disjoint(in_use)
    return in_use


def _drop(shard: Shard) -> None:
    """Deletes a shard without results; other files stay, and then the folder, too."""
    for name in ("environment.json", "owner.json", "lock"):
        (shard.path / name).unlink(missing_ok=True)
    for folder in (shard.path / "metrics", shard.path / "checkpoints", shard.path):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _check_alone(there: Sequence[Shard], wanted: set[int]) -> None:
    """Refuses to delete the results of seeds that were not named."""
    named_too = wanted.union(*(shard.seeds for shard in there))
    if named_too != wanted:
        folder = next(shard.path for shard in there if not wanted.issuperset(shard.seeds))
        raise ConfigError(
            f"--force for seeds {seeds_text(wanted)}: {folder} holds other seeds, too, and is computed as a whole; "
            f"write --seeds {seeds_text(named_too)}"
        )


def _warn(finished: Sequence[Shard], steps: int) -> None:
    """Warns about damaged files in finished shards, which are computed again only with `force`."""
    for shard in finished:
        damage = first_damage(shard.path, steps)
        if damage:
            logger.warning("%s; the other files of the finished seeds %s stay as they are", damage, shard.text)


def _say(run: Path, finished: Sequence[Shard], begun: Sequence[Shard], new: Sequence[Shard], wanted: set[int]) -> None:
    """Logs which seeds are there already, and which are computed in addition."""
    if finished and (begun or new):
        there, left = (
            seeds_text(seed for shard in part for seed in shard.seeds) for part in (finished, (*begun, *new))
        )
        logger.info("%s has seeds %s already; computing seeds %s", run, there, left)
    for shard in begun:
        more = set(shard.seeds) - wanted
        if more:
            logger.info("seeds %s are computed, too: %s is one program", seeds_text(more), shard.path)
