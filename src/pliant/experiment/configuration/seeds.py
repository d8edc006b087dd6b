"""Reads seeds from a text: `100`, or `0-9,20`."""

import re

from pliant.experiment.errors import ConfigError, echo

_MOST_SEEDS = 1_000_000


def read_seeds(text: str) -> tuple[int, ...]:
    """The seeds of `100` (0 to 99), `0-9,20` (0 to 9, and 20), or `20,` (20 alone).

    Raises:
        ConfigError: for other texts, and for a text without a seed.
    """
    wrong = ConfigError(
        f"seeds={echo(text)}: write a number of seeds (100), or ranges from low to high (0-9,20) with each seed once"
    )
    ranges = [re.fullmatch(r"\s*(\d{1,20})(?:-(\d{1,20}))?\s*", piece) for piece in text.removesuffix(",").split(",")]
    bounds = [(int(match[1]), int(match[2] or match[1])) for match in ranges if match]
    if len(bounds) < len(ranges) or any(high < low for low, high in bounds):
        raise wrong
    if text.strip().isdigit():
        bounds = [(0, int(text) - 1)]
    if sum(high - low + 1 for low, high in bounds) > _MOST_SEEDS or max(high for _, high in bounds) >= 2**31:
        raise ConfigError(f"seeds={echo(text)}: at most {_MOST_SEEDS:,} seeds, each below 2,147,483,648")
    seeds = tuple(seed for low, high in bounds for seed in range(low, high + 1))
    if not seeds or len(set(seeds)) < len(seeds):
        raise wrong
    return seeds
