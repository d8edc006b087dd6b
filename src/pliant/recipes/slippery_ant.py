"""PPO on Ant whose floor changes its friction, and methods that keep plasticity (Dohare et al. 2024, Fig. 3)."""

from pliant.presets.slippery_ant import PRESETS
from pliant.report.recipe import Recipe

from ._ppo import FOUR, study

_STEPS = 20_000_000
_SEEDS = 100
_BIN = 100_000  # of the returns, published
_SCALE = 0.015

_SHOWS = (
    "Return, dormant units, stable rank and weight magnitude of PPO on Ant, whose floor changes its friction, with "
    "four optimizers and methods (Dohare et al., Nature 2024, Fig. 3)."
)
_NOTE = (
    "Friction changes every {:,} steps. In the authors' figure the return of PPO with Adam collapses, with proper Adam "
    "it falls less, and with L2 and continual backprop it stays."
)


def make(full: bool = False, seeds: str | None = None, scale: float | None = None) -> Recipe:
    """Returns, dormant units, stable rank and weights of four configurations.

    Args:
        full: as published: 100 seeds, 20 million steps.
        seeds: other seeds; 4 by default.
        scale: fraction of the published length of the runs, and of the time from one friction to the next; 0.015 by
            default, or 1 with `full`.
    """
    runs = study(PRESETS, _STEPS, _SEEDS, _SCALE, full, seeds, scale)
    returns = runs.panel("Return", runs.returns(_BIN), FOUR, y_limits=(0, 5500))
    change_time = runs.configs["std"]["problem"]["change_time"]
    return runs.recipe("slippery_ant", "PPO on Slippery Ant", _SHOWS, returns, _NOTE.format(change_time))
