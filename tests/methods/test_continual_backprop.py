import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trees

from pliant.core.clock import Clock
from pliant.core.plastic import plastic
from pliant.core.timing import restart
from pliant.core.units import Group, Incoming, Outgoing, Wiring
from pliant.methods import continual_backprop
from pliant.presets.continual_backprop import PRESETS
from pliant.tracing.trace import trace


def run(surgery, params, features, **fields):
    """Operates once for each of some features on weights that stay, and returns every state and the last edit.

    Args:
        surgery: the method.
        params: the weights.
        features: with a leading axis of steps.
        **fields: of the state before the first step, if they are not as at the start; of the group `w0`.
    """

    @jax.jit
    def loop(params, features, fields):
        state = surgery.init(params)
        state = state._replace(**{name: {"w0": value} for name, value in fields.items()}) if fields else state
        random = surgery.draw(jax.random.key(0), params, len(jax.tree.leaves(features)[0]))

        def step(state, this):
            edit, state = surgery.operate(params, state, random=this[0], features=this[1])
            return state, (state, edit)

        states, edits = jax.lax.scan(step, state, (random, features))[1]
        return states, jax.tree.map(lambda leaf: leaf[-1], edits)

    fields = {
        name: np.asarray(value, np.int32 if name in ("age", "waited") else float) for name, value in fields.items()
    }
    return trees.numpy(loop(params, features, fields))


# A network 3-4-2, three forward passes, and what the authors' program made of them with a decay of 0.9.
OUT, IN = np.arange(4), np.arange(3)
PARAMS = {
    "w0": np.array((0.1 * (OUT[:, None] + 1) - 0.05 * IN).T, np.float32),
    "b0": np.zeros(4),
    "w1": np.array([[(-1) ** (k + i) * 0.2 * (i + 1) / (k + 1) for k in range(2)] for i in range(4)], np.float32),
    "b1": np.zeros(2),
}
PASSES = np.array(
    [
        [[1, 0, 0.5, 2], [0, 1, 0.5, 1]],
        [[2, 0, 0.5, 0], [1, 3, 0, 1]],
        [[0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5]],
    ]
)


@pytest.mark.parametrize(
    "utility, raw, corrected",
    [
        ("weight", [0.04065, 0.0813, 0.12195, 0.1626], [0.15, 0.3, 0.45, 0.6]),
        ("contribution", [0.030075, 0.06015, 0.0621, 0.1449], [0.110978, 0.221956, 0.229151, 0.534686]),
        ("adaptation", [5.42, 1.806667, 1.084, 0.774286], [20.0, 6.666664, 4.0, 2.857142]),
        ("zero_contribution", [0.020173, 0.067346, 0.021375, 0.0663], [0.074438, 0.248508, 0.078875, 0.244649]),
        ("adaptable_contribution", [0.403456, 0.44897, 0.0855, 0.189429], [1.488766, 1.656717, 0.315498, 0.698998]),
        ("feature_by_input", [2.689704, 1.496568, 0.19, 0.315714], [9.925105, 5.52239, 0.701107, 1.164997]),
    ],
)
def test_utilities_are_the_published_ones(utility, raw, corrected):
    surgery = continual_backprop(hand_wired.mlp(3, 4, 2), 0.1, 0.9, 100, utility)
    states, _ = run(surgery, PARAMS, {"w0": PASSES})
    np.testing.assert_allclose(states.utility["w0"][2], raw, rtol=3e-5)
    # A mean over three steps weighs 1 - 0.9^3 = 0.271 in all.
    np.testing.assert_allclose(states.utility["w0"][2] / 0.271, corrected, rtol=3e-5)
    np.testing.assert_allclose(states.mean_activation["w0"][2], [0.2005, 0.2005, 0.138, 0.2415], rtol=3e-5)


@pytest.mark.parametrize(
    "utility, corrected",
    [
        ("contribution", [0.686842, 1.053158, 1.419473]),
        ("zero_contribution", [0.549474, 0.549474, 0.549474]),
        ("adaptable_contribution", [3.663157, 1.569924, 0.999043]),
        ("adaptation", [6.666665, 2.857142, 1.818181]),
    ],
)
def test_utilities_of_a_convolution_before_a_dense_layer_are_the_published_ones(utility, corrected):
    # The authors flatten channels first: channel c owns columns 4 c ... 4 c + 3 of the dense layer.
    indices = np.arange(12).reshape(3, 4).T
    wiring = Wiring({"c": Group("c", 3, (Incoming("conv", 3),), (), (Outgoing("dense", 0, indices, feature="c"),))})
    params = {
        "conv": np.array([[0.1, 0.3, 0.5], [0.2, 0.4, 0.6]]).reshape(1, 1, 2, 3),
        "dense": np.array((np.arange(24) - 11).reshape(2, 12).T * 0.1, np.float32),
    }
    h = (np.arange(24.0) / 10).reshape(2, 3, 4).swapaxes(1, 2)  # (samples, positions, channels)
    states, _ = run(continual_backprop(wiring, 0.1, 0.9, 100, utility), params, {"c": np.stack([h, 2 * h])})
    np.testing.assert_allclose(states.utility["c"][1] / (1 - 0.9**2), corrected, rtol=3e-5)


def test_utility_of_units_that_several_weights_read():
    # Reader a has one weight a unit and b three, so b counts thrice. Unit 0: (1 * |2| * |1| + 3 * |4| * |2|) / 4 = 6.5;
    # unit 1: (1 * |1| * |3| + 3 * |0| * ...) / 4 = 0.75. With a decay of 0 the utility is that of this step.
    readers = (Outgoing("a", 0, feature="x"), Outgoing("b", 0, feature="y"))
    wiring = Wiring({"g": Group("g", 2, (Incoming("in", 1),), (), readers)})
    params = {"in": np.ones((1, 2)), "a": np.array([[1.0], [-3.0]]), "b": np.array([[2.0, -2, 2], [5, 5, 5]])}
    features = {"x": np.array([[[2.0, 1.0]]]), "y": np.array([[[-4.0, 0.0]]])}
    states, _ = run(continual_backprop(wiring, 0.1, 0.0, 100), params, features)
    np.testing.assert_allclose(states.utility["g"][0], [6.5, 0.75])


def test_fractions_of_a_unit_are_owed_to_later_steps():
    # Four units mature at step 3 (older than 2). Owed: 0.6; 1.2, unit 0 goes, 0.2 left; then three are mature: 0.65;
    # 1.1, unit 1 goes, 0.1 left; at 7 unit 0 is mature again: 0.55; 1.0 at 8, a tie: one goes here, and in the authors'
    # program none, which has 0.99999 in floating point. The weights stay, so unit 0 is the least again.
    surgery = continual_backprop(hand_wired.mlp(3, 4, 2), 0.15, 0.9, 2)
    features = np.concatenate([PASSES, PASSES, PASSES])[:8]
    states, edit = run(surgery, PARAMS, {"w0": features})
    replaced = np.argwhere(np.asarray(states.age["w0"]) == 0)
    np.testing.assert_array_equal(replaced[:2], [[3, 0], [5, 1]])
    np.testing.assert_array_equal(states.replaced["w0"], [0, 0, 0, 1, 1, 2, 2, 3])
    np.testing.assert_allclose(
        states.owed["w0"] + 0.15 * states.waited["w0"], [0, 0, 0.6, 0.2, 0.65, 0.1, 0.55, 0], atol=1e-6
    )
    assert not edit.params["w1"][replaced[2, 1]].any() and edit.fresh["w1"].sum() == 1


def test_a_newborn_is_ranked_by_its_corrected_utility():
    # Unit 0 is old and worth 1; unit 1 is just mature and worth 2, of which its average over 3 steps has only 3 %.
    # Raw averages would renew the newborn for ever.
    params = {"w0": np.ones((1, 2)), "b0": np.zeros(2), "w1": np.array([[1.0], [2.0]]), "b1": np.zeros(1)}
    surgery = continual_backprop(hand_wired.mlp(1, 2, 1), 0.5, 0.99, 2)
    fields = {"age": [1000, 2], "utility": [1.0, 2 * (1 - 0.99**2)]}
    states, _ = run(surgery, params, {"w0": np.ones((1, 8, 2))}, **fields)
    assert states.utility["w0"][0, 1] < 0.06
    np.testing.assert_array_equal(states.age["w0"][0], [0, 3])


def test_nothing_is_owed_for_the_time_before_maturity():
    # Four units, rate 0.5: at step 11 the first two are due. Eleven steps' worth would wipe out the layer.
    surgery = continual_backprop(hand_wired.mlp(3, 4, 2), 0.5, maturity=10, max_per_step=4)
    states, _ = run(surgery, PARAMS, {"w0": np.ones((11, 8, 4))})
    np.testing.assert_array_equal(states.replaced["w0"], [0] * 10 + [2])
    assert (states.age["w0"][10] == 0).sum() == 2


def test_small_rates_add_up():
    # One unit, 3e-9 a step: due after a third of a billion steps. A float32 sum of them stops growing below 0.1, where
    # 3e-9 is less than half of its last digit.
    params = {"w0": np.ones((1, 1)), "b0": np.zeros(1), "w1": np.ones((1, 1)), "b1": np.zeros(1)}
    surgery = continual_backprop(hand_wired.mlp(1, 1, 1), 3e-9, maturity=0)
    states, _ = run(surgery, params, {"w0": np.ones((12_000, 1, 1))}, waited=333_320_000, age=[1])
    due = int(np.argmax(states.replaced["w0"]))
    # 333,330,000 * 3e-9 = 0.99999: within the rounding that counts as one.
    assert due == pytest.approx(10_000, abs=100) and states.replaced["w0"][-1] == 1
    np.testing.assert_allclose(states.owed["w0"][due], 0.0, atol=2e-5)


def test_bernoulli_budget_replaces_one_unit_with_the_probability_that_is_due():
    # Five units, rate 0.1: one unit at half of the steps. 1000 draws have a standard deviation of 15.8.
    wiring = hand_wired.mlp(1, 5, 1)
    params = hand_wired.params(1, 5, 1)
    surgery = continual_backprop(wiring, 0.1, maturity=0, budget="bernoulli", utility="random")
    states, _ = run(surgery, params, {"w0": np.ones((1000, 1, 5))})
    each = np.diff(states.replaced["w0"], prepend=0)
    assert set(each) == {0, 1} and each.sum() == pytest.approx(500, abs=64)
    # The utility "random" takes each of the five a fifth of the time.
    gone = (np.asarray(states.age["w0"]) == 0).sum(0)
    np.testing.assert_allclose(gone, each.sum() / 5, atol=40)
    # Rate 0.3 makes 1.5 due: always one, and the half is dropped, at each step again.
    surgery = continual_backprop(wiring, 0.3, maturity=0, budget="bernoulli", max_per_step=2)
    states, _ = run(surgery, params, {"w0": np.ones((20, 1, 5))})
    np.testing.assert_array_equal(states.replaced["w0"], np.arange(1, 21))


def test_max_per_step_holds_back_and_pays_later():
    # Seven are owed, and each step adds 0.1 * 4: nine after five steps. Two can go at a step, one at the last.
    surgery = continual_backprop(hand_wired.mlp(3, 4, 2), 0.1, maturity=0, max_per_step=2)
    states, _ = run(surgery, PARAMS, {"w0": np.ones((5, 1, 4))}, owed=7.0)
    np.testing.assert_array_equal(states.replaced["w0"], [2, 4, 6, 8, 9])


def test_with_a_period_it_sees_every_third_update_alone():
    # Of the updates 3 and 6 the first makes the units mature, which are older than 1 at the second: one of four goes.
    # The utilities are those of the passes 2 and 5, which are the third pass; with a decay of 0.9 twice 0.1 of it.
    surgery = continual_backprop(hand_wired.mlp(3, 4, 2), 0.25, 0.9, 1, "weight", period=3)
    passes = np.concatenate([PASSES, PASSES, PASSES])[:8]
    (count, states), edit = run(surgery, PARAMS, {"w0": passes})
    np.testing.assert_array_equal(count, range(1, 9))
    np.testing.assert_array_equal(states.age["w0"][:, 3], [0, 0, 1, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(states.replaced["w0"], [0, 0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(states.utility["w0"][-1], [0, *(0.19 * np.array([0.3, 0.45, 0.6]))], rtol=1e-5)
    np.testing.assert_array_equal(edit.params["w1"], PARAMS["w1"])  # nothing at update 8


def test_ages_and_utilities_restart_with_a_task():
    # Rounds of 10 steps, and a task that ends after 25: the fourth round is the first of the second task. Units older
    # than 2 are mature, of which none is in the first three rounds of a task but the last.
    surgery = restart([25], continual_backprop(hand_wired.mlp(3, 4, 2), 0.25, 0.9, 2))

    @jax.jit
    def rounds(params, features):
        def step(state, this):
            _, state = surgery.operate(params, state, random=this[0], features=features, clock=Clock(0, this[1]))
            return state, state.inner

        draws = surgery.draw(jax.random.key(0), params, 6)
        return jax.lax.scan(step, surgery.init(params), (draws, 10 * jnp.arange(6)))[1]

    inner = trees.numpy(rounds(PARAMS, {"w0": PASSES[0]}))
    assert inner.age["w0"][:, 3].tolist() == [1, 2, 3] * 2
    assert inner.replaced["w0"].tolist() == [0, 0, 1] * 2
    first, second = np.split(inner.utility["w0"][:, 3], 2)
    np.testing.assert_allclose(first, second, rtol=1e-6)
    assert first[0] < first[1] < first[2]


def test_compensation_moves_the_mean_contribution_into_the_bias():
    # Unit 0 always outputs 2 and is read by 3 and -1: the biases take 6 and -2, and the output stays as it was.
    wiring = hand_wired.mlp(1, 2, 2)
    params = {
        "w0": np.zeros((1, 2)),
        "b0": np.array([2.0, 1.0]),
        "w1": np.array([[3.0, -1.0], [50.0, 50.0]]),
        "b1": np.array([0.5, 0.5]),
    }
    apply, x = jax.jit(wiring.apply), np.zeros((4, 1))
    output, features = apply(params, x)
    for compensate, bias in [(True, [6.5, -1.5]), (False, [0.5, 0.5])]:
        surgery = continual_backprop(wiring, 0.5, maturity=0, compensate=compensate)
        states, edit = run(surgery, params, {"w0": np.asarray(features["w0"])[None]})
        np.testing.assert_array_equal(states.age["w0"][0], [0, 1])
        np.testing.assert_allclose(edit.params["b1"], bias, rtol=1e-5)
        assert np.allclose(apply(edit.params, x)[0], output, rtol=1e-5) == compensate


def test_compensation_behind_a_flattened_image():
    # Each of the four positions of channel 1 outputs 1 and the others 2: the bias takes the sum of the channel's rows.
    wiring, params = hand_wired.normed_convnet()[0], hand_wired.convnet_params()
    h = np.full((1, 5, 4, 3), 2.0)
    h[..., 1] = 0.001
    surgery = continual_backprop(wiring, 0.34, maturity=0, compensate=True, max_per_step=2)
    states, edit = run(surgery, params, {"conv": h})
    np.testing.assert_array_equal(states.age["conv"][0], [1, 0, 1])
    expected = 0.001 * params["out"]["kernel"][1::3].sum(0)
    np.testing.assert_allclose(edit.params["out"]["bias"], expected, rtol=1e-5)


@pytest.mark.parametrize("reset_moments, stays", [(True, True), (False, False)])
def test_old_momentum_does_not_move_a_newborn(reset_moments, stays):
    # Momentum of the dead unit's outgoing weight, 0.9 of gradients of 1, would move it away from zero at once.
    wiring = hand_wired.mlp(1, 2, 1)
    tx = plastic(optax.sgd(0.1, 0.9), continual_backprop(wiring, 0.5, maturity=1), reset_moments=reset_moments)

    @jax.jit
    def run(params, grads):
        def step(carry, grads):
            params, state = tx.step(grads, carry[1], carry[0], features={"w0": jnp.ones((1, 2))})
            return (params, state), (params["w1"], state.after[0].age["w0"])

        return jax.lax.scan(step, (params, tx.init(params)), grads)[1]

    params = hand_wired.params(1, 2, 1)
    grads = jax.tree.map(lambda w: np.stack([np.ones_like(w), np.ones_like(w), np.zeros_like(w)]), params)
    w1, age = trees.numpy(run(params, grads))
    (new,) = np.flatnonzero(age[1] == 0)
    assert w1[1, new] == 0
    assert bool(w1[2, new] == 0) == stays


def test_all_groups_choose_before_any_is_edited():
    # In w1 unit 1 of the first group reads into unit 0 of the second. Were unit 0 of the first group, the least there,
    # edited first, its zero row would halve what is incoming to the second group and change its utilities.
    wiring = hand_wired.mlp(1, 2, 2, 1, bias=False)
    params = {"w0": np.ones((1, 2)), "w1": np.array([[8.0, 1.0], [4.0, 8.0]]), "w2": np.ones((2, 1))}
    surgery = continual_backprop(wiring, 0.5, 0.0, 0, "adaptable_contribution")
    # Mean activations are subtracted: with a decay of 0, |h - mean h| = 1 for 1 and -1.
    h = np.array([[[1.0, 1.0], [-1.0, -1.0]]]) + 1
    states, _ = run(surgery, params, {"w0": h, "w1": h})
    # Group w0: mean outgoing 4.5 and 6 over incoming 1: unit 0 goes. Group w1: outgoing 1 over incoming 6 and 4.5:
    # unit 0 goes. After an edit of row 0 incoming would be 2 and 4: unit 1.
    np.testing.assert_array_equal(states.age["w0"][0], [0, 1])
    np.testing.assert_array_equal(states.age["w1"][0], [0, 1])


def test_replacements_are_counted_from_the_mature_units_or_from_all():
    # Maturity 2 and rate 0.3: of four units, all mature at step 3, 1.2 are due at a step, of three 0.9, of two 0.6.
    # From the mature: 1.2, one goes, 0.2 left; 0.2 + 0.9; 0.1 + 0.6; at step 6 the first is back: 0.7 + 0.9. From all,
    # as long as one is mature: 1.2, 1.4, 1.6, 1.8, and then 2.0, of which the third is replaced at that step, too.
    features = np.concatenate([PASSES, PASSES])
    for rate_of, counts, left in (("mature", [0, 0, 1, 2, 2, 3], 0.6), ("all", [0, 0, 1, 2, 3, 4], 0.8)):
        surgery = continual_backprop(hand_wired.mlp(3, 4, 2), 0.3, 0.9, 2, max_per_step=2, rate_of=rate_of)
        states, _ = run(surgery, PARAMS, {"w0": features})
        np.testing.assert_array_equal(states.replaced["w0"], counts)
        np.testing.assert_allclose(states.owed["w0"][-1] + 0.3 * states.waited["w0"][-1], left, atol=1e-6)
    # Without a mature unit nothing is due.
    states, _ = run(continual_backprop(hand_wired.mlp(3, 4, 2), 0.25, 0.9, 9, rate_of="all"), PARAMS, {"w0": features})
    assert not states.waited["w0"].any()


def test_replacements_of_the_published_rates_of_permuted_mnist():
    # In 60,000 updates of 2,000 units: 12,000, 1,200 and 120 at rates of 1e-4, 1e-5 and 1e-6. Here is a twentieth of a
    # task, after the first 100 steps. At the largest rate 0.2 a step for 100 steps are not mature, 1 % of all.
    wiring, params = hand_wired.mlp(1, 2000, 1), hand_wired.params(1, 2000, 1)
    rates = np.array([1e-4, 1e-5, 1e-6])
    counts = replaced_after(100 + 3_000, wiring, params, lambda rate: {"replacement_rate": rate}, rates)
    np.testing.assert_allclose(counts["w0"], [0.99 * 600, 60, 6], atol=1)


def test_replacements_of_the_published_rate_of_continual_imagenet():
    # Five tasks of 3,000 updates after the first 100 steps: 28.8, 57.6 and 115.2 a task for 32, 64 and 128 units.
    sizes = (1, 32, 64, 128, 1)
    wiring, params = hand_wired.mlp(*sizes), hand_wired.params(*sizes)
    settings = {"replacement_rate": 3e-4, **PRESETS["conv"]}
    counts = replaced_after(100 + 15_000 + 1, wiring, params, lambda _: settings, np.zeros(1))
    assert [int(count[0]) for count in counts.values()] == [5 * 28.8, 5 * 57.6, 5 * 115.2]


def replaced_after(steps, wiring, params, settings, values):
    """Units of each group that were replaced after some steps on weights that stay, for each value of a setting."""

    def count(params, value):
        surgery = continual_backprop(wiring, maturity=100, utility="weight", **settings(value))
        features = {name: jnp.ones((1, group.units)) for name, group in wiring.items()}

        def step(state, random):
            return surgery.operate(params, state, random=random, features=features)[1], None

        random = surgery.draw(jax.random.key(0), params, 1)
        random = jax.tree.map(lambda number: number[0], random)
        state, _ = jax.lax.scan(lambda state, _: step(state, random), surgery.init(params), length=steps)
        return state.replaced

    return trees.numpy(jax.jit(jax.vmap(count, (None, 0)))(params, values))


def test_a_sum_of_magnitudes_times_the_present_weights():
    # Decay 0.9: a tenth of the mean |h| is added at each pass; outgoing magnitudes of the units are 0.15, 0.3, 0.45 and
    # 0.6. After two passes: 0.1 * (0.5 + 1.5), 0.1 * (0.5 + 1.5), 0.1 * (0.5 + 0.25), 0.1 * (1.5 + 0.5). At the third
    # step, 0.25 of four units is one: the least product is 0.225 * 0.15 ... of unit 0, which keeps its sum.
    surgery = continual_backprop(hand_wired.mlp(3, 4, 2), 0.25, 0.9, 2, memory="sum")
    states, _ = run(surgery, PARAMS, {"w0": np.concatenate([PASSES, PASSES[:1]])})
    np.testing.assert_allclose(states.magnitude["w0"][1], [[0.2, 0.2, 0.075, 0.2]], rtol=1e-6)
    np.testing.assert_allclose(states.utility["w0"][1], [0.03, 0.06, 0.03375, 0.12], rtol=1e-6)
    np.testing.assert_array_equal(states.age["w0"][2], [0, 3, 3, 3])
    np.testing.assert_allclose(states.magnitude["w0"][2], [[0.225, 0.225, 0.15, 0.275]], rtol=1e-6)
    np.testing.assert_allclose(states.magnitude["w0"][3], [[0.275, 0.275, 0.2, 0.425]], rtol=1e-6)
    assert states.mean_activation == {}
    # By weight alone the sums do not count.
    surgery = continual_backprop(hand_wired.mlp(3, 4, 2), 0.25, 0.9, 9, "weight", memory="sum")
    states, _ = run(surgery, PARAMS, {"w0": PASSES})
    np.testing.assert_allclose(states.utility["w0"][2], [0.15, 0.3, 0.45, 0.6], rtol=1e-6)


def test_of_several_readers_the_next_one_alone():
    # One residual block: the stem makes the stream, `a` reads it, `b` adds to it, `out` reads the sum. Unit 0 of the
    # stem is worth 1 * 1 by `a` alone, and unit 1 2 * 1. By all readers unit 1 is the least: (2 + 0) / 2 < (1 + 8) / 2.
    def apply(w, x):
        h = x @ w["stem"]
        h = h + jax.nn.relu(h @ w["a"]) @ w["b"]
        return h @ w["out"]

    params = {
        "stem": np.ones((1, 2), np.float32),
        "a": np.array([[1.0], [2.0]], np.float32),
        "b": np.array([[3.0, 4.0]], np.float32),
        "out": np.array([[8.0], [0.1]], np.float32),
    }
    wiring = trace(apply, params, np.ones((1, 1), np.float32))
    features = {feature: np.ones((1, 1, group.units)) for group in wiring.values() for feature in group.features}
    states, edit = run(continual_backprop(wiring, 0.5, maturity=0), params, features)
    np.testing.assert_array_equal(states.age["stem"][0], [1, 0])
    assert not edit.params["a"][1].any() and not edit.params["out"][1].any()
    assert edit.fresh["b"].tolist() == [[False, True]]  # what writes into the stream is drawn as well

    states, edit = run(continual_backprop(wiring, 0.5, maturity=0, readers="next"), params, features)
    ages = {name: age[0].tolist() for name, age in states.age.items()}
    # Into the stream's second activation `b` writes, and `out` reads it: 8 and 0.1.
    assert ages == {"stem": [0, 1], "a": [1], "stem@b": [1, 0]}
    np.testing.assert_array_equal(edit.params["a"], [[0], [2]])
    np.testing.assert_array_equal(edit.params["out"], [[8], [0]])
    assert edit.params["stem"][0, 1] == 1 and edit.params["stem"][0, 0] != 1


def test_before_the_step_fresh_weights_move_by_the_gradients_of_the_old_ones():
    # Gradients of 1 and a rate of 0.5: unit 1, the least by its outgoing weight, has 0 - 0.5 there after the step, and
    # its bias, too; after the step it would have 0. The others have moved from where they were.
    wiring, params = hand_wired.mlp(1, 2, 1), hand_wired.params(1, 2, 1)
    params["w1"] = np.array([[3.0], [0.5]], np.float32)
    grads = jax.tree.map(np.ones_like, params)

    def update(when):
        tx = plastic(optax.sgd(0.5), continual_backprop(wiring, 0.5, 0.0, 0, "weight", when=when))
        return jax.jit(lambda p, g: tx.step(g, tx.init(p), p, features={"w0": jnp.ones((1, 2))})[0])(params, grads)

    before, after = update("before"), update("after")
    np.testing.assert_allclose(before["w1"], [[2.5], [-0.5]])
    np.testing.assert_allclose(before["b0"], [-0.4, -0.5], rtol=1e-6)
    np.testing.assert_allclose(after["w1"], [[2.5], [0.0]])
    np.testing.assert_allclose(after["b0"], [-0.4, 0.0], rtol=1e-6)


def test_before_the_step_a_lower_group_sees_the_rows_that_an_upper_one_has_drawn():
    # Unit 0 of the last group has incoming weights of 100, which make unit 0 of the first group, 100, worth more than
    # unit 1, 50. It is replaced, with rows below the bound of sqrt(6 / 2): unit 0, with 0 to unit 1, is then the least.
    wiring = hand_wired.mlp(1, 2, 2, 1, bias=False)
    params = {
        "w0": np.ones((1, 2), np.float32),
        "w1": np.array([[100.0, 0.0], [0.0, 50.0]], np.float32),
        "w2": np.array([[1.0], [2.0]], np.float32),
    }
    features = {"w0": np.ones((1, 1, 2)), "w1": np.ones((1, 1, 2))}
    for when, ages in (("after", [1, 0]), ("before", [0, 1])):
        states, edit = run(continual_backprop(wiring, 0.5, 0.0, 0, when=when), params, features)
        np.testing.assert_array_equal(states.age["w1"][0], [0, 1])
        np.testing.assert_array_equal(states.age["w0"][0], ages)
        # Fresh, and read by nothing new: the row to the fresh unit is 0 in both.
        assert edit.params["w1"][ages.index(0), 0] == 0 and edit.fresh["w1"].sum() == 3


@pytest.mark.parametrize(
    "settings, error",
    [
        (
            {"memory": "sum", "utility": "zero_contribution"},
            r"^utility='zero_contribution' needs the mean activations, ",
        ),
        (
            {"memory": "sum", "compensate": True},
            r"^compensate=True needs the mean activations, .*; write memory='average'",
        ),
        ({"readers": "next"}, r"^'w1' has no order, "),
        ({"replacement_rate": 1.5}, r"^replacement_rate=1.5: "),
        ({"decay_rate": 1.0}, r"^decay_rate=1.0: "),
        ({"maturity": -1}, r"^maturity=-1: "),
        ({"max_per_step": 0}, r"^max_per_step=0: "),
        ({"period": 0}, r"^period=0: "),
        ({"replacement_rate": 0.6}, r"^replacement_rate=0.6 of 4 units is 2.4 units a step, .*; write max_per_step=3$"),
    ],
)
def test_refuses_settings_out_of_range(settings, error):
    with pytest.raises(ValueError, match=error):
        continual_backprop(hand_wired.mlp(3, 4, 2), **settings)


def test_refuses_to_compensate_without_a_bias():
    with pytest.raises(ValueError, match=r"^compensate=True needs a bias behind 'w1'; write compensate=False$"):
        continual_backprop(hand_wired.mlp(3, 4, 2, bias=False), compensate=True)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"utility": "worth"}, r"^utility='worth': write one of 'contribution', 'weight', "),
        ({"budget": "none"}, r"^budget='none': write one of 'accumulate', 'bernoulli'$"),
        ({"initializer": "he"}, r"^initializer='he': write one of 'network', 'kaiming', "),
        ({"activation": "rellu"}, r"^activation='rellu': write one of 'relu', "),
        ({"rate_of": "some"}, r"^rate_of='some': write one of 'mature', 'all'$"),
        ({"memory": "none"}, r"^memory='none': write one of 'average', 'sum'$"),
        ({"readers": "one"}, r"^readers='one': write one of 'all', 'next'$"),
        ({"when": "now"}, r"^when='now': write one of 'after', 'before'$"),
    ],
)
def test_unknown_choices_are_refused(settings, error):
    with pytest.raises(ValueError, match=error):
        continual_backprop(hand_wired.mlp(3, 4, 2), **settings)
