"""Full reset: now and then begin the whole network anew."""

from pliant.core.base import Edit, Key, Params, Surgery, stateless_surgery
from pliant.core.settings import AtLeast, require
from pliant.core.timing import every
from pliant.surgery.resets import Initialize, set_back


def full_reset(initialize: Initialize, period: int = 200_000) -> Surgery:
    r"""Full reset: every so many steps, takes all parameters from the initializer: learning from scratch.

    Where the data are kept (a replay buffer) it cures a network that has overfitted its first experiences; where they
    are not, it is the baseline that never loses plasticity and never remembers anything.

    Args:
        initialize: `key -> params`, the network's initializer.
        period: steps from one reset to the next, at least 1. Published: 200000 (SAC).

    Signals:
        step: optional; see `every`.

    Raises:
        ValueError: for a value outside its range; if `initialize` returns the parameters of another network.

    Differs from the authors' code: a count that the optimizer shares between weights (the steps of `optax.adam`) goes
    on; use `pliant.adam`, which counts for each weight, to begin that anew as well. Target networks are the agent's
    affair, and are not reset.

    References:
        Nikishin et al., `The primacy bias in deep reinforcement learning <https://arxiv.org/abs/2205.07802>`_,
        ICML 2022.
    """
    require("period", period, AtLeast(1))

    def operate(params: Params, *, random: Key, **signals) -> Edit:
        del signals
        return set_back(params, initialize(random))

    return every(period, stateless_surgery(operate))
