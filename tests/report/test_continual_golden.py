"""Numbers of continual learning beside those of an independent program, on made-up returns and success rates."""

import json
from pathlib import Path

import numpy as np
import pytest

from pliant import report

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "crl_metrics.npz", allow_pickle=False)
CONFIG = json.loads(str(GOLDEN["config"]))

returns, random, baseline = (GOLDEN[name] for name in ("returns", "random_return", "baseline_return"))
normalized = report.normalized(returns, random, baseline)
success, tasks = GOLDEN["cw_success"], CONFIG["n_tasks"]
ends = report.matrix_of_curves(success, CONFIG["cw_end_points"])
own = success.reshape(-1, tasks, tasks, CONFIG["cw_points_per_task"])[:, range(tasks), range(tasks)]
areas, areas_of_baseline = (report.area_under_curve(curves) for curves in (own, GOLDEN["cw_baseline"]))

FOUND = {
    "normalised": normalized,
    "csp_performance": report.average_performance(normalized),
    "csp_forward_transfer": report.forward_transfer(normalized, 1.0),
    "csp_forward_transfer_raw": report.forward_transfer(returns, baseline),
    "csp_forgetting": report.forgetting(normalized),
    "csp_forgetting_raw": report.forgetting(returns),
    "aggregate": report.aggregate(returns),
    "csp_performance_mean_std": [f(report.average_performance(normalized)) for f in (np.mean, np.std)],
    "cw_performance": report.average_performance(ends),
    "cw_forgetting": -report.forgetting(ends),
    "cw_auc": areas,
    "cw_auc_baseline": areas_of_baseline.mean(0),
    "cw_forward_transfer": report.forward_transfer_of_curves(areas, areas_of_baseline.mean(0)),
}
INPUTS = {"config", "returns", "random_return", "baseline_return", "cw_success", "cw_baseline"}


@pytest.mark.parametrize("name", FOUND)
def test_numbers_are_the_recorded_ones(name):
    np.testing.assert_allclose(FOUND[name], GOLDEN[name], rtol=1e-6, atol=1e-7)


def test_every_recorded_number_is_compared():
    assert FOUND.keys() | INPUTS == set(GOLDEN.files)
