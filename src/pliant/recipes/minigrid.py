"""Transfer through a curriculum of MiniGrid DoorKey, with and without continual backprop.

The claims come from a public program of 2025. Its agents learn on 8x8 alone, or on 5x5, 6x6 and 8x8 without and with
continual backprop. They are tested on the sizes of training and on 16x16, a size without training.
"""

import copy

from pliant.experiment.configuration.seeds import read_seeds
from pliant.presets.minigrid_doorkey import PRESETS
from pliant.report.recipe import Contrast, Evaluation, Line, Measure, PanelSpec, Recipe, Scale

_LABELS = {
    "single": "8x8 alone",
    "ppo": "curriculum",
    "reference": "curriculum + continual backprop",
    "everywhere": "curriculum + continual backprop everywhere",
}
_SEEDS = {False: "10", True: "30"}
_ENVS = ("6x6", "8x8", "16x16")
_EPISODES = 100
_STEPS = 1_986_560  # frames of all tasks, published
_ROUND = 2048
_BIN = 10 * _ROUND  # frames
_HEADS = ("policy/Dense_0", "value/Dense_0")
_CONVOLUTIONS = tuple(f"image/Conv_{layer}" for layer in range(3))

# Mean returns of 100 episodes of one seed, which the authors call success rates.
_PUBLISHED = {
    "single": {"6x6": 0.25, "8x8": 0.13, "16x16": 0.05},
    "ppo": {"6x6": 0.93, "8x8": 0.94, "16x16": 0.77},
    "reference": {"6x6": 0.94, "8x8": 0.95, "16x16": 0.85},
}

_SHOWS = (
    "An agent fetches a key, unlocks a door and walks to the goal, in rooms of 5x5, then 6x6, then 8x8 cells, without "
    "and with continual backprop; another agent learns on 8x8 alone. The panels show success, return, dormant units "
    "and the age of units."
)
_TRANSFER_SHOWS = (
    "Success and return of the trained agents in rooms of 6x6 and 8x8 cells, and of 16x16 cells, a size that none has "
    "seen."
)
_METHODS = (
    "Continual backprop: in the units of the two heads, one step a round of learning, its state reset with each task, "
    "as published. Everywhere: in all units, convolutions included, one step for each step of the optimizer, its state "
    "kept."
)
_TRANSFER_NOTES = (
    "Paper: one seed, one evaluation of 100 episodes. It calls the mean return success rate; a success in t of T steps "
    "has a return of 1 - 0.9 t / T. On 16x16 its agents failed in 95, 13 and 4 episodes of 100: success rates of 0.05, "
    "0.87 and 0.96.",
    _METHODS,
)
_NOTES = (
    "Success and return: means over the episodes that began in a bin. Ages: of the 64 units of each head. These are "
    "tanh units and so never dormant; the channels that feed them can be.",
    _METHODS,
)
_NO_CURVES = "The public program has no learning curves, so no number of its stands beside ours."


def make(full: bool = False, seeds: str | None = None, scale: float | None = None) -> Recipe:
    """Learning curves through the tasks with the heads' units, and evaluations of the trained agents.

    Args:
        full: 30 seeds.
        seeds: other seeds; 10 by default.
        scale: fraction of the published length of the tasks; 1 by default.
    """
    seeds = seeds or _SEEDS[full]
    configs = {name: _scaled(preset, scale or 1.0, seeds) for name, preset in PRESETS.items()}
    lines = {name: Line(label, configs[name]) for name, label in _LABELS.items()}
    steps = int(configs["ppo"]["problem"]["tasks"].rpartition(":")[2])
    bin = max(_ROUND, min(_BIN, steps // 20 // _ROUND * _ROUND))
    for config in configs.values():
        config["record_every"] = min(config["record_every"], bin)
    dormant, of_image = (
        Measure("dormant_fraction", f"dormant {what} (%)", bin, groups, factor=100, decimals=1)
        for what, groups in (("units", _HEADS), ("channels", _CONVOLUTIONS))
    )
    age = "mean age (rounds of learning)"
    panels = (
        PanelSpec("Success", Measure("success", "episodes that succeed (%)", bin, factor=100), tuple(lines.values())),
        PanelSpec("Return", Measure("return", "return of an episode", bin), tuple(lines.values())),
        PanelSpec("Dormant units of both heads", dormant, tuple(lines.values()), y_limits=(0, 100)),
        PanelSpec("Dormant channels of the convolutions", of_image, tuple(lines.values()), y_limits=(0, 100)),
        *(
            PanelSpec(
                f"Age of the units, {head}", Measure("unit_age", age, bin, (group,), decimals=0), (lines["reference"],)
            )
            for head, group in zip(("policy head", "value head"), _HEADS)
        ),
    )
    evaluation = Evaluation(
        title="Transfer through DoorKey",
        shows=_TRANSFER_SHOWS,
        lines=tuple(lines.values()),
        envs=_ENVS,
        episodes=_EPISODES,
        published={_LABELS[name]: numbers for name, numbers in _PUBLISHED.items()},
        side_by_side=16,
        contrasts=(
            Contrast(_LABELS["ppo"], _LABELS["single"], _ENVS[-1], 0.72),
            Contrast(_LABELS["reference"], _LABELS["ppo"], _ENVS[-1], 0.08),
            Contrast(_LABELS["everywhere"], _LABELS["ppo"], _ENVS[-1]),
        ),
        notes=_TRANSFER_NOTES,
    )
    return Recipe(
        title="PPO on MiniGrid DoorKey",
        shows=_SHOWS,
        x_label="frames",
        panels={"minigrid": panels},
        scale=Scale(steps, _STEPS, len(read_seeds(seeds)), published_seeds=1),
        notes=_NOTES,
        falls_short=(_NO_CURVES,),
        edge="right",
        evaluations={"minigrid_transfer": evaluation},
    )


def _scaled(preset: dict, scale: float, seeds: str) -> dict:
    """The preset with other seeds, and its tasks shortened to whole rounds of learning."""
    config = copy.deepcopy(preset)
    config["seeds"] = seeds
    tasks, before = [], 0
    for task in config["problem"]["tasks"].split(","):
        name, _, until = task.partition(":")
        before = max(before + _ROUND, round(int(until) * scale / _ROUND) * _ROUND)
        tasks.append(f"{name}:{before}")
    config["problem"]["tasks"] = ",".join(tasks)
    return config
