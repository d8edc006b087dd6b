"""The published program's configurations of label-permuted EMNIST, with the settings that it found best.

The noise of the program is in the gradient, so it reaches the weights times the learning rate; so does its weight
decay. Adam's decay acts before the step there, and after the step here.
"""

from typing import Any

_EXAMPLES = 2500  # of a task
_DIAGNOSTICS = ("weight_magnitude", "dormant_fraction", "effective_rank")
_RATE = 0.01
_NOISE = 0.005  # standard deviation, in the gradient


def _run(method: dict[str, Any], **agent: Any) -> dict[str, Any]:
    return {
        "problem": {"name": "label_permuted", "data": "emnist"},
        "agent": {"name": "sgd", "learning_rate": _RATE, **agent},
        "methods": [method],
        "diagnostics": [{"name": name} for name in _DIAGNOSTICS],
        "seeds": "20",
        "record_every": _EXAMPLES,
    }


def _perturbed(weight_decay: float) -> dict[str, Any]:
    return {"name": "shrink_and_perturb", "weight_decay": weight_decay, "perturb_scale": _RATE * _NOISE}


PRESETS = {
    "sgd": _run({"name": "l2", "weight_decay": 1e-4}),
    "pgd": _run(_perturbed(weight_decay=0.0)),
    "shrink_and_perturb": _run(_perturbed(weight_decay=1e-3)),
    "adam": _run(
        {"name": "l2", "coupled": False, "weight_decay": 1e-4 * 0.1},
        optimizer="adam", learning_rate=1e-4, b1=0.0, b2=0.9999,
    ),
}  # fmt: skip
