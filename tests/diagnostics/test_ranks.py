from pathlib import Path

import jax
import numpy as np
import pytest
import trees

from pliant.core.units import Group, Outgoing, Wiring
from pliant.diagnostics import approximate_rank, effective_rank, rank, stable_rank
from pliant.diagnostics._approximate_rank import approximate_rank_of
from pliant.diagnostics._effective_rank import effective_rank_of
from pliant.diagnostics._rank import rank_of
from pliant.diagnostics._stable_rank import stable_rank_of

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "ranks.npz", allow_pickle=False)


@jax.jit
def ranks_of(matrix):
    """All ranks of a matrix, from one program."""
    return {
        "rank": rank_of(matrix),
        "exact": rank_of(matrix, 0.0),
        "effective": effective_rank_of(matrix),
        "approximate": approximate_rank_of(matrix),
        "stable": stable_rank_of(matrix),
        "frobenius": stable_rank_of(matrix, "frobenius"),
    }


@pytest.mark.parametrize("i", range(5))
def test_ranks_are_those_of_the_authors(i):
    found = ranks_of(GOLDEN[f"matrix{i}"])
    assert found["exact"] == GOLDEN[f"rank{i}"]
    np.testing.assert_allclose(found["effective"], GOLDEN[f"effective_rank{i}"], rtol=2e-6)
    assert found["approximate"] == GOLDEN[f"approximate_rank{i}"]
    assert found["stable"] == GOLDEN[f"stable_rank_abs{i}"]


@pytest.mark.parametrize("i", range(5))
def test_rank_leaves_out_the_rounding_noise_as_numpy_does(i):
    # Matrices 2 and 4 are products of rank 10 and 1, stored in float32.
    matrix = GOLDEN[f"matrix{i}"]
    assert ranks_of(matrix)["rank"] == np.linalg.matrix_rank(matrix) == [20, 20, 10, 30, 1][i]


def test_ranks_of_a_diagonal():
    # Squares: 100 + 25 + 4 + 1 + 0.25 + 0.0025 + 0.0001 = 130.2526, of which 99 % is 128.95: 125 < 128.95 <= 129.
    # Sum 18.56, of which 99 % is 18.3744: 18 < 18.3744 <= 18.5. Entropy of the shares (0.5388, 0.2694, 0.1078, 0.0539,
    # 0.0269, 0.0027, 0.0005): 1.201350, exp = 3.324592. Squared Frobenius norm over squared largest: 130.2526 / 100.
    found = ranks_of(np.diag([10, 5, 2, 1, 0.5, 0.05, 0.01, 0]))
    assert (found["rank"], found["approximate"], found["stable"]) == (7, 3, 5)
    np.testing.assert_allclose(found["effective"], 3.324592, rtol=1e-6)
    np.testing.assert_allclose(found["frobenius"], 1.302526, rtol=1e-6)


def test_ranks_of_nothing():
    found = {name: float(value) for name, value in ranks_of(np.zeros((6, 4))).items()}
    assert found == {"rank": 0, "exact": 0, "effective": 1, "approximate": 1, "stable": 1, "frobenius": 1}


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e15])
def test_ranks_do_not_depend_on_scale_or_on_which_way_the_matrix_lies(scale):
    matrix = GOLDEN["matrix3"]
    wanted = trees.numpy(ranks_of(matrix))
    for other in (matrix * np.float32(scale), matrix.T):
        found = trees.numpy(ranks_of(other))
        # At a tolerance of 0 every rounded zero counts: that rank depends on rounding.
        trees.assert_close(found | {"exact": 0}, wanted | {"exact": 0}, rtol=1e-5, atol=0)


def test_many_samples_cost_no_memory_but_their_own():
    # 100 images of 32 x 32; a square of that many samples would take 40 GB. The columns are equal: sigma = (452.5, 0).
    found = ranks_of(np.ones((102400, 2)))
    assert found["rank"] == found["approximate"] == found["stable"] == 1


def test_proportion_and_tolerance():
    # sigma = 4, 3, 2, 1: shares of the sum 0.4, 0.7, 0.9, 1; of the squares 16/30, 25/30, 29/30, 1.
    @jax.jit
    def run(matrix):
        return (
            [stable_rank_of(matrix, "cumulative", p) for p in (0.3, 0.5, 0.8, 0.95, 1.0)],
            [approximate_rank_of(matrix, p) for p in (0.5, 0.8, 0.9, 1.0)],
            # Noise is 4 * max(4, 4) * 2^-23: above 2 and below 3 at a tolerance of 2.5 / 16 * 2^23.
            rank_of(matrix, 2.5 / 16 * 2**23),
        )

    stable, approximate, above_noise = run(np.diag([1.0, 4, 3, 2]))
    assert list(map(int, stable)) == [1, 2, 3, 4, 4] and list(map(int, approximate)) == [1, 2, 3, 4]
    assert above_noise == 2


def test_rows_are_activations_and_positions_count_as_samples(wiring):
    # conv is (2 samples, 4 positions, 3 units), with one sample all zero: as 8 x 3 its rank is 2, as 2 x 12 it were 1.
    conv = np.zeros((2, 4, 3))
    conv[0, 0, 0] = conv[0, 1, 1] = 1.0
    features = {"conv": conv, "stream@left": np.eye(2), "stream@right": np.ones((2, 2))}
    wanted = {"conv": 2, "stream@left": 2, "stream@right": 1}
    for factory in (rank, effective_rank, approximate_rank, stable_rank):
        rows = jax.jit(factory(wiring))(features=features)
        assert rows.keys() == wanted.keys()
        for row, value in wanted.items():
            np.testing.assert_allclose(rows[row], value, rtol=1e-5)


def test_the_last_layer_is_what_the_output_layers_read(wiring):
    # `stream` makes units out of `conv`; `left` and `right` make none.
    features = {"conv": np.ones((2, 4, 3)), "stream@left": np.eye(2), "stream@right": np.ones((2, 2))}
    for factory in (rank, effective_rank, approximate_rank, stable_rank):
        rows = jax.jit(factory(wiring, layers="last"))(features=features)
        assert {row: round(float(value)) for row, value in rows.items()} == {"stream@left": 2, "stream@right": 1}


def test_options_reach_the_numbers():
    wiring = Wiring({"h": Group("h", 4, (), (), (Outgoing("out", 0, feature="h"),))})
    # Frobenius: 30 / 16.
    wanted = {
        rank(wiring, tolerance=2.5 / 16 * 2**23): 2,
        approximate_rank(wiring, proportion=0.5): 1,
        stable_rank(wiring, proportion=0.5): 2,
        stable_rank(wiring, definition="frobenius"): 1.875,
    }
    features = {"h": np.diag([4.0, 3, 2, 1])}
    found = jax.jit(lambda features: [measure(features=features)["h"] for measure in wanted])(features)
    np.testing.assert_allclose(found, list(wanted.values()))


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (rank, {"tolerance": -1.0}, r"rank\(tolerance=-1.0\): write 0"),
        (approximate_rank, {"proportion": 0.0}, r"approximate_rank\(proportion=0.0\)"),
        (stable_rank, {"proportion": 1.5}, r"stable_rank\(proportion=1.5\)"),
        (effective_rank, {"layers": "first"}, "layers='first': write one of 'all', 'last'"),
        (stable_rank, {"definition": "nuclear"}, "definition='nuclear': write one of 'cumulative', 'frobenius'"),
    ],
)
def test_refuses(factory, options, message, wiring, unchecked):
    with pytest.raises(ValueError, match=message):
        factory(wiring, **options)


@pytest.mark.parametrize("function", [rank_of, effective_rank_of, approximate_rank_of, stable_rank_of])
def test_refuses_what_is_no_matrix(function):
    with pytest.raises(ValueError, match=r"got shape \(2, 3, 4\); write features.reshape"):
        function(np.ones((2, 3, 4)))


def test_many_members_on_two_devices_decompose_their_features_one_by_one():
    # LAPACK's batches of matrices of this size waited for ever for threads of the pool in which both devices ran.
    matrices = np.random.default_rng(0).normal(size=(8, 2000, 100)).astype(np.float32)
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("members",))
    split = jax.sharding.PartitionSpec("members")
    ranks = jax.jit(jax.shard_map(jax.vmap(effective_rank_of), mesh=mesh, in_specs=split, out_specs=split))(matrices)
    sigma = np.linalg.svd(matrices, compute_uv=False)
    p = sigma / sigma.sum(1, keepdims=True)
    np.testing.assert_allclose(ranks, np.exp(-(p * np.log(p)).sum(1)), rtol=1e-4)
