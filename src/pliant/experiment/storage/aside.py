"""Moves unusable files to `RUN/damaged/<seeds>/`, with their path in the shard, instead of deleting them."""

import itertools
import logging
from pathlib import Path

logger = logging.getLogger(__name__)


def set_aside(path: Path, shard: Path, why: str) -> None:
    """Moves a file or folder out of a shard, and logs the move.

    Args:
        path: what is moved.
        shard: the directory of the shard.
        why: the reason, for the log.
    """
    wanted = shard.parent.parent / "damaged" / shard.name / path.relative_to(shard)
    names = itertools.chain([wanted.name], (f"{wanted.name}.{number}" for number in itertools.count(2)))
    place = next(place for place in map(wanted.with_name, names) if not place.exists())
    place.parent.mkdir(parents=True, exist_ok=True)
    path.rename(place)
    logger.warning("%s %s: set aside in %s", path, why, place.parent)
