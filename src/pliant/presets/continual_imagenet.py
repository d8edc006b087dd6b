"""The published program's configurations of continual ImageNet, by the names of their files.

All set the output layer to zero before each task. `cbp2` is the network with continual backprop as a layer; the
published file runs a second continual backprop beside it and has ten outputs for two classes, ours has neither.
"""

from typing import Any

from .continual_backprop import PRESETS as VARIANTS

_UPDATES = 3000  # of a task
_DIAGNOSTICS = ("weight_magnitude", "dormant_fraction", "effective_rank")
_RATE = {"replacement_rate": 3e-4, "maturity": 100}


def _run(
    *methods: dict[str, Any], tasks: int = 5000, learning_rate: float = 0.01, sweep: dict[str, list[Any]] | None = None
) -> dict[str, Any]:
    return {
        "problem": {"name": "continual_imagenet", "tasks": tasks},
        "agent": {"name": "sgd", "learning_rate": learning_rate, "momentum": 0.9, "reset_moments": False},
        "methods": [{"name": "head_reset", "on_new_task": "act"}, *methods],
        "diagnostics": [{"name": name} for name in _DIAGNOSTICS],
        "seeds": "30",
        "sweep": sweep or {},
        "record_every": _UPDATES,
    }


def _continual_backprop(variant: str, **settings: Any) -> dict[str, Any]:
    return {"name": "continual_backprop", **VARIANTS[variant], **_RATE, **settings}


PRESETS = {
    "bp": _run(tasks=2000, sweep={"agent.learning_rate": [0.01, 0.001, 0.0001]}),
    "l2": _run({"name": "l2", "weight_decay": 3e-6}, learning_rate=0.03),
    "snp": _run({"name": "shrink_and_perturb", "weight_decay": 1e-5, "perturb_scale": 1e-5}),
    "cbp": _run(_continual_backprop("conv", utility="adaptable_contribution", decay_rate=0.99)),
    "cbp2": _run(_continual_backprop("layer")),
}
