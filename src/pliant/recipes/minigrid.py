"""Transfer through a curriculum of MiniGrid DoorKey, with and without continual backprop.

The claims are those of a public program of 2025: what agents that learned on 8x8 alone, on 5x5, 6x6 and 8x8, and on
these with continual backprop come to on sizes that they know and on 16x16, which none has seen.
"""

import copy

from pliant.presets.minigrid_doorkey import PRESETS
from pliant.report.recipe import Contrast, Evaluation, Line, Measure, Panel, Recipe

_LABELS = {
    "single": "8x8 alone",
    "ppo": "curriculum",
    "reference": "curriculum + continual backprop",
    "everywhere": "curriculum + continual backprop everywhere",
}
_SEEDS = {False: "10", True: "30"}
_ENVS = ("6x6", "8x8", "16x16")
_EPISODES = 100
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

_NOTES = (
    "Paper: one seed, one evaluation of 100 episodes; what it calls success rate is the mean return, where a success "
    "counts 1 - 0.9 t / T. On 16x16 its agents failed in 95, 13 and 4 episodes of 100: success rates of 0.05, 0.87 and "
    "0.96.",
    "Continual backprop: in the units of the two heads, one step a round of learning, begun anew with each task, as "
    "published. Everywhere: in all units, convolutions included, one step for each step of the optimizer, kept.",
)
_CURVES_NOTE = (
    "Success and return: of the episodes that ended in a bin. Ages: of the 64 units of each head, which are tanh "
    "units and so never dormant; the channels that feed them can be."
)


def make(full: bool = False, seeds: str | None = None, scale: float | None = None) -> Recipe:
    """Learning curves through the tasks, what becomes of the heads' units, and what the agents come to at the end.

    Args:
        full: 30 seeds.
        seeds: other seeds; 10 by default.
        scale: fraction of the published length of the tasks; 1 by default.
    """
    configs = {name: _scaled(preset, scale or 1.0, seeds or _SEEDS[full]) for name, preset in PRESETS.items()}
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
        Panel("Success", Measure("success", "episodes that succeed (%)", bin, factor=100), tuple(lines.values())),
        Panel("Return", Measure("return", "return of an episode", bin), tuple(lines.values())),
        Panel("Dormant units of both heads", dormant, tuple(lines.values()), y_limits=(0, 100)),
        Panel("Dormant channels of the convolutions", of_image, tuple(lines.values()), y_limits=(0, 100)),
        *(
            Panel(
                f"Age of the units, {head}", Measure("unit_age", age, bin, (group,), decimals=0), (lines["reference"],)
            )
            for head, group in zip(("policy head", "value head"), _HEADS)
        ),
    )
    evaluation = Evaluation(
        title="Transfer through DoorKey",
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
        notes=_NOTES if scale in (None, 1.0) else (f"Scaled down: {steps:,} frames of 1,986,560.", *_NOTES),
    )
    return Recipe(
        "PPO on MiniGrid DoorKey", "frames", {"minigrid": panels}, (_CURVES_NOTE,), edge="right",
        evaluations={"minigrid_transfer": evaluation},
    )  # fmt: skip


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
