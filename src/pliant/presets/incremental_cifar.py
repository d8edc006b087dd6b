"""The published program's configurations of incremental CIFAR-100, by the names of their files.

Test images are augmented, as in the published program, by a slip; `--problem.augment_test false` spares them.
"""

from typing import Any

from .continual_backprop import PRESETS as VARIANTS

_WEIGHT_DECAY = 5e-4
_L2 = {"name": "l2", "weight_decay": _WEIGHT_DECAY}


def _run(*methods: dict[str, Any]) -> dict[str, Any]:
    return {
        "problem": {"name": "incremental_cifar", "augment_test": True},
        "agent": {
            "name": "sgd",
            "learning_rate": 0.1,
            "momentum": 0.9,
            "reset_moments": False,
            "decay_epochs": "60,120,160",
            "early_stopping": True,
        },
        "methods": list(methods),
        "diagnostics": [],  # `pliant analyze` measures the checkpoints
        "seeds": "30",
        "record_every": 25,
    }


PRESETS = {
    "base_deep_learning_system": _run(_L2),
    "continual_backpropagation": _run(
        _L2,
        {
            "name": "continual_backprop",
            **VARIANTS["resnet"],
            "replacement_rate": 1e-5,
            "utility": "contribution",
            "maturity": 1000,
        },
    ),
    "shrink_and_perturb": _run(
        {"name": "shrink_and_perturb", "weight_decay": _WEIGHT_DECAY, "perturb_scale": 1e-5},
    ),
    "head_resetting": _run(_L2, {"name": "head_reset", "zero": False, "on_new_task": "act"}),
    "retrained_network": _run(_L2, {"name": "full_reset", "on_new_task": "act"}),
}
