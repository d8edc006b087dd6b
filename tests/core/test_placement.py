"""Nothing of optax may change the updates of `plastic` afterwards: a reinitialized unit would come out half done."""

import hand_wired
import jax
import numpy as np
import optax
import optax.contrib
import pytest
from surgeries import recreating, train

from pliant.core.base import plastic

WIRING, PARAMS = hand_wired.mlp(3, 4, 2), hand_wired.params(3, 4, 2)
ONES = jax.tree.map(np.ones_like, PARAMS)
TX = plastic(optax.sgd(0.1), recreating(WIRING, at=1))

CHANGING = {
    "chain": [
        optax.chain(TX, optax.scale(0.5)),
        optax.chain(TX, optax.ema(0.9)),
        optax.chain(TX, optax.add_decayed_weights(1e-2)),
        optax.chain(optax.chain(optax.clip(1.0), TX), optax.scale(0.5)),
        optax.inject_hyperparams(lambda by: optax.chain(TX, optax.scale(by)))(0.5),
    ],
    "named_chain": [optax.named_chain(("plastic", TX), ("scale", optax.scale(0.5)))],
    "lookahead": [optax.lookahead(TX, sync_period=2, slow_step_size=0.5)],
    "mechanize": [optax.contrib.mechanize(TX)],
    "sam": [optax.contrib.sam(TX, optax.sgd(0.1))],
    "schedule_free": [optax.contrib.schedule_free(TX, 0.1)],
}


@pytest.mark.parametrize("wrapper, tx", [(wrapper, tx) for wrapper, each in CHANGING.items() for tx in each])
def test_what_changes_the_updates_afterwards_is_refused(wrapper, tx):
    params = optax.LookaheadParams(PARAMS, PARAMS) if wrapper == "lookahead" else PARAMS
    error = f"^optax.{wrapper} changes the updates after plastic, .*; put plastic outside: pliant.plastic"
    with pytest.raises(ValueError, match=error):
        jax.eval_shape(tx.init, params)


def test_it_is_seen_in_an_update_with_a_state_from_elsewhere():
    def update(params):
        states = TX.init(params), optax.scale(0.5).init(params)
        return optax.chain(TX, optax.scale(0.5)).update(params, states, params)

    with pytest.raises(ValueError, match=r"^optax.chain changes the updates after plastic"):
        jax.eval_shape(update, PARAMS)


def test_what_acts_before_is_welcome():
    # Of six weights that read unit 1 none is left: 0 - 0.1 * 0, whatever clipped the gradients.
    chained = optax.chain(optax.clip(1.0), optax.chain(optax.scale(2.0), TX))
    new, _ = train(chained, PARAMS, ONES, 1)
    np.testing.assert_array_equal(new["w1"][1], [0, 0])
    assert np.delete(new["w1"], 1, axis=0).all()


def test_methods_that_only_act_on_gradients_may_stand_anywhere():
    tx = optax.chain(plastic(optax.sgd(0.1), optax.clip(1.0)), optax.scale(0.5))
    new, _ = train(tx, np.ones(()), np.full((), 3.0), 1)
    np.testing.assert_allclose(new, 1 - 0.05, rtol=1e-6)  # a gradient of 3, clipped to 1, half a step of 0.1


def test_a_network_with_a_slow_copy_is_refused():
    tx = plastic(optax.lookahead(optax.sgd(0.1), 2, 0.5), recreating(WIRING))
    with pytest.raises(
        ValueError, match=r"^optax.lookahead keeps a second copy of the network, .* fast optimizer alone"
    ):
        jax.eval_shape(tx.init, optax.LookaheadParams(PARAMS, PARAMS))
