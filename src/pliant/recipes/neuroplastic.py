"""TD3 with Neuroplastic Expansion on two robots, beside dense and sparse networks and other methods.

One number of the published program is known, which others measured: the return on HalfCheetah after a million steps.
The full runs have this length.
"""

import copy
from collections.abc import Mapping
from typing import Any

from pliant.experiment.configuration.seeds import read_seeds
from pliant.presets.mujoco import PRESETS
from pliant.report.recipe import Line, Measure, PanelSpec, Recipe, Scale

_LABELS = {
    "td3": "TD3",
    "static": "static, 80 % sparse",
    "code": "Neuroplastic Expansion (code)",
    "paper": "Neuroplastic Expansion (paper)",
    "redo": "ReDo",
    "continual_backprop": "continual backprop",
    "layer_reset": "layer reset",
}
_SPARSE = ("static", "code", "paper")
_GROWING = ("code", "paper")
_ENVS = {
    "halfcheetah": "HalfCheetah-v4",
    "walker2d": "Walker2d-v4",
}  # of one size, so that they share compiled programs

_STEPS = 1_000_000
_SEEDS = {False: "3", True: "7"}
_SCALE = 0.05
_SHORT, _NARROW = 100_000, 64  # steps; units per layer of shorter runs, because wide layers take too long
_BIN = 20_000  # steps
_FEWEST_EPISODES = 3  # of an evaluation
_FEWEST_BINS = 10
_SHORTEST = 1000  # steps
_EPISODE = 1000  # steps, at most
# Updates of the critics until the actor has grown, in topology periods: the actor has half as many updates, and 187
# periods.
_GROWTH = 2 * 190
_RENEWALS = 20  # least number of renewals of dormant units in a run

_PUBLISHED = {"halfcheetah": {"code": {1_000_000: 7800}}}

_ACTOR = ("actor/Dense_0", "actor/Dense_1")
_CRITICS = tuple(f"critic_{twin}/Dense_{layer}" for twin in range(2) for layer in range(3))

_SHOWS = (
    "TD3 with networks that are dense, sparse or growing, or whose units are reinitialized: return, dormant and active "
    "units, sparsity and overlap of masks (Liu et al., ICLR 2025)."
)
_NOTES = (
    "Return: mean of the evaluations in a bin, of 10 episodes each or fewer in short runs, without noise; the first "
    "bin includes the evaluation before training. Active units: pairs of a sample and a unit that are not zero. "
    "Dormant units: units of actor and critics below a tenth of their layer's mean. Sparsity: weights of actor and "
    "critics that are zero. Overlap: fraction of the initial weights that the mask still has.",
    "Code: the published program by default. Paper: as described; its rate and period are not published. ReDo, "
    "continual backprop and layer reset have the settings of the papers that introduced them.",
)
_NO_NUMBERS = (
    "The paper publishes no numbers. The number of HalfCheetah was measured by others with the published program after "
    "a million steps (read off a figure of github.com/nothingbutbut/ICML-NE_compare); its flags and seeds are not "
    "known."
)
_PUBLISHED_LENGTH = "The published program runs 6 million steps by default, the paper 7 million."
_NARROW_LAYERS = f"Layers have {_NARROW} units instead of 256."
_SHORTENED = "Every schedule is shortened in proportion to the runs."


def make(full: bool = False, seeds: str | None = None, scale: float | None = None) -> Recipe:
    """Returns, active and dormant units, sparsity and mask overlap of seven configurations on two robots.

    Args:
        full: seven seeds and a million steps.
        seeds: other seeds; 3 by default.
        scale: fraction of a million steps; 0.05 by default, or 1 with `full`. Every schedule is shortened so that a run
            has as many of its events. Below a tenth, layers have 64 units instead of 256.
    """
    seeds = seeds or _SEEDS[full]
    scale = scale or (1.0 if full else _SCALE)
    steps = max(_SHORTEST, round(_STEPS * scale))
    bin = _bin_width(steps)
    configs = {name: _scaled(PRESETS[name], steps, bin, seeds) for name in _LABELS}
    figures = {
        f"neuroplastic_{name}": _panels(configs, env, bin, _PUBLISHED.get(name, {})) for name, env in _ENVS.items()
    }
    falls_short = [_PUBLISHED_LENGTH, _NO_NUMBERS]
    if steps < _STEPS:
        falls_short.append(f"{_NARROW_LAYERS} {_SHORTENED}" if steps < _SHORT else _SHORTENED)
    return Recipe(
        title="TD3 with Neuroplastic Expansion",
        shows=_SHOWS,
        x_label="steps",
        panels=figures,
        scale=Scale(steps, _STEPS, len(read_seeds(seeds)), published_seeds=_SEEDS[True]),
        notes=_NOTES,
        falls_short=tuple(falls_short),
        edge="right",
    )


def _panels(
    configs: Mapping[str, Mapping[str, Any]], env: str, bin: int, published: Mapping[str, Mapping[int, float]]
) -> tuple[PanelSpec, ...]:
    """The figure of one robot."""
    there = {name: {**config, "problem": {**config["problem"], "env": env}} for name, config in configs.items()}
    last = next(iter(there.values()))["problem"]["steps"]

    def lines(names: tuple[str, ...], points: Mapping[str, Mapping[int, float]] | None = None) -> tuple[Line, ...]:
        within = {name: {x: y for x, y in of.items() if x <= last} for name, of in (points or {}).items()}
        return tuple(Line(_LABELS[name], there[name], published=within.get(name, {})) for name in names)

    def percent(metric: str, what: str, groups: tuple[str, ...] = ("",)) -> Measure:
        return Measure(metric, f"{what} (%)", bin, groups, factor=100, decimals=1)

    everyone = lines(tuple(_LABELS))
    returns = Measure("evaluation_return", "return of an episode", bin, decimals=0)
    return (
        PanelSpec(f"Return, {env}", returns, lines(tuple(_LABELS), published)),
        PanelSpec("Dormant units", percent("dormant_fraction", "dormant units"), everyone),
        PanelSpec("Active units, actor", percent("active_fraction", "active units", _ACTOR), everyone),
        PanelSpec("Active units, critics", percent("active_fraction", "active units", _CRITICS), everyone),
        PanelSpec("Sparsity", percent("sparsity", "weights that are zero"), lines(_SPARSE), (0, 100)),
        PanelSpec(
            "Overlap with the first mask", percent("mask_overlap", "weights still there"), lines(_GROWING), (0, 100)
        ),
    )


def _bin_width(steps: int) -> int:
    """The usual width; for a short run 1, 2 or 5 times a power of ten, so that it has at least ten bins."""
    widest = min(steps // _FEWEST_BINS, _BIN)
    return next(width for power in range(4, 1, -1) for factor in (5, 2, 1) if (width := factor * 10**power) <= widest)


def _scaled(preset: Mapping[str, Any], steps: int, bin: int, seeds: str) -> dict[str, Any]:
    """A preset of another length, with every schedule shortened in proportion."""
    config = copy.deepcopy(dict(preset))
    share = steps / _STEPS
    exploration = max(round(config["agent"]["learning_starts"] * share), min(_EPISODE, steps // 10))
    updates = steps - exploration
    often = {each: min(config[each], bin) for each in ("record_every", "evaluate_every")}
    episodes = config["evaluate_episodes"] * often["evaluate_every"] / config["evaluate_every"]  # as many per step
    config |= {"seeds": seeds, **often, "evaluate_episodes": max(_FEWEST_EPISODES, round(episodes))}
    config["problem"]["steps"] = steps
    # All steps and the ends of episodes: a replay never holds more.
    config["agent"] |= {
        "learning_starts": exploration,
        "buffer_size": min(1_000_000, steps + 2 * -(-steps // _EPISODE)),
    }
    if steps < _SHORT:
        config["agent"]["hidden_units"] = _NARROW
    for method in config["methods"]:
        match method:
            case {"name": "neuroplastic_expansion"}:
                if "period" in method:
                    published = preset["problem"]["steps"] - preset["agent"]["learning_starts"]
                    method["period"] = _period(method, updates, published)
            case {"name": "redo", "period": period}:
                method["period"] = max(1, min(period, updates // _RENEWALS))
            case {"name": "continual_backprop", "maturity": maturity}:
                method["maturity"] = round(maturity * share)
            case {"name": "layer_reset", "period": period}:
                method["period"] = max(1, round(period * share))
    return config


def _period(method: Mapping[str, Any], updates: int, published: int) -> int:
    """Updates between topology steps: for `paper` with the number of steps of a full run, for `code` as published.

    In a short run `code` has a shorter period, too, so that its networks have grown by half of the run.
    """
    if method["preset"] == "paper":
        return max(2, round(method["period"] * updates / published))
    return max(2, min(method["period"], updates // (2 * _GROWTH)))
