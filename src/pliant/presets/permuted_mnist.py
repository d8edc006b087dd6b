"""The published program's configurations of online permuted MNIST, by the names of their files.

`bp/std_net` is backpropagation with 2000 units a layer, `bp/small_net` with 100; `bp/width_...` and `bp/rate_...` are
the widths and the lengths of a task of two more files. Their `cbp` names the maturity by a key that the program reads
only in part; its value is the default, 100.
"""

from typing import Any

_LAYER = 60_000  # examples of a task
_EXAMPLES = 48_000_000
_DIAGNOSTICS = ("weight_magnitude", "dormant_fraction", "effective_rank")


def _run(
    methods: tuple[dict[str, Any], ...] = (),
    sweep: dict[str, list[Any]] | None = None,
    optimizer: str = "sgd",
    learning_rate: float = 0.003,
    hidden_units: int = 2000,
    change_every: int = _LAYER,
    seeds: int = 10,
) -> dict[str, Any]:
    return {
        "problem": {
            "name": "permuted_mnist",
            "tasks": _EXAMPLES // change_every,
            "change_every": change_every,
            "hidden_units": hidden_units,
        },
        "agent": {"name": "sgd", "optimizer": optimizer, "learning_rate": learning_rate},
        "methods": list(methods),
        "diagnostics": [{"name": name} for name in _DIAGNOSTICS],
        "seeds": str(seeds),
        "sweep": sweep or {},
        "record_every": change_every,
    }


_RATES = {"agent.learning_rate": [0.01, 0.003, 0.001]}
_CONTINUAL_BACKPROP = {
    "name": "continual_backprop",
    "utility": "adaptable_contribution",
    "decay_rate": 0.99,
    "maturity": 100,
    "budget": "accumulate",
}

PRESETS = {
    "bp/std_net": _run(sweep=_RATES),
    "bp/small_net": _run(sweep=_RATES, hidden_units=100, seeds=1),
    **{f"bp/width_{width}": _run(hidden_units=width) for width in (100, 1000, 10_000)},
    **{f"bp/rate_{every}": _run(change_every=every) for every in (10_000, 100_000, 1_000_000)},
    "adam": _run(sweep={"agent.learning_rate": [1e-4, 3e-5, 5e-5]}, optimizer="adam"),
    "l2": _run(({"name": "l2"},), {"method.weight_decay": [1e-3, 1e-4, 1e-5]}),
    "snp": _run(({"name": "shrink_and_perturb", "weight_decay": 1e-4},), {"method.perturb_scale": [1e-4, 1e-5, 1e-6]}),
    "cbp": _run((_CONTINUAL_BACKPROP,), {"method.replacement_rate": [1e-4, 1e-5, 1e-6]}),
}
