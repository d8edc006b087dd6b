"""The optimizer's state of reinitialized weights: every optimizer of optax, inside of `plastic`."""

import inspect

import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
import trees
from surgeries import adding, path_of, recreating, train

from pliant.core import units
from pliant.core.clock import Clock
from pliant.core.plastic import plastic
from pliant.surgery.adam import adam

WIRING, PARAMS = hand_wired.mlp(3, 4, 2), hand_wired.params(3, 4, 2)
ONES = jax.tree.map(np.ones_like, PARAMS)
KERNELS = jax.tree.map(lambda w: w.ndim > 1, PARAMS)


def layer_of(params):
    return {name: "first" if name.endswith("0") else "last" for name in params}


def owner(path, paths):
    """The path of the parameter to which a leaf of the state belongs, or `shared`."""
    whole = units.path_of(path)
    return max((p for p in jax.tree.leaves(paths) if whole.endswith(f"/{p}")), key=len, default="shared")


OPTIMIZERS = {
    "adam": optax.adam(0.01),
    "adamw": optax.adamw(0.01),
    "nadam": optax.nadam(0.01),
    "rmsprop": optax.rmsprop(0.01, initial_scale=0.5, momentum=0.9),
    "momentum": optax.sgd(0.01, 0.9),
    "adagrad": optax.adagrad(0.01),  # whose accumulators begin at 0.1
    "lion": optax.lion(0.01),
    "amsgrad": optax.amsgrad(0.01),
    "adadelta": optax.adadelta(0.01),
    "clip_adam": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01)),
    "two_rates": optax.chain(optax.adam(0.01), optax.trace(0.5)),
    "injected": optax.inject_hyperparams(optax.adam)(0.01),
    "per_weight_adam": adam(0.01),
    "frozen_layer": optax.partition({"first": optax.adam(0.01), "last": optax.set_to_zero()}, layer_of),
    "kernels_alone": optax.masked(optax.adam(0.01), KERNELS),
    "by_a_prefix": optax.masked(optax.adam(0.01), True),
    "muon": optax.contrib.muon(0.01),
    "sm3": optax.sm3(0.01),
}
NETWORKS = {
    # name: (wiring, params, group, which entries of a leaf belong to the unit of index 1, by path)
    "mlp": (WIRING, PARAMS, "w0", {"w0": np.s_[:, 1], "b0": np.s_[1], "w1": np.s_[1]}),
    # Without biases, and with a norm between: code that expects weight, bias, weight, bias resets the wrong leaves.
    "mlp_without_bias": (
        hand_wired.mlp(3, 4, 2, bias=False),
        hand_wired.params(3, 4, 2, bias=False),
        "w0",
        {"w0": np.s_[:, 1], "w1": np.s_[1]},
    ),
    "normed_convnet": (
        hand_wired.normed_convnet()[0],
        hand_wired.convnet_params(),
        "conv",
        {
            "conv/kernel": np.s_[..., 1],
            "norm/scale": np.s_[1],
            "norm/shift": np.s_[1],
            "out/kernel": np.s_[1::3],
        },
    ),
}


@pytest.mark.parametrize(
    "optimizer, network, reset_moments",
    [(optimizer, "mlp", True) for optimizer in OPTIMIZERS]
    + [("adam", network, clear) for network in NETWORKS for clear in (True, False)][1:],
)
def test_the_optimizer_state_of_a_reinitialized_unit_is_as_at_the_start(optimizer, network, reset_moments):
    wiring, params, group, owned = NETWORKS[network]
    optimizer = OPTIMIZERS[optimizer]
    surgery = recreating(wiring, group=group, at=3)

    @jax.jit
    def run(params):
        grads = jax.tree.map(lambda w: jnp.sign(w) + w, params)
        states = (
            path_of(tx, params, grads, 3)[1].optimizer
            for tx in (plastic(optimizer, surgery, reset_moments=reset_moments), plastic(optimizer))
        )
        return *(jax.tree.map(lambda leaf: leaf[-1], state) for state in states), optimizer.init(params)

    with_surgery, without, initial = trees.numpy(run(params))

    def check(now, reference, start, path):
        expected = np.array(reference)
        if reset_moments and path in owned:
            assert not np.allclose(expected[owned[path]], start[owned[path]])
            expected[owned[path]] = start[owned[path]]
        np.testing.assert_allclose(now, expected, rtol=1e-6)

    paths = jax.tree_util.tree_map_with_path(lambda keys, _: units.path_of(keys), params)
    state_paths = jax.tree_util.tree_map_with_path(lambda path, _: owner(path, paths), initial)
    jax.tree.map(check, with_surgery, without, initial, state_paths)


def test_state_that_weights_share_stays():
    # Adafactor keeps means over rows and columns: no unit owns them, so they are as without the surgery.
    wiring, params = hand_wired.mlp(130, 140, 129), hand_wired.params(130, 140, 129)
    optimizer = optax.adafactor(0.01, min_dim_size_to_factor=128)
    _, ours = train(plastic(optimizer, recreating(wiring, at=2)), params, params, 2)
    _, theirs = train(plastic(optimizer), params, params, 2)
    ours, theirs = (optax.tree.get(s.optimizer, "FactoredState") for s in (ours, theirs))
    for name in ("w0", "w1"):
        assert ours.v_row[name].size > 1
        np.testing.assert_allclose(ours.v_row[name], theirs.v_row[name], rtol=1e-6)
        np.testing.assert_allclose(ours.v_col[name], theirs.v_col[name], rtol=1e-6)
    # The biases are not factored: what belongs to the unit alone is reset.
    ours, theirs = np.asarray(ours.v["b0"]), np.asarray(theirs.v["b0"])
    np.testing.assert_allclose(ours[1], 0.0)
    np.testing.assert_allclose(ours[2], theirs[2], rtol=1e-6)


def test_several_surgeries_reset_what_any_reinitialized():
    tx = plastic(optax.sgd(0.1, 0.9), recreating(WIRING, unit=0), adding(0.0), recreating(WIRING, unit=2))
    _, state = train(tx, PARAMS, ONES, 3)
    trace = optax.tree.get(state.optimizer, "trace")
    # Gradients of 1 sum to 1 + 0.9 + 0.81 = 2.71.
    np.testing.assert_allclose(trace["b0"], [0, 2.71, 0, 2.71], rtol=1e-6)
    np.testing.assert_allclose(trace["w0"], [[0, 2.71, 0, 2.71]] * 3, rtol=1e-6)
    np.testing.assert_allclose(trace["w1"], [[0, 0], [2.71, 2.71], [0, 0], [2.71, 2.71]], rtol=1e-6)


def test_copies_of_the_weights_themselves_begin_anew_at_the_fresh_weights():
    # The iterate of schedule-free descent, and the point from which Mechanic and Prodigy measure their distance.
    kept = {
        "z": optax.contrib.schedule_free_sgd(0.01),
        "x0": optax.contrib.mechanize(optax.sgd(0.01)),
        "params0": optax.contrib.prodigy(),
    }

    @jax.jit
    def run(params):
        return {name: path_of(plastic(tx, recreating(WIRING, at=2)), params, params, 2) for name, tx in kept.items()}

    for name, (params, states) in trees.numpy(run(PARAMS)).items():
        copy = optax.tree.get(states.optimizer, name)
        for path, unit in (("w0", np.s_[-1, :, 1]), ("b0", np.s_[-1, 1]), ("w1", np.s_[-1, 1])):
            np.testing.assert_array_equal(copy[path][unit], params[path][unit])


# Whatever the optimizer

ARGUMENTS = {
    "adaptive_grad_clip": (0.1,),
    "add_noise": (0.1, 0.1, 0),
    "apply_if_finite": (optax.adam(0.1), 3),
    "chain": (optax.clip(1.0), optax.adam(0.1)),
    "clip": (1.0,),
    "clip_by_block_rms": (1.0,),
    "clip_by_global_norm": (1.0,),
    "conditionally_mask": (optax.adam(0.1), lambda step: step > 1),
    "conditionally_transform": (optax.adam(0.1), lambda step: step > 1),
    "differentially_private_aggregate": (1.0, 1.0, 0),
    "dpsgd": (0.1, 1.0, 1.0, 0),
    "ema": (0.9,),
    "flatten": (optax.adam(0.1),),
    "freeze": (KERNELS,),
    "masked": (optax.adam(0.1), KERNELS),
    "mechanize": (optax.adam(0.1),),
    "multi_transform": ({"first": optax.adam(0.1), "last": optax.sgd(0.1)}, layer_of),
    "named_chain": (("clip", optax.clip(1.0)), ("adam", optax.adam(0.1))),
    "partition": ({"first": optax.adam(0.1), "last": optax.set_to_zero()}, layer_of),
    "sam": (optax.sgd(0.1), optax.sgd(0.1)),
    "scale": (0.1,),
    "scale_by_backtracking_linesearch": (3,),
    "scale_by_schedule": (lambda step: 0.1,),
    "scale_by_zoom_linesearch": (3,),
    "schedule_free": (optax.sgd(0.1), 0.1),
    "split_real_and_imaginary": (optax.adam(0.1),),
    "stateless": (lambda grads, params: grads,),
    "stateless_with_tree_map": (lambda grad, param: grad,),
    "trace": (0.9,),
    "with_extra_args_support": (optax.adam(0.1),),
}
KEYWORDS = {"selective_transform": {"optimizer": optax.adam(0.1), "freeze_mask": KERNELS}}
OTHERWISE = {
    "inject_hyperparams",  # `injected`, above
    "inject_stateful_hyperparams",
    "lookahead",  # refused, below
    "measure_with_ema",  # of the measure for `snapshot`
    "scale_by_muon",  # takes trees of matrices alone, which `muon` gives it
    "snapshot",  # keeps what a function of its own measures
}
SQUARES = {"value": 1.0, "grad": ONES, "value_fn": lambda params: sum((w**2).sum() for w in jax.tree.leaves(params))}
LINE_SEARCH = (  # refuses signals that it does not know
    "lbfgs",
    "scale_by_backtracking_linesearch",
    "scale_by_zoom_linesearch",
)
VALUE = {"value": 1.0, "loss": 1.0, "obj_fn": SQUARES["value_fn"]}


def optimizers_of_optax():
    """Every function of optax that returns a transformation, by name."""
    found = {}
    for module in (optax, optax.contrib):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if "GradientTransformation" in str(inspect.signature(function).return_annotation):
                found[name] = function
    return {name: function for name, function in found.items() if name[0] != "_" and name not in OTHERWISE}


OF_OPTAX = optimizers_of_optax()


def made(name):
    function = OF_OPTAX[name]
    if name in ARGUMENTS or name in KEYWORDS:
        return function(*ARGUMENTS.get(name, ()), **KEYWORDS.get(name, {}))
    rate = inspect.signature(function).parameters.get("learning_rate")
    return function(0.1) if rate is not None and rate.default is rate.empty else function()


@pytest.mark.filterwarnings("ignore:Specifying a key", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", OF_OPTAX)
def test_every_optimizer_of_optax_steps_inside(name):
    per_example = name in ("differentially_private_aggregate", "dpsgd")
    grads = jax.tree.map(lambda g: g[None], ONES) if per_example else ONES
    signals = SQUARES if name in LINE_SEARCH else {} if name == "sam" else VALUE
    tx = plastic(made(name), recreating(WIRING, at=1))

    def step(params, grads):
        return tx.step(grads, tx.init(params), params, features={}, clock=Clock(1), **signals)

    with jax.numpy_rank_promotion("allow"):
        new, _ = jax.eval_shape(step, PARAMS, grads)
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, PARAMS)
