"""Loss of plasticity on pairs of classes of ImageNet, and the methods that keep it (Dohare et al. 2024, Fig. 1)."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from pliant import datasets
from pliant.experiment.configuration.seeds import read_seeds
from pliant.presets.continual_imagenet import PRESETS
from pliant.report.recipe import Line, Measure, PanelSpec, Recipe, Scale

CHOICES = {"data": (*datasets.names(), datasets.SYNTHETIC)}

_TASKS, _SEEDS = 5000, 30  # published
_BIN = 50  # tasks, published
_LINEAR = {"linear classifier (published)": 77.1}
_RATES = (0.01, 0.001, 0.0001)

# A task of 250 epochs takes minutes on a CPU; the made-up images suffice for one of twenty small epochs.
_SHORT_SCALE, _SHORT_BIN, _SHORT_BATCH, _SHORT_EPOCHS = 0.02, 10, 20, 20
_SHORT = {
    "epochs": _SHORT_EPOCHS, "train_images": 60, "batch_size": _SHORT_BATCH, "channels": 8, "hidden_units": 32,
}  # fmt: skip
_SHORT_TEST = {"synthetic": 10, "digits": 27}  # images of a class; other data have 100

# Read off the figures that the authors publish with their code: 30 runs, accuracy in percent by task, bins of 50.
_AT = (0, 50, 100, 200, 300, 500, 700, 850, 1000, 1200, 1400, 1600, 1800, 1950)
_BACKPROP = {
    0.01: (84.3, 84.2, 85.2, 84.4, 84.0, 82.9, 82.2, 82.6, 81.5, 80.3, 78.4, 77.9, 75.5, 74.0),
    0.001: (83.2, 80.7, 80.0, 78.5, 78.7, 78.8, 78.3, 79.4, 79.0, 78.7, 78.5, 78.9, 78.6, 78.7),
    0.0001: (None, None, None, 78.5, 80.2, 77.6, 76.9, 77.9, 77.5, 77.4, 77.6, 78.3, 78.3, 78.3),  # below the axis
}
_AT_OF_METHODS = (0, 100, 200, 300, 500, 800, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 4950)
_METHODS = {
    "cbp": (84.5, 85.7, 86.3, 87.1, 87.6, 88.1, 88.4, 88.9, 88.8, 89.4, 89.5, 90.0, 89.8, 90.0, 90.45),
    "l2": (85.2, 86.2, 86.6, 87.0, 87.1, 87.4, 87.7, 88.1, 88.0, 88.5, 88.7, 89.0, 88.7, 88.7, 89.15),
    "snp": (84.3, 84.7, 85.5, 86.4, 86.7, 87.2, 87.6, 88.0, 87.9, 88.6, 88.6, 89.0, 88.8, 88.8, 89.2),
}
_FIRST = {  # of single tasks, from the first on
    0.01: (89.4, 86.0, 86.8, 87.1, 86.3, 83.4, 84.6, 83.7, 85.4, 84.1),
    0.001: (73.8, 81.2, 87.4, 88.3, 88.4, 85.7, 86.4, 86.2, 86.7, 85.1),
}
_LABELS = {"l2": "L2", "snp": "shrink and perturb", "cbp": "continual backprop"}

_SHOWS = (
    "A network learns to tell two classes of images apart, then two other classes, and so on. All tasks are equally "
    "hard on average. With plain backpropagation the accuracy on test images falls with the number of tasks before "
    "(Dohare et al., Nature 2024, Fig. 1)."
)
_NOTES = (
    "Accuracy: on the test images of the two classes, after the last epoch of a task.",
    "Backpropagation and all methods set the output layer to zero before each task. Learning rate 0.01 where no other "
    "is given. L2: learning rate 0.03, weight decay 3e-6. Shrink and perturb: weight decay 1e-5 and noise of 1e-5. "
    "Continual backprop: replacement rate 3e-4.",
)
_SHORT_NOTE = (
    "In the paper the accuracy of backpropagation falls from 84 to 74 % in 2,000 tasks (learning rate 0.01). That of "
    "continual backprop rises from 84.5 to 90.5 % in 5,000."
)
_SMALL = (
    f"A task has {_SHORT_EPOCHS} epochs of 120 images in batches of {_SHORT_BATCH}, published 250 epochs of 1,200 in "
    "batches of 100; the network has a quarter of the channels and units."
)
_OTHER_IMAGES = "The images are not those of ImageNet: {}."
_MADE_UP = "made-up images of 20 classes show that the parts work together, and not what the paper shows"


def make(full: bool = False, seeds: str | None = None, scale: float | None = None, data: str | None = None) -> Recipe:
    """The figure for a small network and short tasks; or the published figures.

    Args:
        full: the published network, images and epochs of a task.
        seeds: other seeds; 3 by default, or 30 with `full`.
        scale: fraction of the published number of tasks; by default 100 tasks, or 1 with `full`, where backpropagation
            has 2,000 and the methods 5,000 tasks.
        data: images by the name of a data set, synthetic (made-up ones), or a folder;
            made-up ones by default, or ImageNet with `full`.
    """
    seeds = seeds or (str(_SEEDS) if full else "3")
    scale = scale or (1.0 if full else _SHORT_SCALE)
    data = data or ("imagenet32" if full else "synthetic")
    tasks = _scaled(_TASKS, scale)
    small = {} if full else {**_SHORT, "test_images": _SHORT_TEST.get(data, 100)}
    is_published = full and data == "imagenet32"

    def line(label: str, preset: str, numbers: Mapping[int, float], rate: float | None = None) -> Line:
        config: dict[str, Any] = copy.deepcopy(PRESETS[preset])
        in_all = _scaled(config["problem"]["tasks"], scale) if full else tasks
        config["problem"] |= {"data": data, "tasks": in_all, **small}
        config |= {"seeds": seeds, **({} if full else {"record_every": _SHORT_EPOCHS * 120 // _SHORT_BATCH})}
        known = {task: value for task, value in numbers.items() if task < in_all} if is_published else {}
        return Line(label, config, {} if rate is None else {"agent.learning_rate": rate}, published=known)

    backprop = [line(f"backprop, rate {rate:g}", "bp", _by_task(_AT, _BACKPROP[rate]), rate) for rate in _RATES]
    methods = [line(label, preset, _by_task(_AT_OF_METHODS, _METHODS[preset])) for preset, label in _LABELS.items()]
    first = [
        line(f"backprop, rate {rate:g}", "bp", _by_task(range(10), numbers), rate) for rate, numbers in _FIRST.items()
    ]
    of_backprop = int(backprop[0].config["problem"]["tasks"])
    bin = min(_BIN if full else _SHORT_BIN, of_backprop)
    accuracy = Measure("test_accuracy", "test accuracy (%)", bin, factor=100, unit="tasks")
    single = Measure("test_accuracy", "test accuracy of a task (%)", 1, factor=100, unit="tasks")
    linear = _LINEAR if is_published else {}
    rates = PanelSpec("Backpropagation", accuracy, tuple(backprop), (70, 90) if is_published else None, across=linear)
    panels = (
        PanelSpec("First tasks", single, tuple(first), x_limits=(0, 9), across=linear),
        rates,
        PanelSpec("Methods", accuracy, (backprop[0], *methods), (82, 92) if is_published else None),
    )
    falls_short = [] if full else [_SMALL]
    if data != "imagenet32":
        falls_short.append(_OTHER_IMAGES.format(_MADE_UP if data == "synthetic" else data))
    return Recipe(
        title="Continual ImageNet" if data == "imagenet32" else f"Continual pairs of classes ({data})",
        shows=_SHOWS,
        x_label="tasks",
        panels={"continual_imagenet": panels if full else panels[1:]},
        scale=Scale(tasks, _TASKS, len(read_seeds(seeds)), _SEEDS),
        notes=_NOTES if full else (*_NOTES, _SHORT_NOTE),
        falls_short=tuple(falls_short),
        step_by_step=True,
    )


def _scaled(tasks: int, scale: float) -> int:
    return max(2, round(tasks * scale))


def _by_task(tasks: Iterable[int], values: Iterable[float | None]) -> dict[int, float]:
    return {task: value for task, value in zip(tasks, values, strict=True) if value is not None}
