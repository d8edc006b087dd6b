"""The variants of continual backpropagation against trajectories that the authors' published programs left.

At each step our optimizer and method start from the recorded weights, with the recorded gradients and activations; the
method's state is our own all the way. Fresh incoming weights are the recorded ones, so that every weight is compared.
Kernels are `(out, in, ...)`, as recorded.
"""

import ast
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import ties
import torch_nets
import trees

from pliant.core import units
from pliant.core.plastic import plastic
from pliant.core.units import Group, Incoming, Outgoing, Vector, Wiring, fans
from pliant.methods import continual_backprop, shrink_and_perturb
from pliant.networks import resnet18
from pliant.presets.continual_backprop import PRESETS
from pliant.surgery.adam import PerWeightAdamState
from pliant.surgery.initializers import normal_deviation, uniform_bound
from pliant.surgery.list_order import in_list_order
from pliant.tracing.trace import trace

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
CLOSE = dict(rtol=3e-5, atol=3e-6)

Arrays = Mapping[str, np.ndarray]


class Recorded(NamedTuple):
    """What a method left, for each hidden layer."""

    replaced: Sequence[np.ndarray]  # (steps, units) bool
    age: Sequence[np.ndarray]  # (steps, units) after each step
    ranked: Sequence[np.ndarray]  # (steps, units) by which units were chosen


def load(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    data = dict(np.load(GOLDEN / f"{name}.npz", allow_pickle=False))
    return data, ast.literal_eval(str(data.pop("config")))


def part(data: Arrays, prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in data.items() if name.startswith(prefix)}


def before(data: Arrays) -> dict[str, np.ndarray]:
    """The weights before each step."""
    after = part(data, "after_")
    return {name: np.concatenate([first, after[name][:-1]]) for name, first in part(data, "before_").items()}


def method_of(data: Arrays, layers: int, prefix: str = "", ranked: str = "utility") -> Recorded:
    return Recorded(*([data[f"{prefix}{what}{i}"] for i in range(layers)] for what in ("replaced", "age", ranked)))


def listed(kernels: Sequence[str], params: Arrays, vectors: Sequence[Mapping[str, float]]) -> Wiring:
    """A list of layers; where a kernel reads several inputs for each unit, they are side by side (flattened channels).

    Args:
        kernels: paths, the output layer's last.
        params: with a leading axis of steps.
        vectors: for each hidden layer the paths of its vectors, with their neutral values.
    """
    groups = {}
    for kernel, following, own in zip(kernels, kernels[1:], vectors):
        units, inputs = params[kernel].shape[1], params[following].shape[2]
        indices = np.arange(inputs).reshape(units, -1).T if inputs > units else None
        outgoing = Outgoing(following, 1, indices, feature=kernel)
        of_layer = tuple(Vector(path, 0, neutral=neutral) for path, neutral in own.items())
        groups[kernel] = Group(kernel, units, (Incoming(kernel, 0),), of_layer, (outgoing,))
    return Wiring(groups)


def features(wiring: Wiring, arrays: Sequence[np.ndarray], *recorded: Recorded) -> dict[str, np.ndarray]:
    """Activations `(steps, batch, units, ...)` as the wiring has them; channels are flattened one after another."""
    found = {}
    for i, ((name, group), h) in enumerate(zip(wiring.items(), arrays)):
        if group.outgoing[0].indices is not None:
            h = h.reshape(*h.shape[:2], group.units, -1)  # channel by channel, each with its positions
        for method in recorded:
            little = ties.little(method.replaced[i], method.ranked[i])
            h = np.maximum(h, np.expand_dims(little, (1, *range(3, h.ndim))))
        found[name] = np.moveaxis(h, 2, -1)
    return found


def drawn(wiring: Wiring, method: Recorded, weights: Sequence[np.ndarray], initializer: str, most: int) -> Any:
    """The random numbers with which our method draws the recorded weights.

    Args:
        weights: for each layer `(steps, out, in, ...)`, with the weights that were drawn in the rows of fresh units.
    """
    rows = {}
    for (name, group), replaced, ranked, w in zip(wiring.items(), method.replaced, method.ranked, weights):
        bound = uniform_bound(initializer, "relu", *fans(w.shape[1:], group.incoming[0]))
        of_units = np.zeros((len(w), min(most, group.units), *w.shape[2:]), np.float32)
        for t in range(len(w)):
            gone = np.flatnonzero(replaced[t])
            gone = gone[np.argsort(ranked[t][gone])]  # the lowest comes first
            of_units[t, : len(gone)] = w[t][gone] / bound
        rows[name] = (of_units,)
    return rows


class Steps(NamedTuple):
    params: Arrays
    optimizer: Any
    methods: tuple[Any, ...]


def steps(tx, params: Arrays, grads: Arrays, h: Arrays, rows: list[Any], owed: list[Any], optimizer: Any = None):
    """What each step makes of the recorded weights and gradients; with a recorded optimizer's state if there is one.

    Args:
        tx: the transformation.
        params, grads, h: weights, gradients and activations, with a leading axis of steps.
        rows: for each method what it draws.
        owed: for each method what is added to the units owed, see `ties`.
        optimizer: the state before each step; `None`: our own.
    """

    def step(state, this):
        params, grads, h, rows, owed, optimizer = this
        state = state._replace(after=tuple(map(ties.owing, state.after, owed)))
        state = state if optimizer is None else state._replace(optimizer=optimizer)
        random = jax.tree.map(lambda number: number[0], tx.draw(jax.random.key(0), params, 1))
        random = tuple(of_method._replace(rows=new) for of_method, new in zip(random, rows, strict=True))
        params, state = tx.step(grads, state, params, random=random, features=h)
        methods = tuple(ties.owing(method, added, -1) for method, added in zip(state.after, owed))
        state = state._replace(after=methods)
        return state, Steps(params, state.optimizer, methods)

    @jax.jit
    def loop(*xs):
        return jax.lax.scan(step, tx.init(jax.tree.map(lambda w: w[0], xs[0])), xs)[1]

    return trees.numpy(loop(params, grads, h, rows, owed, optimizer))


def check_ages(ours, wiring: Wiring, recorded: Recorded):
    """The same units were replaced at the same steps."""
    for name, replaced, age in zip(wiring, recorded.replaced, recorded.age):
        np.testing.assert_array_equal(ours.age[name], age)
        np.testing.assert_array_equal(ours.age[name] == 0, replaced)
        np.testing.assert_array_equal(ours.replaced[name], replaced.sum(1).cumsum())
    assert sum(replaced.any() for replaced in recorded.replaced) >= 2


def both_fresh(recorded: Recorded, i: int, shape: tuple[int, ...]) -> np.ndarray:
    """The weights of kernel `i`, `(steps, out, in, ...)`, between a fresh unit and a fresh unit before it."""
    rows = recorded.replaced[i] if i < len(recorded.replaced) else np.zeros(shape[:2], bool)
    columns = np.repeat(recorded.replaced[i - 1], shape[2] // recorded.replaced[i - 1].shape[1], 1)
    mask = rows[:, :, None] & columns[:, None, :]
    return np.broadcast_to(np.expand_dims(mask, tuple(range(3, len(shape)))), shape)


def check_weights(ours: Arrays, theirs: Arrays, kernels: Sequence[str] = (), recorded: Recorded | None = None):
    """All weights are recorded ones; between two fresh units of one method the weight is 0 here, and drawn there."""
    for name, values in theirs.items():
        elsewhere = np.ones(values.shape, bool)
        if recorded is not None and name in kernels[1:]:
            elsewhere = ~both_fresh(recorded, kernels.index(name), values.shape)
            assert not ours[name][~elsewhere].any()
        np.testing.assert_allclose(ours[name][elsewhere], values[elsewhere], **CLOSE, err_msg=name)


def owed(wiring: Wiring, recorded: Recorded, settings: Mapping[str, Any], rate_of: str) -> dict[str, np.ndarray]:
    rate, maturity = settings["replacement_rate"], settings["maturity_threshold"]
    of_groups = zip(wiring, recorded.replaced, recorded.age)
    return {name: ties.of_counts(replaced, age, rate, maturity, rate_of) for name, replaced, age in of_groups}


def moments_given() -> optax.GradientTransformation:
    """An optimizer that adds what it is given, and whose state, of Adam's kind, is given as well."""
    return optax.GradientTransformation(
        lambda params: PerWeightAdamState(*(jax.tree.map(jnp.zeros_like, params) for _ in range(3))),
        lambda updates, state, params=None: (updates, state),
    )


def optimizer_of(data: Arrays, settings: Mapping[str, Any], params: Arrays, stepped: Arrays):
    """An optimizer that makes the recorded step, its gradients, and its state if that is not our own."""
    if settings["optimizer"] == "adam":
        m, v, t = (part(data, f"adam_{what}_") for what in ("m", "v", "step"))
        # 7 in place of what the method cleared: what it does not clear is seen.
        state = PerWeightAdamState(*({k: np.where(t[k] == 0, 7, a[k]) for k in a} for a in (t, m, v)))
        return moments_given(), {k: stepped[k] - params[k] for k in params}, state
    if "momentum" in settings:
        m, decay = part(data, "momentum_"), settings["momentum"]
        grads = {k: m[k] - decay * np.concatenate([np.zeros_like(m[k][:1]), m[k][:-1]]) for k in m}
        return optax.sgd(settings["step_size"], decay), grads, None
    return optax.sgd(1.0), {k: params[k] - stepped[k] for k in params}, None


CONV = ("adaptable_contribution_momentum", "adaptation_sgd", "contribution_adam", "zero_contribution_sgd")


@pytest.mark.parametrize("case", CONV)
def test_convolutional_networks(case):
    data, settings = load(f"conv_cbp_{case}")
    params, after = before(data), part(data, "after_")
    stepped = {name: values.copy() for name, values in after.items()}
    for name, values in part(data, "stepped_").items():
        stepped[name][data["replacement_steps"]] = values
    kernels = [f"w{i}" for i in range(6)]
    wiring = listed(kernels, params, [{f"b{i}": 0.0} for i in range(5)])
    recorded = method_of(data, 5, ranked="ranked_utility")
    optimizer, grads, opt_state = optimizer_of(data, settings, params, stepped)
    most = int(np.ceil(8 * settings["replacement_rate"]))
    method = continual_backprop(
        wiring,
        settings["replacement_rate"],
        settings["decay_rate"],
        settings["maturity_threshold"],
        settings["utility"],
        max_per_step=most,
        **PRESETS["conv"],
    )
    is_adam = settings["optimizer"] == "adam"
    ours = steps(
        plastic(optimizer, method, reset_moments=is_adam),
        params,
        grads,
        features(wiring, [data[f"features{i}"] for i in range(5)], recorded),
        [drawn(wiring, recorded, [after[kernel] for kernel in kernels], "default", most)],
        [owed(wiring, recorded, settings, "all")],
        opt_state,
    )
    (state,) = ours.methods
    check_ages(state, wiring, recorded)
    check_weights(ours.params, after, kernels, recorded)
    for i, name in enumerate(wiring):
        np.testing.assert_allclose(state.utility[name], data[f"utility{i}"], rtol=1e-4, atol=3e-6)
        np.testing.assert_allclose(state.mean_activation[name], data[f"mean_activation{i}"], **CLOSE)
        bound = uniform_bound(
            "default" if i < 3 else settings["init"], "relu", *fans(params[name].shape[1:], wiring[name].incoming[0])
        )
        if settings["init"] != "xavier" or i < 3:  # their fan-out is that of another layer
            np.testing.assert_allclose(data["bounds"][i], bound, rtol=1e-6)
    if "momentum" in settings:  # of fresh weights it is kept
        for name, values in optax.tree.get(ours.optimizer, "trace").items():
            np.testing.assert_allclose(values, data[f"momentum_{name}"], **CLOSE)
    if is_adam:
        for name in params:
            kept = np.zeros(data[f"adam_m_{name}"].shape, bool)
            if name in wiring:  # their slip: the first moment of fresh incoming weights is not cleared
                kept |= np.expand_dims(recorded.replaced[kernels.index(name)], tuple(range(2, kept.ndim)))
                assert data[f"adam_m_{name}"][kept].any() and not ours.optimizer.mu[name][kept].any()
            np.testing.assert_array_equal(ours.optimizer.count[name], data[f"adam_step_{name}"])
            np.testing.assert_array_equal(ours.optimizer.nu[name], data[f"adam_v_{name}"])
            np.testing.assert_array_equal(ours.optimizer.mu[name][~kept], data[f"adam_m_{name}"][~kept])


def of_resnet(case: str) -> tuple[dict, dict, dict, dict]:
    """Weights before each step, after the optimizer, after generate-and-test, and after the noise that follows it."""
    data, settings = load(f"resnet_cbp_{case}")
    after, noisy, moved = (part(data, prefix) for prefix in ("after_", "noisy_", "momentum_"))
    params = {
        name: np.concatenate([first, (noisy or after)[name][:-1]]) for name, first in part(data, "before_").items()
    }
    stepped = {name: values.copy() for name, values in after.items()}
    stepped |= {name: params[name] - settings["step_size"] * moved[name] for name in moved}
    for name, values in part(data, "stepped_").items():
        if name in moved:
            np.testing.assert_allclose(stepped[name][data["stepped_steps"]], values, **CLOSE)
    return tuple(map(torch_nets.resnet18, (params, stepped, after, noisy or after)))


def fresh(recorded: Recorded, i: int, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where weights of kernel `i`, `(steps, ..., in, out)`, lead to a fresh unit, and where from a fresh unit."""
    none = np.zeros((1, 1), bool)
    into = recorded.replaced[i][:, None] if i < len(recorded.replaced) else none[None]
    out = recorded.replaced[i - 1][:, :, None] if i else none[None]
    return tuple(np.expand_dims(places, tuple(range(1, kernel.ndim - 2))) for places in (into, out))


@pytest.mark.parametrize("case", ["contribution", "contribution_noise", "weight"])
def test_residual_networks(case):
    # The wiring is the traced one. Of activations the means are recorded, in sums that only grow.
    data, settings = load(f"resnet_cbp_{case}")
    params, stepped, after, _ = of_resnet(case)
    network = resnet18((16, 16, 3), settings["num_classes"], settings["widths"])
    shapes = jax.eval_shape(network.init, trees.key(0))
    wiring = trace(network.train, shapes, jax.ShapeDtypeStruct((8, 16, 16, 3), np.float32))
    listed = in_list_order(wiring)
    kernels = [group.incoming[0].path for group in listed.values()]
    assert kernels == [
        "/".join(("params", *torch_nets.resnet_module(str(n)), "kernel")) for n in data["layer_names"][:-1]
    ]
    recorded = method_of(data, len(kernels), ranked="ranked_utility")
    kernels.append("params/Dense_0/kernel")

    noise = settings["noise_std"]
    if (
        noise
    ):  # what the optimizer made of weights that were then replaced is not recorded; it is near to what they were
        leaves, were = units.leaves(stepped), units.leaves(params)
        for i, path in enumerate(kernels):
            into, out = fresh(recorded, i, leaves[path])
            leaves[path][...] = np.where(into | out, were[path], leaves[path])
    eta, rows, h = settings["decay_rate"], {}, {}
    for i, (name, group) in enumerate(listed.items()):
        growth = np.diff(data[f"magnitude{i}"], axis=0, prepend=0)
        h[group.outgoing[0].feature] = growth[:, None] / np.float32(1 - eta)
        w = units.leaves(after)[kernels[i]]
        deviation = normal_deviation("relu", w[0, ..., 0].size)
        np.testing.assert_allclose(data["stds"][i], deviation, rtol=1e-6)
        rows[name] = (np.zeros((*w.shape[:-1], 1), np.float32),)
        for t, unit in np.argwhere(recorded.replaced[i]):
            rows[name][0][t, ..., 0] = scipy.special.erf(w[t, ..., unit] / (deviation * np.sqrt(2)))
    method = continual_backprop(
        wiring,
        settings["replacement_rate"],
        eta,
        settings["maturity_threshold"],
        settings["utility"],
        **PRESETS["resnet"],
    )
    ours = steps(
        plastic(optax.sgd(1.0), method),
        params,
        jax.tree.map(np.subtract, params, stepped),
        h,
        [rows],
        [owed(listed, recorded, settings, "all")],
    )
    (state,) = ours.methods
    check_ages(state, listed, recorded)
    for i, (name, group) in enumerate(listed.items()):
        np.testing.assert_allclose(state.magnitude[group.outgoing[0].feature][:, 0], data[f"magnitude{i}"], rtol=1e-4)
        ranked = np.isfinite(recorded.ranked[i]) & ~recorded.replaced[i]
        if noise and i + 1 < len(listed):
            ranked &= ~recorded.replaced[i + 1].any(1, keepdims=True)  # their readers are known
        np.testing.assert_allclose(state.utility[name][ranked], recorded.ranked[i][ranked], rtol=2e-4)
    ours, theirs = map(units.leaves, (ours.params, after))
    for i, path in enumerate(kernels):
        # Between two fresh units the weight is 0 here, and drawn there.
        into, out = fresh(recorded, i, theirs[path])
        assert not np.where(into & out, ours[path], 0).any()
        theirs[path] = np.where(into & out, 0, theirs[path])
    assert ours.keys() == theirs.keys()
    for path, values in theirs.items():
        np.testing.assert_allclose(ours[path], values, rtol=1e-4, atol=1e-5, err_msg=path)


def test_noise_follows_generate_and_test_in_residual_networks():
    """Shrink and perturb adds the recorded noise to all weights, those of norms too, and not to running statistics."""
    data, _ = load("resnet_cbp_contribution_noise")
    _, _, after, noisy = of_resnet("contribution_noise")
    drawn = torch_nets.resnet18(part(data, "noise_"))
    drawn["statistics"] = jax.tree.map(lambda _: None, after["statistics"])
    tx = plastic(optax.sgd(0.0), shrink_and_perturb(perturb_scale=1.0, weight_decay=0.0))
    step = jax.jit(lambda params, drawn: tx.step(params, tx.init(params), params, random=(drawn,))[0])
    perturbed = step(after, drawn)
    jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8), perturbed, noisy)


LAYERS = {
    "linear_plain": ["fc0", "fc1", "fc2"],
    "linear_ln": ["fc0", "fc1", "fc2"],
    "linear_bn": ["fc0", "fc1", "fc2"],
    "conv_bn": ["conv0", "conv1", "fc2", "fc3"],
    "conv_ln": ["conv0", "conv1", "fc2", "fc3"],
}


def layer_method(wiring: Wiring, settings, most: int = 2):
    return continual_backprop(
        wiring,
        settings["replacement_rate"],
        maturity=settings["maturity_threshold"],
        max_per_step=most,
        **PRESETS["layer"],
    )


@pytest.mark.parametrize("case", LAYERS)
def test_layers_that_act_within_the_backward_pass(case):
    data, settings = load(f"cbp_layers_{case}")
    params, after, grads = before(data), part(data, "after_"), part(data, "gradient_")
    params |= part(data, "forward_")  # running statistics
    grads.pop("present_at_hook")
    grads |= {name: np.zeros_like(values) for name, values in params.items() if name not in grads}
    kernels = [f"{module}_weight" for module in LAYERS[case]]
    neutral = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    vectors = [
        {f"{module}_bias": 0.0}
        | {f"norm{i}_{leaf}": value for leaf, value in neutral.items() if f"norm{i}_{leaf}" in params}
        for i, module in enumerate(LAYERS[case][:-1])
    ]
    wiring = listed(kernels, params, vectors)
    recorded = method_of(data, len(wiring))
    decayed = {name: "running" not in name for name in params}
    optimizer = optax.chain(
        optax.add_decayed_weights(settings.get("weight_decay", 0.0), decayed),
        optax.sgd(settings["step_size"], settings["momentum"] or None),
    )
    ours = steps(
        plastic(optimizer, layer_method(wiring, settings), reset_moments=False),
        params,
        grads,
        features(wiring, [data[f"features{i}"] for i in range(len(wiring))], recorded),
        [drawn(wiring, recorded, [data[f"fresh_weight{i}"] for i in range(len(wiring))], "default", 2)],
        [owed(wiring, recorded, settings, "mature")],
    )
    (state,) = ours.methods
    check_ages(state, wiring, recorded)
    for i, name in enumerate(wiring):
        # The recorded utility is that of the last replacement; ours of a fresh unit is 0.
        computed = recorded.replaced[i].any(1, keepdims=True) & ~recorded.replaced[i]
        np.testing.assert_allclose(state.utility[name][computed], data[f"utility{i}"][computed], **CLOSE)
    check_weights(ours.params, after)
    for name, values in part(data, "momentum_").items():
        np.testing.assert_allclose(optax.tree.get(ours.optimizer, "trace")[name], values, **CLOSE, err_msg=name)
    # Somewhere two neighbouring layers replace at one step: the lower sees the rows that the upper has just drawn.
    assert any((a.any(1) & b.any(1)).any() for a, b in zip(recorded.replaced, recorded.replaced[1:]))


def activations(params: Arrays, x: np.ndarray) -> list[jax.Array]:
    """Of the network of continual ImageNet: after each ReLU and pooling, of the last convolution flattened."""
    found = []
    for i in range(5):
        if i < 3:
            x = jax.lax.conv(x, params[f"w{i}"], (1, 1), "VALID") + jnp.expand_dims(params[f"b{i}"], (0, 2, 3))
            x = jax.lax.reduce_window(jax.nn.relu(x), -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
            x = x.reshape(len(x), -1) if i == 2 else x
        else:
            x = jax.nn.relu(x @ params[f"w{i}"].T + params[f"b{i}"][None])
        found.append(x)
    return found


@pytest.mark.parametrize("case", ["bp", "twice"])
def test_layers_in_a_network_that_another_variant_may_change_as_well(case):
    # Both mechanisms act at each step, the layers before and `conv` after it, each with its own ages and count.
    data, settings = load(f"cbp_layers_convnet_{case}")
    params, after = before(data), part(data, "after_")
    kernels = [f"w{i}" for i in range(6)]
    wiring = listed(kernels, params, [{f"b{i}": 0.0} for i in range(5)])
    layer = method_of(data, 5, "layer_")
    recorded, weights = [layer], ["backward_"]
    methods = [layer_method(wiring, settings, most=1)]
    if case == "twice":
        recorded.append(method_of(data, 5, "gnt_"))
        weights.append("after_")
        rate, maturity = settings["replacement_rate"], settings["maturity_threshold"]
        methods.append(continual_backprop(wiring, rate, 0.0, maturity, **PRESETS["conv"]))
    # Some units of utility 0 are alive, and their outgoing weights are 0: these have to be just above 0 as well.
    for i, method in itertools.product((3, 4), recorded):
        stayed, w = ties.little(method.replaced[i], method.ranked[i])[:, None] > 0, params[f"w{i + 1}"]
        params[f"w{i + 1}"] = np.where(stayed & (w == 0), np.float32(1e-9), w)
    h = jax.jit(jax.vmap(activations))(params, data["pool_x"][data["batch"]])
    ours = steps(
        plastic(optax.sgd(settings["step_size"], settings["momentum"]), *methods, reset_moments=False),
        params,
        part(data, "gradient_"),
        features(wiring, list(map(np.asarray, h)), *recorded),
        [
            drawn(wiring, of_method, [data[prefix + kernel] for kernel in kernels], "default", 1)
            for of_method, prefix in zip(recorded, weights)
        ],
        [owed(wiring, of_method, settings, rate_of) for of_method, rate_of in zip(recorded, ("mature", "all"))],
    )
    for state, of_method in zip(ours.methods, recorded, strict=True):
        check_ages(state, wiring, of_method)
    check_weights(ours.params, after, kernels, recorded[1] if case == "twice" else None)
    for name, values in optax.tree.get(ours.optimizer, "trace").items():
        np.testing.assert_allclose(values, data[f"momentum_{name}"], **CLOSE)
