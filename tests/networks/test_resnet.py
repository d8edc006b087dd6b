import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.agents import sgd
from pliant.core.clock import Clock
from pliant.core.judgement import cross_entropy
from pliant.core.lookup import replacements
from pliant.core.problem import Batch, Stream
from pliant.methods import continual_backprop, l2
from pliant.networks import resnet18
from pliant.networks._resnet import BatchNorm
from pliant.tracing.trace import trace

WIDTHS = (3, 4, 4, 5)
IMAGE = (8, 8, 3)
SMALL = resnet18(IMAGE, 10, WIDTHS)
BATCH = jax.ShapeDtypeStruct((6, *IMAGE), np.float32)


def variables_of(network, seed=0):
    """Random ones from NumPy, with positive variances."""
    shapes = jax.eval_shape(network.init, trees.key(0))
    variables = trees.random_like(shapes, seed, 0.5)
    return variables | {"statistics": jax.tree.map(lambda x: 0.5 + np.abs(x), variables["statistics"])}


def test_the_published_size():
    # Weights and biases of a convolution of 3x3: 9 a b + b; its norm has 2 b numbers to learn and 2 b statistics.
    #   stem 9 x 3 x 64 + 3 x 64                                          1,920
    #   64 channels: 4 x (9 x 64^2 + 3 x 64)                            148,224
    #   128: 9 x 64 x 128 + 3 x 9 x 128^2 + 64 x 128 + 5 x 3 x 128      526,208
    #   256: 9 x 128 x 256 + 3 x 9 x 256^2 + 128 x 256 + 5 x 3 x 256  2,100,992
    #   512: 9 x 256 x 512 + 3 x 9 x 512^2 + 256 x 512 + 5 x 3 x 512  8,396,288
    #   linear 512 x 100 + 100                                           51,300
    # The norms: 2 x (5 x 64 + 5 x (128 + 256 + 512)).
    variables = jax.eval_shape(resnet18((32, 32, 3)).init, trees.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 11_224_932
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["statistics"])) == 9_600


def test_initial_weights_are_normal_and_all_else_is_neutral():
    variables = trees.numpy(jax.jit(resnet18(IMAGE, 50, (16, 16, 16, 40)).init)(trees.key(0)))
    params = variables["params"]
    # Deviations sqrt(2 / fan-in) of convolutions and 1 / sqrt(fan-in) of the linear layer, of 432 to 14,400 numbers.
    for kernel, fan_in in [
        (params["Conv_0"]["kernel"], 27 / 2),
        (params["Block_7"]["Conv_1"]["kernel"], 360 / 2),
        (params["Block_6"]["Conv_2"]["kernel"], 16 / 2),
        (params["Dense_0"]["kernel"], 40),
    ]:
        deviation = fan_in**-0.5
        assert kernel.std() == pytest.approx(deviation, rel=4 / np.sqrt(2 * kernel.size))
        assert np.abs(kernel).max() > 2.5 * deviation
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        name = path[-1].key
        if name != "kernel":
            np.testing.assert_array_equal(leaf, np.full(leaf.shape, {"scale": 1, "var": 1}.get(name, 0)))


def test_batch_norm_written_out():
    # Channel 0 holds 1, 3, 5, 7: mean 4, variance 5, unbiased 20/3; channel 1 holds 2. Momentum 0.1.
    x = np.array([[1, 2], [3, 2], [5, 2], [7, 2]], np.float32).reshape(2, 2, 1, 2)
    params = {"scale": np.float32([2, 3]), "bias": np.float32([10, 20])}
    statistics = {"mean": np.float32([1, 2]), "var": np.float32([1, 4])}

    @jax.jit
    def both(x):
        given = {"params": params, "statistics": statistics}
        moving = BatchNorm().apply(given, x, True, mutable="statistics")
        return *moving, BatchNorm().apply(given, x, False)

    train, moved, evaluated = trees.numpy(both(x))
    z = np.array([-3, -1, 1, 3]) / 5**0.5
    np.testing.assert_allclose(train[..., 0].ravel(), 10 + 2 * z, rtol=1e-5)
    np.testing.assert_allclose(train[..., 1].ravel(), [20] * 4, rtol=1e-6)
    np.testing.assert_allclose(moved["statistics"]["mean"], [0.9 + 0.4, 0.9 * 2 + 0.2], rtol=1e-6)
    np.testing.assert_allclose(moved["statistics"]["var"], [0.9 + 0.1 * 20 / 3, 0.9 * 4], rtol=1e-6)
    np.testing.assert_allclose(evaluated[..., 0].ravel(), [10, 14, 18, 22], rtol=1e-5)  # 10 + 2 (x - 1) / 1
    np.testing.assert_allclose(evaluated[..., 1].ravel(), [20] * 4, rtol=1e-6)


def test_batch_norm_in_training_mode_needs_more_than_one_value():
    shapes = jax.eval_shape(SMALL.init, trees.key(0))
    with pytest.raises(ValueError, match=r"^batch normalization in training mode got one value for each channel; use"):
        jax.eval_shape(SMALL.train, shapes, jax.ShapeDtypeStruct((1, *IMAGE), np.float32))  # 8, 4, 2, 1 pixels


def test_a_resnet18_has_four_stages():
    with pytest.raises(ValueError, match=r"^widths=\(3, 4\): a ResNet-18 has four stages; write four widths$"):
        resnet18(IMAGE, widths=(3, 4))


def test_methods_find_channels_and_their_running_statistics():
    wiring = trace(SMALL.train, jax.eval_shape(SMALL.init, trees.key(0)), BATCH)
    streams = {"Conv_0": 3, "Block_2/Conv_1": 4, "Block_4/Conv_1": 4, "Block_6/Conv_1": 5}
    inner = {f"Block_{i}/Conv_0": WIDTHS[i // 2] for i in range(8)}
    assert {name: group.units for name, group in wiring.items()} == streams | inner
    assert not any(group.coupled for group in wiring.values())
    for name, norms in [
        ("Block_3/Conv_0", ["Block_3/BatchNorm_0"]),
        ("Conv_0", ["BatchNorm_0", "Block_0/BatchNorm_1", "Block_1/BatchNorm_1"]),
        ("Block_4/Conv_1", ["Block_4/BatchNorm_1", "Block_4/BatchNorm_2", "Block_5/BatchNorm_1"]),
    ]:
        vectors = {vector.path: vector.neutral for vector in wiring[name].vectors}
        of_norms = {
            f"{place}/{norm}/{leaf}": neutral
            for norm in norms
            for place, leaf, neutral in [
                ("params", "scale", 1), ("params", "bias", 0), ("statistics", "mean", 0), ("statistics", "var", 1),
            ]
        }  # fmt: skip
        biases = {f"{slot.path.rpartition('/')[0]}/bias": 0 for slot in wiring[name].incoming}
        assert vectors == of_norms | biases


def test_in_bfloat16_convolutions_are_rounded_and_nothing_else():
    rounded, variables = resnet18(IMAGE, 10, WIDTHS, jnp.bfloat16), variables_of(SMALL)
    logits, moved = jax.eval_shape(rounded.train, variables, BATCH)
    assert {leaf.dtype for leaf in jax.tree.leaves((logits, moved))} == {np.dtype(np.float32)}
    equations = jax.make_jaxpr(rounded.apply)(variables, BATCH).jaxpr.eqns
    convolved = [e.outvars[0].aval.dtype for e in equations if e.primitive.name == "conv_general_dilated"]
    assert convolved == [jnp.bfloat16] * 20
    assert set(trace(rounded.train, variables, BATCH)) == set(trace(SMALL.train, variables, BATCH))
    x = trees.normal(0, *BATCH.shape)
    exact, near = jax.jit(lambda x: (SMALL.apply(variables, x), rounded.apply(variables, x)))(x)
    # Eight binary digits: errors of about a hundredth of the size of the logits.
    error = np.abs(np.asarray(near) - np.asarray(exact)).max() / np.abs(exact).max()
    assert 1e-4 < error < 0.05


def test_learns_in_training_mode_and_predicts_in_evaluation_mode():
    # Four noisy images to be told apart. Each group of four or five channels replaces one, which is due after 42 or 33
    # steps from the sixth on: the running averages have time to follow.
    random, steps = np.random.default_rng(0), 60
    y = random.integers(4, size=(steps, 16)).astype(np.int32)
    x = (random.normal(size=(4, *IMAGE))[y] + 0.3 * random.normal(size=(steps, 16, *IMAGE))).astype(np.float32)
    network = resnet18(IMAGE, 4, WIDTHS)
    stream = Stream(lambda *_: (), lambda data, state, _: (state, Batch(x, y)), cross_entropy, network, steps)

    def methods_for(wiring, *_):
        return continual_backprop(wiring, replacement_rate=0.006, maturity=5), l2(5e-4)

    learner = sgd.make(sgd.Config(learning_rate=0.05, momentum=0.9), stream, methods_for)

    @jax.jit
    def run(key):
        state, judged = learner.learn(learner.init(key), Batch(x, y), Clock(1))
        return state, judged, learner.predict(state, x[-1]), network.train(state.params, x[-1])[0]

    state, judged, evaluated, trained = trees.numpy(run(trees.key(0)))
    assert judged.loss[:5].mean() > 1 and judged.loss[-5:].mean() < 0.5
    assert {name: int(count) for name, count in replacements(state.optimizer).items() if count} == dict.fromkeys(
        [*(f"Block_{i}/Conv_0" for i in range(2, 8)), *(f"Block_{i}/Conv_1" for i in (2, 4, 6))], 1
    )
    assert (evaluated.argmax(1) == y[-1]).mean() > 0.7
    assert np.abs(evaluated - trained).max() > 0.05
