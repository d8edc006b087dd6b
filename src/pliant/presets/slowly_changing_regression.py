"""The published program's configurations, by the names of their files, and continual backprop for all activations.

`sgd/bp/relu` is backpropagation with SGD and a ReLU network, `_wd` its sweep of L2, `_snp` of shrink-and-perturb;
`flip_one/...` is the variant in which one bit flips at a time, three million examples long. Continual backprop was
published for `sgd/cbp/relu` alone; the other presets extend it. Its file sets a maturity of 100, but the program reads
another key and uses 10, as we do.
"""

from typing import Any

ACTIVATIONS = ("relu", "tanh", "sigmoid", "elu", "leaky_relu", "swish")
_POWERS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
_WEAK_DECAY = {("sgd", "sigmoid"): 1e-3, ("sgd", "elu"): 1e-3, ("adam", "elu"): 1e-4}


def _run(
    activation: str | None,
    optimizer: str = "sgd",
    examples: int = 1_000_000,
    methods: tuple[dict[str, Any], ...] = (),
    sweep: dict[str, list[Any]] | None = None,
    learning_rate: float = 0.01,
    flip: str = "resample_all",
) -> dict[str, Any]:
    """A configuration; without an activation, the linear baseline."""
    network = {"activation": activation} if activation else {"hidden_units": 0}
    return {
        "problem": {"name": "slowly_changing_regression", "examples": examples, "flip": flip, **network},
        "agent": {"name": "sgd", "optimizer": optimizer, "learning_rate": learning_rate},
        "methods": list(methods),
        "seeds": "100",
        "sweep": sweep or {},
        "record_every": 10_000,
    }


def _all() -> dict[str, dict[str, Any]]:
    steps = {"agent.learning_rate": [0.01, 0.003, 0.001]}
    presets = {}
    for optimizer in ("sgd", "adam"):
        bp = f"{optimizer}/bp"
        for activation in ACTIVATIONS:
            rectifier = activation in ("relu", "leaky_relu", "swish")
            decays = {"method.weight_decay": [*_POWERS, 1.0] if rectifier else _POWERS}
            if optimizer == "sgd":
                decay = _WEAK_DECAY.get((optimizer, activation), 1e-2)
            else:
                decay = _WEAK_DECAY.get((optimizer, activation), 1e-2 if activation == "relu" else 1e-3)
            perturb = {"name": "shrink_and_perturb", "weight_decay": decay}
            presets[f"{bp}/{activation}"] = _run(activation, optimizer, sweep=steps)
            presets[f"{bp}/{activation}_wd"] = _run(activation, optimizer, methods=({"name": "l2"},), sweep=decays)
            presets[f"{bp}/{activation}_snp"] = _run(
                activation, optimizer, methods=(perturb,), sweep={"method.perturb_scale": _POWERS}
            )
            presets[f"{optimizer}/cbp/{activation}"] = _continual_backprop(activation, optimizer)
        presets[f"{bp}/linear"] = _run(None, optimizer, sweep=steps)
        presets[f"{bp}/linear_1"] = _run(None, optimizer, examples=5_000_000, learning_rate=0.003)
        every = {"problem.activation": list(ACTIVATIONS)}
        presets[f"{bp}/5m"] = _run("relu", optimizer, examples=5_000_000, learning_rate=0.001, sweep=every)
    for activation in ACTIVATIONS:
        presets[f"flip_one/{activation}"] = _run(activation, examples=3_000_000, sweep=steps, flip="one")
    wide = {"agent.learning_rate": [0.03, 0.01, 0.003, 0.001, 0.0003]}
    presets["flip_one/linear"] = _run(None, examples=3_000_000, sweep=wide, flip="one")
    return presets


def _continual_backprop(activation: str, optimizer: str) -> dict[str, Any]:
    """Continual backprop; with Adam in its per-weight form, as in the published program."""
    method = {
        "name": "continual_backprop",
        "utility": "adaptable_contribution",
        "decay_rate": 0.99,
        "maturity": 10,
        "budget": "bernoulli",
    }
    rates = {"method.replacement_rate": [1e-6, 1e-5, 1e-4, 1e-3, 1e-2]}
    return _run(activation, "per_weight_adam" if optimizer == "adam" else "sgd", methods=(method,), sweep=rates)


PRESETS = _all()
