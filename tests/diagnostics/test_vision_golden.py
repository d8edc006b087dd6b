"""The post-run analysis of incremental CIFAR and the ranks of permuted MNIST, beside the authors' own functions."""

from pathlib import Path

import jax
import numpy as np
import pytest
import torch_nets

from pliant import diagnostics
from pliant.core.units import Group, Outgoing, Wiring
from pliant.diagnostics import approximate_rank, effective_rank, inactive_fraction, rank, stable_rank
from pliant.experiment.evaluation.analyze import DIAGNOSTICS
from pliant.networks import resnet18
from pliant.tracing.trace import trace

GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden" / "vision_metrics.npz", allow_pickle=False))
HAND = Wiring({"h": Group("h", 24, (), (), (Outgoing("out", 0, feature="h"),))})


def channels_last(features):
    return np.moveaxis(features, 1, -1)


@pytest.mark.parametrize("case", range(3))
def test_dormant_units_are_active_on_less_than_the_threshold_of_samples_and_positions(case):
    features = {f"map{i}": channels_last(GOLDEN[f"dormant{case}_features{i}"]) for i in range(3)}
    wiring = Wiring(
        {name: Group(name, h.shape[-1], (), (), (Outgoing(name, 0, feature=name),)) for name, h in features.items()}
    )
    measures = [inactive_fraction(wiring, threshold=threshold, count="activations") for threshold in (0.01, 0.3)]
    at_one, at_thirty = jax.jit(lambda features: [measure(features=features)[""] for measure in measures])(features)
    np.testing.assert_allclose(at_one, GOLDEN[f"dormant{case}_proportion"], rtol=1e-6)
    np.testing.assert_allclose(at_thirty, GOLDEN[f"dormant{case}_proportion_at_0.3"], rtol=1e-6)


@jax.jit
def ranks_of(matrix):
    measures = [effective_rank(HAND), stable_rank(HAND), approximate_rank(HAND), rank(HAND, tolerance=0.0)]
    return [measure(features={"h": matrix})["h"] for measure in measures]


@pytest.mark.parametrize("case", range(5))
def test_ranks_are_those_of_both_programs(case):
    matrix = GOLDEN[f"matrix{case}"]
    effective, stable, approximate, exact = ranks_of(matrix)
    np.testing.assert_allclose(effective, GOLDEN[f"cifar_effective_rank{case}"], rtol=1e-5)
    np.testing.assert_allclose(effective, GOLDEN[f"mnist_effective_rank{case}"], rtol=1e-5)
    assert stable == GOLDEN[f"cifar_stable_rank{case}"] == GOLDEN[f"mnist_stable_rank_abs{case}"]
    assert approximate == GOLDEN[f"mnist_approximate_rank{case}"]
    # The program counts singular values that are not exactly zero. A matrix of full rank has 24 of them; of others the
    # count is that of the rounding errors.
    assert GOLDEN[f"mnist_rank{case}"] >= np.linalg.matrix_rank(matrix)
    if np.linalg.matrix_rank(matrix) == 24:
        assert exact == GOLDEN[f"mnist_rank{case}"] == 24


def test_a_residual_network_in_training_mode():
    """The settings are those of `pliant analyze`; the widths (3, 4, 4, 5) are read off the recorded weights."""
    x = torch_nets.images(GOLDEN["net_images"])
    recorded = torch_nets.recorded(GOLDEN, "net_").items()
    weights = {name: leaf for name, leaf in recorded if "." in name and not name.startswith("after_")}
    variables = torch_nets.resnet18(weights)
    network = resnet18(x.shape[1:], 20, (3, 4, 4, 5))
    wiring = trace(network.train, variables, x)
    measures = [getattr(diagnostics, name)(wiring, **settings) for name, settings in DIAGNOSTICS.items()]

    @jax.jit
    def measured(variables, x):
        _, features = wiring.apply(variables, x)
        return features, [measure(params=variables, features=features) for measure in measures]

    features, (inactive, effective, stable, magnitude) = measured(variables, x)
    np.testing.assert_allclose(magnitude[""], GOLDEN["net_weight_magnitude"], rtol=1e-6)
    assert len(inactive) == 17 + 1 and sum(h.shape[-1] for h in features.values()) == 67
    np.testing.assert_allclose(inactive[""], GOLDEN["net_dormant_proportion"], rtol=1e-6)
    [last] = effective
    np.testing.assert_allclose(features[last], GOLDEN["net_last_features"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(effective[last], GOLDEN["net_effective_rank"], rtol=1e-4)
    assert stable == {last: GOLDEN["net_stable_rank"]}
