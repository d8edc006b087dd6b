"""SoftSort against the published program's numbers, and by hand."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant.surgery.soft_sort import evenly_spaced, ranks, soft_sorted

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@jax.jit
def value_and_gradients(x, scores, temperature, upstream):
    """The sorted columns `y`, and the gradients of x and scores of sum(upstream y)."""
    y, pull = jax.vjp(lambda x, scores: soft_sorted(x, scores, temperature), x, scores)
    return y, *pull(upstream)


def noisy(scores, uniforms, beta):
    g = -np.log(-np.log(uniforms + np.float32(1e-20)) + np.float32(1e-20))
    return (scores + np.float32(beta) * g).astype(np.float32)


@pytest.mark.parametrize("name", ["tau1_beta01", "tau01_beta01", "tau01_beta0"])
def test_values_and_gradients_are_the_recorded_ones(name):
    data = np.load(GOLDEN / f"softsort_{name}.npz", allow_pickle=False)
    how = json.loads(str(data["config"]))
    n, modes, tau = how["n"], how["k"], np.float32(how["tau"])
    for mode in range(modes):
        # With x = I the output is the transpose of P, and so is the upstream gradient.
        s = noisy(data["scores"][mode], data["u"][mode], how["beta"])
        y, _, ds = value_and_gradients(np.eye(n, dtype=np.float32), s, tau, data["upstream_P"].T)
        np.testing.assert_allclose(y.T, data["P"][mode], atol=1e-6)
        np.testing.assert_allclose(ds, data["grad_scores_P"][mode], rtol=1e-5, atol=2e-6)

        s = noisy(data["scores"][mode], data["u_layer"][mode], how["beta"])
        y, dx, ds = value_and_gradients(data["x"], s, tau, data["upstream_y"])
        np.testing.assert_allclose(y, data["y"][mode], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(dx, data["grad_x"][mode], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(modes * ds, data["grad_scores_layer"][mode], rtol=1e-5, atol=1e-5)


def test_scores_are_spaced_as_recorded():
    data = np.load(GOLDEN / "softsort_tau1_beta01.npz", allow_pickle=False)
    respaced, linspace = jax.jit(lambda s: (evenly_spaced(ranks(s)), evenly_spaced(jnp.arange(s.shape[1]))))(
        data["scores"]
    )
    np.testing.assert_allclose(respaced, data["respaced"], atol=1e-7)
    np.testing.assert_allclose(np.stack([linspace] * 3), data["linspace"], atol=1e-7)


def test_equal_scores_keep_their_order_and_lose_no_unit():
    x = np.float32([[1, 2, 3, 4]])
    y, dx, _ = value_and_gradients(x, np.float32([2, 1, 2, 1]), np.float32(1), np.float32([[10, 20, 30, 40]]))
    np.testing.assert_array_equal(y, [[2, 4, 1, 3]])
    np.testing.assert_array_equal(dx, [[30, 10, 40, 20]])


def test_the_matrix_is_made_for_gradients_alone():
    x, scores = jax.ShapeDtypeStruct((2, 64), np.float32), jax.ShapeDtypeStruct((64,), np.float32)

    def function(x, scores):
        return soft_sorted(x, scores, 1.0).sum()

    assert "64,64" not in str(jax.make_jaxpr(function)(x, scores))
    assert "64,64" in str(jax.make_jaxpr(jax.grad(function, 1))(x, scores))
