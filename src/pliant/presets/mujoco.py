"""TD3 on HalfCheetah, as the published program of Neuroplastic Expansion has it, and what it is held against.

| preset | what it is |
|---|---|
| `td3` | all weights from the beginning |
| `static` | 80 % of the weights are missing, always the same |
| `code` | Neuroplastic Expansion as the published program does it by default |
| `static_actor` | Neuroplastic Expansion as the published program does it by the command of its instructions |
| `paper` | Neuroplastic Expansion as the paper describes it |
| `redo` | `td3` with ReDo |
| `continual_backprop` | `td3` with continual backprop |
| `layer_reset` | `td3` with output layers that are reset |

All have three hidden layers in each critic, of which the last is normalized: so is what the program calls TD3.

`code` is what `train.py` does without any flag: actor and critics grow from 20 % of their weights to 75 % within 190
topology steps, one every 100 updates, by the largest gradients; 40 % as many of the smallest weights go. From then on a
fifth of all weights changes place every 100 updates. Each topology step sets back Adam's step counts in the sparse
layers, and batches are halved while few units are active. The command of its instructions, `static_actor`, is another
thing: an actor that stays as it was made, 80 % sparse, and critics that grow. It does not say how often, so that this
is every 100 updates, too; the text around it names 10,000 (`--method.neuroplastic_expansion.period`).

`paper` has a rate of growth that is not published; with the program's, and the period of its instructions, the critics
are full after a third of the run and the actor, whose updates are half as many, after more than half of it. Review of
old experience, `recall` of the agent, is the third part of it.

What the paper's own baselines were set to is not published. ReDo's threshold and period, the rates of continual
backprop and the period of the resets are those of the papers that introduced them, counted in updates: the actor has
half as many. New weights are as large as those that the networks begin with.
"""

from typing import Any

_STEPS = 6_000_000
_EXPLORATION = 25_000  # steps of it, at the beginning
_EVERY = 5_000  # steps between two evaluations

_SEEDS = "7"
_EPISODES = 10
_MEASURED = ("active_fraction", {"name": "dormant_fraction", "threshold": 0.1}, "sparsity")
_OF_GROWTH = ("mask_overlap", "topology_steps")
_PROGRAM = {"optimizer": "per_weight_adam", "auto_batch": True}  # what agents of the published program have


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
