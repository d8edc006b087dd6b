"""PPO through the sizes of MiniGrid's DoorKey, as published, with and without continual backprop.

| preset | what it is |
|---|---|
| `single` | 8x8 alone, for as many frames as the curriculum has |
| `ppo` | 5x5, 6x6, 8x8 |
| `reference` | the same with continual backprop as published |
| `everywhere` | the same with continual backprop in all units, convolutions included |

Published: the units of the two heads, one step of the method a round of learning, from the last minibatch, and what it
knows is lost between tasks. Everywhere: one step of the method for each step of Adam, and nothing is lost.

The published program says 500k, 1M and 2M frames, counted from the beginning. It saved what it had learned every ten
rounds of learning and never at the end, so that these are the frames that each task really had; ours are the same.
Its utility is corrected for an age that is one step behind; that changes the order of units at most among those of
almost equal utility, and is not imitated.
"""

from typing import Any

_TASKS = "5x5:491520,6x6:983040,8x8:1986560"
_SEEDS = "10"
_ROUND = 2048  # frames of a member between two rounds of learning
_UPDATES = 32  # steps of Adam in a round: 4 epochs of 8 minibatches
_MATURITY = 100  # rounds

_MEASURED = ("dormant_fraction", "stable_rank", "weight_magnitude", "replacements", "unit_age")

_OF_HEADS = {
    "name": "continual_backprop",
    "groups": "policy/Dense_0,value/Dense_0",
    "on_new_task": "reset",
    "replacement_rate": 1e-4,
    "decay_rate": 0.99,
    "maturity": _MATURITY,
    "utility": "contribution",
    "budget": "bernoulli",
    "initializer": "kaiming",
    "period": _UPDATES,
}
_OF_ALL = {
    "name": "continual_backprop",
    "replacement_rate": 1e-4,
    "decay_rate": 0.99,
    "maturity": _MATURITY * _UPDATES,
    "utility": "contribution",
    "budget": "bernoulli",
}


def _run(tasks: str, *methods: dict[str, Any]) -> dict[str, Any]:
    return {
        "problem": {"name": "minigrid_doorkey", "tasks": tasks},
        "agent": {"name": "ppo"},
        "methods": [dict(method) for method in methods],
        "diagnostics": list(_MEASURED),
        "seeds": _SEEDS,
        "record_every": 10 * _ROUND,
        "seed_axis": "map",  # learning is a tenth faster so, on a CPU
    }


PRESETS = {
    "single": _run("8x8:1986560"),
    "ppo": _run(_TASKS),
    "reference": _run(_TASKS, _OF_HEADS),
    "everywhere": _run(_TASKS, _OF_ALL),
}
