"""The shards of a run: `shards/<seeds>/`, a block of seeds that one program computed.

shards/0-9/           seeds 0 to 9
shards/10-19,25-25/   what a later command for seeds 0 to 19 and 25 added; named after its ranges, in order
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pliant.experiment.configuration.seeds import read_seeds
from pliant.experiment.errors import ConfigError, StoreError

_NAME = re.compile(r"\d{1,10}-\d{1,10}(,\d{1,10}-\d{1,10})*")
_MOST_RANGES = 10  # of one shard: the name of a folder has at most 255 bytes


class Shard(NamedTuple):
    """A block of seeds, and the directory of its results."""

    path: Path
    seeds: tuple[int, ...]

    @property
    def text(self) -> str:
        """The seeds, as `--seeds` takes them."""
        return self.path.name


def shards_of(run: Path) -> list[Shard]:
    """The shards of a run that have results, sorted by their first seeds; other processes may be working on them.

    Args:
        run: the run's directory.

    Raises:
        StoreError: if two shards hold the same seed.
    """
    shards = [shard for shard in named_shards(run) if has_results(shard.path)]
    check_disjoint(shards)
    return shards


def named_shards(run: Path) -> list[Shard]:
    """All folders with the name of a shard, sorted by their first seeds."""
    folders = [folder for folder in (run / "shards").glob("*/") if _is_name(folder.name)]
    return sorted((Shard(folder, _seeds(folder.name)) for folder in folders), key=lambda shard: shard.seeds)


def _is_name(name: str) -> bool:
    """Whether a folder is named as shards are: by seeds that `--seeds` takes."""
    try:
        return bool(_NAME.fullmatch(name)) and bool(read_seeds(f"{name},"))
    except ConfigError:
        return False


def has_results(shard: Path) -> bool:
    """Whether a shard has saved results."""
    return (shard / "status.json").exists() or any(any((shard / name).glob("*")) for name in ("metrics", "checkpoints"))


def check_disjoint(shards: Iterable[Shard]) -> None:
    """Refuses shards that hold the same seed, as the merged results of two machines may.

    Raises:
        StoreError: if two of them do.
    """
    holder: dict[int, Shard] = {}
    for shard in shards:
        for seed in shard.seeds:
            other = holder.setdefault(seed, shard)
            if other is not shard:
                raise StoreError(
                    f"{other.path} and {shard.path} both hold seed {seed}; move one of the two out of "
                    f"{shard.path.parent}"
                )


def blocks(run: Path, seeds: Iterable[int]) -> list[Shard]:
    """The shards that hold exactly these seeds: one shard, or several if its name would be too long."""
    pairs = iter(_ranges(seeds))
    cut = iter(lambda: list(itertools.islice(pairs, _MOST_RANGES)), [])
    return [Shard(run / "shards" / _text(few), _seeds(_text(few))) for few in cut]


def seeds_text(seeds: Iterable[int]) -> str:
    """Seeds as ranges in order, `0-9,20-20`: the name of a shard, and a value of `--seeds`."""
    return _text(_ranges(seeds))


def _ranges(seeds: Iterable[int]) -> list[tuple[int, int]]:
    """The first and the last of each range of consecutive seeds, in order."""
    in_order = enumerate(sorted(seeds))
    runs = [[seed for _, seed in run] for _, run in itertools.groupby(in_order, key=lambda pair: pair[1] - pair[0])]
    return [(run[0], run[-1]) for run in runs]


def _text(ranges: Sequence[tuple[int, int]]) -> str:
    return ",".join(f"{low}-{high}" for low, high in ranges)


def _seeds(name: str) -> tuple[int, ...]:
    bounds = [text.split("-") for text in name.split(",")]
    return tuple(seed for low, high in bounds for seed in range(int(low), int(high) + 1))
