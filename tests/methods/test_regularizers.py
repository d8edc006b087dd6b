"""Methods that decay or perturb all weights: l2, l2_init, shrink_and_perturb."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import surgeries
import trees

from pliant.core.plastic import plastic
from pliant.methods import l2, l2_init, shrink_and_perturb


def train(method, params, grads, steps, optimizer=None):
    tx = plastic(optax.sgd(0.1) if optimizer is None else optimizer, method)
    return trees.numpy(surgeries.train(tx, params, grads, steps)[0])


def test_l2_coupled_passes_through_the_optimizer():
    # Gradient 1 + 0.5 * 2 = 2, and a step of 0.1 from 2: 1.8; then 1 + 0.9 = 1.9: 1.61. Biases decay as well.
    params = train(
        l2(0.5), {"w": np.full((1, 1), 2.0), "b": np.full(1, 2.0)}, {"w": np.ones((1, 1)), "b": np.ones(1)}, 2
    )
    np.testing.assert_allclose(params["w"], [[1.61]], rtol=1e-6)
    np.testing.assert_allclose(params["b"], [1.61], rtol=1e-6)


def test_l2_coupled_equals_optax():
    params = {"w": np.array([[1.0, -2.0]])}
    ours = train(l2(0.3), params, {"w": np.ones((1, 2))}, 5, optax.adam(0.1))
    theirs = train((), params, {"w": np.ones((1, 2))}, 5, optax.chain(optax.add_decayed_weights(0.3), optax.adam(0.1)))
    np.testing.assert_allclose(ours["w"], theirs["w"], rtol=1e-6)


def test_l2_decoupled_shrinks_after_the_step():
    # (2 - 0.1 * 1) * (1 - 0.5) = 0.95; (0.95 - 0.1) * 0.5 = 0.425.
    np.testing.assert_allclose(train(l2(0.5, coupled=False), np.full(1, 2.0), np.ones(1), 2), [0.425], rtol=1e-6)


def test_l2_decoupled_is_adamw_but_for_the_order():
    # Of AdamW's weight decay 0.5 and step size 0.01 we write the product. Shrinking after the step rather than before
    # differs by their product, 0.005 * 0.01 a step.
    params = np.array([1.0, -3.0, 0.5])
    ours = train(l2(0.5 * 0.01, coupled=False), params, np.ones(3), 10, optax.adam(0.01))
    theirs = train((), params, np.ones(3), 10, optax.adamw(0.01, weight_decay=0.5))
    np.testing.assert_allclose(ours, theirs, atol=10 * 0.005 * 0.01 + 1e-6)
    assert np.abs(ours - params).min() > 0.01


def test_l2_init_pulls_to_where_the_weights_began():
    # From 2, gradient 1: the first step is a plain one, to 1.9. Then 1 + 1 * (1.9 - 2) = 0.9, to 1.81; then
    # 1 + (1.81 - 2) = 0.81, to 1.729.
    np.testing.assert_allclose(train(l2_init(1.0), np.full(1, 2.0), np.ones(1), 1), [1.9], rtol=1e-6)
    np.testing.assert_allclose(train(l2_init(1.0), np.full(1, 2.0), np.ones(1), 3), [1.729], rtol=1e-6)


def test_l2_init_is_the_gradient_of_its_penalty():
    # The authors' program has a factor of one half in its loss, and their equation has none.
    def penalty(w, w0, factor):
        return factor * 0.3 * jnp.sum((w - w0) ** 2)

    @jax.jit
    def both(start, now):
        return [
            (tx.update(jnp.zeros(2), tx.init(start), now)[0], jax.grad(penalty)(now, start, factor))
            for tx, factor in ((l2_init(0.3), 0.5), (l2_init(0.3, penalty="equation"), 1.0))
        ]

    for ours, gradient in both(np.array([1.0, -2.0]), np.array([3.0, 5.0])):
        np.testing.assert_allclose(ours, gradient, rtol=1e-6)


def test_l2_init_keeps_a_copy_that_survives_donation():
    tx = plastic(optax.sgd(0.1), l2_init(1.0))
    params, state = jax.jit(lambda params: (params, tx.init(params)))(np.full(1, 2.0))
    step = jax.jit(lambda params, state: tx.step(jnp.ones(1), state, params), donate_argnums=(0, 1))
    for _ in range(3):
        params, state = step(params, state)
    np.testing.assert_allclose(params, [1.729], rtol=1e-6)


def test_shrink_and_perturb_without_noise_is_l2():
    params = {"w": np.array([[1.0, -2.0]]), "b": np.array([3.0])}
    grads = jax.tree.map(np.ones_like, params)
    ours = train(shrink_and_perturb(1.0, 0.0, 0.3), params, grads, 4)
    theirs = train(l2(0.3), params, grads, 4)
    trees.assert_close(ours, theirs, rtol=1e-6, atol=0)


def test_shrink_and_perturb_shrinks_every_period():
    # Without gradient, noise or decay: 8 halves at steps 2 and 4.
    tx = plastic(optax.sgd(0.1), shrink_and_perturb(0.5, 0.0, 0.0, period=2))
    params, _ = surgeries.trajectory(tx, np.full((), 8.0), np.zeros(()), 4)
    np.testing.assert_allclose(params, [8, 4, 4, 2])


def test_shrink_and_perturb_stirs_every_weight():
    # 10,000 numbers N(0, 0.01^2), a step: after four steps N(0, 0.02^2). The standard error of the deviation is
    # 0.02 / sqrt(20,000) = 0.00014, of the mean 0.0002. All leaves, biases too, and never the same number.
    params = {"w": np.zeros((50, 196)), "b": np.zeros(200), "scalar": np.zeros(())}
    new = train(shrink_and_perturb(1.0, 0.01, 0.0), params, params, 4)
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(new)])
    assert len(set(flat.tolist())) > 0.99 * flat.size
    assert flat.std() == pytest.approx(0.02, abs=0.0006) and flat.mean() == pytest.approx(0, abs=0.0008)
    assert np.std(new["b"]) == pytest.approx(0.02, abs=0.004)


def test_shrink_and_perturb_reinitializes_nothing():
    # The optimizer's state stays: momentum of gradients of 1 is 1.9 after two steps.
    tx = plastic(optax.sgd(0.1, 0.9), shrink_and_perturb(0.5, 0.1, 0.0))
    _, state = surgeries.train(tx, np.ones(2), np.ones(2), 2)
    np.testing.assert_allclose(optax.tree.get(state.optimizer, "trace"), [1.9, 1.9], rtol=1e-6)


def test_shrink_and_perturb_leaves_whole_numbers_alone():
    _, surgery = shrink_and_perturb(0.5, 0.1, 0.0)

    @jax.jit
    def run(params):
        drawn = jax.tree.map(lambda x: x[0], surgery.draw(jax.random.key(0), params, 1))
        return surgery.operate(params, surgery.init(params), random=drawn)[0].params

    params = run({"w": np.ones(2), "steps": np.int32(7)})
    assert params["steps"] == 7 and (np.asarray(params["w"]) != 1).all()


@pytest.mark.parametrize(
    "make, error",
    [
        (lambda: l2(-1.0), r"^weight_decay=-1.0: write a number at least 0$"),
        (lambda: l2(1.5, coupled=False), r"^weight_decay=1.5: write a number from 0 to 1$"),
        (lambda: l2_init(-1.0), r"^strength=-1.0: write a number at least 0$"),
        (lambda: l2_init(penalty="paper"), r"^penalty='paper': write one of 'program', 'equation'$"),
        (lambda: shrink_and_perturb(shrink=1.5), r"^shrink=1.5: write a number from 0 to 1$"),
        (lambda: shrink_and_perturb(perturb_scale=-1.0), r"^perturb_scale=-1.0: write a number at least 0$"),
        (lambda: shrink_and_perturb(weight_decay=-1.0), r"^weight_decay=-1.0: write a number at least 0$"),
        (lambda: shrink_and_perturb(period=0), r"^period=0: write a number at least 1$"),
    ],
)
def test_refuses_settings_out_of_range(make, error):
    with pytest.raises(ValueError, match=error):
        make()
