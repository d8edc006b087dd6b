import functools
import math

import jax
import numpy as np
import pytest
import trees

from pliant.core.judgement import squared_error
from pliant.problems.slowly_changing_regression import Config, State, make

SMALL = Config(inputs=10, flipping_bits=6, flip_every=50, target_units=30)


@functools.cache
def programs(config):
    """The stream's `init` and `draw`, compiled."""
    stream = make(config)
    return functools.partial(jax.jit(stream.init), ()), functools.partial(jax.jit(stream.draw, static_argnums=2), ())


@functools.cache
def drawn(config, pieces, seed=0):
    """The state at the start, and the stream's `(x, y)`, `(examples, inputs)` and `(examples,)`, cut into pieces."""
    init, draw = programs(config)
    start = state = init(trees.key(seed))
    xs, ys = [], []
    for steps in pieces:
        state, batch = draw(state, steps)
        assert batch.x.shape == (steps, 1, config.inputs) and batch.y.shape == (steps, 1, 1)
        xs.append(np.asarray(batch.x)[:, 0])
        ys.append(np.asarray(batch.y)[:, 0, 0])
    return start, np.concatenate(xs), np.concatenate(ys)


def target(state, x, beta):
    """The target by counting agreements: unit `i` fires if `matches + 3/2 b > beta (m + 1)`.

    A unit whose weights have `n` negative signs has `w x + n` agreements with `x`, and S = n + b/2, so that
    `w x + b > beta (m + 1) - S` says just that.
    """
    weights, biases, readout, offset = (np.asarray(v, float) for v in state[:4])
    matches = ((x[:, None] > 0.5) == (weights[None] > 0)).sum(-1)
    fires = matches + 1.5 * biases[None] > beta * (x.shape[1] + 1)
    return offset + (fires * readout[None]).sum(-1)


def slow_bits(config, x):
    """The slow bits of each regime, `(regimes, flipping_bits)`; within a regime they must not change."""
    regimes = x[:, : config.flipping_bits].reshape(-1, config.flip_every, config.flipping_bits)
    np.testing.assert_array_equal(regimes, np.broadcast_to(regimes[:, :1], regimes.shape))
    return regimes[:, 0]


@pytest.mark.parametrize("beta", [0.3, 0.5, 0.7])
def test_the_target_is_the_papers_for_all_inputs_of_a_regime(beta):
    # 4 fast bits: in 200 examples each of their 16 values comes, but for a chance of 16 exp(-200 / 16) = 6e-5.
    config = Config(inputs=10, flipping_bits=6, flip_every=200, target_units=30, beta=beta)
    start, x, y = drawn(config, (600,))
    np.testing.assert_array_equal(y, target(start, x, beta))
    assert len(np.unique(y)) > 3
    for regime in x.reshape(3, 200, 10):
        assert len(np.unique(regime, axis=0)) == 16


@pytest.mark.parametrize(
    ("b", "x", "y"),
    [
        # m = 3, beta = 0.7, w = (1, -1, 1), v = 1, c = -1. b = 1: S = (3 - 1 + 1) / 2 = 1.5, tau = 2.8 - 1.5 = 1.3.
        (1, (1, 0, 1), 0),  # w x + b = 3 > 1.3: it fires, y = -1 + 1
        (1, (1, 1, 1), 0),  # 1 + 1 = 2 > 1.3
        (1, (0, 0, 0), -1),  # 0 + 1 = 1: it does not fire
        # b = -1: S = (3 - 1 - 1) / 2 = 0.5, tau = 2.3; at the most w x + b = 2 - 1.
        (-1, (1, 0, 1), -1),
    ],
)
def test_one_target_unit_by_hand(b, x, y):
    init, draw = programs(Config(inputs=3, flipping_bits=3, target_units=1))
    state = init(trees.key(0))._replace(
        weights=np.float32([[1, -1, 1]]),
        biases=np.float32([b]),
        readout=np.ones(1, np.float32),
        offset=np.float32(-1),
        slow=np.float32(x),
    )
    _, batch = trees.numpy(draw(state, 1))
    np.testing.assert_array_equal(batch.x[0, 0], x)
    assert batch.y[0, 0, 0] == y


@pytest.mark.parametrize(("b", "matches"), [(1, 14), (-1, 17)])
def test_how_often_a_unit_fires(b, matches):
    # With 20 random bits it takes at least 14 agreements for b = 1 (more than 14.7 - 1.5), and 17 for b = -1 (more than
    # 14.7 + 1.5); agreements are binomial, so P = 5.77 % and 0.13 %. One unit, all bits drawn for each example.
    probability = sum(math.comb(20, k) for k in range(matches, 21)) / 2**20
    assert round(100 * probability, 2) == {1: 5.77, -1: 0.13}[b]
    config, examples = Config(inputs=20, flipping_bits=20, flip_every=1, target_units=1), 100_000
    init, draw = programs(config)
    state = init(trees.key(1))._replace(biases=np.float32([b]))
    _, batch = draw(state, examples)
    fired = (np.asarray(batch.y)[:, 0, 0] - np.asarray(state.offset)) * np.asarray(state.readout)
    assert set(fired) == {0.0, 1.0}
    # Four standard errors: 0.30 and 0.05 percentage points.
    assert abs(fired.mean() - probability) < 4 * math.sqrt(probability / examples)


def test_signs_are_fair():
    # 1000 units of 22 signs: four standard errors of the mean of that many fair signs are 4 / sqrt(22001) = 0.027.
    state = programs(Config(target_units=1000))[0](trees.key(0))
    signs = np.concatenate([np.ravel(v) for v in state[:4]])
    assert signs.shape == (22001,) and set(signs) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.027


@pytest.mark.parametrize("flip", ["resample_all", "one"])
def test_slow_bits_change_at_each_multiple_of_flip_every_and_only_there(flip):
    # 15 bits are drawn as they were with probability 2^-15.
    config = Config(flip_every=40, flip=flip)
    _, x, _ = drawn(config, (40 * 30,))
    slow = slow_bits(config, x)
    assert slow.shape == (30, 15) and set(slow.ravel()) == {0.0, 1.0}
    assert (slow[1:] != slow[:-1]).any(1).all()


def test_one_flips_just_one_bit_and_each_in_its_turn():
    # 600 flips of 15 bits: each is chosen 40 times on average, with a standard deviation of 6.1.
    config = Config(flip_every=2, flip="one")
    _, x, _ = drawn(config, (1202,))
    flips = np.abs(np.diff(slow_bits(config, x), axis=0))
    np.testing.assert_array_equal(flips.sum(1), np.ones(600))
    counts = flips.sum(0)
    assert counts.min() > 40 - 25 and counts.max() < 40 + 25


def test_resample_all_changes_about_half_of_the_bits():
    # 600 times 15 fair coins: 4500 changes on average, with a standard deviation of sqrt(9000) / 2 = 47.
    config = Config(flip_every=2)
    _, x, _ = drawn(config, (1202,))
    assert abs(np.abs(np.diff(slow_bits(config, x), axis=0)).sum() - 4500) < 200


def test_fast_bits_are_fair_and_fresh():
    # 8000 examples: 250 for each of the 32 values of 5 fast bits, with a standard deviation of 15.6; one fast value
    # follows upon the same with probability 1/32.
    _, x, _ = drawn(Config(flip_every=4000), (8000,))
    values = x[:, 15:] @ 2.0 ** np.arange(5)
    counts = np.bincount(values.astype(int), minlength=32)
    assert counts.min() > 250 - 65 and counts.max() < 250 + 65
    assert abs((values[1:] == values[:-1]).mean() - 1 / 32) < 4 * math.sqrt(1 / 32 / 8000)


@pytest.mark.parametrize("flip", ["resample_all", "one"])
def test_how_the_stream_is_cut_does_not_change_the_data(flip):
    config = Config(inputs=10, flipping_bits=6, flip_every=50, flip=flip, target_units=30)
    # The slow bits change at multiples of 50: the pieces end at 1, 50, 207, 208, 257, 258, 415, ..., so they reach up
    # to changes, across one, and across several.
    pieces = (1, 49, 157, 1, 49, 1, 157, 157, 1, 49)
    _, x, y = drawn(config, (sum(pieces),))
    _, cut_x, cut_y = drawn(config, pieces)
    np.testing.assert_array_equal(x, cut_x)
    np.testing.assert_array_equal(y, cut_y)


def test_members_of_one_seed_meet_the_same_data_whatever_the_learner():
    _, x, y = drawn(SMALL, (200,))
    _, other_x, other_y = drawn(Config(10, 10, 6, 50, target_units=30, hidden_units=7, activation="tanh"), (200,))
    np.testing.assert_array_equal(x, other_x)
    np.testing.assert_array_equal(y, other_y)


@pytest.mark.parametrize(("activation", "bound"), [("relu", 0.5477), ("tanh", 0.6455), ("sigmoid", 0.3873)])
def test_the_learner_begins_kaiming_uniform(activation, bound):
    # g sqrt(3 / 20) for the hidden layer, with g = sqrt(2), 5/3 and 1, and sqrt(3 / 5) = 0.7746 for the output. The
    # largest of 100 x 200 draws comes within a thousandth of the bound.
    network = make(Config(activation=activation)).network
    assert network.activation == activation
    params = jax.jit(jax.vmap(network.init))(trees.keys(range(200)))["params"]
    for layer, limit, shape in [("Dense_0", bound, (20, 5)), ("Dense_1", 0.7746, (5, 1))]:
        kernels = np.asarray(params[layer]["kernel"])
        assert kernels.shape == (200, *shape)
        assert 0.99 * limit < np.abs(kernels).max() < limit + 5e-5
        assert abs(kernels.mean()) < 4 * limit / math.sqrt(3 * kernels.size)
        np.testing.assert_array_equal(params[layer]["bias"], np.zeros((200, shape[1])))


@pytest.mark.parametrize(("activation", "function"), [("relu", lambda z: np.maximum(z, 0)), ("tanh", np.tanh)])
def test_the_learner_is_a_network_of_one_hidden_layer(activation, function):
    network = make(Config(activation=activation)).network
    params = trees.random_like(jax.eval_shape(network.init, trees.key(0)))
    x, layers = trees.normal(4, 6, 20), params["params"]
    hidden, output = layers["Dense_0"], layers["Dense_1"]
    expected = function(x @ hidden["kernel"] + hidden["bias"]) @ output["kernel"] + output["bias"]
    np.testing.assert_allclose(jax.jit(network.apply)(params, x), expected, rtol=1e-5, atol=1e-5)


def test_no_hidden_units_make_a_linear_learner():
    params = jax.eval_shape(make(Config(hidden_units=0)).network.init, trees.key(0))["params"]
    assert jax.tree.map(lambda x: x.shape, params) == {"Dense_0": {"kernel": (20, 1), "bias": (1,)}}


def test_the_defaults_are_the_papers():
    stream = make(Config())
    assert stream.steps == 1_000_000 and stream.judge is squared_error
    state = jax.eval_shape(stream.init, (), trees.key(0))
    assert isinstance(state, State)
    assert state.weights.shape == (100, 20) and state.slow.shape == (15,)


@pytest.mark.parametrize(
    ("inputs", "flipping_bits", "message"),
    [
        (20, 21, "inputs=20 and flipping_bits=21 leave -1 fast bits; write numbers that leave 0 to 12"),
        (20, 7, "inputs=20 and flipping_bits=7 leave 13 fast bits; write numbers that leave 0 to 12"),
    ],
)
def test_refuses_fast_bits_that_it_cannot_enumerate(inputs, flipping_bits, message):
    with pytest.raises(ValueError, match=message):
        make(Config(inputs=inputs, flipping_bits=flipping_bits))
