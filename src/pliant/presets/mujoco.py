"""TD3 on HalfCheetah with Neuroplastic Expansion as in its published program, and the methods compared with it.

| preset | method |
|---|---|
| `td3` | TD3 with dense networks |
| `static` | `td3` with a fixed mask of 80 % of the weights |
| `code` | Neuroplastic Expansion with the defaults of the published program |
| `static_actor` | Neuroplastic Expansion with the command in the published program's instructions |
| `paper` | Neuroplastic Expansion as described in the paper |
| `redo` | `td3` with ReDo |
| `continual_backprop` | `td3` with continual backprop |
| `layer_reset` | `td3` with resets of the output layers |

All presets have three hidden layers in each critic, with a normalized last layer, as TD3 in the published program.

`code` is `train.py` without flags. Actor and critics grow from 20 % of their weights to 75 % within 190 topology steps,
one every 100 updates: weights with the largest gradients are added, and 40 % as many of the smallest weights are
removed. After that a fifth of all weights is replaced every 100 updates. Each topology step resets Adam's step counts
in the sparse layers, and batches are halved while few units are active. `static_actor`, the command in the program's
instructions, differs: the actor stays 80 % sparse, and the critics grow. The command does not set the period, so it is
100 updates, too; the text of the instructions names 10,000 (`--method.neuroplastic_expansion.period`).

The growth rate of `paper` is not published. With the program's rate, and the period of its instructions, the critics
are full after a third of the run. The actor, which has half as many updates, is full after more than half of the run.
The third part of the method is the review of old experience, `recall` of the agent.

The settings of the paper's baselines are not published. ReDo's threshold and period, the rates of continual backprop
and the period of the resets are those of the papers that introduced them, counted in updates: the actor has half as
many. New weights have the scale of the initial weights.
"""

from typing import Any

_STEPS = 6_000_000
_EXPLORATION = 25_000  # steps at the beginning
_EVERY = 5_000  # steps between two evaluations

_SEEDS = "7"
_EPISODES = 10
_MEASURED = ("active_fraction", {"name": "dormant_fraction", "threshold": 0.1}, "sparsity")
_OF_GROWTH = ("mask_overlap", "topology_steps")
_PROGRAM = {"optimizer": "per_weight_adam", "auto_batch": True}  # as in the published program


def _run(
    *methods: dict[str, Any], agent: dict[str, Any] | None = None, measured: tuple[str, ...] = ()
) -> dict[str, Any]:
    return {
        "problem": {"name": "mujoco", "env": "HalfCheetah-v4", "steps": _STEPS},
        "agent": {"name": "td3", "learning_starts": _EXPLORATION, **(agent or {})},
        "methods": list(methods),
        "diagnostics": [*_MEASURED, *measured],
        "seeds": _SEEDS,
        "record_every": _EVERY,
        "evaluate_every": _EVERY,
        "evaluate_episodes": _EPISODES,
        "seed_axis": "vmap",  # a loop over members would copy their replays in and out
    }


_STATIC = {"name": "static_sparse", "sparsity": 0.8}


def _expansion(preset: str, **settings: Any) -> dict[str, Any]:
    return {
        "name": "neuroplastic_expansion",
        "preset": preset,
        "initial_sparsity": 0.8,
        "final_sparsity": 0.25,
        **settings,
    }


PRESETS = {
    "td3": _run(),
    "static": _run(_STATIC),
    "code": _run(
        _expansion("code", period=100, counter_reset=True),
        agent=_PROGRAM,
        measured=_OF_GROWTH,
    ),
    "static_actor": _run(
        {**_STATIC, "groups": "actor/*"},
        _expansion("code", groups="critic_*/*", period=100, counter_reset=True),
        agent=_PROGRAM,
        measured=_OF_GROWTH,
    ),
    "paper": _run(_expansion("paper", period=10_000, rate=0.008), agent={"recall": True}, measured=_OF_GROWTH),
    "redo": _run({"name": "redo", "threshold": 0.1, "period": 1000}),
    "continual_backprop": _run(
        {
            "name": "continual_backprop",
            "replacement_rate": 1e-4,
            "decay_rate": 0.99,
            "maturity": 10_000,
        }
    ),
    "layer_reset": _run({"name": "layer_reset", "layers": "last:1", "period": 200_000}),
}
