"""The names of continual methods in the published suites."""

from typing import Any

PUBLISHED_NAMES: dict[str, dict[str, Any]] = {
    "ft_1": {"name": "fine_tuning"},
    "ft_n": {"name": "fine_tuning", "copies": True},
    "ft_l2": {"name": "l2_anchor"},
    "sac_n": {"name": "from_scratch"},
    "pnn": {"name": "progressive"},
    "csp": {"name": "subspace"},
}
