"""PPO on Ant learns to run and then forgets it; methods that keep plasticity (Dohare et al. 2024, Fig. 4)."""

from pliant.presets.ant import PRESETS
from pliant.report.recipe import Line, Measure, PanelSpec, Recipe

from ._ppo import FOUR, LABELS, MEASURES_NOTE, METHODS_NOTE, ROUND, Study, study

_STEPS = 50_000_000
_SEEDS = 30
_BIN = 250_000  # of the returns, published
_SCALE = 0.006
_HIGHEST = 5500

# Millions of steps -> mean over 30 runs, read off the figures that the authors publish with their code.
_RETURN = {
    "std": {2: 2300, 3: 2500, 5: 2190, 7.5: 1600, 10: 1370, 15: 950},
    "ns": {2: 2700, 3: 3520, 5: 3870, 7.5: 3780, 10: 3460, 15: 3050, 20: 2520, 25: 2240, 30: 950, 35: 970},
    "l2": {
        2: 2430, 3: 3140, 5: 3590, 7.5: 3760, 10: 3855, 15: 3960, 20: 3970, 25: 3980, 30: 4000, 35: 4030, 40: 4010,
        45: 4010, 50: 3980,
    },
    "cbp": {
        2: 2300, 3: 3270, 5: 3960, 7.5: 4200, 10: 4400, 15: 4520, 20: 4600, 25: 4750, 30: 4740, 35: 4770, 40: 4730,
        45: 4880, 50: 4900,
    },
}  # fmt: skip
_DORMANT = {  # %
    "std": {4: 9, 7.5: 17, 10: 20.6, 15: 37, 20: 43, 25: 56, 30: 51, 35: 57, 50: 58},
    "ns": {2: 27, 3: 31, 5: 36, 10: 40, 20: 44.8, 30: 48, 40: 52, 50: 57},
    "l2": {2: 4.2, 3: 5.9, 5: 6.8, 10: 6.7, 25: 5.9, 50: 5.4},
    "cbp": {5: 3.5, 10: 3.9, 25: 4.4, 50: 4.4},
}
_STABLE_RANK = {  # % of the layer
    "std": {3: 83, 5: 77.7, 7.5: 70, 10: 67, 15: 52, 20: 41, 25: 29},
    "ns": {2: 44, 5: 34, 7.5: 31, 10: 28.5},
    "l2": {2: 74, 5: 67.2, 10: 67.9, 20: 68.9, 30: 70.3, 50: 71.5},
    "cbp": {1: 91, 2: 87.7, 5: 84.8, 15: 84, 25: 83.2, 50: 83.2},
}
_WEIGHTS = {
    "std": {2: 0.063, 5: 0.073, 10: 0.086, 20: 0.1, 25: 0.104, 50: 0.115},
    "ns": {2: 0.067, 5: 0.076, 10: 0.083, 20: 0.092, 25: 0.095, 50: 0.104},
    "l2": {1: 0.018, 2: 0.013, 3: 0.0105, 10: 0.009, 25: 0.008, 50: 0.0077},
    "cbp": {0.5: 0.033, 2: 0.0305, 50: 0.0295},
}

# Of the policy's three matrices, the largest change in 500 rounds; the paper shows the first 20 such maxima.
_WINDOW = 500 * ROUND
_WINDOWS = 20
_KERNELS = tuple(f"policy/Dense_{i}/kernel" for i in range(3))
_WEIGHT_CHANGE = Measure(
    "weight_change", "largest change in 500 rounds", _WINDOW, _KERNELS, within="max", factor=len(_KERNELS), decimals=1
)

_SHOWS = (
    "Return, dormant units, stable rank and weight magnitude of PPO on Ant with four optimizers and methods (Dohare et "
    "al., Nature 2024, Fig. 4)."
)
_NOTE = (
    "Paper: means over 30 runs, read off the authors' figures. After its last number here, the return with Adam is "
    "below 0 from about 17 million steps on, with proper Adam from about 38 million."
)
_METHODS = (
    "The authors publish figures of other methods without numbers: in these the return of ReDo falls over time, and "
    "instantaneous utility performs as well as running utility."
)
_NO_WINDOW = (
    f"The figure of the largest weight changes is missing: its bins have {_WINDOW:,} steps, more than these runs."
)


def make(full: bool = False, seeds: str | None = None, scale: float | None = None) -> Recipe:
    """Returns, dormant units, stable rank and weights of four configurations; or all published figures.

    Args:
        full: as published, 30 seeds and 50 million steps; with ReDo, continual backprop with instantaneous utility, and
            the largest weight changes of Adam and proper Adam.
        seeds: other seeds; 4 by default.
        scale: fraction of the published length of the runs; 0.006 by default, or 1 with `full`.
    """
    runs = study(PRESETS, _STEPS, _SEEDS, _SCALE, full, seeds, scale)
    returns = runs.returns(_BIN)
    main = runs.panel("Return", returns, FOUR, _RETURN, (0, _HIGHEST))
    figures = {"ant": (main, *runs.internals(_DORMANT, _STABLE_RANK, _WEIGHTS))}
    notes, falls_short = [METHODS_NOTE, MEASURES_NOTE, _NOTE], []
    if full:
        has_window = runs.scale.steps >= _WINDOW
        figures["ant_methods"] = tuple(
            runs.panel(title, returns, presets, _RETURN, (0, _HIGHEST))
            for title, presets in {"ReDo": ("redo", "cbp", "l2"), "Instantaneous utility": ("cbpi", "cbp")}.items()
        )
        if has_window:
            figures["ant_weight_change"] = (_weight_change(runs),)
        notes.append(_METHODS)
        falls_short += [] if has_window else [_NO_WINDOW]
    return Recipe(
        title="PPO on Ant",
        shows=_SHOWS,
        x_label="steps",
        panels=figures,
        scale=runs.scale,
        notes=tuple(notes),
        falls_short=tuple(falls_short),
        edge="right",
        step_by_step=True,
    )


def _weight_change(runs: Study) -> PanelSpec:
    """From separate runs, which measure this metric alone, after every round: the largest change may be in any."""
    steps = min(runs.scale.steps, _WINDOWS * _WINDOW)
    lines = []
    for preset in ("std", "ns"):
        config = runs.configs[preset]
        shorter = {**config["problem"], "steps": steps}
        often = {"diagnostics": [_WEIGHT_CHANGE.metric], "record_every": ROUND}
        lines.append(Line(LABELS[preset], {**config, "problem": shorter, **often}))
    return PanelSpec("Weight change", _WEIGHT_CHANGE, tuple(lines), (0, 120) if steps == _WINDOWS * _WINDOW else None)
