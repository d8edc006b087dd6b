"""PPO through the sizes of MiniGrid's DoorKey, as published, with and without continual backprop.

| preset | training |
|---|---|
| `single` | 8x8 alone, for the frames of the whole curriculum |
| `ppo` | 5x5, 6x6, 8x8 |
| `reference` | the same with continual backprop as published |
| `everywhere` | the same with continual backprop in all units, convolutions included |

Published: the method acts on the units of the two heads, with one step per round of learning, on the last minibatch,
and its state is reset between tasks. Everywhere: the method has one step for each step of Adam, and keeps its state.

The published program sets 500k, 1M and 2M frames, counted from the beginning. It saves the agent every ten rounds of
learning and not at the end of a task, so that the effective frames are fewer; the presets have the effective frames.
It corrects the utility for an age that is one step behind. The correction can change only the order of units with
almost equal utility, and is left out here.
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
        "seed_axis": "map",  # a tenth faster on a CPU
    }


PRESETS = {
    "single": _run("8x8:1986560"),
    "ppo": _run(_TASKS),
    "reference": _run(_TASKS, _OF_HEADS),
    "everywhere": _run(_TASKS, _OF_ALL),
}
