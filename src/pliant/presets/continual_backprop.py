"""The variants of continual backprop in the authors' programs.

`gnt` is the generate-and-test of slowly-changing regression, permuted MNIST and PPO, `conv` that of continual ImageNet,
`resnet` that of incremental CIFAR-100, and `layer` the layer that users put into networks of their own. Rates, maturity
and utility belong to the experiments; here is what differs between the programs.
"""

from typing import Any


def _variant(**differing: Any) -> dict[str, Any]:
    return {"rate_of": "mature", "memory": "average", "readers": "all", "when": "after", **differing}


PRESETS = {
    "gnt": _variant(),
    "conv": _variant(rate_of="all", initializer="default"),
    "resnet": _variant(rate_of="all", memory="sum", readers="next", initializer="kaiming_normal"),
    "layer": _variant(decay_rate=0.0, when="before", initializer="default"),
}
