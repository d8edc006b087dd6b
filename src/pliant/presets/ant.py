"""The published program's configurations for Ant, by the names of their files, and one of ours.

| preset | method |
|---|---|
| `std` | PPO with Adam's usual decays, 0.9 and 0.999 |
| `ns` | proper Adam: decays of 0.99 and 0.99, as in all presets below |
| `l2` | weight decay 1e-3 |
| `cbp` | continual backprop, and weight decay 1e-4 |
| `cbpi` | `cbp` with the utility of the current minibatch alone |
| `redo` | ReDo every 100 optimizer steps, and weight decay 1e-4 |
| `shrink_and_perturb` | noise of 1e-5 after every step, and weight decay 1e-4 |

`shrink_and_perturb` is ours: the published program has the noise (`perturb_scale`), but none of its files sets it. The
preset has the numbers published for permuted MNIST. The published program adds noise to the weights and biases of both
networks; ours also to the policy's `log_std`. The runs have 100 million steps; the published figures show the first 50
million.
"""

from ._ppo import continual_backprop, four, l2, run

_ANT = {"name": "ant", "version": "v3", "steps": 100_000_000}
_SEEDS = "30"

PRESETS = {
    **four(_ANT, _SEEDS),
    "cbpi": run(_ANT, _SEEDS, l2(1e-4), continual_backprop(decay_rate=0.0)),
    "redo": run(_ANT, _SEEDS, l2(1e-4), {"name": "redo", "threshold": 0.1, "period": 100}),
    "shrink_and_perturb": run(
        _ANT, _SEEDS, {"name": "shrink_and_perturb", "perturb_scale": 1e-5, "weight_decay": 1e-4}
    ),
}
