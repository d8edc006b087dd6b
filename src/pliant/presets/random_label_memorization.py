"""The published program's configurations of Random Label MNIST, by optimizer and agent: its grids, with three seeds.

Its shrink and perturb adds fresh initial weights in place of Gaussian noise, and is left out. Its ReDo returns units to
their initial weights, where this one draws fresh weights. Its continual backpropagation draws them by Kaiming's bound.
"""

from typing import Any

_TASK = 1200 * 400  # examples
_DIAGNOSTICS = ("weight_magnitude", "dormant_fraction", "effective_rank")
_STRENGTHS = [1e-2, 1e-3, 1e-4, 1e-5]

_CONTINUAL_BACKPROP = {
    "name": "continual_backprop",
    "utility": "adaptable_contribution",
    "decay_rate": 0.99,
    "maturity": 100,
    "budget": "bernoulli",
    "initializer": "kaiming",
    "max_per_step": 10,  # a tenth of 100 units
}
_METHODS: dict[str, tuple[tuple[dict[str, Any], ...], dict[str, list[float]]]] = {
    "base": ((), {}),
    "l2": (({"name": "l2"},), {"method.weight_decay": _STRENGTHS}),
    "l2_init": (({"name": "l2_init", "penalty": "program"},), {"method.strength": _STRENGTHS}),
    "cbp": ((_CONTINUAL_BACKPROP,), {"method.replacement_rate": [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]}),
    "redo": (({"name": "redo", "period": 780},), {"method.threshold": [0.0, 0.01, 0.1]}),
}
_RATES = {"sgd": [1e-2, 1e-3], "adam": [1e-3, 1e-4]}


def _run(optimizer: str, method: str) -> dict[str, Any]:
    methods, sweep = _METHODS[method]
    # Where units are replaced, the program counts the steps of Adam for each weight.
    used = "per_weight_adam" if (optimizer, method) == ("adam", "cbp") else optimizer
    return {
        "problem": {"name": "random_label_memorization"},
        "agent": {"name": "sgd", "optimizer": used},
        "methods": list(methods),
        "diagnostics": [{"name": name} for name in _DIAGNOSTICS],
        "seeds": "3",
        "sweep": {"agent.learning_rate": _RATES[optimizer], **sweep},
        "record_every": _TASK,
    }


PRESETS = {f"{optimizer}/{method}": _run(optimizer, method) for optimizer in _RATES for method in _METHODS}
