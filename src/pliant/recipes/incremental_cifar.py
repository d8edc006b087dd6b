"""Loss of plasticity on ever more classes of CIFAR-100, and the methods that keep it (Dohare et al. 2024, Fig. 2)."""

import copy
from collections.abc import Mapping
from typing import Any

from pliant import datasets
from pliant.experiment.configuration.seeds import read_seeds
from pliant.presets.incremental_cifar import PRESETS
from pliant.report.recipe import OF_NEXT_TASK, Line, Measure, PanelSpec, Recipe, Scale

CHOICES = {"data": (*datasets.names(), datasets.SYNTHETIC)}

_TASKS, _SEEDS = 20, 30  # published
_CLASSES = 5  # that a task adds
_RESET = "retrained_network"
_LABELS = {
    "retrained_network": "retrained network",
    "base_deep_learning_system": "base system",
    "continual_backpropagation": "continual backprop",
    "shrink_and_perturb": "shrink and perturb",
    "head_resetting": "head reset",
}

# The published network needs hours of a GPU; this one, with its images, minutes of a CPU.
_SHORT_SCALE, _SHORT_EPOCHS, _SHORT_IMAGES, _SHORT_WIDTH = 0.4, 10, 30, 4
_SHORT = {
    "epochs": _SHORT_EPOCHS, "train_images": _SHORT_IMAGES, "batch_size": _SHORT_IMAGES, "width": _SHORT_WIDTH,
}  # fmt: skip
_SHORT_DECAY = "3,6,8"  # at the same fractions of a task as 60, 120 and 160 of 200 epochs
_SHORT_HELD_OUT = {"synthetic": {"validation_images": 10, "test_images": 10}}

# Read off the figures that the authors publish with their code: percent, after 5, 10, ..., 100 classes.
_ACCURACY = {
    "retrained_network": (
        89.6, 85.8, 85.3, 85.2, 84.4, 83.4, 82.8, 82.5, 81.8, 81.2,
        80.7, 79.8, 79.2, 78.6, 78.0, 77.7, 77.0, 76.6, 76.3, 76.05,
    ),
    "base_deep_learning_system": (
        89.4, 87.7, 87.7, 86.5, 85.3, 84.1, 83.2, 82.5, 81.6, 80.9,
        79.9, 78.8, 77.7, 76.9, 75.8, 74.9, 73.7, 72.6, 72.0, 71.1,
    ),
    "continual_backpropagation": (
        89.1, 87.4, 87.6, 86.6, 85.2, 84.4, 83.3, 82.9, 82.0, 81.5,
        80.8, 80.1, 79.5, 78.75, 78.2, 77.8, 77.1, 76.6, 76.4, 76.1,
    ),
    "shrink_and_perturb": (
        89.3, 87.7, 87.5, 86.3, 84.9, 84.3, 82.9, 82.5, 81.6, 80.9,
        80.1, 79.1, 78.4, 77.9, 77.1, 76.4, 75.7, 75.1, 74.9, 74.5,
    ),
    "head_resetting": (
        89.8, 87.6, 87.7, 86.4, 85.1, 84.2, 83.3, 82.4, 81.7, 80.8,
        80.0, 79.1, 78.2, 77.4, 76.8, 76.1, 75.3, 74.5, 74.1, 73.7,
    ),
}  # fmt: skip
_RELATIVE: Mapping[str, Mapping[int, float]] = {
    "base_deep_learning_system": dict(enumerate((
        -0.2, 1.9, 2.4, 1.4, 0.9, 0.7, 0.4, 0.0, -0.2, -0.3,
        -0.8, -1.0, -1.5, -1.7, -2.3, -2.8, -3.4, -4.0, -4.3, -5.0,
    ), 1)),
    "continual_backpropagation": dict(enumerate((
        -0.5, 1.6, 2.4, 1.5, 0.8, 1.0, 0.5, 0.4, 0.1, 0.4,
        0.1, 0.3, 0.2, 0.1, 0.2, 0.1, 0.05, -0.07, 0.1, 0.07,
    ), 1)),
    "shrink_and_perturb": {20: -1.5},
    "head_resetting": {20: -2.4},
}  # fmt: skip

# Of networks at the beginnings of tasks; the authors' numbers of all methods begin alike.
_DORMANT: Mapping[str, Mapping[int, float]] = {
    "base_deep_learning_system": dict(enumerate((
        0.0, 0.0, 0.3, 1.6, 4.7, 9.8, 15.5, 20.7, 25.8, 29.7,
        33.3, 36.6, 39.6, 42.5, 45.2, 47.5, 50.0, 52.2, 53.9, 55.6,
    ), 1)),
    "continual_backpropagation": {4: 0.4, 6: 1.0, 20: 1.4},
    "shrink_and_perturb": {4: 1.6, 6: 4.3, 8: 6.5, 11: 8.2, 20: 7.6},
    "head_resetting": {4: 1.3, 6: 7.9, 10: 24.3, 15: 35.0, 20: 40.9},
}  # fmt: skip
_FIRST_RANKS = {1: 95.6, 2: 91.4, 3: 89.3, 4: 88.9}
_RANK: Mapping[str, Mapping[int, float]] = {
    "base_deep_learning_system": {
        **_FIRST_RANKS, 8: 89.7, 10: 88.5, 12: 87.0, 14: 84.6, 16: 82.6, 18: 80.0, 19: 78.6, 20: 75.4,
    },
    "continual_backpropagation": {**_FIRST_RANKS, 5: 89.4, 7: 90.5, 10: 91.6, 13: 92.3, 20: 92.65},
    "shrink_and_perturb": {**_FIRST_RANKS, 8: 89.8, 11: 88.4, 14: 87.4, 17: 88.1, 20: 89.4},
    "head_resetting": {**_FIRST_RANKS, 5: 90.1, 9: 91.2, 14: 90.4, 20: 89.7},
}  # fmt: skip
_FULL_WIDTH, _LAST_LAYER = 64, 8  # channels of the first layer, and of the last as a multiple
_TRAIN_MODE = True  # of the analysis, as published

_SHOWS = (
    "A residual network learns to tell five classes of images apart, then five more classes are added, and so on up to "
    "100. What was learned before helps at first; with plain backpropagation it does harm in the end: the network is "
    "worse than one that is reset at each addition (Dohare et al., Nature 2024, Fig. 2)."
)
_NOTES = (
    "Task k has the first 5 k classes. Accuracy: the largest of a task's epochs, on augmented test images, as "
    "published. Relative: minus that of the retrained network, seed by seed.",
    "All methods have a weight decay of 5e-4. Continual backprop: replacement rate 1e-5, maturity 1000. Shrink and "
    "perturb: noise of 1e-5. Head reset: new output layer at each task. Retrained network: all parameters new at each "
    "task.",
    "Dormant units and stable rank: of the network before a task, on images of the classes that the task adds; batch "
    "norm uses the statistics of these images. Dormant: not zero in less than 1 % of all places. Stable rank: of the "
    "features that the output layer reads, the number of singular values with 99 % of their sum, as a percentage of "
    "the features. The authors show these numbers after 5, 10, … classes.",
)
_SHORT_NOTE = (
    "In the paper the accuracy at 100 classes is 71.1 % (base system), 76.05 % (retrained network) and 76.1 % "
    "(continual backprop); at 15 classes the first two have 87.7 and 85.3 %."
)
_SMALL = (
    f"A task has {_SHORT_EPOCHS} epochs, published 200, with {_SHORT_IMAGES} images of each class, published 450, in "
    f"batches of {_SHORT_IMAGES}, published 90; the network has a sixteenth of the channels."
)
_OTHER_IMAGES = "The images are not those of CIFAR-100: {}."
_MADE_UP = "made-up images show that the parts work together, and not what the paper shows"


def make(full: bool = False, seeds: str | None = None, scale: float | None = None, data: str | None = None) -> Recipe:
    """The figure for a small network and short tasks; or the published figure.

    Args:
        full: the published network, images and epochs of a task.
        seeds: other seeds; 2 by default, or 30 with `full`.
        scale: fraction of the published number of tasks, and so of classes; by default 8 tasks, or 1 with `full`.
        data: images by the name of a data set, synthetic (made-up ones), or a folder;
            made-up ones by default, or CIFAR-100 with `full`.
    """
    seeds = seeds or (str(_SEEDS) if full else "2")
    scale = scale or (1.0 if full else _SHORT_SCALE)
    data = data or ("cifar100" if full else "synthetic")
    tasks = max(1, round(_TASKS * scale))
    is_published = full and data == "cifar100"
    small = {} if full else {**_SHORT, **_SHORT_HELD_OUT.get(data, {})}

    def config(preset: str) -> dict[str, Any]:
        made: dict[str, Any] = copy.deepcopy(PRESETS[preset])
        made["problem"] |= {"data": data, "tasks": tasks, **small}
        if not full:
            made["agent"]["decay_epochs"] = _SHORT_DECAY
            made["record_every"] = _CLASSES  # updates of an epoch of the first task
        return {**made, "seeds": seeds}

    def line(preset: str, numbers: Mapping[int, float]) -> Line:
        known = {task: value for task, value in numbers.items() if task <= tasks} if is_published else {}
        return Line(_LABELS[preset], config(preset), published=known)

    lines = {preset: line(preset, dict(enumerate(_ACCURACY[preset], 1))) for preset in _LABELS}
    relative = tuple(line(preset, numbers) for preset, numbers in _RELATIVE.items())
    accuracy = Measure("test_accuracy", "test accuracy (%)", 1, within="max", factor=100, unit="tasks")
    difference = Measure("test_accuracy", "relative accuracy (points)", 1, within="max", factor=100, unit="tasks")
    width = small.get("width", _FULL_WIDTH)
    dormant = Measure(f"{OF_NEXT_TASK}inactive_fraction", "dormant units (%)", 1, factor=100, unit="tasks")
    rank = Measure(f"{OF_NEXT_TASK}stable_rank", "stable rank (%)", 1, factor=100 / (_LAST_LAYER * width), unit="tasks")
    falls_short = [] if full else [_SMALL]
    if data != "cifar100":
        falls_short.append(_OTHER_IMAGES.format(_MADE_UP if data == "synthetic" else data))
    return Recipe(
        title="Incremental CIFAR-100" if data == "cifar100" else f"Incremental classes ({data})",
        shows=_SHOWS,
        x_label="tasks",
        panels={
            "incremental_cifar": (
                PanelSpec("Accuracy", accuracy, tuple(lines.values())),
                PanelSpec("Relative to the retrained network", difference, relative, relative_to=lines[_RESET]),
                PanelSpec("Dormant units", dormant, tuple(line(preset, _DORMANT[preset]) for preset in _DORMANT)),
                PanelSpec("Stable rank", rank, tuple(line(preset, _RANK[preset]) for preset in _RANK)),
            )
        },
        scale=Scale(tasks, _TASKS, len(read_seeds(seeds)), _SEEDS),
        notes=_NOTES if full else (*_NOTES, _SHORT_NOTE),
        falls_short=tuple(falls_short),
        edge="right",
        step_by_step=True,
        train_mode=_TRAIN_MODE,
    )
