"""Around `plastic`: each wrapper of optax passes its updates on as they are, or is refused.

A reinitialized unit would come out half done if its update were changed.
"""

import inspect

import hand_wired
import jax
import numpy as np
import optax
import optax.contrib
import pytest
from surgeries import recreating, train

from pliant.core.base import Edit, stateless_surgery
from pliant.core.plastic import plastic

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
    "scale_by_galore": [optax.contrib.galore(0.1, base_optimizer=TX)],
    "sam": [optax.contrib.sam(TX, optax.sgd(0.1))],
    "schedule_free": [optax.contrib.schedule_free(TX, 0.1)],
}


def adding_signal(params, *, by, **signals):
    return Edit(jax.tree.map(lambda w: w + by, params))


ADDING = stateless_surgery(adding_signal)
SIGNALLED = plastic(optax.sgd(0.1), ADDING)
LEAVING = {
    "apply_if_finite": optax.apply_if_finite(SIGNALLED, 3),
    "chain": optax.chain(optax.clip_by_global_norm(10.0), SIGNALLED),
    "conditionally_mask": optax.conditionally_mask(SIGNALLED, lambda step: step >= 0),
    "conditionally_transform": optax.conditionally_transform(SIGNALLED, lambda step: step >= 0),
    "flatten": optax.flatten(SIGNALLED),  # a method that needs the paths of parameters refuses it
    "inject_hyperparams": optax.inject_hyperparams(lambda rate: plastic(optax.sgd(rate), ADDING))(0.1),
    "masked": optax.masked(SIGNALLED, True),
    "MultiSteps": optax.MultiSteps(SIGNALLED, every_k_schedule=1),
    "multi_transform": optax.multi_transform({"all": SIGNALLED}, "all"),
    "named_chain": optax.named_chain(("clip", optax.clip(10.0)), ("plastic", SIGNALLED)),
    "partition": optax.partition({"all": SIGNALLED}, "all"),
    "selective_transform": optax.selective_transform(SIGNALLED, freeze_mask=False),
    "with_extra_args_support": optax.with_extra_args_support(SIGNALLED),
}


def test_every_wrapper_of_optax_is_known():
    inside = {"args", "base_optimizer", "fast_optimizer", "inner", "inner_factory", "optimizer", "transforms", "tx"}
    found = {"MultiSteps"}  # a class
    for module in (optax, optax.contrib):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            signature = inspect.signature(function)
            if "GradientTransformation" in str(signature.return_annotation) and inside & set(signature.parameters):
                found.add(name)
    deprecated = {"inject_stateful_hyperparams"}
    assert found - deprecated == {*LEAVING, *CHANGING, "galore", "split_real_and_imaginary"}


def test_updates_and_signals_come_through_wrappers():
    # A step of 0.1 by a gradient of 1, and the surgery adds the signal of 5, whatever wraps the two.
    def updates(params):
        return {name: tx.update(params, tx.init(params), params, by=5.0)[0] for name, tx in LEAVING.items()}

    for name, update in jax.jit(updates)(np.ones(())).items():
        np.testing.assert_allclose(update, 4.9, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("wrapper, tx", [(wrapper, tx) for wrapper, each in CHANGING.items() for tx in each])
def test_what_changes_the_updates_afterwards_is_refused(wrapper, tx):
    params = optax.LookaheadParams(PARAMS, PARAMS) if wrapper == "lookahead" else PARAMS
    error = rf"^{wrapper} of optax changes the updates after plastic, .*: pliant.plastic\({wrapper}\(...\), \*methods\)"
    with pytest.raises(ValueError, match=error):
        jax.eval_shape(tx.init, params)


def test_it_is_seen_in_an_update_with_a_state_from_elsewhere():
    def update(params):
        states = TX.init(params), optax.scale(0.5).init(params)
        return optax.chain(TX, optax.scale(0.5)).update(params, states, params)

    with pytest.raises(ValueError, match=r"^chain of optax changes the updates after plastic"):
        jax.eval_shape(update, PARAMS)


def test_what_acts_before_is_welcome():
    # Of six weights that read unit 1 none is left: 0 - 0.1 * 0, whatever clipped the gradients.
    chained = optax.chain(optax.clip(1.0), optax.chain(optax.scale(2.0), TX))
    new, _ = train(chained, PARAMS, ONES, 1)
    np.testing.assert_array_equal(new["w1"][1], [0, 0])
    assert np.delete(new["w1"], 1, axis=0).all()


def test_a_wrapper_that_passes_no_signals_leaves_the_updates():
    new, _ = train(optax.contrib.split_real_and_imaginary(TX), PARAMS, ONES, 1)
    np.testing.assert_array_equal(new["w1"][1], [0, 0])


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
