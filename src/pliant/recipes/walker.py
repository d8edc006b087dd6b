"""PPO on Walker, and methods that keep its plasticity (Dohare et al. 2024, Extended Data Fig. 5)."""

from pliant.presets.walker import PRESETS
from pliant.report.recipe import Recipe

from ._ppo import FOUR, study

_STEPS = 50_000_000
_SEEDS = 30
_BIN = 250_000  # of the returns, published
_SCALE = 0.006

_SHOWS = (
    "Return, dormant units, stable rank and weight magnitude of PPO on Walker with four optimizers and methods (Dohare "
    "et al., Nature 2024, Extended Data Fig. 5)."
)
_NOTE = "In the authors' figure the return of PPO with Adam falls, and with continual backprop it rises to the end."


def make(full: bool = False, seeds: str | None = None, scale: float | None = None) -> Recipe:
    """Returns, dormant units, stable rank and weights of four configurations.

    Args:
        full: as published: 30 seeds, 50 million steps.
        seeds: other seeds; 4 by default.
        scale: fraction of the published length of the runs; 0.006 by default, or 1 with `full`.
    """
    runs = study(PRESETS, _STEPS, _SEEDS, _SCALE, full, seeds, scale)
    returns = runs.panel("Return", runs.returns(_BIN), FOUR, y_limits=(0, 3000))
    return runs.recipe("walker", "PPO on Walker", _SHOWS, returns, _NOTE)
