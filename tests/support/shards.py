"""Where in a run's directory tests look."""

from pathlib import Path

from pliant.experiment.storage.shards import shards_of


def shard_of(run: Path) -> Path:
    """The directory of a run's only shard."""
    (shard,) = shards_of(run)
    return shard.path
