"""Loss of plasticity, and its cure, on slowly-changing regression (Dohare et al. 2024, Extended Data Fig. 2)."""

import copy
from typing import Any

from pliant.experiment.configuration.seeds import read_seeds
from pliant.presets.slowly_changing_regression import ACTIVATIONS, PRESETS
from pliant.report.recipe import Line, Measure, PanelSpec, Recipe, Scale

_BIN = 20_000
_LAST = 980_000
_EXAMPLES = 1_000_000  # of a published run
_SEEDS = 100  # published
_ERROR = Measure("loss", "squared error", _BIN)

# Read off the figure that the authors publish with their code, to about 0.005: 100 runs, bins of 20,000 examples,
# standard errors of 0.03 to 0.05.
_AT = (0, *range(100_000, 1_000_000, 100_000), _LAST)
_PUBLISHED = {
    ("relu", 0.01): (0.62, 0.83, 1.01, 1.08, 1.18, 1.28, 1.27, 1.29, 1.20, 1.28, 1.19),
    ("relu", 0.003): (0.71, 0.72, 0.83, 0.91, 0.91, 0.97, 1.06, 1.12, 1.05, 1.10, 1.07),
    ("relu", 0.001): (0.84, 0.74, 0.77, 0.84, 0.81, 0.85, 0.85, 0.93, 0.84, 0.89, 0.86),
    ("tanh", 0.01): (0.43, 0.61, 0.71, 0.78, 0.80, 0.87, 0.88, 0.93, 0.85, 0.91, 0.89),
    ("tanh", 0.003): (0.60, 0.65, 0.72, 0.79, 0.82, 0.90, 0.89, 0.94, 0.86, 0.96, 0.92),
    ("tanh", 0.001): (0.80, 0.75, 0.77, 0.79, 0.78, 0.81, 0.82, 0.89, 0.84, 0.88, 0.84),
    ("linear", 0.01): (0.87, 0.89, 0.91, 0.91, 0.91, 0.91, 0.89, 0.92, 0.85, 0.90, 0.87),
}

# An independent simulation of the same protocol in C, 100 runs: first and last bin.
_SIMULATED = {
    ("relu", 0.01): (0.656, 1.307), ("relu", 0.003): (0.706, 1.137), ("relu", 0.001): (0.837, 0.962),
    ("tanh", 0.01): (0.415, 0.940), ("tanh", 0.003): (0.610, 0.953), ("tanh", 0.001): (0.808, 0.908),
    ("sigmoid", 0.01): (0.717, 0.97), ("sigmoid", 0.003): (0.915, 0.893), ("sigmoid", 0.001): (1.201, 0.871),
    ("leaky_relu", 0.01): (0.652, 1.266), ("leaky_relu", 0.003): (0.706, 1.147), ("leaky_relu", 0.001): (0.838, 0.931),
    ("elu", 0.01): (0.628, 0.796), ("elu", 0.003): (0.727, 0.786), ("elu", 0.001): (0.844, 0.822),
    ("swish", 0.01): (0.613, 1.48), ("swish", 0.003): (0.720, 0.971), ("swish", 0.001): (0.865, 0.858),
    ("linear", 0.01): (0.889, 0.939), ("linear", 0.003): (0.846, 0.896), ("linear", 0.001): (0.907, 0.964),
}  # fmt: skip
_SIMULATED_L2 = {1e-4: (0.658, 1.185), 1e-3: (0.654, 0.955), 1e-2: (0.667, 0.823), 1e-1: (0.898, 1.296)}
_SIMULATED_PERTURB = {1e-4: (0.68, 0.59), 1e-3: (0.67, 0.60), 1e-2: (0.69, 0.67)}

_SHOWS = (
    "A network of 5 ReLU units follows a target whose inputs drift, for a million examples. Backpropagation loses "
    "plasticity: its error grows. Methods that reinitialize units or shrink weights keep the error low (Dohare et al., "
    "Nature 2024, Extended Data Fig. 2)."
)
_NOTES = (
    "Squared error in bins of 20,000 examples. The paper: means over 100 runs, read off the authors' figure to 0.01. "
    "The independent simulation: the same protocol in C, 100 runs. Both have standard errors of 0.03 to 0.05.",
    "L2: weight decay of 0.01. Shrink and perturb: the same, and noise of 0.001 after each step. Continual backprop: "
    "replacement rate of 0.0001. All with learning rate 0.01.",
)


def make(full: bool = False, seeds: str | None = None, scale: float | None = None) -> Recipe:
    """The figure for ReLU networks; or all figures.

    Args:
        full: all published configurations (seven activations, SGD and Adam; L2, shrink and perturb and continual
            backprop with all their strengths; one bit flipping at a time), 100 seeds.
        seeds: other seeds; 30 by default, or 100 with `full`.
        scale: fraction of the published length of the runs; 1 by default.
    """
    seeds = seeds or (str(_SEEDS) if full else "30")
    sized = {name: _sized(preset, seeds, scale or 1.0) for name, preset in PRESETS.items()}
    examples = sized["sgd/bp/relu"]["problem"]["examples"]
    return Recipe(
        title="Slowly-changing regression",
        shows=_SHOWS,
        x_label="examples",
        panels=_full(sized) if full else {"regression": _short(sized)},
        scale=Scale(examples, _EXAMPLES, len(read_seeds(seeds)), _SEEDS),
        notes=_NOTES[:1] if full else _NOTES,
    )


def _sized(preset: dict[str, Any], seeds: str, scale: float) -> dict[str, Any]:
    config = copy.deepcopy(preset)
    config["seeds"] = seeds
    config["problem"]["examples"] = max(_BIN, round(config["problem"]["examples"] * scale / _BIN) * _BIN)
    return config


def _backprop(presets: dict[str, Any], activation: str, learning_rate: float, optimizer: str = "sgd") -> Line:
    label = f"{'linear' if activation == 'linear' else 'backprop'} {learning_rate:g}"
    known = optimizer == "sgd"
    preset = presets[f"{optimizer}/bp/{activation}"]
    numbers = dict(zip(_AT, _PUBLISHED.get((activation, learning_rate), ()))) if known else {}
    return Line(
        label,
        preset,
        {"agent.learning_rate": learning_rate},
        published={x: y for x, y in numbers.items() if x < preset["problem"]["examples"]},
        simulated=_ends(_SIMULATED.get((activation, learning_rate))) if known else {},
    )


def _ends(pair: tuple[float, float] | None) -> dict[int, float]:
    return dict(zip((0, _LAST), pair)) if pair else {}


def _only(config: dict[str, Any], name: str, value: float) -> dict[str, Any]:
    """A preset with one value of its sweep."""
    return {**config, "sweep": {name: [value]}}


def _short(presets: dict[str, Any]) -> tuple[PanelSpec, ...]:
    linear = _backprop({"sgd/bp/linear": _only(presets["sgd/bp/linear"], "agent.learning_rate", 0.01)}, "linear", 0.01)
    backprop = [_backprop(presets, "relu", learning_rate) for learning_rate in (0.01, 0.003, 0.001)]
    methods = [
        ("L2", "sgd/bp/relu_wd", "method.weight_decay", 1e-2, _SIMULATED_L2[1e-2]),
        ("shrink & perturb", "sgd/bp/relu_snp", "method.perturb_scale", 1e-3, _SIMULATED_PERTURB[1e-3]),
        ("continual backprop", "sgd/cbp/relu", "method.replacement_rate", 1e-4, None),
    ]
    lines = [
        Line(label, _only(presets[preset], name, value), {name: value}, simulated=_ends(simulated))
        for label, preset, name, value, simulated in methods
    ]
    return (
        PanelSpec("Backpropagation loses plasticity", _ERROR, (*backprop, linear), (0.4, 1.5)),
        PanelSpec("Methods that keep it, learning rate 0.01", _ERROR, (backprop[0], *lines, linear), (0.4, 1.5)),
    )


def _full(presets: dict[str, Any]) -> dict[str, tuple[PanelSpec, ...]]:
    figures = {}
    for optimizer in ("sgd", "adam"):
        for kind in ("bp", "wd", "snp", "cbp"):
            figures[f"{optimizer}_{kind}"] = _for_all_activations(presets, kind, optimizer)
        figures[f"{optimizer}_5m"] = (_five_million(presets, optimizer),)
    figures["flip_one"] = _one_bit_flips(presets)
    return figures


def _for_all_activations(presets: dict[str, Any], kind: str, optimizer: str) -> tuple[PanelSpec, ...]:
    title = {"bp": "backprop", "wd": "L2", "snp": "shrink & perturb", "cbp": "continual backprop"}[kind]
    linear = _backprop(presets, "linear", 0.01, optimizer)
    panels = []
    for activation in ACTIVATIONS:
        if kind == "bp":
            lines = tuple(_backprop(presets, activation, s, optimizer) for s in (0.01, 0.003, 0.001))
        else:
            lines = _strengths(presets, kind, activation, optimizer)
        panels.append(PanelSpec(f"{title}, {activation}, {optimizer}", _ERROR, (*lines, linear)))
    return tuple(panels)


def _strengths(presets: dict[str, Any], kind: str, activation: str, optimizer: str) -> tuple[Line, ...]:
    """A line for each strength of a method."""
    preset = presets[f"{optimizer}/cbp/{activation}" if kind == "cbp" else f"{optimizer}/bp/{activation}_{kind}"]
    ((name, values),) = preset["sweep"].items()
    word = {"wd": "weight decay", "snp": "noise", "cbp": "rate"}[kind]
    simulated = {"wd": _SIMULATED_L2, "snp": _SIMULATED_PERTURB}.get(kind, {})
    known = simulated if (activation, optimizer) == ("relu", "sgd") else {}
    return tuple(Line(f"{word} {v:g}", preset, {name: v}, simulated=_ends(known.get(v))) for v in values)


def _five_million(presets: dict[str, Any], optimizer: str) -> PanelSpec:
    preset = presets[f"{optimizer}/bp/5m"]
    # The preset sweeps the activations, each with its program: a line takes one.
    lines = [Line(a, {**preset, "problem": {**preset["problem"], "activation": a}, "sweep": {}}) for a in ACTIVATIONS]
    linear = Line("linear 0.003", presets[f"{optimizer}/bp/linear_1"])
    return PanelSpec(f"backprop, learning rate 0.001, {optimizer}", _ERROR, (*lines, linear))


def _one_bit_flips(presets: dict[str, Any]) -> tuple[PanelSpec, ...]:
    panels = []
    for activation in (*ACTIVATIONS, "linear"):
        preset = presets[f"flip_one/{activation}"]
        lines = tuple(
            Line(f"backprop {s:g}", preset, {"agent.learning_rate": s}) for s in preset["sweep"]["agent.learning_rate"]
        )
        panels.append(PanelSpec(f"one bit flips, {activation}", _ERROR, lines))
    return tuple(panels)
