"""Loss of plasticity on permuted images, and the methods that keep it (Dohare et al. 2024, Extended Data Fig. 1)."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from pliant import datasets
from pliant.experiment.configuration.seeds import read_seeds
from pliant.presets.permuted_mnist import PRESETS
from pliant.report.recipe import Line, Measure, PanelSpec, Recipe, Scale

CHOICES = {"data": (*datasets.names(), datasets.SYNTHETIC)}

_EXAMPLES = 48_000_000  # of a published run
_SEEDS = 10  # published
_TASK = 60_000  # examples of a published task
_SHORT_TASK, _SHORT_WIDTH, _SHORT_SCALE = 6_000, 100, 0.01875
_LAYERS = ("Dense_0", "Dense_1", "Dense_2")
_RATES = (0.01, 0.003, 0.001)
_EACH = None  # of the diagnostics, which are measured before each task: a mean over steps would mix two tasks

# Read off the figures that the authors publish with their code: 30 runs, accuracy in percent by task.
_AT = (2, 5, 10, 20, 50, 100, 200, 300, 400, 500, 600, 700, 799)
_PUBLISHED = {
    0.01: (94.65, 94.65, 94.5, 94.25, 93.87, 93.51, 93.01, 92.51, 92.01, 91.56, 91.05, 90.66, 90.25),
    0.003: (94.8, 95.10, 95.17, 95.13, 94.93, 94.68, 94.46, 94.37, 94.25, 94.12, 93.98, 93.85, 93.70),
    0.001: (93.8, 94.23, 94.54, 94.71, 94.83, 94.71, 94.55, 94.41, 94.33, 94.21, 94.12, 94.04, 93.97),
}
_OF_WIDTHS = {
    100: {2: 93.2, 5: 92.9, 10: 92.2, 20: 91.3, 30: 90.6, 50: 89.7, 75: 88.8, 100: 88.1},
    1000: {5: 94.85, 10: 94.79, 30: 94.51, 50: 94.24, 75: 94.08, 100: 93.97, 149: 93.75},
    10_000: {2: 95.16, 10: 95.66, 30: 95.95, 40: 95.98, 75: 95.90, 149: 95.79},
}
_OF_TASK_LENGTHS = {
    10_000: {0: 88.6, 1_000_000: 87.9, 2_000_000: 87.5, 5_000_000: 86.7, 8_000_000: 85.7, 10_000_000: 85.0},
    100_000: {0: 95.88, 12_000_000: 94.83, 24_000_000: 94.14, 36_000_000: 93.47, 47_000_000: 92.84},
    1_000_000: {0: 99.17, 12_000_000: 99.09, 24_000_000: 99.02, 36_000_000: 98.92, 47_000_000: 98.83},
}

_SHOWS = (
    "A network classifies images in one pass over a task, then all pixels are permuted and the next task begins. All "
    "tasks are equally hard. With plain backpropagation the accuracy of a task falls with the number of tasks before "
    "it (Dohare et al., Nature 2024, Extended Data Fig. 1)."
)
_SHORT_NOTES = (
    "Accuracy: of the prediction before each update, mean of a task. Dead units, effective rank and weights: before a "
    "task, on its first 2000 examples; rank in percent of the units, mean of the three layers.",
    "Learning rate 0.003 where no other is given. L2: weight decay 1e-4. L2 init: strength 1e-4. Shrink and perturb: "
    "weight decay 1e-4 and noise of 1e-5. Continual backprop: replacement rate 1e-4. ReDo: threshold 0.1, every 1000 "
    "updates.",
    "The paper has 2000 units a layer, tasks of 60,000 images of MNIST, and 800 tasks. It reports accuracies that fall "
    "from 94.7 to 90.3 % (learning rate 0.01), from 95.2 to 93.7 % (0.003) and from 94.8 to 94.0 % (0.001), and with "
    "100 units a layer from 93.2 % to 88.1 % within 100 tasks.",
)


def make(full: bool = False, seeds: str | None = None, scale: float | None = None, data: str | None = None) -> Recipe:
    """The figure for small networks and short tasks; or the published figures.

    Args:
        full: the published networks of 2000 units and tasks of 60,000 images; other widths and lengths of a task.
        seeds: other seeds; 6 by default, or 10 with `full`.
        scale: fraction of the published length of the runs; by default 150 tasks of 6,000 images, or 1 with `full`.
        data: images by the name of a data set, synthetic (made-up ones), or a folder;
            Fashion-MNIST by default, or MNIST with `full`.
    """
    seeds = seeds or (str(_SEEDS) if full else "6")
    scale = scale or (1.0 if full else _SHORT_SCALE)
    data = data or ("mnist" if full else "fashion_mnist")
    examples = max(2 * (_TASK if full else _SHORT_TASK), round(_EXAMPLES * scale))
    return Recipe(
        title="Permuted MNIST" if data == "mnist" else f"Permuted images ({data})",
        shows=_SHOWS,
        x_label="images",
        panels=_published(examples, seeds, data) if full else {"permuted_mnist": _short(examples, seeds, data)},
        scale=Scale(examples, _EXAMPLES, len(read_seeds(seeds)), _SEEDS),
        notes=() if full else _SHORT_NOTES,
    )


def _config(
    preset: str, examples: int, seeds: str, data: str, task: int, width: int | None = None, sweep: Any = None
) -> dict[str, Any]:
    """A preset with another length, another width, or other swept values."""
    config = copy.deepcopy(PRESETS[preset])
    config["problem"] |= {"data": data, "change_every": task, "tasks": max(2, round(examples / task))}
    if width is not None:
        config["problem"]["hidden_units"] = width
    return {**config, "seeds": seeds, "record_every": task, "sweep": config["sweep"] if sweep is None else sweep}


def _short(examples: int, seeds: str, data: str) -> tuple[PanelSpec, ...]:
    def config(preset: str, sweep: Mapping[str, list[float]], **method: Any) -> dict[str, Any]:
        made = _config(preset, examples, seeds, data, _SHORT_TASK, _SHORT_WIDTH, sweep)
        return {**made, "methods": [method]} if method else made

    rates = config("bp/std_net", {"agent.learning_rate": list(_RATES)})
    backprop = [Line(f"backprop, rate {rate:g}", rates, {"agent.learning_rate": rate}) for rate in _RATES]
    decays = "method.weight_decay"
    replacing = "method.replacement_rate"
    strengths = "method.strength"
    noise = "method.perturb_scale"
    methods = (
        Line("L2", config("l2", {decays: [1e-3, 1e-4, 1e-5]}), {decays: 1e-4}),
        Line("L2 init", config("l2", {strengths: [1e-3, 1e-4, 1e-5]}, name="l2_init"), {strengths: 1e-4}),
        Line("ReDo", config("l2", {}, name="redo", threshold=0.1, period=1000)),
        Line("continual backprop", config("cbp", {replacing: [1e-4, 1e-5, 1e-6]}), {replacing: 1e-4}),
        Line("shrink and perturb", config("snp", {noise: [1e-5]}), {noise: 1e-5}),
    )
    accuracy = Measure("accuracy", "accuracy (%)", _SHORT_TASK, factor=100)
    everything = (*backprop, *methods)
    return (
        PanelSpec("Backpropagation loses plasticity", accuracy, tuple(backprop)),
        PanelSpec("Methods, learning rate 0.003", accuracy, (backprop[1], *methods)),
        PanelSpec("Dead units", Measure("dormant_fraction", "dead units (%)", _EACH, factor=100), everything),
        PanelSpec(
            "Effective rank",
            Measure("effective_rank", "effective rank (%)", _EACH, _LAYERS, factor=100 / _SHORT_WIDTH),
            everything,
        ),
        PanelSpec("Weights", Measure("weight_magnitude", "mean magnitude", _EACH, decimals=4), everything),
    )


def _published(examples: int, seeds: str, data: str) -> dict[str, tuple[PanelSpec, ...]]:
    def config(preset: str, task: int = _TASK) -> dict[str, Any]:
        return _config(preset, examples, seeds, data, task)

    def known(numbers: Mapping[int, float]) -> dict[int, float]:
        return {x: y for x, y in numbers.items() if x < examples and data == "mnist"}

    def by_task(numbers: Mapping[int, float]) -> dict[int, float]:
        return known({task * _TASK: value for task, value in numbers.items()})

    accuracy = Measure("accuracy", "accuracy (%)", _TASK, factor=100)
    backprop = {
        rate: Line(
            f"backprop, rate {rate:g}",
            config("bp/std_net"),
            {"agent.learning_rate": rate},
            published=by_task(dict(zip(_AT, _PUBLISHED[rate]))),
        )
        for rate in _RATES
    }
    methods = (
        Line("Adam", config("adam"), {"agent.learning_rate": 1e-4}),
        Line("L2", config("l2"), {"method.weight_decay": 1e-4}),
        Line("shrink and perturb", config("snp"), {"method.perturb_scale": 1e-5}),
        Line("continual backprop", config("cbp"), {"method.replacement_rate": 1e-6}),
    )
    # The paper's numbers are accuracies.
    inside = (dataclasses.replace(backprop[0.003], published={}), *methods)
    rank = Measure("effective_rank", "effective rank (%)", _EACH, _LAYERS, factor=100 / 2000)
    dead = Measure("dormant_fraction", "dead units (%)", _EACH, factor=100)
    weights = Measure("weight_magnitude", "mean magnitude", _EACH, decimals=4)
    widths = tuple(
        Line(f"{width:,} units", config(f"bp/width_{width}"), published=by_task(numbers))
        for width, numbers in _OF_WIDTHS.items()
    )
    lengths = tuple(
        Line(f"every {task:,}", config(f"bp/rate_{task}", task), published=known(numbers))
        for task, numbers in _OF_TASK_LENGTHS.items()
    )
    return {
        "permuted_mnist": (
            PanelSpec("Learning rates", accuracy, tuple(backprop.values())),
            PanelSpec("Widths, learning rate 0.003", accuracy, widths),
            PanelSpec("Lengths of a task", Measure("accuracy", "accuracy (%)", 1_000_000, factor=100), lengths),
        ),
        "permuted_mnist_methods": (
            PanelSpec("Accuracy", accuracy, (backprop[0.003], *methods)),
            PanelSpec("Weights", weights, inside),
            PanelSpec("Dead units", dead, inside),
            PanelSpec("Effective rank", rank, inside),
        ),
    }
